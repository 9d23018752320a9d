"""What long work without a run's panel tells of itself: what is done, how far, of how much."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# told what is being done, how much of it is, and how much there is of it; the first is a word or
# two, and stays the same while it is done
Watch = Callable[[str, int, int], None]


def unwatched(what: str, done: int, count: int) -> None:
    """Tells nobody."""


@contextmanager
def bar_on(stream: Any = None) -> Iterator[Watch]:
    """A bar while something is done, gone when it has ended; nothing where nobody looks.

    Args:
        stream: a terminal, or else nothing is shown; None: standard error.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(file=sys.stderr if stream is None else stream)
    if not console.is_terminal:
        yield unwatched
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20))
    rest = (MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, *rest, console=console, transient=True) as progress:
        shown: dict[str, Any] = {}

        def watch(what: str, done: int, count: int) -> None:
            if what not in shown:
                for name in list(shown):
                    progress.remove_task(shown.pop(name))
                shown[what] = progress.add_task(what, total=count)
            progress.update(shown[what], completed=done)

        yield watch
