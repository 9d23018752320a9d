"""Cells of the user's own, from the file or the module in which they are kept.

A file is run as a module, once as long as it stays as it is, and only when it is named: this is
called for what a user has written where a cell goes, never for what stands in a saved folder.
"""

import difflib
import errno
import importlib
import linecache
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

from recurra.errors import CellError
from recurra.lang import Cell

_MAY_RUN: ContextVar[bool] = ContextVar("recurra_may_run", default=True)
_ran: dict[str, tuple[tuple[int, int], ModuleType]] = {}  # by file: as it was when it ran


@contextmanager
def nothing_runs() -> Iterator[None]:
    """In the block no spelling runs a file or imports a module: it is read from a saved folder."""
    token = _MAY_RUN.set(False)
    try:
        yield
    finally:
        _MAY_RUN.reset(token)


def _check_may_run(spelled: str) -> None:
    if not _MAY_RUN.get():
        raise ValueError(
            f"cell: expected a cell that needs no code of a user's, got {spelled!r:.200} in a "
            f"saved folder. Nothing that a folder names is run."
        )


def cell_of_file(path: str, name: str) -> Cell:
    """The cell that a Python file calls `name`; runs the file.

    Raises:
        ValueError: when the file is missing, ends with an error, or has no such cell.
        CellError: at the line of the file whose equations are wrong.
    """
    _check_may_run(f"{path}:{name}")
    return _cell_in(_module_of_file(Path(path).expanduser()), name, path)


def cell_of_module(module: str, name: str) -> Cell:
    """The cell that a module calls `name`; the present folder is looked in as well.

    Raises:
        ValueError: when there is no such module, it ends with an error, or has no such cell.
        CellError: at the line of the module whose equations are wrong.
    """
    _check_may_run(f"{module}:{name}")
    try:
        with _first_on_path(os.getcwd()):
            found = importlib.import_module(module)
    except CellError:
        raise
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module}.".startswith(f"{missing}."):
            raise ValueError(
                f"cell: expected the name of a cell, or a module that can be imported from here, "
                f"got {module!r}. Write a file as in my_file.py:{name}."
            ) from None
        raise ValueError(_ended(module, error)) from error
    return _cell_in(found, name, module)


def _module_of_file(path: Path) -> ModuleType:
    try:
        about = path.stat()
        if not path.is_file():
            raise OSError(errno.EINVAL, "it is no file")
        source = path.read_bytes()
    except OSError as error:
        near = difflib.get_close_matches(path.name, _python_files(path.parent), n=1)
        hint = f"Did you mean {path.parent / near[0]}?" if near else "Check the path."
        raise ValueError(
            f"cell: expected a Python file, got {str(path)!r}: {error.strerror}. {hint}"
        ) from None
    key, now = str(path.resolve()), (about.st_mtime_ns, about.st_size)
    if key in _ran and _ran[key][0] == now:
        return _ran[key][1]
    # A name that no import finds: neither does the file hide a module called as it is, nor does a
    # pickled cell of it depend on the file.
    module = ModuleType(f"{path.stem} (a file)")
    module.__file__ = key
    linecache.checkcache(key)  # messages show the line as it is now
    with _first_on_path(str(path.resolve().parent)):
        sys.modules[module.__name__] = module
        try:
            exec(compile(source, key, "exec", dont_inherit=True), module.__dict__)
        except CellError:
            raise
        except (Exception, SystemExit) as error:
            raise ValueError(_ended(str(path), error, key)) from error
        finally:
            del sys.modules[module.__name__]
    _ran[key] = (now, module)
    return module


@contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    """Imports look into the folder first, as they do for a program that is run in it."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _python_files(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir() if entry.suffix == ".py"]
    except OSError:
        return []


def _ended(origin: str, error: BaseException, file: str | None = None) -> str:
    """One line on the error with which a file or module of the user's ended, and on its place."""
    if isinstance(error, SyntaxError):
        place, said = (error.filename, error.lineno), error.msg
    else:
        frames = [
            (frame.filename, frame.lineno)
            for frame in traceback.extract_tb(error.__traceback__)
            if file in (None, frame.filename) and not frame.filename.startswith("<frozen")
        ]
        place, said = frames[-1] if frames else (file, None), " ".join(str(error).split())
    where = f" at line {place[1]} of {place[0]}" if place[1] else ""
    return (
        f"cell: expected {origin} to run, got {type(error).__name__}: {said:.300}{where}. "
        f"Correct it there."
    )


def _cell_in(module: ModuleType, name: str, origin: str) -> Cell:
    found = vars(module).get(name)
    if found is None and name != "__getattr__" and hasattr(module, name):
        found = getattr(module, name)
    if isinstance(found, Cell):
        return found
    if found is not None:
        hint = "Decorate its equations with @recurra.cell." if callable(found) else "Name a cell."
        raise ValueError(
            f"cell: expected {name} of {origin} to be a cell, got {type(found).__name__}. {hint}"
        )
    every = {key: value for key, value in vars(module).items() if isinstance(value, Cell)}
    own = [key for key, cell in every.items() if cell.__module__ == module.__name__]
    listed = own or list(every)
    near = difflib.get_close_matches(name, listed, n=1)
    has = f"It has {', '.join(listed)}." if listed else "It has no cell: decorate one with @cell."
    raise ValueError(
        f"cell: expected a cell of {origin}, got {name!r}. {has}"
        + (f" Did you mean {near[0]}?" if near and len(listed) > 1 else "")
    )
