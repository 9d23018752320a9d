"""Max pooling, as it is taught: the largest of each window goes on, and the gradient goes back to
the place that it came from.

    forward:   y[r, q] = max over the window (r, q) of x      switch[r, q] = where in x that was
    backward:  d_x[p]  = sum of d_y[r, q] over the windows whose switch is p

Letters: N pictures, C maps, Y rows and X columns of pixels, R rows and Q columns of windows.
Of equal values the first, row by row, is taken, as torch takes it. torch's own layer, which the
encoders have, is faster and does the same; a test holds the two to each other.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

Maps = Float[Tensor, "n c y x"]
Pooled = Float[Tensor, "n c r q"]
Switches = Int64[Tensor, "n c r q"]


def max_pool(x: Maps, size: int = 2, stride: int | None = None) -> tuple[Pooled, Switches]:
    """The largest value of each window, and where it was.

    Args:
        x: [N, C, Y, X].
        size: rows and columns of a window.
        stride: from one window to the next; None: its size, so that none overlap.
    Returns:
        values: [N, C, R, Q], R = (Y - size) // stride + 1.
        switches: [N, C, R, Q], the winner of each window as row * X + column.
    Raises:
        ValueError: when a size is below 1, or no window fits.
    """
    stride = size if stride is None else stride
    rows, columns = x.shape[2:]
    if size < 1 or stride < 1 or min(rows, columns) < size:
        raise ValueError(
            f"max_pool: expected windows within {rows} x {columns}, got size={size}, "
            f"stride={stride}. Take smaller ones."
        )
    windows = x.unfold(2, size, stride).unfold(3, size, stride)  # [N, C, R, Q, size, size]
    values, within = windows.flatten(4).max(dim=4)
    top = torch.arange(values.shape[2], dtype=torch.int64, device=x.device)[:, None] * stride
    left = torch.arange(values.shape[3], dtype=torch.int64, device=x.device) * stride
    return values, (top + within // size) * columns + left + within % size


def unpool(d_y: Pooled, switches: Switches, rows: int, columns: int) -> Maps:
    """Each value at the place that won its window, zeros elsewhere; where windows overlap, sums.

    The gradient of `max_pool`, and the unpooling of a deconvnet.

    Args:
        d_y: [N, C, R, Q].
        switches: of `max_pool`.
        rows, columns: Y and X of what was pooled.
    Returns:
        [N, C, Y, X].
    """
    d_x = torch.zeros((*d_y.shape[:2], rows * columns), dtype=d_y.dtype, device=d_y.device)
    d_x.scatter_add_(2, switches.flatten(2), d_y.flatten(2))
    return d_x.unflatten(2, (rows, columns))


class _Pooling(torch.autograd.Function):
    """The two of them, as an operation that torch differentiates."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, stride: int | None) -> tuple[Tensor, Tensor]:
        values, switches = max_pool(x, size, stride)
        ctx.save_for_backward(switches)
        ctx.sides = x.shape[2:]
        ctx.mark_non_differentiable(switches)
        return values, switches

    @staticmethod
    def backward(ctx: Any, d_y: Tensor, _: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (switches,) = ctx.saved_tensors
        return unpool(d_y, switches, *ctx.sides), None, None


class MaxPool(nn.Module):
    """Max pooling that keeps its switches.

    Args:
        size: rows and columns of a window.
        stride: from one window to the next; None: its size.

    Attributes:
        switches: [N, C, R, Q] of the last call, see `max_pool`; None before.
    """

    def __init__(self, size: int = 2, stride: int | None = None) -> None:
        super().__init__()
        self.size, self.stride = size, stride
        self.switches: Tensor | None = None

    def forward(self, x: Maps) -> Pooled:
        """[N, C, R, Q]."""
        values, self.switches = _Pooling.apply(x, self.size, self.stride)  # pyright: ignore[reportGeneralTypeIssues]
        return values
