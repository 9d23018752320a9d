"""Where in the user's own code something was written: every error of the language points there."""

import linecache
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from recurra.errors import CellWarning

# torch's functions, called on symbols, come back to us; the other two wrap ours in tests
_NOT_THE_USERS = ("recurra.lang.", "recurra.compose.", "torch.", "jaxtyping.", "beartype.")


@dataclass(frozen=True, slots=True)
class Where:
    """A line of the user's code, inside the equations of a cell."""

    file: str
    line: int
    cell: str

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}, in {self.cell}"

    def warn(self, text: str) -> None:
        """A warning that stands at this line."""
        warnings.warn_explicit(f"{self.cell}: {text}", CellWarning, self.file, self.line)

    def message(self, text: str) -> str:
        """`text` with the place before it and the line of code under it."""
        code = linecache.getline(self.file, self.line).strip()
        return f'File "{self.file}", line {self.line}, in {self.cell}: {text}' + (
            f"\n    {code}" if code else ""
        )


class Frames:
    """The calls in which the equations have made their values, in the user's own file.

    Python keeps the local variables of a call whose frame somebody holds, so that what the user
    called a value can be read when all is done; no profiler and no debugger is in the way.
    """

    def __init__(self, file: str | None = None) -> None:
        self._file = file
        self._depths: dict[FrameType, int] = {}

    def note(self) -> None:
        """A value is being made: remember who is making it, and who has called that."""
        if self._file is None:
            return
        frame, new = sys._getframe(1), []
        while frame is not None and frame not in self._depths:
            if frame.f_code.co_filename == self._file:
                new.append(frame)
            frame = frame.f_back
        depth = self._depths.get(frame, 0) if frame is not None else 0
        self._depths.update({f: depth + i for i, f in enumerate(reversed(new), 1)})

    def names(self, kind: type) -> dict[Any, str]:
        """What local variables call the values of that kind.

        Helpers count too; the equations come last and so have their way.
        """
        found: dict[Any, str] = {}
        for frame in sorted(self._depths, key=lambda frame: -self._depths[frame]):
            local = frame.f_locals.items()
            found.update({value: name for name, value in local if isinstance(value, kind)})
        return found


def here(cell: str) -> Where:
    """The innermost line on the stack that is the user's."""
    frame = _users_frame()
    return Where(frame.f_code.co_filename, frame.f_lineno, cell)


def name_here(value: object) -> str | None:
    """What the innermost line that is the user's calls a value; None where it has no name."""
    frame = _users_frame()
    for scope in (frame.f_locals, frame.f_globals):
        for name, held in scope.items():
            if held is value and name.isidentifier():
                return name
    return None


def users_module() -> str:
    """The name of the module that this line is in."""
    return _users_frame().f_globals.get("__name__", "")


def _users_frame() -> FrameType:
    frame = sys._getframe(1)
    while frame.f_back is not None and _module(frame).startswith(_NOT_THE_USERS):
        frame = frame.f_back
    return frame


def _module(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '')}."
