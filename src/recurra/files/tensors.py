"""Tensors in the safetensors format, with a checksum, read without trusting what the file says.

The format: 8 bytes with the header's length, a JSON header with dtype, shape and place of each
tensor, then the tensors' bytes. The checksum of those bytes stands in the header's metadata; a file
without one, written by an earlier version or by another program, is read all the same.
"""

import json
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import safetensors.torch
import torch
from torch import Tensor

from recurra.errors import CheckpointError
from recurra.files.reading import opened

CHECKSUM = "crc32"
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a tensor stands in the bytes after the header, and what it is."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file of these tensors and strings, with a checksum of the tensors' bytes.

    Args:
        tensors: by name; copied to the CPU, and apart where two names share memory.
        metadata: strings that stand in the header.
    """
    plain = safetensors.torch.save(_own_memory(tensors), dict(metadata or {}))
    length = int.from_bytes(plain[:8], "little")
    data = memoryview(plain)[8 + length :]
    header = json.loads(plain[8 : 8 + length])
    header["__metadata__"] = {**(metadata or {}), CHECKSUM: f"{zlib.crc32(data):08x}"}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return b"".join([len(text).to_bytes(8, "little"), text, data])


def read_header(path: Path, what: str) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """The shapes of the tensors in a file and the strings in its header; nothing else is read.

    Raises:
        CheckpointError: as `read_tensors`.
    """
    try:
        with opened(path) as file:
            entries, metadata, _ = _read_header(file)
    except (OSError, ValueError) as error:
        raise _damaged(path, what, error) from error
    return {name: entry.shape for name, entry in entries.items()}, metadata


def read_tensors(path: Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and the strings in its header.

    Args:
        path: of the file.
        what: it is to be, for messages: "checkpoint".
    Raises:
        CheckpointError: when the file is missing, cut short or no safetensors file, or its bytes
            are not those that were written.
    """
    try:
        with opened(path) as file:
            entries, metadata, size = _read_header(file)
            data = bytearray(size)
            if file.readinto(data) != size:  # pyright: ignore[reportAttributeAccessIssue]
                raise ValueError("fewer bytes than its header says")
        if CHECKSUM in metadata and metadata[CHECKSUM] != f"{zlib.crc32(data):08x}":
            raise ValueError("tensors whose bytes have changed since they were written")
        return {name: _tensor(data, entry) for name, entry in entries.items()}, metadata
    except (OSError, ValueError) as error:
        raise _damaged(path, what, error) from error


def _read_header(file: IO[bytes]) -> tuple[dict[str, _Entry], dict[str, str], int]:
    """The tensors that the file says it has, its strings, and how many bytes follow the header.

    ValueError unless the tensors fill those bytes exactly, without a gap or an overlap.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
        raise ValueError("no header")
    try:
        header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", None) or {}
        entries = {name: _entry(value) for name, value in header.items()}
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"a header that is none ({error})") from error
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("metadata that are no strings")
    at = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.stop)):
        if entry.start != at:
            raise ValueError("tensors that overlap or leave gaps")
        at = entry.stop
    if at != size - 8 - length:
        raise ValueError(f"{size - 8 - length:,} bytes of tensors where its header says {at:,}")
    return entries, metadata, at


def _entry(value: Any) -> _Entry:
    """One entry of the header; ValueError, KeyError or TypeError where it makes no sense."""
    if value["dtype"] not in _DTYPES:
        raise ValueError(f"dtype {value['dtype']!r:.40}")
    dtype, shape = _DTYPES[value["dtype"]], value["shape"]
    start, stop = value["data_offsets"]
    numbers = [*shape, start, stop]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("sizes that are no whole numbers")
    if math.prod(shape) * dtype.itemsize != stop - start:
        raise ValueError(f"shape {shape!r:.60} in {stop - start} bytes")
    return _Entry(dtype, tuple(shape), start, stop)


def _tensor(data: bytearray, entry: _Entry) -> Tensor:
    count = (entry.stop - entry.start) // entry.dtype.itemsize
    if count == 0:
        return torch.empty(entry.shape, dtype=entry.dtype, device="cpu")
    flat = torch.frombuffer(data, dtype=entry.dtype, count=count, offset=entry.start)
    return flat.view(entry.shape)


def _damaged(path: Path, what: str, error: OSError | ValueError) -> CheckpointError:
    if isinstance(error, FileNotFoundError):
        return CheckpointError(
            f"{path}: expected a {what}, got no file. Check the name of the folder."
        )
    return CheckpointError(
        f"{path}: expected a whole {what}, got one that is cut short or damaged ({error}). "
        "Restore it from a copy."
    )


def _own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU, copied where two names share memory, as tied weights do."""
    seen: set[int] = set()
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        if own.data_ptr() in seen:
            own = own.clone()
        seen.add(own.data_ptr())
        result[name] = own
    return result
