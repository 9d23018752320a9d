"""Sequences from the longest to the shortest: then a compiled loop leaves out those that ended."""

from typing import Any

import torch
from torch import Tensor

# Multiplications that take as long as what sorts a batch; as one number's ways there and back.
_SORTING, _COPY = 1 << 22, 16


class LongestFirst:
    """A batch in another order.

    Attributes:
        order: [B] int64, the sequences from the longest to the shortest, equal ones as they lay.
    """

    def __init__(self, lengths: Tensor) -> None:
        self.order = torch.argsort(lengths, descending=True, stable=True)
        self._back = torch.argsort(self.order)

    @classmethod
    def of(
        cls, lengths: Tensor, steps: int, multiplications: int, copied: int
    ) -> "LongestFirst | None":
        """The order for a batch; None where it lies so already, or where it does not pay.

        Args:
            lengths: [B] int64 in 0..T.
            steps: T.
            multiplications: of one sequence in one step.
            copied: numbers of it that are put in order and back.
        """
        each: list[int] = lengths.tolist()
        left_out = steps * len(each) - sum(each)
        if left_out * multiplications < _SORTING + steps * len(each) * copied * _COPY:
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
