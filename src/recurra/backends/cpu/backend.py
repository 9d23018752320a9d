"""The cpu backend: the loops of a plan as compiled C++, everything outside them as in reference."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from recurra.backends.cpu.loops import CompiledLoop
from recurra.backends.reference.backend import ReferenceBackend
from recurra.backends.reference.execute import Executor
from recurra.backends.reference.loops import AnyLoop
from recurra.errors import BackendError
from recurra.ir import Graph, Node
from recurra.lang import Cell
from recurra.passes import Plan, plan

_MANY_SEQUENCES = 16
_NARROW = 4  # times narrower than the state


class CpuBackend(ReferenceBackend):
    """Runs a cell's time loops, forward and reverse, as C++ that is printed from its plan.

    float32 on the CPU, first derivatives. The first call with a new cell compiles, in a second or
    two; sizes, lengths and numbers of steps are not compiled in.
    """

    name = "cpu"

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self.plan = _plan(cell, hoisted=True)

    def run(self, x: Tensor, states: tuple[Tensor, ...], *args: Any, **kwargs: Any) -> Any:
        """Run the cell over a batch of sequences; see `ReferenceBackend.run`.

        Raises:
            BackendError: when the tensors are not float32 on the CPU, or nothing can be compiled.
        """
        reason = unsuitable(x, states[0])
        if reason is not None:
            raise BackendError(
                f"backend 'cpu': expected float32 on the CPU, got {reason}. "
                f"Use backend='reference', or 'auto'."
            )
        return super().run(x, states, *args, **kwargs)

    def _variant(self, x: Tensor, states: tuple[Tensor, ...]) -> bool:
        """Whether products of the input leave the loop. They stay for many sequences of a narrow
        input: the product then is cheaper than the way of its result through memory. Token ids
        have a table instead."""
        if not x.is_floating_point() or x.shape[1] < _MANY_SEQUENCES:
            return True
        return x.shape[2] * _NARROW > states[0].shape[1]

    def _new_executor(self, variant: bool, sizes: Mapping[str, int], like: Tensor) -> Executor:
        return _CpuExecutor(_plan(self.cell, hoisted=variant), sizes, like)


def unsuitable(x: Tensor, state: Tensor) -> str | None:
    """Why a call with this input and state cannot run compiled; None if it can."""
    if state.device.type != "cpu":
        return f"the device {state.device}"
    if torch.is_autocast_enabled("cpu"):
        return "autocast"
    dtypes = [state.dtype, *([x.dtype] if x.is_floating_point() else [])]
    return next((str(dtype) for dtype in dtypes if dtype is not torch.float32), None)


class _CpuExecutor(Executor):
    """Sections by torch, loops compiled."""

    def _new_loop(self, body: Graph, carried: Sequence[Node], *, skip: bool) -> AnyLoop:
        return CompiledLoop(body, carried, self._stepped, self._sizes, skip=skip)

    def check_second_derivative(self) -> None:
        """Compiled loops have first derivatives only."""
        raise BackendError(
            "backend 'cpu': expected a first derivative, got create_graph=True. "
            "Use backend='reference' for second derivatives."
        )


@lru_cache(maxsize=512)
def _plan(cell: Cell, *, hoisted: bool) -> Plan:
    return plan(cell.equations, wide=False, fused=True, hoisted=hoisted)
