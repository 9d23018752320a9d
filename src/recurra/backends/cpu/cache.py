"""Where built libraries are kept: a folder that is this user's, where nobody else can put code.

A library that is loaded runs as this user. So a folder is used only if it belongs to this user, or
to root, and others cannot write to it; of the files in it the same is true. What cannot be used
gives way to a temporary folder of this process, which is said once.
"""

import atexit
import contextlib
import hashlib
import logging
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from filelock import FileLock

logger = logging.getLogger("recurra")

_DAY_S = 86_400
_UNUSED_S = 60 * _DAY_S  # a library that nobody used for so long is deleted
_LARGEST_BYTES = 2 << 30  # of all libraries together; the least used go first
_PRUNED = "pruned"  # the file that says when that was done
_LOCK_TIMEOUT_S = 600.0  # another process builds meanwhile, or several one after the other


def wanted_folder() -> Path | None:
    """RECURRA_CACHE, else a folder in the user's cache; None for a user who has no home."""
    base = os.environ.get("RECURRA_CACHE")
    if base:
        return Path(base)
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "recurra"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recurra"
    except (RuntimeError, KeyError):  # no HOME, and no entry of the user's in the system's list
        return None


def usable_folder() -> Path:
    """The folder that is wanted, made with mode 0700; a temporary one if it cannot be used."""
    folder = wanted_folder()
    if folder is None:
        return _instead("the user has no home folder; set RECURRA_CACHE to keep them")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        reason = distrust(folder)
        if reason is None:
            with tempfile.NamedTemporaryFile(dir=folder):
                return folder
    except OSError as error:
        reason = f"it cannot be written ({error.strerror or error})"
    return _instead(f"{folder}: {reason}; set RECURRA_CACHE to a folder of your own")


def temporary_folder() -> Path:
    """A folder of this process."""
    return _temporary_folder(os.getpid())


@cache
def _temporary_folder(process: int) -> Path:
    folder = tempfile.mkdtemp(prefix="recurra-")

    def remove() -> None:
        if os.getpid() == process:  # not in those that it forked
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return Path(folder)


def _instead(why: str) -> Path:
    say(f"compiled loops are kept for this process only: {why}")
    return temporary_folder()


@cache
def say(what: str) -> None:
    """Log it, once."""
    logger.warning("%s", what)


def distrust(path: Path) -> str | None:
    """Why code must not be loaded from a folder or a file; None if it may be.

    Raises:
        OSError: when it is not there.
    """
    return _distrust(path.stat())


def _distrust(about: os.stat_result) -> str | None:
    if not hasattr(os, "getuid"):  # no such owners and modes
        return None
    if about.st_uid not in (os.getuid(), 0):
        return f"it belongs to another user ({about.st_uid})"
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others can write to it (mode {stat.S_IMODE(about.st_mode):04o})"
    return None


def is_whole(library: Path) -> bool:
    """Whether a library is there as it was built, by somebody who may run code here.

    The loader crashes on one that is cut short.
    """
    try:
        if distrust(library.parent) is not None:
            return False
        return _digest(library) == _read(library.with_suffix(".sha256")).decode("ascii", "replace")
    except OSError:
        return False


def _digest(library: Path) -> str:
    return hashlib.sha256(_read(library)).hexdigest()


def _read(path: Path) -> bytes:
    """The bytes of a file that is no link, and no one else's."""
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or _distrust(about) is not None:
            raise PermissionError(f"{path} is not this user's own file")
        return file.read()


def keep(built: Path, library: Path) -> None:
    """Put a library that was built in place, in the same folder, for `is_whole` to find."""
    built.chmod(0o700)
    note = built.with_suffix(".sha256")
    write(note, _digest(built).encode())
    os.replace(note, library.with_suffix(".sha256"))
    os.replace(built, library)


def write(path: Path, content: bytes) -> None:
    """A file of this user's own: what stood there is replaced, never written through a link."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(part, flags, 0o600), "wb") as file:
        file.write(content)
    os.replace(part, path)


@contextlib.contextmanager
def locked(library: Path, *, timeout_s: float = _LOCK_TIMEOUT_S) -> Iterator[None]:
    """Whoever builds a library has its lock, which it shares with a few others.

    A process that is forked meanwhile does not keep it.
    """
    # one for each library would stay when that has gone
    lock = library.with_name(f"{library.name[:2]}.lock")
    with FileLock(lock, timeout=timeout_s, mode=0o600):
        yield


# ---- what is not used any more -------------------------------------------------------------------


def note_use(library: Path) -> None:
    """Remember that a library was loaded today."""
    with contextlib.suppress(OSError):
        if time.time() - library.stat().st_mtime > _DAY_S:
            os.utime(library)


def prune(folder: Path) -> None:
    """Once a day delete what was not used for two months, and what is too much."""
    noted = folder / _PRUNED
    with contextlib.suppress(OSError):
        if time.time() - noted.stat().st_mtime < _DAY_S:
            return
    with contextlib.suppress(OSError):
        write(noted, b"")
        old = time.time() - _UNUSED_S
        found = sorted(((path.stat().st_mtime, path) for path in folder.glob("*.so")), reverse=True)
        total = 0
        for used, path in found:
            total += path.stat().st_size
            if used < old or total > _LARGEST_BYTES:
                _delete(path)
        for path in [*folder.glob("*.cpp"), *folder.glob("*.part")]:
            if path.stat().st_mtime < old:
                path.unlink()


def _delete(library: Path) -> None:
    with locked(library, timeout_s=0.0):
        if time.time() - library.stat().st_mtime > _DAY_S:  # nobody has come meanwhile
            library.unlink()
            library.with_suffix(".sha256").unlink(missing_ok=True)
