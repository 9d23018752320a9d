"""The reference engine: loops run with torch operations. The oracle, and the fallback."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import inf, prod

from torch import Tensor

from recurra.backends.reference.loops import TimeLoop
from recurra.backends.runtime.call import Call, LoopResult, Values
from recurra.backends.runtime.parts import Parts
from recurra.backends.runtime.program import Programs
from recurra.backends.watching import outliving
from recurra.ir import Graph, Node
from recurra.lang import Cell
from recurra.passes import Plan, Section, Target, plan

# a state's numbers over all steps above which fresh memory costs more than calls to torch
_LEAN_ABOVE = 300_000
# numbers in a value of some steps that stay in the cache while the reverse loop prepares them
_CHUNK = 262_144
_MIN_CHUNK = 4


class ReferenceEngine:
    """Any dtype, any device, any number of derivatives: step by step, as torch operations."""

    name = "reference"
    derivatives = inf
    composes = False
    writes_output = False
    in_float32 = False

    def plan(self, cell: Cell, *, variant: bool, low: bool) -> Plan:
        """See `Engine.plan`; the variant is the lean one."""
        return _plan(cell, lean=variant, low=low)

    def variant(self, x: Tensor, states: tuple[Tensor, ...]) -> bool:
        """Whether the lean plan suits a call."""
        width = max(prod(state.shape[1:]) for state in states)
        return bool(x.shape[0] * x.shape[1] * width > _LEAN_ABOVE)  # symbolic, in a trace

    def loops(
        self, parts: Parts, programs: Programs, sizes: Mapping[str, int], *, variant: bool
    ) -> "TorchLoops":
        """See `Engine.loops`."""
        return TorchLoops(parts, programs, sizes)

    def check(self, x: Tensor, state: Tensor) -> None:
        """It runs everything."""

    def check_transform(self, transformed: str) -> None:
        """It runs under every transform."""

    def explain(self, plan: Plan, sizes: Mapping[str, int]) -> list[str]:
        """Nothing."""
        return []


class TorchLoops:
    """A plan's loops, a torch operation after the other; each is printed when it first runs."""

    heads: Sequence[Node] = ()
    looked_up: Sequence[Node] = ()
    widens = False

    def __init__(self, parts: Parts, programs: Programs, sizes: Mapping[str, int]) -> None:
        self._parts, self._programs, self._sizes = parts, programs, sizes
        self._loops: dict[Graph, TimeLoop] = {}

    def forward(self, values: Values, call: Call, keep: bool) -> LoopResult:
        """See `Loops.forward`."""
        states = self._parts.plan.states
        return self._loop(self._parts.bodies[keep], states, skip=False).run(
            values,
            [values[state] for state in states],
            call.order,
            history=self._parts.history(keep),
            active=call.active,
            plain=call.plain,
            positions=call.positions,
        )

    def reverse(
        self,
        values: Values,
        call: Call,
        d_finals: Sequence[Tensor],
        needed: frozenset[Node],
        with_table: bool,
    ) -> tuple[Values, tuple[Section, ...]]:
        """See `Loops.reverse`."""
        plan, programs = self._parts.plan, self._programs
        values.update(programs.run(self._parts.early_fixed, values))
        looped = self._reverse(values, call, d_finals)
        values.update(looped.records)
        found = programs.run_adjoint(plan.reverse.after, plan.step.wanted, values, needed)
        found.update(zip(plan.states, looped.carried, strict=True))
        return found, (plan.sequence, plan.context, plan.once)

    def _reverse(self, values: Values, call: Call, d_finals: Sequence[Tensor]) -> LoopResult:
        """The loop itself: the cotangents of the first states, and what comes after reads."""
        early_stepped, stepped = self._parts.early_stepped, self._parts.stepped
        width = max(prod(d.shape[1:]) for d in d_finals)

        def early(steps: slice) -> Values:
            inputs = early_stepped.inputs
            sliced = {n: values[n][steps] if n in stepped else values[n] for n in inputs}
            return self._programs.run(early_stepped, sliced)

        return self._loop(self._parts.reverse_body, self._parts.plan.step.seeds[1:], skip=True).run(
            values,
            d_finals,
            call.order[::-1],
            history={},
            active=call.active,
            early=early,
            chunk=max(_CHUNK // max(call.batch * width, 1), _MIN_CHUNK),
            positions=call.positions,
        )

    def _loop(self, body: Graph, carried: Sequence[Node], *, skip: bool) -> TimeLoop:
        if body not in self._loops:
            with outliving():
                self._loops[body] = TimeLoop(
                    body, carried, self._parts.stepped, self._sizes, self._programs.like, skip=skip
                )
        return self._loops[body]


@lru_cache(maxsize=512)
def _plan(cell: Cell, *, lean: bool, low: bool) -> Plan:
    return plan(cell.equations, Target(spares_memory=lean), low=low)
