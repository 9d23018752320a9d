"""The time loop that both directions of a plan share, and the record of what it computes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurra.backends.reference.program import Program
from recurra.ir import Node

Mask = Callable[[int, list[Tensor], list[Tensor]], list[Tensor]]


class Record:
    """One value at every step: rows of one tensor, written in place, or a list under autograd."""

    def __init__(self, rows: int, like: Tensor, size: int) -> None:
        self._in_place = not torch.is_grad_enabled()
        self._values: list[Tensor] = []
        if self._in_place:
            self._whole = like.new_empty(rows, like.shape[0], size)
            self._values = list(self._whole.unbind(0))
        else:
            self._values = [like] * rows

    def target(self, row: int) -> Tensor | None:
        """Memory for the row, when it may be written in place."""
        return self._values[row] if self._in_place else None

    def set(self, row: int, value: Tensor) -> Tensor:
        """Note the row; returns what to go on with."""
        if self._in_place:
            if self._values[row] is not value:
                self._values[row].copy_(value)
        else:
            self._values[row] = value
        return self._values[row]

    def stacked(self, first: int, count: int) -> Tensor:
        """[count, B, size]: the rows from `first` on."""
        if self._in_place:
            return self._whole[first : first + count]
        return torch.stack(self._values[first : first + count])


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """The carried values after the last step, and the records by node."""

    carried: list[Tensor]
    records: dict[Node, Tensor]


class TimeLoop:
    """A loop body over all steps.

    Args:
        program: gives the next carried values, then the values to record.
        inputs: the nodes that the program reads, in order.
        carried: the nodes among them that come from the step before.
        extra: the nodes that the program gives after the carried ones.
    """

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Node],
        carried: Sequence[Node],
        extra: Sequence[Node],
    ) -> None:
        self._program = program
        self._carried = tuple(carried)
        self._extra = tuple(extra)
        place = {node: i for i, node in enumerate(carried)}
        self._reads = [(place.get(node, -1), node) for node in inputs]

    def run(
        self,
        values: Mapping[Node, Tensor],
        stepped: set[Node],
        first: Sequence[Tensor],
        order: range,
        *,
        sizes: Sequence[int],
        history: Mapping[Node, Node] | None = None,
        enter: Mask | None = None,
        leave: Mask | None = None,
    ) -> LoopResult:
        """Run the body for every step in `order`.

        Args:
            values: by node; those in `stepped` have time in front.
            first: the carried values before the first step, [B, size] each.
            sizes: the size of each extra value.
            history: carried nodes to record as the step found them, each with the node of its
                next value, recorded with it at no cost.
            enter: (t, carried) -> carried, before the step.
            leave: (t, carried after, carried before) -> carried, after the step.
        """
        history = history or {}
        steps, ahead = len(order), 1 if order.step > 0 else 0
        reads = [
            (at, values[node].unbind(0) if at < 0 and node in stepped else None, node)
            for at, node in self._reads
        ]
        past = {
            i: Record(steps + 1, first[i], first[i].shape[-1])
            for i, node in enumerate(self._carried)
            if node in history
        }
        extra = [Record(steps, first[0], size) for size in sizes]
        carried = list(first)
        for i, record in past.items():
            carried[i] = record.set(order.start + 1 - ahead, carried[i])
        num_carried = len(carried)
        for t in order:
            before = carried
            if enter is not None:
                carried = enter(t, carried, carried)
            into: list[Tensor | None] = [None] * num_carried
            if leave is None:
                for i, record in past.items():
                    into[i] = record.target(t + ahead)
            into += [record.target(t) for record in extra]
            found = self._program(
                [
                    carried[at] if at >= 0 else values[node] if rows is None else rows[t]
                    for at, rows, node in reads
                ],
                into,
            )
            for record, value in zip(extra, found[num_carried:], strict=True):
                record.set(t, value)
            new = [
                value if value.shape == old.shape else value.expand_as(old)
                for value, old in zip(found, carried, strict=False)
            ]
            if leave is not None:
                new = leave(t, new, before)
            for i, record in past.items():
                new[i] = record.set(t + ahead, new[i])
            carried = new
        records = {node: r.stacked(0, steps) for node, r in zip(self._extra, extra, strict=True)}
        for i, record in past.items():
            node = self._carried[i]
            records[node] = record.stacked(1 - ahead, steps)
            records[history[node]] = record.stacked(ahead, steps)
        return LoopResult(carried=carried, records=records)
