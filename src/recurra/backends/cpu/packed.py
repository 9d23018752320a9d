"""Packed weights, kept from one call to the next for as long as the weights are what they were.

A call of few steps without gradients takes less than packing its weights would. Whether they are
still those that were packed is looked up in full, byte by byte, at every call: so it does not
matter who wrote to them, or how.
"""

import ctypes
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter

import torch
from torch import Tensor

from recurra.backends.cpu import gate
from recurra.backends.watching import outliving

_SAMPLE_BYTES = 64
_nbytes = attrgetter("nbytes")
# 0 where so many bytes are the same at two addresses
compare = (ctypes.CDLL("msvcrt") if os.name == "nt" else ctypes.CDLL(None)).memcmp
compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
compare.restype = ctypes.c_int


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Weights, packed.

    Attributes:
        copies: what they were when they were packed.
        addresses: where these copies lie.
        memory: what they were packed into.
        place: where that lies.
        nbytes: what all of it takes.
    """

    copies: tuple[Tensor, ...]
    addresses: tuple[int, ...]
    memory: Tensor
    place: int
    nbytes: int = field(init=False)

    def __post_init__(self) -> None:
        nbytes = self.memory.nbytes + sum(map(_nbytes, self.copies))
        object.__setattr__(self, "nbytes", nbytes)  # once: all are summed up whenever one is added

    def holds(self, addresses: Sequence[int]) -> bool:
        """Whether the weights at these addresses are what was packed."""
        return not any(map(compare, addresses, self.addresses, map(_nbytes, self.copies)))


class PackedWeights:
    """What was packed for calls of few steps: of all loops together so many bytes and so many of
    them, those that were used last.

    Weights are found again by some of their numbers, wherever they lie: what is computed anew for
    every call is the same as long as the parameters are. Small weights that change from call to
    call would otherwise leave thousands behind.
    """

    def __init__(self, most_bytes: int = 32 << 20, most: int = 128) -> None:
        self._most_bytes, self._most = most_bytes, most
        self._kept: OrderedDict[Hashable, Packed] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """What is kept now."""
        return sum(map(_nbytes, list(self._kept.values())))

    def of(
        self,
        what: Hashable,
        weights: Sequence[Tensor],
        addresses: Sequence[int],
        size: int,
        pack: Callable[[Packed], None],
    ) -> Packed:
        """Weights, packed.

        Args:
            what: they are packed for.
            weights: contiguous, of float32.
            addresses: where they lie.
            size: numbers that they take when they are packed.
            pack: does it, from the copies.
        """
        key = (what, *map(_some, addresses, map(_nbytes, weights)))
        found = self._kept.get(key)
        if found is not None and found.holds(addresses):
            with suppress(KeyError):  # another thread may have let go of it
                self._kept.move_to_end(key)
            return found
        # new memory for each: another thread may be reading what was packed before
        with outliving(), torch.no_grad():
            copies = tuple(weight.detach().clone() for weight in weights)
            memory, place = gate.fresh(size)
        places = tuple(gate.bound(copy, "a weight")[1] for copy in copies)
        made = Packed(copies=copies, addresses=places, memory=memory, place=place)
        pack(made)
        if made.nbytes <= self._most_bytes:
            self._kept[key] = made
            while len(self._kept) > self._most or self.nbytes > self._most_bytes:
                with suppress(KeyError):
                    self._kept.popitem(last=False)
        return made


def _some(address: int, nbytes: int) -> bytes:
    """The bytes in the middle of some."""
    return ctypes.string_at(address + nbytes // 2, min(nbytes - nbytes // 2, _SAMPLE_BYTES))


PACKED = PackedWeights()
