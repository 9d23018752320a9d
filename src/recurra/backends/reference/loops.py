"""The time loop that both directions of a plan share, and the record of what it computes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurra.backends.reference.program import Program
from recurra.ir import Graph, Node


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
    """A loop body over all steps, with torch operations.

    Args:
        program: the body.
        body: its graph; the first outputs become `carried` in the next step, the others are
            recorded.
        carried: the inputs of the body that come from the step before.
        skip: what becomes of a step past a sequence's end. False holds the carried values (a
            forward loop). True also lets nothing flow through it: the step sees zeros (a reverse
            loop, where carried values are cotangents).
    """

    def __init__(
        self, program: Program, body: Graph, carried: Sequence[Node], *, skip: bool
    ) -> None:
        self._program = program
        self._carried = tuple(carried)
        self._extra = body.output_nodes[len(self._carried) :]
        self._skip = skip
        place = {node: i for i, node in enumerate(carried)}
        self._reads = [(place.get(node, -1), node) for node in body.inputs]

    def run(
        self,
        values: Mapping[Node, Tensor],
        stepped: set[Node],
        first: Sequence[Tensor],
        order: range,
        *,
        sizes: Mapping[str, int],
        history: Mapping[Node, Node],
        active: Tensor | None,
    ) -> LoopResult:
        """Run the body for every step in `order`.

        Args:
            values: by node; those in `stepped` have time in front.
            first: the carried values before the first step, [B, size] each.
            sizes: the number behind each size name.
            history: carried nodes to record as the step found them, each with the node of its
                next value, recorded with it at no cost.
            active: [T, B, 1] bool, False past a sequence's end; None when all steps are taken.
        """
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
        extra = [Record(steps, first[0], _width(node, sizes)) for node in self._extra]
        carried = list(first)
        for i, record in past.items():
            carried[i] = record.set(order.start + 1 - ahead, carried[i])
        for t in order:
            inside = None if active is None else active[t]
            seen = carried
            if inside is not None and self._skip:
                seen = [torch.where(inside, value, 0.0) for value in carried]
            # a masked step is put together from two values: not in place
            into: list[Tensor | None] = [
                past[i].target(t + ahead) if i in past and inside is None else None
                for i in range(len(carried))
            ]
            into += [record.target(t) for record in extra]
            found = self._program(
                [
                    seen[at] if at >= 0 else values[node] if rows is None else rows[t]
                    for at, rows, node in reads
                ],
                into,
            )
            for record, value in zip(extra, found[len(carried) :], strict=True):
                record.set(t, value)
            carried = _next(found, carried, inside)
            for i, record in past.items():
                carried[i] = record.set(t + ahead, carried[i])
        records = {node: r.stacked(0, steps) for node, r in zip(self._extra, extra, strict=True)}
        for i, record in past.items():
            node = self._carried[i]
            records[node] = record.stacked(1 - ahead, steps)
            records[history[node]] = record.stacked(ahead, steps)
        return LoopResult(carried=carried, records=records)


def _next(found: list[Tensor], carried: list[Tensor], inside: Tensor | None) -> list[Tensor]:
    """The carried values after a step; those past their sequence's end are held."""
    new = [
        value if value.shape == old.shape else value.expand_as(old)
        for value, old in zip(found, carried, strict=False)
    ]
    if inside is None:
        return new
    return [torch.where(inside, value, old) for value, old in zip(new, carried, strict=True)]


def _width(node: Node, sizes: Mapping[str, int]) -> int:
    return node.shape[0].evaluate(sizes) if node.shape else 1
