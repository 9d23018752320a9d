"""Who looks into layers while they run: `recurra.insight` has their equations run as written.

What watches is known to the thread, not to the layer: a model's layers are run as its own forward
has it, with whatever it makes of its input before and of their output after.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from recurra.lang import Cell

Run = Callable[..., tuple[Tensor, tuple[Tensor, ...]]]


@runtime_checkable
class Watcher(Protocol):
    """What has layers run its own way."""

    def watches(self, layer: nn.Module) -> bool:
        """Whether it wants to run this one."""
        ...

    def run_of(self, layer: nn.Module, number: int, direction: int, cell: Cell) -> Run:
        """What runs the cell of one layer and direction in place of a backend's `run`."""
        ...


_watcher: ContextVar[Watcher | None] = ContextVar("recurra_watcher", default=None)


def watcher_of(layer: nn.Module) -> Watcher | None:
    """Who runs this layer now; None where nobody looks."""
    if torch.compiler.is_compiling():
        return None
    watcher = _watcher.get()
    return watcher if watcher is not None and watcher.watches(layer) else None


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """What runs meanwhile in this thread is watched."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
