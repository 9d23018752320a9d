"""Random masks: inputs of a cell that a layer draws by itself in training.

In evaluation a mask is its mean, a number: what it multiplies stays as it would be on average.
"""

from dataclasses import dataclass

from recurra.ir import Shape

# how often a mask is drawn -> the kind of input that it is to the equations
KINDS = {"step": "mask", "sequence": "sequence mask", "call": "call mask"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A mask of `scale` with probability `rate`, and of 0 otherwise.

    Attributes:
        shape: of one sequence at one step; of a mask drawn once a call, any parameter's.
        each: how often it is drawn: for every "step", for every "sequence", or once a "call".
    """

    shape: Shape
    rate: float
    scale: float
    each: str

    @property
    def kind(self) -> str:
        """The kind of input that the mask is."""
        return KINDS[self.each]

    @property
    def mean(self) -> float:
        """What it is in evaluation."""
        return self.rate * self.scale


def dropping(p: float, shape: Shape, each: str) -> Mask:
    """Zero with probability `p`, else scaled so that the mean is 1."""
    return Mask(shape=shape, rate=1.0 - p, scale=1.0 / (1.0 - p), each=each)


def choosing(p: float, shape: Shape, each: str) -> Mask:
    """1 with probability `p`, else 0."""
    return Mask(shape=shape, rate=p, scale=1.0, each=each)
