"""Example files: labelled examples encoded once, then memory-mapped, so that they may be larger
than memory.

An example file is, little-endian and one behind the other: the values of all examples, int32 ids
[S] or float32 numbers [S, I]; zeros up to a multiple of 8 bytes; the offsets [N + 1] int64; the
labels [N] int32. Beside it stands its header, the same name with ".json" added, written last: a
file without one is not finished.
"""

import hashlib
import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.files import map_file, put_in_place
from recurra.data.labelled import LabelledExamples
from recurra.errors import DataError
from recurra.files import read_json

_FORMAT = "recurra examples 1"
_IDS, _NUMBERS, _BYTES = np.dtype("<i4"), np.dtype("<f4"), np.dtype("u1")
_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleFile:
    """A finished example file.

    Attributes:
        path: where it is.
        count: N, its examples.
        steps: S, of all examples together.
        input_size: I, of series; None of ids.
        num_classes: C; labels are in 0..C-1.
        digest: sha256 of the file, in hexadecimal: the same for the same examples in one order.
        made_from: JSON values that whoever wrote it wanted to keep.
    """

    path: Path
    count: int
    steps: int
    input_size: int | None
    num_classes: int
    digest: str
    made_from: dict[str, Any] = field(default_factory=dict)

    def examples(self) -> LabelledExamples:
        """The examples, mapped from the file, read-only.

        Raises:
            DataError: when the file is gone, cut short, or its offsets or labels are damaged.
        Cost: the offsets and the labels are read, the values are not.
        """
        whole, offsets_at, labels_at = self._mapped()
        offsets = np.asarray(whole[offsets_at:labels_at].view("<i8"))
        labels = np.asarray(whole[labels_at:].view("<i4"))
        if self.input_size is None:
            values = whole[: self.steps * _IDS.itemsize].view(_IDS)
        else:
            values = whole[: self.steps * self.input_size * _NUMBERS.itemsize].view(_NUMBERS)
            values = values.reshape(self.steps, self.input_size)
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise self._damaged(f"labels in 0..{self.num_classes - 1}", labels.min(), labels.max())
        try:
            return LabelledExamples(values, offsets, labels)
        except ValueError as error:
            raise self._damaged("offsets that grow", offsets[0], offsets[-1]) from error

    def verify(self) -> None:
        """Read the whole file and compare its digest.

        Raises:
            DataError: when its bytes are not those that were written.
        """
        digest = hashlib.sha256()
        whole, _, _ = self._mapped()
        for start in range(0, len(whole), _BLOCK_BYTES):
            digest.update(whole[start : start + _BLOCK_BYTES].tobytes())
        if digest.hexdigest() != self.digest:
            raise DataError(
                f"{self.path}: expected the bytes that were written, got others. "
                "The file is damaged: delete it and prepare it again."
            )

    def _mapped(self) -> tuple[np.memmap, int, int]:
        """The bytes of the file, and where in it the offsets and the labels begin."""
        values_bytes = 4 * self.steps * (self.input_size or 1)
        offsets_at = values_bytes + _padding(values_bytes)
        labels_at = offsets_at + 8 * (self.count + 1)
        contents = f"{self.count} examples of {self.steps} steps"
        size = labels_at + 4 * self.count
        whole = map_file(self.path, _BYTES, size, "an example file", contents)
        return whole, offsets_at, labels_at

    def _damaged(self, expected: str, first: Any, last: Any) -> DataError:
        return DataError(
            f"{self.path}: expected {expected}, got {first} to {last}. "
            "The file is damaged: delete it and prepare it again."
        )


