"""`recurra.train`: a task by its name, or of one's own, trained into a run."""

import functools
import inspect
import operator
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recurra.errors import RunError, argument
from recurra.runs import Run, TrainingResult, ViewMaker, go_on, start
from recurra.settings import declared, default_of, kind_of, nearest
from recurra.tasks import (  # noqa: F401  (known once defined)
    align,
    caption,
    classify,
    forecast,
    frames,
    language,
    motion,
    problems,
    tag,
    translate,
)
from recurra.tasks.options import OPTIONS
from recurra.training.hooks import Hook
from recurra.training.task import Task


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
        view: what shows the training: "auto" is a live panel in a terminal, a live line in a
            notebook and a log elsewhere; None is silent; or a function that makes a view from a
            title.
        hooks: told what the trainer does.
        settings: the task's, by name; the others have their defaults. The signature lists those
            of lm and classify; docs/settings.md and `recurra train NAME --help` say what each is.
    Raises:
        ValueError: when a setting is out of its range or unknown.
        DataError: when the data cannot be read or are too few.
        RunError: when the folder holds anything already or cannot be written.
        CheckpointError: on resuming, when the checkpoint is missing or damaged.
    """
    kind = find(task) if isinstance(task, str) else task
    if not isinstance(kind, Task) and not (isinstance(kind, type) and issubclass(kind, Task)):
        raise TypeError(
            f"train: expected the name of a task, or one of your own, got {task!r:.60}. Write "
            f'rc.train("lm", ...).'
        )
    if out == "":
        raise ValueError(f"{argument('out')}: expected the name of a folder, got ''. Name one.")
    make_view = _view_for if view == "auto" else view
    if isinstance(make_view, str):
        raise ValueError(f'view: expected "auto", None or a function, got {view!r}. Use one.')
    if not resume:
        folder = None if out is None else Path(out)
        result = start(kind, folder, settings, view=make_view, hooks=hooks, init_from=init_from)
        return _run_of(result, kind)
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
    return _run_of(go_on(out, settings, task=ready, view=make_view, hooks=hooks), kind)


def _run_of(result: TrainingResult, task: type[Task[Any, Any]] | Task[Any, Any]) -> Run:
    """The run, with what it came to, and the task where that has its data already."""
    run = Run.open(result.folder)
    run.result = result
    if isinstance(task, Task):
        run.task = task
    return run


class _ByTask:
    """A default that is another for each task, as a signature shows it."""

    def __init__(self, defaults: dict[str, Any]) -> None:
        self._defaults = defaults

    def __repr__(self) -> str:
        return f"<{', '.join(f'{task}: {value!r}' for task, value in self._defaults.items())}>"


def _signature() -> inspect.Signature:
    """Of `train`, with the settings by name: what a notebook completes and `rc.train?` shows."""
    found: dict[str, dict[str, tuple[Any, Any]]] = {}  # by setting and task: type and default
    for task, options in OPTIONS.items():
        for kind in (options.data, options.model, options.training):
            for each in declared(kind):
                hint, optional = kind_of(kind, each.name)
                shown = hint | None if optional else hint
                found.setdefault(each.name, {})[task] = shown, default_of(each)
    *own, others = inspect.signature(train).parameters.values()
    settings = [_parameter(name, by_task) for name, by_task in found.items()]
    return inspect.Signature([*own, *settings, others], return_annotation=Run)


def _parameter(name: str, by_task: Mapping[str, tuple[Any, Any]]) -> inspect.Parameter:
    defaults = {task: default for task, (_, default) in by_task.items()}
    hints = [hint for hint, _ in by_task.values()]
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=functools.reduce(operator.or_, hints),
        default=defaults.popitem()[1] if len(set(defaults.values())) == 1 else _ByTask(defaults),
    )


def _view_for(title: str) -> Any:
    from rich.console import Console

    from recurra.views import NotebookView, in_notebook, view_for

    if in_notebook():
        return NotebookView(title=title)
    return view_for(Console(file=sys.stdout, highlight=False), title=title)


train.__signature__ = _signature()  # type: ignore[attr-defined]
