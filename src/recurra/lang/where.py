"""Where in the user's own code something was written: every error of the language points there."""

import linecache
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

# torch's functions, called on symbols, come back to us; the other two wrap ours in tests
_NOT_THE_USERS = ("recurra.lang.", "torch.", "jaxtyping.", "beartype.")


@dataclass(frozen=True, slots=True)
class Where:
    """A line of the user's code, inside the equations of a cell."""

    file: str
    line: int
    cell: str

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}, in {self.cell}"

    def message(self, text: str) -> str:
        """`text` with the place before it and the line of code under it."""
        code = linecache.getline(self.file, self.line).strip()
        return f'File "{self.file}", line {self.line}, in {self.cell}: {text}' + (
            f"\n    {code}" if code else ""
        )


def here(cell: str) -> Where:
    """The innermost line on the stack that is the user's."""
    frame = _users_frame()
    return Where(frame.f_code.co_filename, frame.f_lineno, cell)


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
