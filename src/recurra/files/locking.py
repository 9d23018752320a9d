"""One process at a time in a folder: a lock that the system itself drops when its process dies."""

import contextlib
import os
from pathlib import Path
from types import TracebackType

import filelock

from recurra.errors import RunError, argument

LOCK_NAME = ".lock"


class FolderLock:
    """Holds a folder for this process, from `with` to its end.

    The lock is the system's, on `.lock` in the folder: a process that was killed holds nothing,
    and the file that it leaves means nothing. The file is removed at the end. The process itself
    may rename the folder meanwhile and say so with `moved`.

    Raises:
        RunError: on entering, when another process holds it or the folder cannot be written.
    """

    def __init__(self, folder: Path, what: str = "run") -> None:
        self.folder = folder
        self._what = what
        # a lock of its own for every object: two threads of a process keep each other out too
        self._lock = filelock.FileLock(folder / LOCK_NAME, timeout=0, thread_local=False)
        self._identity: tuple[int, int] | None = None
        self._file: tuple[int, int] | None = None

    def __enter__(self) -> "FolderLock":
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise RunError(
                f"{self.folder}: expected a {self._what} that nothing else trains, got one that "
                "another process is training now. Wait for its end or stop it, or train under "
                "another name."
            ) from None
        except OSError as error:
            raise RunError(
                f"{self.folder}: expected a folder that can be written, got: "
                f"{error.strerror or error}. Change its permissions, or choose another."
            ) from error
        self._identity = _identity(self.folder)
        self._file = _identity(self.folder / LOCK_NAME)
        return self

    def moved(self, folder: Path) -> None:
        """Take note that this process has renamed the folder."""
        self.folder = folder

    def check(self) -> None:
        """Raise RunError when the folder is no longer where it was: removed, or renamed."""
        try:
            if _identity(self.folder) == self._identity:
                return
        except OSError:
            pass
        raise RunError(
            f"{self.folder}: expected the run's folder to stay where it is while the run is "
            "trained, got it moved or removed. Where it was moved to, go on with "
            f"{argument('resume=True')}."
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        path = self.folder / LOCK_NAME
        with contextlib.suppress(OSError):  # the folder may be gone, or another have its place
            if os.name == "posix" and _identity(path) == self._file:
                path.unlink()  # whoever has opened it meanwhile finds it nameless and opens another
        self._lock.release()


def is_held(folder: Path) -> bool:
    """Whether some process holds the folder now."""
    try:
        with FolderLock(folder):
            return False
    except RunError:
        return True


def _identity(path: Path) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_dev, state.st_ino
