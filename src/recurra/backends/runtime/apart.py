"""Who owns memory: what a call hands out is nobody else's, so that it can be written in place."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Apart:
    """Copies tensors that share memory, or lie in more of it than they need.

    Called with one result after the other: what it returns shares its memory with no result before
    and with nothing that was given, holds no number but its own, and is no view.

    Args:
        given: what belongs to others; None stands for a tensor that there is not.
    """

    def __init__(self, given: Iterable[Tensor | None]) -> None:
        tensors = [tensor for tensor in given if tensor is not None]
        try:
            self._taken = {*map(_begin, map(_storage, tensors))}
        except RuntimeError:  # of zeros that take no memory
            self._taken = {*map(_memory, tensors)}

    def __call__(self, value: Tensor) -> Tensor:
        """`value` itself where it is its own already, else a copy."""
        memory = _memory(value)
        if memory in self._taken or not _is_whole(value):
            return value.clone(memory_format=torch.contiguous_format)
        self._taken.add(memory)
        return value


_storage, _begin = Tensor.untyped_storage, torch.UntypedStorage.data_ptr


def _memory(tensor: Tensor) -> int:
    if tensor._is_zerotensor():  # zeros that take none
        return 0
    return tensor.untyped_storage().data_ptr()


def _is_whole(value: Tensor) -> bool:
    """Whether a tensor is all that its memory holds, in order, and no view of another one."""
    if value._is_view() or not value.is_contiguous():
        return False
    return value.untyped_storage().nbytes() == value.nbytes
