"""Writing files of data whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from recurra.errors import DataError
from recurra.files import replacing


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
