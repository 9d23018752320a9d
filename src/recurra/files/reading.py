"""Reading files that may come from elsewhere: ordinary ones, of a size that makes sense."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

MAX_JSON_BYTES = 1 << 28  # 256 MB; a vocabulary of a million words takes a tenth of it


@contextmanager
def opened(path: Path, *, write: bool = False, create: bool = False) -> Iterator[IO[bytes]]:
    """An ordinary file, open for reading, or for writing where it ends.

    A pipe or a device is refused and not waited for; what is written to is no symbolic link, which
    could lead anywhere.

    Raises:
        OSError: when it cannot be opened, or is something else than a file.
    """
    file = open_file(path, write=write, create=create)
    try:
        yield file
    finally:
        file.close()


def open_file(path: Path, *, write: bool = False, create: bool = False) -> IO[bytes]:
    """As `opened`; the caller closes it."""
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    if write:
        if path.is_symlink():
            raise OSError(f"{path} is a symbolic link, and nothing is written through one")
        flags |= os.O_RDWR | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    if create:
        flags |= os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is a pipe, a device or a folder, not a file")
        return os.fdopen(descriptor, "ab" if write else "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, most: int) -> bytes:
    """The content of an ordinary file of at most so many bytes.

    Raises:
        OSError: when it cannot be read, is no file, or is larger.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(f"{path} has {size:,} bytes, more than the {most:,} that it may have")
        return file.read(most)


def read_json(path: Path) -> Any:
    """The value that a JSON file holds.

    Raises:
        OSError: when it cannot be read, is no file, or is absurdly large.
        ValueError: when it is no JSON, or nested too deeply.
    """
    content = read_bytes(path, MAX_JSON_BYTES).decode("utf-8")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("values nested too deeply") from None
