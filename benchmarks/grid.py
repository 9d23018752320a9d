"""The shapes that layers are timed at, and random jobs at a shape.

Letters: T time, B batch, I input, H hidden.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.oracle import Results
from benchmarks.registry import Settings


class Shape(NamedTuple):
    """Steps, sequences, input features, units."""

    T: int
    B: int
    I: int  # noqa: E741 - the field's letter
    H: int

    def __str__(self) -> str:
        return f"T{self.T} B{self.B} I{self.I} H{self.H}"


# middling, wide, long and thin, one sequence, large, small
GRID = tuple(
    Shape(*sizes)
    for sizes in (
        (50, 50, 128, 128),
        (100, 32, 256, 256),
        (100, 64, 512, 512),
        (35, 20, 650, 650),
        (784, 64, 1, 128),
        (600, 32, 2, 128),
        (100, 1, 128, 128),
        (100, 1, 512, 512),
        (128, 64, 1024, 1024),
        (25, 8, 64, 64),
    )
)
SMALL = Shape(13, 5, 7, 19)  # for checks: nothing fits a vector's width
_QUICK = {(50, 50, 128, 128), (100, 32, 256, 256), (100, 1, 128, 128), (25, 8, 64, 64)}


def grid(settings: Settings) -> tuple[Shape, ...]:
    """All shapes; in a quick run those that take milliseconds."""
    return tuple(shape for shape in GRID if not settings.quick or shape in _QUICK)


class Job:
    """One training step of a layer at a shape: forward, and the gradients of parameters and input.

    The output's gradient is random and the same for all sides, so no side can know it in advance.
    """

    def __init__(self, shape: Shape, *, input_gradient: bool = True, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.shape = shape
        self.x = torch.randn(shape.T, shape.B, shape.I, generator=generator)
        self.x.requires_grad_(input_gradient)
        self.d_y = torch.randn(shape.T, shape.B, shape.H, generator=generator)

    def to(self, dtype: torch.dtype) -> "Job":
        """The same job in another precision."""
        other = object.__new__(Job)
        other.shape = self.shape
        other.x = self.x.detach().to(dtype).requires_grad_(self.x.requires_grad)
        other.d_y = self.d_y.to(dtype)
        return other

    def forward(self, layer: nn.Module) -> Tensor:
        """The output, without gradients."""
        with torch.no_grad():
            return layer(self.x)[0]

    def step(self, layer: nn.Module) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output and the gradients, of the parameters in order and of x after them."""
        leaves = [*layer.parameters(), *([self.x] if self.x.requires_grad else [])]
        y = layer(self.x)[0]
        return y, torch.autograd.grad(y, leaves, self.d_y)

    def results(self, layer: nn.Module) -> Results:
        """What `step` gives, by name."""
        y, gradients = self.step(layer)
        names = [name for name, _ in layer.named_parameters()]
        names += ["x"] if self.x.requires_grad else []
        return {"y": y.detach(), **dict(zip(names, gradients, strict=True))}
