"""What a run looks like while it trains: a live panel in a terminal, plain lines anywhere else."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, runtime_checkable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from recurra.terminal import printable
from recurra.views.status import Sample, Status

LINE_EVERY_S = 10.0
SAMPLE_LINES = 12  # of the latest sample in the panel; samples.txt has all of it


@runtime_checkable
class View(Protocol):
    """Something that shows a run; the training loop calls it and never prints."""

    def __enter__(self) -> "View":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Called when the run has ended, however it did."""

    def progressed(self, status: Status) -> None:
        """Called after the first step, and then a few times a second."""

    def sampled(self, sample: Sample) -> None:
        """Called with each new sample."""

    def noted(self, message: str) -> None:
        """Called with news of one line: a skipped step, a new best."""


class SilentView(View):
    """Shows nothing; what library use and tests want."""


class PlainView(SilentView):
    """One line every ten seconds, for logs and pipes."""

    def __init__(self, console: Console, *, every_s: float = LINE_EVERY_S) -> None:
        self._console = console
        self._every_s = every_s
        self._next = 0.0
        self._unsaid: Status | None = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Print the last numbers, if they are not there yet."""
        if self._unsaid is not None:
            self._print(describe(self._unsaid))

    def progressed(self, status: Status) -> None:
        """Print a line if the last one is old enough, or the run is over."""
        now = time.monotonic()
        self._unsaid = status
        if now >= self._next or status.fraction >= 1.0:
            self._next = now + self._every_s
            self._unsaid = None
            self._print(describe(status))

    def sampled(self, sample: Sample) -> None:
        """Print it under its heading."""
        self._print(f"=== {sample.heading} ===\n{printable(sample.text)}\n")

    def noted(self, message: str) -> None:
        """Print it."""
        self._print(printable(message))

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveView:
    """A panel that is drawn over itself: progress, losses, speed, time left, the latest sample."""

    def __init__(self, console: Console, *, title: str) -> None:
        self._title = title
        self._status: Status | None = None
        self._sample: Sample | None = None
        self._console = console
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4)

    def __enter__(self) -> "View":
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Draw the last numbers and leave them there, but at a run's end, which is told in full."""
        self._live.transient = kind is None
        self._live.stop()

    def progressed(self, status: Status) -> None:
        """Show it at the next refresh."""
        self._status = status

    def sampled(self, sample: Sample) -> None:
        """Show it at the next refresh."""
        self._sample = sample

    def noted(self, message: str) -> None:
        """Print it above the panel, where it stays."""
        self._console.print(Text(printable(message)))

    def _draw(self) -> RenderableType:
        rows: list[RenderableType] = [_bar(self._status)]
        if self._status is not None:
            rows.append(_numbers(self._status))
        if self._sample is not None:
            lines = printable(self._sample.text).splitlines()[:SAMPLE_LINES]
            rows += [Text(self._sample.heading, style="dim"), Text("\n".join(lines), style="cyan")]
        # Room beside the border: there a terminal shows the ^C that was typed, and tears nothing.
        width = max(self._console.width - 3, 20)
        title = Text(printable(self._title))
        return Panel(Group(*rows), title=title, title_align="left", width=width)


def view_for(console: Console, *, title: str) -> View:
    """The live panel where `console` is a terminal, else plain lines."""
    return LiveView(console, title=title) if console.is_terminal else PlainView(console)


def describe(status: Status) -> str:
    """One line with everything in a status."""
    parts = [_steps(status), f"{status.fraction:.0%}"]
    if status.before:
        parts[0] = f"{status.before}: {parts[0]}"
    else:
        parts += _of_training(status)
    if status.seconds_left is not None:
        parts.append(f"{clock(status.seconds_left)} left")
    return ", ".join(parts)


def _of_training(status: Status) -> list[str]:
    parts = [f"epoch {status.epoch:.2f}"]
    if status.train:
        parts.append(status.spelled(status.train))
    if status.val:
        parts.append(status.spelled(status.val, "val "))
    parts.append(f"lr {status.lr:.2g}")
    if status.grad_norm is not None:
        parts.append(f"grad norm {status.grad_norm:.3g}")
    if status.per_s is not None:
        parts.append(f"{status.per_s:,.0f} {status.counted}/s")
    if status.skipped:
        parts.append(f"{status.skipped} skipped")
    return parts


def clock(seconds: float) -> str:
    """75 -> "1:15"; an hour and more with the hours in front."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _steps(status: Status) -> str:
    total = "" if status.total_steps is None else f" of {status.total_steps}"
    return f"step {status.step}{total}"


def _bar(status: Status | None) -> RenderableType:
    if status is None:
        return Text("the first step ...")
    row = Table.grid(expand=True, padding=(0, 1))
    row.add_column(ratio=1)
    row.add_column(justify="right")
    left = "" if status.seconds_left is None else f", {clock(status.seconds_left)} left"
    row.add_row(
        ProgressBar(total=1.0, completed=status.fraction),
        Text(f"{status.fraction:.0%}, {clock(status.elapsed_s)} gone{left}"),
    )
    return row


def _numbers(status: Status) -> RenderableType:
    table = Table.grid(expand=True, padding=(0, 2))
    for _ in range(3):
        table.add_column()
    if status.before:
        table.add_row(Text(f"{status.before}: {_steps(status)}"))
        return table
    cells = [f"{_steps(status)}, epoch {status.epoch:.2f}"]
    cells.append(status.spelled(status.train) or "the first step ...")
    cells.append(status.spelled(status.val, "val ") or "validation not yet")
    speed = "" if status.per_s is None else f"{status.per_s:,.0f} {status.counted}/s"
    norm = "" if status.grad_norm is None else f"grad norm {status.grad_norm:.3g}"
    cells += [speed, f"lr {status.lr:.2g}", norm]
    if status.skipped:
        cells += [f"{status.skipped} steps skipped", "", ""]
    for index in range(0, len(cells), 3):
        table.add_row(*(Text(cell) for cell in cells[index : index + 3]))
    return table


@contextmanager
def showing_builds(view: View) -> Iterator[None]:
    """Have the view say that kernels are built, the first time that one is."""
    log = logging.getLogger("recurra.build")
    news, level = _BuildNews(view), log.level
    log.addHandler(news)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(news)


class _BuildNews(logging.Handler):
    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        self._said = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._said:
            self._said = True
            self._view.noted(f"{record.getMessage()}; they are kept for the next run")
