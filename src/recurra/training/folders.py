"""The folder of a new run: made beside its place, and put there once the run can start.

Nothing that was there before is touched: a start that fails, is stopped or killed leaves what it
made in a hidden folder of its own, which it removes, or the next start does.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recurra.errors import CheckpointError, RunError, argument
from recurra.files.locking import LOCK_NAME, FolderLock, is_held
from recurra.models.files import CONFIG_NAME, WEIGHTS_NAME, read_config
from recurra.training.checkpoints import RECORD_NAME, TENSORS_NAME
from recurra.training.logbook import EVENTS, METRICS_NAME, SAMPLES_NAME

DATA_FOLDERS = ("tokens", "data")  # what tasks read their data into
# Of whole files, written beside their place: what a killed process may have left parts of.
WHOLE = (CONFIG_NAME, WEIGHTS_NAME, TENSORS_NAME, RECORD_NAME)
_NEW = re.compile(r"\.recurra-new-(\d+)-[0-9a-f]{8}")


class NewFolder:
    """Where a run is prepared, with the lock of the run.

    Attributes:
        path: to write into.
        lock: held from the start, by the run too.
    """

    def __init__(self, folder: Path, place: Path, path: Path, lock: FolderLock) -> None:
        self.path, self.lock = path, lock
        self.begun = False
        self._folder, self._place = folder, place

    def begin(self) -> None:
        """Put what was written in place; from here on it is a run.

        Raises:
            RunError: when something has come there meanwhile.
        """
        refuse_used(self._folder, but=self.path)
        try:
            if self.path.parent == self._place:
                # The folder itself must stay: config.json, which makes a run of it, comes last.
                for entry in sorted(self.path.iterdir(), key=lambda each: each.name == CONFIG_NAME):
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
def new_folder(folder: Path) -> Iterator[NewFolder]:
    """Prepare a run for `folder`, which is not there yet, or is empty.

    A hidden folder beside it takes what is written; `begin` renames that. Where the folder cannot
    be replaced (a mounted disk, the working folder, a parent that may not be written), the hidden
    one is inside it. Leaving before `begin` removes all that was made.

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
    _remove_abandoned(home)
    refuse_used(folder)
    new: NewFolder | None = None
    try:
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise _unusable(folder, error) from error
        with FolderLock(place if inside else path) as lock:
            new = NewFolder(folder, place, path, lock)
            yield new
    finally:
        if new is None or not new.begun:
            shutil.rmtree(path, ignore_errors=True)
            for made in missing:
                with contextlib.suppress(OSError):
                    made.rmdir()


def next_name(task: str) -> Path:
    """A folder under runs/ that is not there yet: runs/lm-1, runs/lm-2 and so on."""
    home = Path("runs")
    number = 1
    while os.path.lexists(home / f"{task}-{number}"):
        number += 1
    return home / f"{task}-{number}"


def refuse_used(folder: Path, *, but: Path | None = None) -> None:
    """Raise RunError when `folder` is there and holds anything besides `but` and its own lock."""
    if not os.path.lexists(folder):
        return
    try:
        found = [path for path in folder.iterdir() if not _is_lock(path)]
        names = sorted({path.name for path in found} - {but.name if but else ""})
    except OSError as error:
        raise _unusable(folder, error) from error
    if not names:
        return
    try:
        is_run = "task" in read_config(folder / CONFIG_NAME)
    except CheckpointError:
        is_run = False
    if is_run:
        raise RunError(
            f"{folder}: expected a new folder, got one that holds a run already ({CONFIG_NAME}). "
            f"Go on with that run by {argument('resume=True')}, or choose another name with "
            f"{argument('out=')}."
        )
    raise RunError(
        f"{folder}: expected a new folder or an empty one, got one that holds {names[0]} and is no "
        f"run's. A run has its folder for itself: choose another name with {argument('out=')}."
    )


def refuse_run_files(folder: Path) -> None:
    """Raise RunError when `folder` has a file of a name that a run writes; others may be there."""
    names = (*WHOLE, METRICS_NAME, SAMPLES_NAME, *DATA_FOLDERS)
    found = [name for name in names if os.path.lexists(folder / name)]
    found += [path.name for path in folder.glob(EVENTS)]
    if found:
        raise RunError(
            f"{folder}: expected a folder without a run, got one with {found[0]}. Go on with the "
            f"run that is there with fit(resume=True), or {argument('resume=True')}, or use "
            "another folder."
        )


def _is_lock(path: Path) -> bool:
    return path.name == LOCK_NAME and path.is_file() and path.stat().st_size == 0


def _must_stay(place: Path) -> bool:
    """Whether a folder that is there cannot have another put in its place."""
    return (
        os.path.ismount(place)
        or place == Path.cwd()
        or not os.access(place.parent, os.W_OK | os.X_OK)
    )


def _remove_abandoned(parent: Path) -> None:
    """Remove what starts that were killed have left in `parent`, and nothing that lives."""
    try:
        found = [path for path in parent.iterdir() if _NEW.fullmatch(path.name)]
    except OSError:
        return
    for path in found:
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink() and _is_abandoned(path):
                shutil.rmtree(path)


def _is_abandoned(path: Path) -> bool:
    """Whether a hidden folder holds what a start makes and no process is in it."""
    names = {entry.name for entry in path.iterdir() if not entry.name.endswith(".part")}
    if not names <= {*WHOLE, *DATA_FOLDERS, LOCK_NAME}:
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
