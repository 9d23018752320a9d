"""What a compiled loop reads: how tensors of one shape and strides become the struct `Array`."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from recurra.errors import BackendError
from recurra.ir import Node

Fit = Callable[[Tensor], Tensor]
_Numbers = tuple[int, int, int, int]  # of an `Array`, what follows its address


def array_of(
    value: Tensor, steps: int, batch: int, *, stepped: bool, flat: bool, table: bool = False
) -> tuple[tuple[Fit, ...], _Numbers]:
    """How an input becomes the struct `Array`: what it goes through first, and its numbers.

    Args:
        value: one like it.
        stepped: the value has time in front, where it has three dimensions.
        flat: it is wanted as one block, a row for each step and sequence.
        table: it is rows of a table, [V, size].
    """
    if table:
        return contiguous(value), (0, value.shape[1], 0, 1)
    if value.dim() == 3 and value.is_contiguous() and value.shape[:2] == (steps, batch):
        row = value.shape[2]
        return (), (batch * row, row, 0, 0)
    if flat:
        row = value.shape[-1]
        return whole(value, (steps, batch, row)), (batch * row, row, 0, 0)
    fits: tuple[Fit, ...] = ()
    if value.shape[-1] > 1 and value.stride(-1) != 1:
        value, fits = value.contiguous(), (Tensor.contiguous,)
    strides = [0 if n == 1 else s for n, s in zip(value.shape, value.stride(), strict=True)]
    step = strides[0] if stepped and value.dim() == 3 else 0
    return fits, (step, strides[-2] if value.dim() >= 2 else 0, 0, 0)


def array_of_rows(
    value: Tensor, steps: int, batch: int, *, flat: bool
) -> tuple[tuple[Fit, ...], _Numbers]:
    """The same of an input that has rows, as an `Array` whose rows those of a sequence are."""
    lead = (steps, batch) if flat or value.dim() == 4 else (batch,)
    shape = (*lead, *value.shape[-2:])
    step = math.prod(shape[1:]) if len(lead) == 2 else 0
    return whole(value, shape), (step, shape[-1], 0, 0)


def expanded(value: Tensor, shape: tuple[int, ...]) -> tuple[Fit, ...]:
    """What makes such a value one of `shape`: nothing where it has it."""
    return () if value.shape == shape else (partial(torch.broadcast_to, size=shape),)


def contiguous(value: Tensor) -> tuple[Fit, ...]:
    """What makes such a value lie in one block: nothing where it does."""
    return () if value.is_contiguous() else (Tensor.contiguous,)


def whole(value: Tensor, shape: tuple[int, ...]) -> tuple[Fit, ...]:
    """What makes such a value one of `shape`, in one block."""
    fits = expanded(value, shape)
    return (*fits, Tensor.contiguous) if fits else contiguous(value)


def over_all_rows(value: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a value over positions that has one for each of them, where it may be the same
    for all."""
    at = value.dim() - len(shape)
    return (*value.shape[:at], shape[0], *value.shape[at + 1 :])


def check_fits(node: Node, value: Tensor, shape: tuple[int, ...]) -> None:
    """Raise BackendError unless a value is one for every step and sequence, once broadcast."""
    lead, own = value.shape[: 2 - len(shape)], shape[2:]
    if (
        not len(own) <= value.dim() <= len(shape)
        or value.shape[value.dim() - len(own) :] != own
        or any(n not in (1, count) for n, count in zip(lead[::-1], shape[1::-1], strict=False))
    ):
        raise misfit(node, value, shape)


def misfit(node: Node, value: Tensor, shape: Sequence[int]) -> BackendError:
    """The error that a value has another shape."""
    return BackendError(
        f"compiled code: expected {node} of shape {tuple(shape)}, got {tuple(value.shape)}. "
        f"Pass tensors of the sizes that the cell was bound to."
    )
