"""Which backend runs a cell: by name, or the best that runs here."""

import difflib
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from recurra.backends.cpu import CpuBackend, found_compiler, unsuitable
from recurra.backends.reference import ReferenceBackend
from recurra.errors import BackendError
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

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._reference = ReferenceBackend(cell)
        self._cpu: CpuBackend | None = CpuBackend(cell) if found_compiler() else None
        self._why_not = "" if self._cpu else "no C++ compiler was found; see `recurra doctor`"
        self._announced: set[str] = set()

    @property
    def name(self) -> str:
        """The backend that runs float32 on the CPU."""
        return "cpu" if self._cpu is not None else "reference"

    def run(self, x: Tensor, states: tuple[Tensor, ...], *args: Any, **kwargs: Any) -> Any:
        """Run the cell over a batch of sequences; see `ReferenceBackend.run`."""
        if self._cpu is None:
            self._announce(self._why_not)
            return self._reference.run(x, states, *args, **kwargs)
        reason = unsuitable(x, states[0])
        if reason is not None:
            self._announce(f"compiled loops are for float32 on the CPU, not {reason}")
        few = x.shape[0] < _FEW_STEPS and not torch.is_grad_enabled()
        if reason is not None or few:
            return self._reference.run(x, states, *args, **kwargs)
        try:
            return self._cpu.run(x, states, *args, **kwargs)
        except BackendError as error:
            self._cpu, self._why_not = None, str(error)
            return self.run(x, states, *args, **kwargs)

    def explain(self, sizes: Mapping[str, int]) -> str:
        """The plan in words, and why it is not another."""
        if self._cpu is not None:
            few = (
                f"  calls of fewer than {_FEW_STEPS} steps without gradients run on the reference "
                f"backend: packing the weights would take as long"
            )
            return f"{self._cpu.explain(sizes)}\n{few}"
        return f"not compiled: {self._why_not}\n{self._reference.explain(sizes)}"

    def _announce(self, why: str) -> None:
        if why not in self._announced:
            self._announced.add(why)
            logger.warning("%s runs on the reference backend: %s", self.cell.name, why)


_BACKENDS: dict[str, Callable[[Cell], Backend]] = {
    "cpu": CpuBackend,
    "reference": ReferenceBackend,
}


def names() -> tuple[str, ...]:
    """The backends that run on this machine, the best first."""
    return tuple(name for name in _BACKENDS if name != "cpu" or found_compiler())


def load(cell: Cell, backend: str = "auto", device: torch.device | None = None) -> Backend:
    """The backend that runs `cell`; asked for twice, it is the same one.

    Args:
        backend: "auto", or a name from `names()`, which is then never swapped for another.
        device: where the tensors will be.

    Raises:
        ValueError: when there is no backend of that name.
        BackendError: when the backend asked for by name cannot run here.
    """
    if backend != "auto" and backend not in _BACKENDS:
        near = difflib.get_close_matches(backend, _BACKENDS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Leave it out to take the best one."
        raise ValueError(
            f"backend: expected 'auto' or one of {', '.join(_BACKENDS)}, got {backend!r}. {hint}"
        )
    return _loaded(cell, backend)


@lru_cache(maxsize=256)  # bounded: a search over cells defines them by the thousand
def _loaded(cell: Cell, name: str) -> Backend:
    return AutoBackend(cell) if name == "auto" else _BACKENDS[name](cell)
