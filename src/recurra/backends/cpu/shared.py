"""What is made from weights, held once for all who make the same of them.

A stream has its weights packed, and tables of what tokens become: more memory than the weights
take. Streams of one model make the same, byte for byte, and so do those of models with equal
weights. What they make is looked up here by its bytes, so it does not matter whose it was. Nobody
writes to it from then on: who needs other bytes makes other memory.
"""

import ctypes
import os
from collections.abc import Hashable
from weakref import WeakValueDictionary

from torch import Tensor

from recurra.backends.cpu import gate
from recurra.backends.cpu.packed import compare

LEAST_BYTES = 4096  # an entry takes some hundred bytes itself
_SAMPLES, _SAMPLE_BYTES = 8, 64
# From which what was made twice is given back: that takes a good part of making it.
_DROPPED_BYTES = 128 << 20
_trim = None if os.name == "nt" else getattr(ctypes.CDLL(None), "malloc_trim", None)


class SharedMemory:
    """Tensors by their bytes. They are held by those who took them alone.

    Tensors are found again by some of their bytes, and are the same if all are. Of several that
    have these in common the last one is known: streams of one model follow a change of its weights
    one after the other, to the same bytes again.
    """

    def __init__(self) -> None:
        # Without a lock: two threads that put in the same at once share nothing, and that is all.
        self._known: WeakValueDictionary[Hashable, Tensor] = WeakValueDictionary()
        self._dropped = 0

    @property
    def nbytes(self) -> int:
        """What somebody holds now."""
        held = [reference() for reference in self._known.valuerefs()]
        return sum(tensor.nbytes for tensor in held if tensor is not None)

    def of(self, made: Tensor) -> Tensor:
        """A tensor with the bytes of one that was made just now, which it may be itself.

        Args:
            made: contiguous, on the CPU, in memory that nobody will write to.
        """
        nbytes = made.nbytes
        if nbytes < LEAST_BYTES:
            return made
        made, at = gate.bound(made, "what is shared", made.dtype)
        spread = nbytes - _SAMPLE_BYTES
        samples = (
            ctypes.string_at(at + spread * i // (_SAMPLES - 1), _SAMPLE_BYTES)
            for i in range(_SAMPLES)
        )
        key = (made.dtype, made.shape, *samples)
        known = self._known.get(key)
        if known is not None:
            known_at = gate.bound(known, "what is shared", known.dtype)[1]
            if not compare(at, known_at, nbytes):
                self._dropped += nbytes
                return known
        self._known[key] = made
        return made

    def give_back(self) -> None:
        """Give what was made twice back to the system, when nobody holds it any more.

        The C library keeps it otherwise, and takes other memory for the next: what lies at the
        beginning of a line of the cache fits where such memory lay only if there is a little more.
        """
        if self._dropped >= _DROPPED_BYTES:
            self._dropped = 0
            if _trim is not None:
                _trim(0)


SHARED = SharedMemory()
