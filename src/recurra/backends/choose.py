"""Which backend runs a cell: by name, or the best that runs here."""

import difflib
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from recurra.backends.cpu import CpuBackend, KnownCall, found_compiler, unsuitable
from recurra.backends.native import NativeBackend, form_of
from recurra.backends.reference import ReferenceBackend, ReferenceEngine
from recurra.backends.runtime import operators
from recurra.backends.runtime.backend import PlannedBackend
from recurra.backends.traced import constant_result
from recurra.backends.watching import GRADIENTS, is_watched, transform
from recurra.errors import BackendError
from recurra.lang import Cell

logger = logging.getLogger("recurra")

_CPU = torch.device("cpu")
_FEW_STEPS = 4  # a loop takes less than what is around it, where that is not known already
_NATIVE_ON_CPU = (torch.float32, torch.bfloat16)


@runtime_checkable
class Backend(Protocol):
    """What runs a cell over sequences. See `PlannedBackend.run` for shapes."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def run(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Mapping[str, Tensor],
        *,
        inputs: tuple[Tensor, ...] = (),
        context: tuple[Tensor, ...] = (),
        memory: tuple[Tensor, ...] = (),
        embedding: Tensor | None = None,
        lengths: Tensor | None = None,
        reverse: bool = False,
        start: int = 0,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the cell over a batch of sequences."""
        ...

    def explain(self, sizes: Mapping[str, int]) -> str:
        """The plan in words."""
        ...


