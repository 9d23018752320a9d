"""The cpu engine: the loops of a plan as compiled C++; everything outside them runs by torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from recurra.backends.cpu.execute import TARGET, CpuLoops
from recurra.backends.cpu.extents import CACHE_BYTES
from recurra.backends.cpu.known import KnownCall, Unknown
from recurra.backends.report import describe_threads
from recurra.backends.runtime.attempts import Attempts
from recurra.backends.runtime.backend import PlannedBackend
from recurra.backends.runtime.engine import Engine
from recurra.backends.runtime.parts import Parts
from recurra.backends.runtime.program import Programs
from recurra.backends.watching import GRADIENTS, outliving, transform
from recurra.errors import BackendError
from recurra.lang import Cell
from recurra.passes import Plan, plan


class CpuEngine:
    """Time loops, forward and reverse, as C++ that is printed from a plan: float32 and bfloat16 on
    the CPU, first derivatives.

    Args:
        attempts: what becomes of loops that cannot be built.
        counted: loops count what their threads spend their time on, and are put in here.
    """

    name = "cpu"
    derivatives: float = 1
    composes = True
    writes_output = True
    in_float32 = True

    def __init__(self, attempts: Attempts, counted: list[CpuLoops] | None = None) -> None:
        self._attempts, self._counted = attempts, counted

    def plan(self, cell: Cell, *, variant: bool, low: bool) -> Plan:
        """See `Engine.plan`; both variants have the same."""
        return _plan(cell, low=low)

    def variant(self, x: Tensor, states: tuple[Tensor, ...]) -> bool:
        """Whether the operands of products are rounded to bfloat16."""
        return states[0].dtype is torch.bfloat16 or torch.is_autocast_enabled("cpu")

    def loops(
        self, parts: Parts, programs: Programs, sizes: Mapping[str, int], *, variant: bool
    ) -> CpuLoops:
        """See `Engine.loops`."""
        loops = CpuLoops(
            parts,
            programs,
            sizes,
            products=torch.bfloat16 if variant else torch.float32,
            attempts=self._attempts,
            measured=self._counted is not None,
        )
        if self._counted is not None:
            self._counted.append(loops)
        return loops

    def check(self, x: Tensor, state: Tensor) -> None:
        """Raise BackendError where nothing is compiled for such an input and state."""
        reason = unsuitable(x, state)
        if reason is not None:
            raise BackendError(
                f"backend 'cpu': expected float32 or bfloat16 on the CPU, got {reason}. "
                f"Use backend='reference', or 'auto'."
            )

    def check_transform(self, transformed: str) -> None:
        """Raise BackendError under what compiled loops cannot be seen by."""
        if transformed is not GRADIENTS:
            raise BackendError(
                f"backend 'cpu': expected a call that torch need not follow operation by "
                f"operation, got {transformed}. Use backend='reference', or 'auto'."
            )

    def explain(self, plan: Plan, sizes: Mapping[str, int]) -> list[str]:
        """How threads share the work."""
        count = torch.get_num_threads()
        threads = describe_threads(plan, sizes, threads=count, cache_bytes=CACHE_BYTES)
        few = ["  what is too little to share runs on one thread"] if count > 1 else []
        return [threads, *few]


class CpuBackend(PlannedBackend):
    """Runs a cell's time loops, forward and reverse, as C++ that is printed from its plan.

    float32 and bfloat16 on the CPU, first derivatives. For bfloat16, and under autocast to it, the
    operands of products are rounded; states, sums and all else are float32. The first call with a
    new cell compiles, in a second or two; sizes, lengths and numbers of steps are not compiled in.

    Args:
        memory: "low" to keep states alone for the backward pass and compute the rest again.
        instead: the engine that runs a call that cannot be compiled, and what is called with the
            reason; None where that is an error.
        counted: see `CpuEngine`.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        memory: str = "normal",
        instead: tuple[Engine, Callable[[str], None]] | None = None,
        counted: list[CpuLoops] | None = None,
    ) -> None:
        engine, or_else = instead or (None, None)
        self.attempts = Attempts(or_else)
        super().__init__(
            cell,
            CpuEngine(self.attempts, counted),
            low=memory == "low",
            instead=None if engine is None else (engine, self.attempts),
        )

    def known(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        parameters: Sequence[Tensor],
        *,
        starts: bool,
        reverse: bool,
        keep: bool,
    ) -> KnownCall | None:
        """The shortest way of calls like this one, which was run before; None where there is none.

        Args:
            x: [T, B, I] float.
            states: [1, B, size] each.
            parameters: in the order of the cell.
            starts: whether states are given; else they are zeros.
            keep: whether a backward pass may follow.
        """
        kinds = {node.attr("kind") for node in self._others}
        if self._x is None or self._scalars or not kinds <= {"state", "parameter"}:
            return None
        first = [state.detach()[0] for state in states]
        bound = self.bound([x, *first, *parameters], None, reverse=reverse, start=0)
        nodes = [node for node in bound.nodes if node is not None]
        if not starts:
            del nodes[1 : 1 + len(first)]
        tensors = (x, *(states if starts else ()), *parameters)
        try:
            with outliving(), torch.no_grad():
                return KnownCall(bound.executor, nodes, bound.call, tensors, keep=keep)
        except (Unknown, BackendError):  # the long way tells what cannot be built
            return None


_DTYPES = (torch.float32, torch.bfloat16)


def unsuitable(x: Tensor, state: Tensor, parameters: Iterable[Tensor] = ()) -> str | None:
    """Why a call with this input and state cannot run compiled; None if it can."""
    transformed = transform((x, state, *parameters))
    if transformed is not None and transformed is not GRADIENTS:
        return transformed
    if state.device.type != "cpu":
        return f"the device {state.device}"
    dtypes = [state.dtype, *([x.dtype] if x.is_floating_point() else [])]
    if torch.is_autocast_enabled("cpu"):
        dtypes.append(torch.get_autocast_dtype("cpu"))
    return next((str(dtype) for dtype in dtypes if dtype not in _DTYPES), None)


@lru_cache(maxsize=512)
def _plan(cell: Cell, *, low: bool) -> Plan:
    return plan(cell.equations, TARGET, low=low)
