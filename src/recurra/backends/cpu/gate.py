"""The one place where a tensor becomes an address that compiled code reads or writes.

C++ believes what it is told of an address: numbers of one type, so many of them, in the CPU's
memory, as they are. A tensor may be otherwise in every respect, so nothing else in this package
asks a tensor where it lies. What stands in both languages, structs and sizes of blocks, is compared
when a library is loaded.
"""

import ctypes
from collections.abc import Mapping, Sequence
from operator import add, attrgetter, ge, gt

import torch
from torch import Tensor

from recurra.errors import BackendError, BuildError

# new memory is made from these: torch.empty with a dtype and a device takes three times as long
_LIKE = {
    dtype: torch.empty(0, dtype=dtype, device="cpu")
    for dtype in (torch.float32, torch.float64, torch.int32, torch.int64)
}


def fresh(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, int]:
    """New memory that nobody else has, not filled, and its address."""
    tensor = _LIKE[dtype].new_empty(*shape)
    return tensor, tensor.data_ptr()


def bound(tensor: Tensor, what: object, dtype: torch.dtype = torch.float32) -> tuple[Tensor, int]:
    """The tensor and where its numbers lie; a copy where its memory does not hold them as they are.

    Args:
        what: its name in the message.

    Raises:
        BackendError: when they are not of `dtype`, not on the CPU, or not all in memory.
    """
    try:
        at = _address(tensor, dtype)
        if not at and tensor.numel():
            tensor = _plain(tensor)
            at = _address(tensor, dtype)
    except (RuntimeError, NotImplementedError):  # of a wrapper of other tensors, or not strided
        at = 0
    if not at and tensor.numel():
        raise BackendError(
            f"compiled code: expected {what} of {dtype}, in memory of the CPU, got a "
            f"{type(tensor).__name__} of {tensor.dtype} on {tensor.device}, shape "
            f"{tuple(tensor.shape)}. Pass a tensor that has its numbers in memory."
        )
    return tensor, at


def addresses(tensors: Sequence[Tensor], spans: Sequence[int]) -> list[int] | None:
    """Where some tensors of float32 lie, as `bound` finds them one by one; for every call.

    Args:
        spans: bytes from the first number of each to its last.

    Returns:
        None where `bound` has more to do, or to say, of one of them.
    """
    try:
        if (
            len(spans) != len(tensors)
            or [*map(_dtype, tensors)].count(torch.float32) != len(tensors)
            or not all(map(_is_cpu, tensors))
            or any(map(Tensor.is_neg, tensors))
        ):
            return None
        starts = [*map(Tensor.storage_offset, tensors)]
        if any(starts):  # of parts of others
            starts = [_FLOAT_BYTES * int(n) for n in starts]
            spans = [*map(add, spans, starts)]
        held = map(torch.UntypedStorage.nbytes, map(Tensor.untyped_storage, tensors))
        found = [*map(Tensor.data_ptr, tensors)]
        # a part of zeros that take no memory lies as far from 0 as it starts
        return found if all(map(ge, held, spans)) and all(map(gt, found, starts)) else None
    except (RuntimeError, NotImplementedError):  # of a wrapper of other tensors, or not strided
        return None


def memory_of(tensor: Tensor) -> int:
    """Where the memory begins that a tensor is all or a part of, to compare with that of others."""
    return tensor.untyped_storage().data_ptr()


def span_of(tensor: Tensor) -> int:
    """Bytes from the first number of a tensor to its last."""
    if not tensor.numel():
        return 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.itemsize * (1 + sum((count - 1) * stride for count, stride in steps))


def address_of_step(tensor: Tensor) -> int:
    """The address of a contiguous tensor on the CPU, whose dtype and shape are known.

    0 where its memory does not hold its numbers: `bound` then says more. For what is called at
    every step.
    """
    offset = tensor.storage_offset()
    extent = tensor.nbytes + offset * tensor.itemsize if offset else tensor.nbytes
    held = tensor.untyped_storage().nbytes() >= extent and not tensor.is_neg()
    return _unless_nowhere(tensor) if held else 0


_FLOAT_BYTES = torch.float32.itemsize
_dtype, _is_cpu = attrgetter("dtype"), attrgetter("is_cpu")


def _address(tensor: Tensor, dtype: torch.dtype) -> int:
    """Where the numbers lie, 0 where they do not lie in memory as numbers of `dtype`."""
    if tensor.dtype is not dtype or not tensor.is_cpu or tensor.is_neg():
        return 0
    if tensor.is_contiguous():
        extent = tensor.storage_offset() + tensor.numel()
    else:
        steps = zip(tensor.shape, tensor.stride(), strict=True)
        reach = sum((count - 1) * stride for count, stride in steps) + 1
        extent = tensor.storage_offset() + reach if tensor.numel() else 0
    held = tensor.untyped_storage().nbytes() >= extent * dtype.itemsize
    return _unless_nowhere(tensor) if held else 0


def _unless_nowhere(tensor: Tensor) -> int:
    """The address; 0 for zeros that take no memory, a part of which lies as far from 0 as it
    starts."""
    at = tensor.data_ptr()
    return at if at > tensor.storage_offset() * tensor.itemsize else 0


def _plain(tensor: Tensor) -> Tensor:
    """A copy with numbers in memory, where it has the same strides: torch negates lazily, and has
    zeros that take no memory."""
    extent = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    if tensor._is_zerotensor():
        numbers = torch.zeros(extent, dtype=tensor.dtype, device=tensor.device)
    elif tensor.is_neg():
        as_they_lie = torch._neg_view(tensor)  # pyright: ignore[reportPrivateImportUsage]
        numbers = as_they_lie.as_strided((extent,), (1,)).neg()
    else:
        return tensor
    return numbers.as_strided(tensor.shape, tensor.stride())


class _Fact(ctypes.Structure):
    """The struct `Fact` of runtime.hpp."""

    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_long))


def check_facts(library: ctypes.CDLL, expected: Mapping[str, int]) -> None:
    """Compare what `library` says in its `facts` of structs and constants with what Python takes.

    Raises:
        BuildError: naming the first that differs.
    """
    facts = (_Fact * (len(expected) + 1)).in_dll(library, "facts")
    found = {fact.name.decode(): fact.value for fact in facts if fact.name}
    for name in {**expected, **found}:
        if found.get(name) != expected.get(name):
            raise BuildError(
                f"backend 'cpu': expected {name} = {expected.get(name)} in C++ as in Python, got "
                f"{found.get(name)}. The files of backends/cpu belong together: install recurra "
                f"anew."
            )
