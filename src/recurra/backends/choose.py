"""Which backend runs a cell: by name, or the best that runs here."""

import difflib
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from recurra.backends.cpu import CpuBackend, found_compiler, unsuitable
from recurra.backends.reference import ReferenceBackend, operators
from recurra.backends.traced import constant_result
from recurra.lang import Cell

logger = logging.getLogger("recurra")

_FEW_STEPS = 4  # packing the weights takes about as long as so many steps


@runtime_checkable
class Backend(Protocol):
    """What runs a cell over sequences. See `ReferenceBackend.run` for shapes."""

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
    """Compiled where that is possible, else the reference; why not is logged once and explained."""

    def __init__(self, cell: Cell, *, memory: str = "normal") -> None:
        self.cell = cell
        self._reference = ReferenceBackend(cell, memory=memory)
        self._announced: set[str] = set()
        compiles = found_compiler() is not None
        self._cpu = CpuBackend(cell, memory=memory, or_else=self.announce) if compiles else None

    @property
    def name(self) -> str:
        """The backend that runs float32 on the CPU."""
        return "reference" if self.why_not else "cpu"

    @property
    def why_not(self) -> str:
        """Why nothing is compiled now; empty where it is."""
        if self._cpu is None:
            return "no C++ compiler was found; see `recurra doctor`"
        return self._cpu.attempts.why_not

    @property
    def runners(self) -> tuple[ReferenceBackend, ReferenceBackend]:
        """What runs a call that suits it, and any other."""
        return self._cpu or self._reference, self._reference

    def run(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Mapping[str, Tensor],
        **options: Any,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the cell over a batch of sequences; see `ReferenceBackend.run`."""
        reason = unsuitable(x, states[0], parameters.values())
        if self._cpu is None:
            self.announce(self.why_not)
        elif reason is not None:
            self.announce(_not_compiled(reason))
        elif not _is_short(x) and not self._cpu.attempts.waiting:
            return self._cpu.run(x, states, parameters, **options)
        return self._reference.run(x, states, parameters, **options)

    def explain(self, sizes: Mapping[str, int]) -> str:
        """The plan in words, and why it is not another."""
        if self._cpu is None or self.why_not:
            return f"not compiled: {self.why_not}\n{self._reference.explain(sizes)}"
        few = (
            f"  calls of fewer than {_FEW_STEPS} steps without gradients run on the reference "
            f"backend: packing the weights would take as long"
        )
        return f"{self._cpu.explain(sizes)}\n{few}"

    def announce(self, why: str = "") -> None:
        """Log, once, why the reference runs; without a reason, that nothing is compiled, if so."""
        why = why or self.why_not
        if why and why not in self._announced:
            self._announced.add(why)
            logger.warning("%s runs on the reference backend: %s", self.cell.name, why)


def _is_short(x: Tensor) -> bool:
    """Whether a call takes less than packing the weights for it would."""
    return not torch.is_grad_enabled() and x.shape[0] < _FEW_STEPS


def _not_compiled(reason: str) -> str:
    return f"compiled loops are for float32 and bfloat16 on the CPU, not {reason}"


_BACKENDS: dict[str, Callable[..., Backend]] = {
    "cpu": CpuBackend,
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
    if memory not in ("normal", "low"):
        raise ValueError(f"memory: expected 'normal' or 'low', got {memory!r}. Use one of them.")
    return _loaded(cell, backend, memory)


@lru_cache(maxsize=256)  # bounded: a search over cells defines them by the thousand
def _loaded(cell: Cell, name: str, memory: str) -> Backend:
    make = AutoBackend if name == "auto" else _BACKENDS[name]
    return make(cell, memory=memory)


# ---- calls that torch.compile traces -------------------------------------------------------------


def traced_keys(cell: Cell, backend: str, memory: str = "normal") -> str:
    """The keys, for `traced_run`, of what runs calls that suit it and of what runs the others."""
    loaded = load(cell, backend, memory=memory)
    if isinstance(loaded, AutoBackend):
        loaded.announce()
        runners = loaded.runners
    else:
        assert isinstance(loaded, ReferenceBackend), "all others are made of it"
        runners = (loaded, loaded)
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
        options: as for `ReferenceBackend.run`.
    """
    best, other = keys.split("|")
    if best != other:
        reason = unsuitable(x, states[0])
        if reason is not None:
            _announce_traced(best, _not_compiled(reason))
        if reason is not None or _is_short(x):
            best = other
    return operators.run(best, x, states, list(parameters.values()), **options)


@constant_result
def _announce_traced(key: str, why: str) -> bool:
    auto = load(operators.runner_of(key).cell)
    if isinstance(auto, AutoBackend):
        auto.announce(why)
    return True
