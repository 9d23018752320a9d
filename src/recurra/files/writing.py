"""The one way in which a file takes another's place: written beside it, synced, then renamed."""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recurra.errors import CheckpointError

ABANDONED_S = 24 * 3600.0  # no write takes a day: a part as old was left by a process that died


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new, empty file to write, which takes the name `path` when the block ends well.

    However it ends, no part is left, and until the rename what was at `path` stays as it was. A
    symbolic link of that name is replaced, never written through. The part's name is hidden and
    has this process and a random number in it, so two that write the same file do not meet.

    Raises:
        OSError: when it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    for older in _parts_of(path):
        with contextlib.suppress(OSError):
            if time.time() - older.lstat().st_mtime > ABANDONED_S:
                older.unlink()
    try:
        with part.open("xb"):
            pass
        yield part
        _sync(part)
        part.replace(path)
    except OSError as error:
        if error.filename == str(part):  # whose name says nothing to the user
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)
    _sync(path.parent)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` write a file under another name, sync it, and rename it to `path`.

    The folder is made when it is not there.

    Raises:
        CheckpointError: when it cannot be written; what was at `path` is as before.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            write(part)
    except OSError as error:
        raise CheckpointError(
            f"{path}: expected to write it, got: {error}. Free some space or choose another "
            f"folder; what was there before is unchanged."
        ) from error


def remove_parts(folder: Path, names: tuple[str, ...]) -> None:
    """Delete what killed processes left of the files of these names; the caller holds the lock."""
    for name in names:
        # the name alone, or with a process id: what earlier versions wrote
        for part in (*_parts_of(folder / name), folder / f".{name}.part"):
            with contextlib.suppress(OSError):
                part.unlink()


def _parts_of(path: Path) -> list[Path]:
    """Unfinished files of this name, by the pattern of their names."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.\d+(-[0-9a-f]{{8}})?\.part")
    try:
        return [each for each in path.parent.iterdir() if pattern.fullmatch(each.name)]
    except OSError:
        return []


def _sync(path: Path) -> None:
    """Have the disk hold what was written: of a file its bytes, of a folder its names."""
    if path.is_dir() and os.name != "posix":
        return  # other systems cannot open a folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
