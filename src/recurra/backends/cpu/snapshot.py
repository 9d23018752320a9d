"""Whether tensors still hold what they held when something was made from them.

Two ways of knowing, which `Stepper` uses together: what this process counts, and the bytes.
"""

import ctypes
from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from recurra.backends.cpu import abi, gate
from recurra.backends.forks import Forks

WATCH = Path(__file__).with_name("watch.hpp")
_LINE = 64  # LINE of watch.hpp
_SMALL_LINES = 512  # of all tensors together: so few, 32 KiB, are seen whole by every look
# Of more a look sees about so many, 8 KiB: they come from further away than the first cache, where
# the packed weights are needed at once.
_LOOK_LINES = 128
_WHOLE_LINES = 16  # of a tensor that is seen whole by every look

# called before each step of a stream: without a look for the name in a module
_address, _version, _num_threads = Tensor.data_ptr, attrgetter("_version"), torch.get_num_threads


class Optimizers:
    """How many steps all optimizers of this process took: fused ones change what no tensor counts.

    Attributes:
        steps: since this module was imported.
    """

    steps = 0

    @classmethod
    def note(cls, *_: object) -> None:
        """Called after each."""
        cls.steps += 1


register_optimizer_step_post_hook(Optimizers.note)


class Snapshot:
    """Where some tensors lay, and how often they had been changed, as far as torch counts it.

    Sees every change that autograd counts, every step of an optimizer and every move to other
    memory. A write through `tensor.data`, or by another library or process into the same memory, is
    counted by nobody; nor is one into a tensor made in inference mode. `Watch` looks for these.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        tensors = list(tensors)
        # held, so that no other tensor can come to lie where one of these lay
        self._memory = [tensor.detach() for tensor in tensors]
        self._addresses = [*map(_address, tensors)]
        self._strides = [*map(Tensor.stride, tensors)]
        self._counted = not any(tensor.is_inference() for tensor in tensors)
        self._counts = [*self._addresses, *(map(_version, tensors) if self._counted else ())]
        self._steps = Optimizers.steps
        self._threads = _num_threads()
        self._forks = Forks.count

    def holds(self, tensors: list[Tensor]) -> bool:
        """Whether these are the same tensors, with no change counted, for the same threads."""
        try:
            return (
                Optimizers.steps == self._steps
                and self._counts
                == (
                    [*map(_address, tensors), *map(_version, tensors)]
                    if self._counted
                    else [*map(_address, tensors)]
                )
                and _num_threads() == self._threads
                and Forks.count == self._forks  # threads stay behind when a process forks
            )
        except (RuntimeError, TypeError):  # tensors that have no version, or no memory
            return False

    def is_of(self, tensors: list[Tensor]) -> bool:
        """Whether these are the same tensors, changed or not, for the same threads."""
        try:
            return (
                [*map(_address, tensors)] == self._addresses
                and [*map(Tensor.stride, tensors)] == self._strides
                and _num_threads() == self._threads
                and Forks.count == self._forks
            )
        except (RuntimeError, TypeError):
            return False


class Watch:
    """The bytes of some tensors, to be looked at before each use of what was made from them.

    A look costs less than a microsecond: it sees up to 32 KiB whole, and of more the small tensors
    whole and a share of the lines of the larger ones, the next look the next share. What changes
    most of a tensor is seen at once, a change of a few numbers by the time that all shares were
    looked at: `num_looks`, one for each 8 KiB of all tensors, 65 for an LSTM of 128 units that
    reads 128 features. A tensor made in inference mode, whose changes are counted nowhere else, is
    seen whole by every look.

    Args:
        functions: of a library that has watch.hpp.
        tensors: in memory of the CPU; read where they lie.
    """

    def __init__(self, functions: Mapping[str, Any] | Any, tensors: Iterable[Tensor]) -> None:
        bound = [gate.bound(t.detach(), "a weight", t.dtype) for t in tensors]
        self._tensors = [tensor for tensor, _ in bound]
        sizes = [_spanned_bytes(tensor) for tensor in self._tensors]
        seen = _SMALL_LINES if sum(sizes) <= _LINE * _SMALL_LINES else _LOOK_LINES
        shares = -(-sum(sizes) // (_LINE * seen)) | 1  # odd: rows have even numbers of lines
        strides = [
            1
            if tensor.is_inference() or size <= _LINE * _WHOLE_LINES
            else min(shares, size // _LINE)  # each look sees some of every tensor
            for tensor, size in zip(self._tensors, sizes, strict=True)
        ]
        self.num_looks = max(strides, default=1)
        digests = [(ctypes.c_uint64 * stride)() for stride in strides]
        pieces = [
            abi.Watched(at, size, stride, 0, ctypes.addressof(digest), 0)
            for (_, at), size, stride, digest in zip(bound, sizes, strides, digests, strict=True)
            if size > 0
        ]
        self._pieces = (abi.Watched * max(len(pieces), 1))(*pieces)
        self._watch = abi.WatchedPieces(ctypes.addressof(self._pieces), len(pieces))
        self._digests = digests
        self.address = ctypes.addressof(self._watch)
        self._note, self._look = functions["note_all"], functions["look_at_all"]
        self._note.restype, self._look.restype = None, abi.LONG
        self._note.argtypes = self._look.argtypes = (abi.POINTER,)
        self.note()

    def note(self) -> None:
        """From now on, what there is now is how it was."""
        self._note(self.address)

    def unchanged(self) -> bool:
        """Whether all of it is as it was."""
        return bool(self._look(self.address))


def _spanned_bytes(tensor: Tensor) -> int:
    """From the first number of a tensor to the last, as far as there is memory."""
    if tensor.numel() == 0:
        return 0
    dims = zip(tensor.shape, tensor.stride(), strict=True)
    span = 1 + sum((length - 1) * stride for length, stride in dims)
    there = tensor.untyped_storage().nbytes() - tensor.itemsize * tensor.storage_offset()
    return max(min(tensor.itemsize * int(span), int(there)), 0)
