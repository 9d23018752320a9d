"""A run in a notebook: one line and the latest sample, drawn over themselves below the code.

IPython is not needed by anything else and is imported where it runs already.
"""

import sys
from html import escape
from types import TracebackType
from typing import Any

from recurra.terminal import printable
from recurra.views.status import Sample, Status
from recurra.views.view import SAMPLE_LINES, View, clock, describe

_KERNEL = "ZMQInteractiveShell"  # of Jupyter, VS Code and, as the base of its own, Colab
NOTES = 3  # of the latest news that are shown below what was said first


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return any(kind.__name__ == _KERNEL for kind in type(shell).__mro__)


class NotebookView:
    """A line that a notebook draws over itself; the last one stays.

    Notebooks that are saved as text keep the line without the bar.
    """

    def __init__(self, *, title: str) -> None:
        self._title = title
        self._status: Status | None = None
        self._sample: Sample | None = None
        self._notes: list[str] = []
        self._handle: Any = None

    def __enter__(self) -> "View":
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        self._handle = display(self, display_id=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The last numbers are there already, and stay."""

    def progressed(self, status: Status) -> None:
        """Draw it."""
        self._status = status
        self._draw()

    def sampled(self, sample: Sample) -> None:
        """Draw it."""
        self._sample = sample
        self._draw()

    def noted(self, message: str) -> None:
        """Draw it."""
        self._notes.append(message)
        self._draw()

    def _draw(self) -> None:
        if self._handle is not None:
            self._handle.update(self)

    def __repr__(self) -> str:
        return f"{printable(self._title)}: {self._line()}"

    def _line(self) -> str:
        return "the first step ..." if self._status is None else describe(self._status)

    def _repr_html_(self) -> str:
        notes = [*self._notes[:1], *self._notes[1:][-NOTES:]]
        parts = [f"<b>{_text(self._title)}</b>", _pre("\n".join(notes))]
        if self._status is not None:
            gone = clock(self._status.elapsed_s)
            bar = f"<progress max='1' value='{self._status.fraction:.3f}'></progress>"
            parts.append(f"{bar} {gone} gone")
        parts.append(f"<div>{_text(self._line())}</div>")
        if self._sample is not None:
            lines = self._sample.text.splitlines()[:SAMPLE_LINES]
            parts += [f"<i>{_text(self._sample.heading)}</i>", _pre("\n".join(lines))]
        return f"<div>{''.join(parts)}</div>"


def _text(text: str) -> str:
    return escape(printable(text))


def _pre(text: str) -> str:
    return f"<pre style='margin: 0'>{_text(text)}</pre>" if text else ""
