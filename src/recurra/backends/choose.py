"""Which backend runs a cell: by name, or the best that runs here."""

import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from recurra.backends.reference import ReferenceBackend
from recurra.lang import Cell


@runtime_checkable
class Backend(Protocol):
    """What runs a cell over sequences. See `ReferenceBackend.run` for shapes."""

    name: str

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


_BACKENDS = {"reference": ReferenceBackend}


def names() -> tuple[str, ...]:
    """The backends that run on this machine, the best first."""
    return tuple(_BACKENDS)


def load(cell: Cell, backend: str = "auto", device: torch.device | None = None) -> Backend:
    """The backend that runs `cell`; asked for twice, it is the same one.

    Args:
        backend: "auto", or a name from `names()`, which is then never swapped for another.
        device: where the tensors will be.

    Raises:
        ValueError: when there is no backend of that name.
    """
    if backend != "auto" and backend not in _BACKENDS:
        near = difflib.get_close_matches(backend, _BACKENDS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Leave it out to take the best one."
        raise ValueError(
            f"backend: expected 'auto' or one of {', '.join(_BACKENDS)}, got {backend!r}. {hint}"
        )
    return _loaded(cell, "reference" if backend == "auto" else backend)


@lru_cache(maxsize=256)  # bounded: a search over cells defines them by the thousand
def _loaded(cell: Cell, name: str) -> Backend:
    return _BACKENDS[name](cell)
