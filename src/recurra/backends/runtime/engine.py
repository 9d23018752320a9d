"""What a backend needs to know of an engine, which runs the two time loops of a plan."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from recurra.backends.runtime.call import Call, LoopResult, Values
from recurra.backends.runtime.parts import Parts
from recurra.backends.runtime.program import Programs
from recurra.ir import Node
from recurra.lang import Cell
from recurra.passes import Plan, Section


@runtime_checkable
class Loops(Protocol):
    """Both loops of a plan, at given sizes, for values of one dtype on one device."""

    @property
    def heads(self) -> Collection[Node]:
        """Outputs of the sequence section that the forward loop computes itself, where its values
        have none of them yet."""
        ...

    @property
    def looked_up(self) -> Collection[Node]:
        """Outputs of the sequence section that the loops take as rows of a table, [V, size], where
        there is one, and look up themselves."""
        ...

    @property
    def widens(self) -> bool:
        """Whether leaves become float32 for them, and autocast is off while they run."""
        ...

    def forward(self, values: Values, call: Call, keep: bool) -> LoopResult:
        """The forward loop.

        Args:
            values: by node, of what the body reads.
            keep: record also what the backward pass reads.
        """
        ...

    def reverse(
        self,
        values: Values,
        call: Call,
        d_finals: Sequence[Tensor],
        needed: frozenset[Node],
        with_table: bool,
    ) -> tuple[Values, tuple[Section, ...]]:
        """The reverse loop, with what comes before and after it for all steps.

        Args:
            values: by node, of what was kept and the cotangent of the output; what later sections
                read is put in.
            needed: whose cotangents are asked for.
            with_table: the sequence section ran on a token table.

        Returns:
            The cotangents of what the step reads; the sections that they have still to go through.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """Runs time loops.

    Attributes:
        name: what its backend is called.
        derivatives: how many times what it runs can be differentiated.
        composes: whether gradients by torch.func come from the plan's adjoint.
        writes_output: see `Parts`.
        in_float32: whether it computes in float32, whatever the dtype of what it is given.
    """

    name: str
    derivatives: float
    composes: bool
    writes_output: bool
    in_float32: bool

    def plan(self, cell: Cell, *, variant: bool, low: bool) -> Plan:
        """The plan that it runs, in the variant that suits a call."""
        ...

    def variant(self, x: Tensor, states: tuple[Tensor, ...]) -> bool:
        """Which of its two ways to run a cell suits a call."""
        ...

    def loops(
        self, parts: Parts, programs: Programs, sizes: Mapping[str, int], *, variant: bool
    ) -> Loops:
        """The loops of a plan at given sizes.

        Args:
            programs: what runs graphs outside the loops, for the same sizes, dtype and device.
        """
        ...

    def check(self, x: Tensor, state: Tensor) -> None:
        """Raise BackendError where it does not run such an input and state."""
        ...

    def check_transform(self, transformed: str) -> None:
        """Raise BackendError where it does not run under such a transform."""
        ...

    def explain(self, plan: Plan, sizes: Mapping[str, int]) -> list[str]:
        """What there is to say besides the plan, a line each."""
        ...
