"""`recurra.train`: a task by its name, or of one's own, trained into a run."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recurra.errors import RunError, argument
from recurra.settings import nearest
from recurra.tasks import classify, language, problems  # noqa: F401  (known once defined)
from recurra.training.runs import Run, ViewMaker, go_on, start
from recurra.training.task import Task
from recurra.training.trainer import Hook


def find(task: str) -> type[Task[Any, Any]]:
    """The task of that name.

    Raises:
        ValueError: when there is none.
    """
    if task not in Task.known:
        raise ValueError(
            f"task: expected one of {', '.join(sorted(Task.known))}, got {task!r}. "
            f"{nearest(task, Task.known)}"
        )
    return Task.known[task]


def train(
    task: str | type[Task[Any, Any]] | Task[Any, Any],
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    init_from: str | os.PathLike[str] | None = None,
    view: ViewMaker | str | None = "auto",
    hooks: Sequence[Hook] = (),
    **settings: Any,
) -> Run:
    """Train a model on a task into a run's folder, and give the run.

    Args:
        task: its name, as in `recurra train NAME`; or a `Task` of your own, its class or one that
            has its data.
        out: folder of the run, made anew; None: a new one under runs/.
        resume: go on with the run in `out` from its last checkpoint.
        init_from: a run or saved model to take weights from, where names and shapes agree.
        view: what shows the training: "auto" is a live panel in a terminal and a log
            elsewhere; None is silent; or a function that makes a view from a title.
        hooks: told what the trainer does.
        settings: the task's, by name; the others have their defaults. See `recurra train NAME
            --help`.
    Raises:
        ValueError: when a setting is out of its range or unknown.
        DataError: when the data cannot be read or are too few.
        RunError: when the folder holds anything already or cannot be written.
        CheckpointError: on resuming, when the checkpoint is missing or damaged.
    """
    kind = find(task) if isinstance(task, str) else task
    make_view = _view_for if view == "auto" else view
    if isinstance(make_view, str):
        raise ValueError(f'view: expected "auto", None or a function, got {view!r}. Use one.')
    if not resume:
        folder = None if out is None else Path(out)
        return start(kind, folder, settings, view=make_view, hooks=hooks, init_from=init_from)
    if out is None:
        raise RunError(
            f"{argument('out')}: expected the folder of a run to resume, got none. Name it."
        )
    if init_from is not None:
        raise ValueError(
            f"init_from: expected it for a new run, got {argument('resume=True')} beside it. Leave "
            "one of them out."
        )
    ready = kind if isinstance(kind, Task) else kind.name
    result = go_on(out, settings, task=ready, view=make_view, hooks=hooks)
    run = Run.open(out)
    run.result = result
    return run


def _view_for(title: str) -> Any:
    from rich.console import Console

    from recurra.views import view_for

    return view_for(Console(file=sys.stdout, highlight=False), title=title)