class AutoBackend:
    """Compiled where that is possible, else in torch's own kernel where it has one, else the
    reference; why that one is logged once and explained."""

    def __init__(self, cell: Cell, *, memory: str = "normal", device: torch.device = _CPU) -> None:
        self.cell = cell
        self._reference = ReferenceBackend(cell, memory=memory)
        self._announced: set[str] = set()
        self._device = device
        self._never = _why_never(device)
        compiles = not self._never
        instead = (ReferenceEngine(), self.announce)
        self._cpu = CpuBackend(cell, memory=memory, instead=instead) if compiles else None
        has_kernel = memory == "normal" and form_of(cell.equations) is not None
        self._native = NativeBackend(cell) if has_kernel else None

    @property
    def name(self) -> str:
        """The backend that runs float32 on the device."""
        if not self.why_not:
            return "cpu"
        return "reference" if self._native is None else self._native.name

    @property
    def why_not(self) -> str:
        """Why nothing is compiled now; empty where it is."""
        return self._never if self._cpu is None else self._cpu.attempts.why_not

    @property
    def runners(self) -> tuple[PlannedBackend, PlannedBackend]:
        """What runs a call that suits it, and any other, where Python is traced."""
        return self._cpu or self._reference, self._reference

    def run(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Mapping[str, Tensor],
        **options: Any,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the cell over a batch of sequences; see `PlannedBackend.run`."""
        reason = unsuitable(x, states[0], parameters.values())
        cpu = self._cpu if self._compiles(reason) else None
        if cpu is not None and not self._is_short(x, 1):
            return cpu.run(x, states, parameters, **options)
        native = self.in_one_call(x, states, lambda: parameters, options.get("embedding"))
        if native is not None:
            return native.run(x, states, parameters, **options)
        if cpu is not None:
            return cpu.run(x, states, parameters, **options)
        if self._cpu is None:
            self.announce(self.why_not)
        elif reason is not None:
            self.announce(_not_compiled(reason))
        return self._reference.run(x, states, parameters, **options)

    def in_one_call(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Callable[[], Mapping[str, Tensor]],
        embedding: Tensor | None = None,
        *,
        layers: int = 1,
    ) -> NativeBackend | None:
        """What runs all layers of a call at once: torch's kernel, where nothing is compiled.

        float64 on the CPU stays with the reference, which has second derivatives: it is what checks
        are made with.

        Args:
            parameters: gives those of the first layer; small calls do without.
            layers: how many there are, directions counted.
        """
        native, state = self._native, states[0]
        if native is None:
            return None
        if state.device.type == "cpu" and (
            state.dtype not in _NATIVE_ON_CPU
            or (self._compiles(None) and not self._is_short(x, layers))
        ):
            return None
        if is_watched():  # who watches shall see operations
            return None
        known = parameters()
        if transform((x, *states, *known.values())) not in (None, GRADIENTS):
            return None
        return native if native.suits(x, known, embedding) else None

    def known(self, x: Tensor, *given: Any, layers: int, **options: Any) -> KnownCall | None:
        """See `CpuBackend.known`; None where something else runs such a call.

        Args:
            layers: of the whole call, directions counted.
        """
        if self._cpu is None or not self._compiles(None) or self._is_short(x, layers):
            return None
        return self._cpu.known(x, *given, **options)

    def _compiles(self, reason: str | None) -> bool:
        """Whether compiled loops run a call that is unsuitable for a reason, or for none."""
        return self._cpu is not None and reason is None and not self._cpu.attempts.waiting

    def _is_short(self, x: Tensor, layers: int) -> bool:
        """Whether torch's own kernel, where it has one, takes less than what is around a loop."""
        if x.shape[0] >= _FEW_STEPS or torch.is_grad_enabled() or self._native is None:
            return False
        in_float32 = x.dtype is torch.float32 and not torch.is_autocast_enabled("cpu")
        return layers > 1 or not in_float32

    def explain(self, sizes: Mapping[str, int]) -> str:
        """The plan in words, and why it is not another."""
        if self._cpu is None or self.why_not:
            runs = self._native or self._reference
            lines = [f"not compiled: {self.why_not}", runs.explain(sizes)]
            on_gpu = self._device.type == "cuda" and self._native is None
            if on_gpu and self._reference.can_be_recorded:
                lines.append(
                    "  what is called with the same shapes again is launched as one CUDA graph"
                )
            return "\n".join(lines)
        plan = self._cpu.explain(sizes)
        if self._native is None:
            return plan
        few = (
            f"  calls of fewer than {_FEW_STEPS} steps without gradients run on torch's own kernel "
            f"but for one layer in one direction on float32: there it takes less than what is "
            f"around a loop"
        )
        return f"{plan}\n{few}"

    def announce(self, why: str = "") -> None:
        """Log, once, why the reference runs; without a reason, that nothing is compiled, if so."""
        why = why or self.why_not
        if why and why not in self._announced:
            self._announced.add(why)
            logger.warning("%s runs on the reference backend: %s", self.cell.name, why)


def _why_never(device: torch.device) -> str:
    """Why nothing is ever compiled for a device; empty where it is."""
    if device.type != "cpu":
        return _not_compiled(f"the device {device.type}")
    return "" if found_compiler() else "no C++ compiler was found; see `recurra doctor`"


def _not_compiled(reason: str) -> str:
    return f"compiled loops are for float32 and bfloat16 on the CPU, not {reason}"


_BACKENDS: dict[str, Callable[..., Backend]] = {
    "cpu": CpuBackend,
    "native": NativeBackend,
    "reference": ReferenceBackend,
}


def names() -> tuple[str, ...]:
    """The backends that run on this machine, the best first."""
    return tuple(name for name in _BACKENDS if name != "cpu" or found_compiler())


def load(
    cell: Cell,
    backend: str = "auto",
    device: torch.device | None = None,
    *,
    memory: str = "normal",
) -> Backend:
    """The backend that runs `cell`; asked for twice, it is the same one.

    Args:
        backend: "auto", or a name from `names()`, which is then never swapped for another.
        device: where the tensors will be.
        memory: "low" keeps states alone for the backward pass and computes the rest again.

    Raises:
        ValueError: when there is no backend of that name, or `memory` is neither.
        BackendError: when the backend asked for by name cannot run here.
    """
    if backend != "auto" and backend not in _BACKENDS:
        near = difflib.get_close_matches(backend, _BACKENDS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Leave it out to take the best one."
        raise ValueError(
            f"backend: expected 'auto' or one of {', '.join(_BACKENDS)}, got {backend!r}. {hint}"
        )
    if not isinstance(memory, str):
        raise TypeError(
            f"memory: expected 'normal' or 'low', got {type(memory).__name__}. What a cell attends "
            f"to is given where its layer is called: layer(x, memory=...)."
        )
    if memory not in ("normal", "low"):
        raise ValueError(f"memory: expected 'normal' or 'low', got {memory!r}. Use one of them.")
    if backend == "auto":
        return _automatic(cell, memory, (device or _CPU).type)
    return _named(cell, backend, memory)


# bounded: a search over cells defines them by the thousand
@lru_cache(maxsize=256)
def _automatic(cell: Cell, memory: str, device_type: str) -> AutoBackend:
    return AutoBackend(cell, memory=memory, device=torch.device(device_type))


@lru_cache(maxsize=256)
def _named(cell: Cell, name: str, memory: str) -> Backend:
    return _BACKENDS[name](cell, memory=memory)


def known(backend: Backend, *given: Any, layers: int, **options: Any) -> KnownCall | None:
    """See `AutoBackend.known`; None where a backend runs all calls alike."""
    if isinstance(backend, AutoBackend):
        return backend.known(*given, layers=layers, **options)
    return backend.known(*given, **options) if isinstance(backend, CpuBackend) else None


# ---- calls that torch.compile traces -------------------------------------------------------------


def traced_keys(cell: Cell, backend: str, memory: str = "normal") -> str:
    """The keys, for `traced_run`, of what runs calls that suit it and of what runs the others."""
    loaded = load(cell, backend, memory=memory)
    if isinstance(loaded, AutoBackend):
        loaded.announce()
        runners = loaded.runners
    elif isinstance(loaded, PlannedBackend):
        runners = (loaded, loaded)
    else:
        raise BackendError(
            f"backend {backend!r}: expected a call that is not traced, got one under torch.compile "
            f"or torch.export. Use backend='auto', or 'reference'."
        )
    return "|".join(operators.made_known(runner) for runner in runners)


def traced_run(
    keys: str,
    x: Tensor,
    states: tuple[Tensor, ...],
    parameters: Mapping[str, Tensor],
    **options: Any,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`Backend.run` where Python is traced: the choice is made now, and the graph keeps it.

    Args:
        keys: from `traced_keys`.
        parameters: in the order of the cell.
        options: as for `PlannedBackend.run`.
    """
    best, other = keys.split("|")
    if best != other:
        reason = unsuitable(x, states[0])
        if reason is not None:
            _announce_traced(best, _not_compiled(reason))
            best = other
    return operators.run(best, x, states, list(parameters.values()), **options)


@constant_result
def _announce_traced(key: str, why: str) -> bool:
    auto = load(operators.runner_of(key).cell)
    if isinstance(auto, AutoBackend):
        auto.announce(why)
    return True