def write_examples(
    path: str | PathLike[str],
    examples: Iterable[tuple[np.ndarray, int]],
    *,
    num_classes: int,
    made_from: dict[str, Any] | None = None,
) -> ExampleFile:
    """An example file of examples that come one by one; it appears whole or not at all.

    Args:
        path: the file to write; its folder is made, and an older file of the name is replaced.
        examples: of each its ids [T] of an integer type, or its numbers [T, I]; and its class.
            Whatever raises in here leaves the older file in place.
        num_classes: C.
        made_from: JSON values to keep in the header.
    Raises:
        DataError: when there is no example, or the file cannot be written.
        ValueError: when examples are not all ids, or all of the same I; when one has no step, an
            id that int32 does not hold, or a class that is not in 0..C-1.
    Cost: 12 bytes of memory an example.
    """
    target = Path(path)
    digest = hashlib.sha256()
    lengths, labels = array("q", [0]), array("i")
    input_size: int | None = None
    size = 0
    with put_in_place(target, "an example file") as file:

        def put(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        for values, label in examples:
            width = values.shape[1] if values.ndim == 2 else None
            if not labels:
                input_size = width
            _check(values, label, len(labels), input_size, num_classes)
            data = values.astype(_IDS if width is None else _NUMBERS).tobytes()
            put(data)
            size += len(data)
            lengths.append(len(values))
            labels.append(label)
        if not labels:
            raise DataError(f"{target}: expected at least one example, got none. Add examples.")
        put(bytes(_padding(size)))
        put(np.cumsum(np.asarray(lengths), dtype="<i8").tobytes())
        put(np.asarray(labels).astype("<i4").tobytes())
        # From here on an older header would describe the wrong examples.
        _header_path(target).unlink(missing_ok=True)
    made = ExampleFile(
        path=target,
        count=len(labels),
        steps=sum(lengths),
        input_size=input_size,
        num_classes=num_classes,
        digest=digest.hexdigest(),
        made_from=made_from or {},
    )
    header = {
        "format": _FORMAT,
        "count": made.count,
        "steps": made.steps,
        "input_size": made.input_size,
        "num_classes": made.num_classes,
        "digest": made.digest,
        "made_from": made.made_from,
    }
    with put_in_place(_header_path(target), "the header of an example file") as file:
        file.write(json.dumps(header, indent=1).encode())
    return made


def read_example_file(path: str | PathLike[str]) -> ExampleFile:
    """What the header of an example file says; the examples themselves are not touched.

    Raises:
        DataError: when there is no header, or it is not in the format.
    """
    target = Path(path)
    header_path = _header_path(target)
    try:
        header = read_json(header_path)
        if header["format"] != _FORMAT:
            raise ValueError(f"format {header['format']!r}")
        input_size = header["input_size"]
        made = ExampleFile(
            path=target,
            count=int(header["count"]),
            steps=int(header["steps"]),
            input_size=None if input_size is None else int(input_size),
            num_classes=int(header["num_classes"]),
            digest=str(header["digest"]),
            made_from=dict(header["made_from"]),
        )
        if min(made.count, made.num_classes, made.steps - made.count + 1, input_size or 1) < 1:
            raise ValueError(f"{made.count} examples of {made.steps} steps")
    except OSError as error:
        raise DataError(
            f"{target}: expected an example file with its header {header_path.name}, got "
            f"{error.strerror or error}. Prepare it again."
        ) from error
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{header_path}: expected the header of an example file ({_FORMAT}), got {error!r}. "
            "Delete it and prepare the file again."
        ) from error
    return made


def open_examples(path: str | PathLike[str]) -> LabelledExamples:
    """The examples of an example file, mapped, read-only.

    Raises:
        DataError: when the file or its header is missing, not in the format, cut short or damaged.
    """
    return read_example_file(path).examples()


def _check(
    values: np.ndarray, label: int, number: int, input_size: int | None, num_classes: int
) -> None:
    width = values.shape[1] if values.ndim == 2 else None
    whole = np.issubdtype(values.dtype, np.integer)
    if values.ndim not in (1, 2) or (values.ndim == 1 and not whole) or width != input_size:
        wanted = "ids [T]" if input_size is None else f"numbers [T, {input_size}]"
        raise ValueError(
            f"example {number}: expected {wanted} as of the first, got {values.dtype} of shape "
            f"{list(values.shape)}. Encode all examples alike."
        )
    if len(values) == 0:
        raise ValueError(f"example {number}: expected 1 step or more, got none. Leave it out.")
    if not 0 <= label < num_classes:
        raise ValueError(
            f"example {number}: expected a class in 0..{num_classes - 1}, got {label}. "
            "Number the classes from 0."
        )
    if width is None and not 0 <= int(values.min()) <= int(values.max()) < 2**31:
        raise ValueError(
            f"example {number}: expected ids in 0..{2**31 - 1}, got {values.min()} to "
            f"{values.max()}. Encode the text with a vocabulary."
        )


def _padding(size_bytes: int) -> int:
    """Bytes up to the next multiple of 8."""
    return -size_bytes % 8


def _header_path(target: Path) -> Path:
    return target.with_name(target.name + ".json")
