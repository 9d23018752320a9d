"""What a classifier reads of its inputs, and what it says of each.

Letters: T time, B batch, C pieces of a word.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a classifier says of one input.

    Attributes:
        label: the most probable class; its number where the model has no labels.
        probability: of that class.
        probabilities: of every class, by label.
    """

    label: str | int
    probability: float
    probabilities: Mapping[str | int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedInputs:
    """Inputs side by side: x [T, B, ...], lengths [B] on the CPU, pieces [T, B, C]."""

    x: Tensor
    lengths: Tensor
    pieces: Tensor | None

    def chosen(self, some: Tensor) -> "EncodedInputs":
        """These inputs, without the steps that none of them has."""
        lengths = self.lengths[some]
        T, at = int(lengths.max()), some.to(self.x.device)
        pieces = None if self.pieces is None else self.pieces[:T, at]
        return EncodedInputs(x=self.x[:T, at], lengths=lengths, pieces=pieces)
