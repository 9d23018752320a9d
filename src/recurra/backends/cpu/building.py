"""Libraries that are built beside each other, while Python goes on.

A cell's first step takes a few: its loops, and what they share with those of all cells. Each is
waited for where it is called, not where it is asked for.
"""

import ctypes
import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ClassVar

from recurra.backends.cpu.compiler import end_builds, loader
from recurra.backends.forks import Forks

_AT_ONCE = max(2, min(4, os.cpu_count() or 1))  # a compiler may take some 300 MB


class Building:
    """A library that is being built, or found in the cache, by what is set when it is made.

    Args:
        source, symbols: see `load_library`.

    Raises:
        BackendError: as `load_library`; BuildError only where the library is waited for.
    """

    def __init__(self, source: str, symbols: tuple[str, ...] = ()) -> None:
        self._load = loader(source, symbols)
        self._begun = _Workers.begin(self._load)
        self._age = _Workers.age()

    def loaded(self) -> ctypes.CDLL:
        """The library, waited for."""
        try:
            if self._age == _Workers.age():
                return self._begun.result()
        except Exception:
            if self._age == _Workers.age():
                raise
        except BaseException:  # an interrupt: nobody waits for the others either
            _Workers.dismiss()
            raise
        return self._load()  # who has begun it stayed in the parent of a fork, or was dismissed


class _Workers:
    """The threads that wait for compilers, of this process."""

    _pool: ThreadPoolExecutor | None = None
    _under_way: ClassVar[dict[object, Future[ctypes.CDLL]]] = {}  # by all that decides a library
    _forks = 0
    _dismissed = 0

    @classmethod
    def age(cls) -> tuple[int, int]:
        """Another one after each fork and each dismissal."""
        return Forks.count, cls._dismissed

    @classmethod
    def begin(cls, load: partial[ctypes.CDLL]) -> Future[ctypes.CDLL]:
        """Load a library, once for all who ask for it meanwhile: a second one would wait for the
        first, and a third library for both."""
        if cls._pool is None or cls._forks != Forks.count:  # a fork has none of its parent's
            cls._pool, cls._forks = ThreadPoolExecutor(_AT_ONCE, "build"), Forks.count
            cls._under_way.clear()  # it is of one team
        begun = cls._under_way.get(load.args)
        if begun is None or begun.done():
            for key in [key for key, each in cls._under_way.items() if each.done()]:
                cls._under_way.pop(key, None)
            begun = cls._under_way[load.args] = cls._pool.submit(load)
        return begun

    @classmethod
    def dismiss(cls) -> None:
        """End what is being built, and begin nothing more of what was asked for."""
        cls._dismissed += 1
        if cls._pool is not None:
            cls._pool.shutdown(wait=False, cancel_futures=True)
            cls._pool = None
        end_builds()
