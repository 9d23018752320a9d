"""Sequences from the longest to the shortest: then a compiled loop leaves out those that ended."""

from typing import Any

import torch
from torch import Tensor

_WORTH = 1 << 22  # multiplications left out that take as long as the copies and what sorts them


class LongestFirst:
    """A batch in another order.

    Attributes:
        order: [B] int64, the sequences from the longest to the shortest, equal ones as they lay.
    """

    def __init__(self, lengths: Tensor) -> None:
        self.order = torch.argsort(lengths, descending=True, stable=True)
        self._back = torch.argsort(self.order)

    @classmethod
    def of(cls, lengths: Tensor, steps: int, multiplications: int) -> "LongestFirst | None":
        """The order for a batch; None where it lies so already, or where it does not pay.

        Args:
            lengths: [B] int64 in 0..T.
            steps: T.
            multiplications: of one sequence in one step.
        """
        each: list[int] = lengths.tolist()
        if (steps * len(each) - sum(each)) * multiplications < _WORTH:
            return None
        return None if each == sorted(each, reverse=True) else cls(lengths)

    def arranged(self, x: Tensor, dim: int) -> Tensor:
        """`x` with its sequences, which are `dim`, in this order."""
        return _Permuted.apply(x, dim, self.order, self._back)

    def restored(self, x: Tensor, dim: int) -> Tensor:
        """What `arranged` was given."""
        return _Permuted.apply(x, dim, self._back, self.order)


class _Permuted(torch.autograd.Function):
    """index_select of every row once: its gradient is the same the other way, and no sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, order: Tensor, back: Tensor) -> Tensor:
        ctx.dim, ctx.order, ctx.back = dim, order, back
        return x.index_select(dim, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return _Permuted.apply(grads[0], ctx.dim, ctx.back, ctx.order), None, None, None
