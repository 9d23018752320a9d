"""The blank engine: loops that compute nothing, results of the right shapes, for what is traced."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from recurra.backends.runtime.call import Call, LoopResult, Values, shape_of
from recurra.backends.runtime.engine import Engine
from recurra.backends.runtime.parts import Parts
from recurra.backends.runtime.program import Programs
from recurra.ir import Node, is_matrix
from recurra.lang import Cell
from recurra.passes import Plan, Section
from recurra.passes.place import is_summed_in_loop


class BlankEngine:
    """Stands for another engine where only shapes are wanted: its plans, and what they keep.

    Args:
        of: the other one.
    """

    def __init__(self, of: Engine) -> None:
        self._of = of
        self.name, self.derivatives, self.composes = of.name, of.derivatives, of.composes
        self.writes_output, self.in_float32 = of.writes_output, of.in_float32

    def plan(self, cell: Cell, *, variant: bool, low: bool) -> Plan:
        """See `Engine.plan`."""
        return self._of.plan(cell, variant=variant, low=low)

    def variant(self, x: Tensor, states: tuple[Tensor, ...]) -> bool:
        """See `Engine.variant`."""
        return self._of.variant(x, states)

    def loops(
        self, parts: Parts, programs: Programs, sizes: Mapping[str, int], *, variant: bool
    ) -> "BlankLoops":
        """See `Engine.loops`."""
        return BlankLoops(parts, sizes, widens=self.in_float32 and variant)

    def check(self, x: Tensor, state: Tensor) -> None:
        """See `Engine.check`."""
        self._of.check(x, state)

    def check_transform(self, transformed: str) -> None:
        """See `Engine.check_transform`."""
        self._of.check_transform(transformed)

    def explain(self, plan: Plan, sizes: Mapping[str, int]) -> list[str]:
        """See `Engine.explain`."""
        return self._of.explain(plan, sizes)


class BlankLoops:
    """What loops would give, its numbers left open; T may be symbolic here."""

    heads: Sequence[Node] = ()
    looked_up: Sequence[Node] = ()

    def __init__(self, parts: Parts, sizes: Mapping[str, int], *, widens: bool) -> None:
        self._parts, self._sizes = parts, sizes
        self.widens = widens

    def forward(self, values: Values, call: Call, keep: bool) -> LoopResult:
        """See `Loops.forward`."""
        states, body = self._parts.plan.states, self._parts.bodies[keep]
        first, history = [values[state] for state in states], self._parts.history(keep)
        like, steps, batch = first[0], call.steps, first[0].shape[0]
        records = {
            node: like.new_empty(
                *_lead(node, steps, batch), *shape_of(node, self._sizes, call.positions)
            )
            for node in body.output_nodes[len(states) :]
        }
        for node, value in zip(states, first, strict=True):
            if node in history:
                each = (steps, batch, *value.shape[1:])
                records[node] = like.new_empty(each)
                records[history[node]] = like.new_empty(each)
        carried = [value.new_empty(value.shape) for value in first]
        return LoopResult(carried=carried, records=records)

    def reverse(
        self,
        values: Values,
        call: Call,
        d_finals: Sequence[Tensor],
        needed: frozenset[Node],
        with_table: bool,
    ) -> tuple[Values, tuple[Section, ...]]:
        """Never asked for: the shapes of cotangents are those of the leaves."""
        raise AssertionError("a traced backward pass has the shapes of its leaves")


def _lead(node: Node, steps: int, batch: int) -> tuple[int, ...]:
    """Time and batch, of what has them: a sum over time has no time, that of a matrix no batch."""
    if not is_summed_in_loop(node):
        return steps, batch
    return () if is_matrix(node.shape) else (batch,)
