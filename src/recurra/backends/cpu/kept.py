"""Memory for what forward passes keep for their backward passes, used again at the next step.

What a step of training keeps is large, and goes when its backward pass has read it. The C library
gives such memory back to the system, which then has to find, clear and map it page by page at the
next step: a third of a training step, where a step is short.
"""

import math
import threading
import weakref
from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.backends.cpu import gate
from recurra.backends.cpu.workspace import as_new

_Block = NDArray[np.float32]

LEAST = 1 << 16  # numbers; what is smaller the C library keeps by itself
_NUMBER_BYTES, _LINE_BYTES, _PAGE_BYTES = 4, 64, 4096
_LINE, _PAGE = _LINE_BYTES // _NUMBER_BYTES, _PAGE_BYTES // _NUMBER_BYTES
# Of lines: how much later in its page each block begins than the one before. A step reads and
# writes the same rows of many arrays, which at one place of their pages share the sets of a cache.
_LATER = 9


class KeptMemory:
    """A pool of memory. What is taken comes back by itself when no tensor holds it any more.

    Args:
        most_bytes: what is kept for later.
    """

    def __init__(self, most_bytes: int = 256 << 20) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._free: list[_Block] = []  # the one that came back last at the end
        # a tensor may go at any time, in the midst of `take` as well
        self._back: deque[_Block] = deque()
        self._made = 0

    @property
    def nbytes(self) -> int:
        """What is kept now."""
        return sum(block.nbytes for block in (*self._free, *self._back))

    def take(self, *shape: int) -> tuple[Tensor, int]:
        """Memory that nobody else has, not filled, and its address; as `gate.fresh` gives it."""
        size = math.prod(shape)
        if size < LEAST:
            return gate.fresh(*shape)
        block = None
        # nobody waits for it: a fork may have left the thread behind that holds it
        if self._lock.acquire(blocking=False):
            try:
                block = self._found(size)
            finally:
                self._lock.release()
        if block is None:
            block = self._new(size)
        lease = block[:size]
        weakref.finalize(lease, self._give, block).atexit = False
        tensor = torch.from_numpy(lease).view(shape)
        if torch.are_deterministic_algorithms_enabled():
            as_new(tensor)
        return gate.bound(tensor, "what is kept")

    def _found(self, size: int) -> _Block | None:
        """The smallest block of enough numbers, and of no more than twice as many."""
        while self._back:
            self._free.append(self._back.popleft())
        fitting = [i for i, block in enumerate(self._free) if size <= len(block) <= 2 * size]
        if fitting:
            return self._free.pop(min(fitting, key=lambda i: (len(self._free[i]), -i)))
        while self._free and self.nbytes + _NUMBER_BYTES * size > self._most_bytes:
            del self._free[0]
        return None

    def _new(self, size: int) -> _Block:
        memory = np.empty(size + 2 * _PAGE, dtype=np.float32)
        to_page = -memory.ctypes.data % _PAGE_BYTES // _NUMBER_BYTES
        self._made += 1
        later = self._made * _LATER * _LINE % _PAGE
        return memory[to_page + later :][:size]

    def _give(self, block: _Block) -> None:
        if self.nbytes + block.nbytes <= self._most_bytes:
            self._back.append(block)


KEPT = KeptMemory()
