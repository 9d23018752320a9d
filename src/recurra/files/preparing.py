"""A new folder, made beside its place and put there once it is ready.

Nothing that was there before is touched: a start that fails, is stopped or killed leaves what it
made in a hidden folder of its own, which it removes, or the next start does.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from recurra.errors import RunError, argument
from recurra.files.locking import LOCK_NAME, FolderLock, is_held

Refuse = Callable[[Path, str], None]

_NEW = re.compile(r"\.recurra-new-(\d+)-[0-9a-f]{8}")


class NewFolder:
    """Where a folder is prepared, with its lock.

    Attributes:
        path: to write into.
        lock: of the folder, held from the start.
    """

    def __init__(
        self, folder: Path, place: Path, path: Path, lock: FolderLock, refuse: Refuse, last: str
    ) -> None:
        self.path, self.lock = path, lock
        self.begun = False
        self._folder, self._place, self._refuse, self._last = folder, place, refuse, last

    def begin(self) -> None:
        """Put what was written in place.

        Raises:
            RunError: when something has come there meanwhile.
        """
        _check_empty(self._folder, self._refuse, but=self.path)
        try:
            if self.path.parent == self._place:
                # The folder itself must stay: what makes of it what it is comes last.
                for entry in sorted(self.path.iterdir(), key=lambda each: each.name == self._last):
                    entry.rename(self._place / entry.name)
                self.path.rmdir()
            else:
                if self._place.exists():
                    shutil.copymode(self._place, self.path)
                    if os.name != "posix":
                        self._place.rmdir()
                self.path.rename(self._place)
        except OSError as error:
            raise _unusable(self._folder, error) from error
        self.lock.moved(self._folder)
        self.begun = True


@contextmanager
def new_folder(
    folder: Path, *, refuse: Refuse, last: str, made: Collection[str]
) -> Iterator[NewFolder]:
    """Prepare what becomes `folder`, which is not there yet, or is empty.

    A hidden folder beside it takes what is written; `begin` renames that. Where the folder cannot
    be replaced (a mounted disk, the working folder, a parent that may not be written), the hidden
    one is inside it. Leaving before `begin` removes all that was made.

    Args:
        folder: its place.
        refuse: raises the error for a folder that holds something of that name already.
        last: the name of the file without which the folder is nothing yet.
        made: the names of all that is ever written there before `begin`: what killed processes
            left is removed where there is nothing else in it.
    Raises:
        RunError: when the folder holds anything, or cannot be made.
    """
    place = Path(os.path.realpath(folder))
    try:
        missing = [path for path in place.parents if not path.exists()]
        inside = place.is_dir() and (_must_stay(place) or any(place.iterdir()))
    except OSError as error:
        raise _unusable(folder, error) from error
    home = place if inside else place.parent
    path = home / f".recurra-new-{os.getpid()}-{secrets.token_hex(4)}"
    _remove_abandoned(home, {*made, LOCK_NAME})
    _check_empty(folder, refuse)
    new: NewFolder | None = None
    try:
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise _unusable(folder, error) from error
        with FolderLock(place if inside else path) as lock:
            new = NewFolder(folder, place, path, lock, refuse, last)
            yield new
    finally:
        if new is None or not new.begun:
            shutil.rmtree(path, ignore_errors=True)
            for parent in missing:
                with contextlib.suppress(OSError):
                    parent.rmdir()


def _check_empty(folder: Path, refuse: Refuse, *, but: Path | None = None) -> None:
    """Refuse a folder that is there and holds anything besides `but` and its own lock."""
    if not os.path.lexists(folder):
        return
    try:
        found = [path for path in folder.iterdir() if not _is_lock(path)]
        names = sorted({path.name for path in found} - {but.name if but else ""})
    except OSError as error:
        raise _unusable(folder, error) from error
    if names:
        refuse(folder, names[0])


def _is_lock(path: Path) -> bool:
    return path.name == LOCK_NAME and path.is_file() and path.stat().st_size == 0


def _must_stay(place: Path) -> bool:
    """Whether a folder that is there cannot have another put in its place."""
    return (
        os.path.ismount(place)
        or place == Path.cwd()
        or not os.access(place.parent, os.W_OK | os.X_OK)
    )


def _remove_abandoned(parent: Path, known: Collection[str]) -> None:
    """Remove what starts that were killed have left in `parent`, and nothing that lives."""
    try:
        found = [path for path in parent.iterdir() if _NEW.fullmatch(path.name)]
    except OSError:
        return
    for path in found:
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink() and _is_abandoned(path, known):
                shutil.rmtree(path)


def _is_abandoned(path: Path, known: Collection[str]) -> bool:
    """Whether a hidden folder holds what a start makes and no process is in it."""
    names = {entry.name for entry in path.iterdir() if not entry.name.endswith(".part")}
    if not names.issubset(known):
        return False
    if LOCK_NAME in names:
        return not is_held(path)
    match = _NEW.fullmatch(path.name)
    return match is not None and not _is_alive(int(match[1]))


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _unusable(folder: Path, error: OSError) -> RunError:
    return RunError(
        f"{folder}: expected a folder that can be made and written, got: "
        f"{error.strerror or error}. Choose another with {argument('out=')}, or change its "
        "permissions."
    )
