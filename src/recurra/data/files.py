"""Writing files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from recurra.errors import DataError


@contextmanager
def put_in_place(target: Path, what: str) -> Iterator[IO[bytes]]:
    """A file to write, which takes the target's name when the block ends well, else disappears.

    Whatever goes wrong, an older file of that name stays as it was. The folder is made.

    Raises:
        DataError: when it cannot be written; `what` it is to be stands in the message.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{target}: expected to write {what}, got {error.strerror or error}. "
            "Check the folder's permissions and the space on its disk."
        ) from error
