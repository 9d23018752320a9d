"""Where in the user's own code something was written: every error of the language points there."""

import linecache
import sys
from dataclasses import dataclass
from pathlib import Path

_OWN_FOLDER = str(Path(__file__).parent)


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
    """The innermost line on the stack that is not in the language's own folder."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OWN_FOLDER):
        frame = frame.f_back
    return Where(frame.f_code.co_filename, frame.f_lineno, cell)
