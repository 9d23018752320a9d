"""What a compiled loop reads: tensors as the struct `Array`, where they lie or made to fit."""

import math
from collections.abc import Sequence

from torch import Tensor

from recurra.backends.cpu import gate
from recurra.errors import BackendError
from recurra.ir import Node


def array_of(
    node: Node,
    value: Tensor,
    steps: int,
    batch: int,
    alive: list[object],
    *,
    stepped: bool,
    flat: bool,
    table: bool = False,
) -> tuple[int, int, int, int, int]:
    """An input as the struct `Array`.

    Args:
        alive: gets what the struct points to.
        stepped: the value has time in front, where it has three dimensions.
        flat: it is wanted as one block, a row for each step and sequence.
        table: it is rows of a table, [V, size].
    """
    if table:
        value, place = gate.bound(value.contiguous(), node)
        alive.append(value)
        return place, 0, value.shape[1], 0, 1
    if value.dim() == 3 and value.is_contiguous() and value.shape[:2] == (steps, batch):
        value, place = gate.bound(value, node)
        alive.append(value)
        row = value.shape[2]
        return place, batch * row, row, 0, 0
    if flat:
        value = value.expand(steps, batch, value.shape[-1]).contiguous()
    elif value.shape[-1] > 1 and value.stride(-1) != 1:
        value = value.contiguous()
    value, place = gate.bound(value, node)
    alive.append(value)
    strides = [0 if n == 1 else s for n, s in zip(value.shape, value.stride(), strict=True)]
    step = strides[0] if stepped and value.dim() == 3 else 0
    row = strides[-2] if value.dim() >= 2 else 0
    if flat:  # whatever a dimension of size 1 says
        row = value.shape[-1]
        step = batch * row
    return place, step, row, 0, 0


def array_of_rows(
    node: Node, value: Tensor, steps: int, batch: int, alive: list[object], *, flat: bool
) -> tuple[int, int, int, int, int]:
    """An input that has rows, as the struct `Array`, whose rows those of a sequence are; see
    `array_of`."""
    lead = (steps, batch) if flat or value.dim() == 4 else (batch,)
    value = value.expand(*lead, *value.shape[-2:]).contiguous()
    value, place = gate.bound(value, node)
    alive.append(value)
    step = math.prod(value.shape[1:]) if len(lead) == 2 else 0
    return place, step, value.shape[-1], 0, 0


def over_all_rows(node: Node, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A value over positions, one for each of them where it was the same for all."""
    at = value.dim() - len(shape)
    return value.expand(*value.shape[:at], shape[0], *value.shape[at + 1 :])


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
