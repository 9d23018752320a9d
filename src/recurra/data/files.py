"""Files of data: written whole or not at all, and mapped only when they are whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from recurra.errors import DataError
from recurra.files import opened, replacing


@contextmanager
def put_in_place(target: Path, what: str) -> Iterator[IO[bytes]]:
    """A file to write, which takes the target's name when the block ends well, else disappears.

    Whatever goes wrong, an older file of that name stays as it was. The folder is made.

    Raises:
        DataError: when it cannot be written; `what` it is to be stands in the message.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part, part.open("wb") as file:
            yield file
    except OSError as error:
        raise DataError(
            f"{target}: expected to write {what}, got {error.strerror or error}. "
            "Check the folder's permissions and the space on its disk."
        ) from error


def why_no_array(error: Exception) -> str:
    """What there was in place of an array, by numpy's own error. Of any file that begins otherwise
    it says that it has pickled objects, and how to run what they hold."""
    said = str(error).partition("\n")[0].rstrip(".")
    return "something else, or objects of Python" if "pickle" in said else said


def map_file(path: Path, dtype: np.dtype, count: int, what: str, contents: str) -> np.memmap:
    """The values of a file [count], mapped, read-only; parts of the map know the file's name.

    Raises:
        DataError: when it is gone, or not of this size; `what` it is to be and its `contents`
            stand in the message.
    """
    size_bytes = count * dtype.itemsize
    try:
        with opened(path) as file:
            received = os.fstat(file.fileno()).st_size
            if received == size_bytes:
                mapped = np.memmap(file, dtype=dtype, mode="r", shape=(count,))
                mapped.filename = str(path)
                return mapped
    except OSError as error:
        raise DataError(
            f"{path}: expected {what}, got {error.strerror or error}. Prepare it again."
        ) from error
    raise DataError(
        f"{path}: expected {size_bytes} bytes ({contents}), got {received}. "
        "The file was cut short or mixed up: delete it and prepare it again."
    )
