"""Libraries that are built beside each other, while Python goes on.

A cell's first step takes a few: its loops, and what they share with those of all cells. Each is
waited for where it is called, not where it is asked for.
"""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor

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
        self._begun = _Workers.now().submit(self._load)
        self._forks = Forks.count

    def library(self) -> ctypes.CDLL:
        """Wait for it."""
        if self._forks != Forks.count:  # who has begun it stayed in the parent
            return self._load()
        try:
            return self._begun.result()
        except BaseException as error:
            if not isinstance(error, Exception):  # an interrupt: nobody waits for the others either
                _Workers.dismiss()
            raise


class _Workers:
    """The threads that wait for compilers, of this process."""

    _pool: ThreadPoolExecutor | None = None
    _forks = 0

    @classmethod
    def now(cls) -> ThreadPoolExecutor:
        """Those of this process: a fork has none of its parent's."""
        if cls._pool is None or cls._forks != Forks.count:
            cls._pool, cls._forks = ThreadPoolExecutor(_AT_ONCE, "build"), Forks.count
        return cls._pool

    @classmethod
    def dismiss(cls) -> None:
        """End what is being built, and begin nothing more of what was asked for."""
        if cls._pool is not None:
            cls._pool.shutdown(wait=False, cancel_futures=True)
            cls._pool = None
        end_builds()
