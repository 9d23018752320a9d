"""The cpu backend: the loops of a plan as compiled C++, everything outside them as in reference."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from recurra.backends.cpu.attempts import Attempts
from recurra.backends.cpu.execute import CpuExecutor
from recurra.backends.cpu.loops import CACHE_BYTES
from recurra.backends.reference.backend import ReferenceBackend
from recurra.backends.reference.execute import Executor
from recurra.backends.report import describe_threads
from recurra.backends.watching import GRADIENTS, transform
from recurra.errors import BackendError
from recurra.lang import Cell
from recurra.passes import Plan, plan


class CpuBackend(ReferenceBackend):
    """Runs a cell's time loops, forward and reverse, as C++ that is printed from its plan.

    float32 and bfloat16 on the CPU, first derivatives. For bfloat16, and under autocast to it, the
    operands of products are rounded; states, sums and all else are float32. The first call with a
    new cell compiles, in a second or two; sizes, lengths and numbers of steps are not compiled in.

    Args:
        memory: "low" to keep states alone for the backward pass and compute the rest again.
        or_else: called with the reason where a call is run by torch, because it cannot be compiled;
            None where that is an error.
    """

    name = "cpu"
    _composes = True

    def __init__(
        self,
        cell: Cell,
        *,
        memory: str = "normal",
        or_else: Callable[[str], None] | None = None,
    ) -> None:
        if cell.memory:
            raise BackendError(
                f"backend 'cpu': expected a cell without memory, got {cell.name}: {NO_MEMORIES}. "
                f"Use backend='reference', or 'auto'."
            )
        super().__init__(cell, memory=memory)
        self.plan = _plan(cell, low=memory == "low")
        self.attempts = Attempts(or_else)
        self._may_fail = or_else is not None

    @property
    def key(self) -> str:
        """See `ReferenceBackend.key`; what may run otherwise is another backend."""
        return f"{super().key}-or-else" if self._may_fail else super().key

    def _rounds_index(self, dtype: torch.dtype) -> bool:
        return False  # all but the operands of products is float32

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

    def explain(self, sizes: Mapping[str, int]) -> str:
        """The plan in words, and how threads share the work."""
        threads = describe_threads(
            self.plan, sizes, threads=torch.get_num_threads(), cache_bytes=CACHE_BYTES
        )
        few = (
            "  what is too little to share runs on one thread"
            if torch.get_num_threads() > 1
            else ""
        )
        return "\n".join(part for part in (super().explain(sizes), threads, few) if part)

    def _variant(self, x: Tensor, states: tuple[Tensor, ...]) -> bool:
        """Whether the operands of products are rounded to bfloat16."""
        return states[0].dtype is torch.bfloat16 or torch.is_autocast_enabled("cpu")

    def _new_executor(self, variant: bool, sizes: Mapping[str, int], like: Tensor) -> Executor:
        return self._executor_of(variant, sizes, like)

    def _executor_of(
        self, variant: bool, sizes: Mapping[str, int], like: Tensor, *, measured: bool = False
    ) -> CpuExecutor:
        return CpuExecutor(
            self.plan,
            sizes,
            like.float(),
            products=torch.bfloat16 if variant else torch.float32,
            attempts=self.attempts,
            measured=measured,
        )


NO_MEMORIES = "loops of cells that read a memory are not compiled yet"

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
    return plan(cell.equations, wide=False, fused=True, low=low)
