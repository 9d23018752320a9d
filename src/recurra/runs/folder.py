"""A run's folder: what is in it, what its config.json says, and what a new one may not hold."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

from recurra.errors import CheckpointError, RunError, argument
from recurra.files import NewFolder, new_folder
from recurra.files.metrics import EVENTS
from recurra.models import Model
from recurra.models.files import CONFIG_NAME, FORMAT, WEIGHTS_NAME, read_config
from recurra.models.saving import model_config, write_config
from recurra.runs.checkpoints import RECORD_NAME, TENSORS_NAME
from recurra.settings import names, one_or_several
from recurra.training.settings import RunSettings
from recurra.training.task import Task

METRICS_NAME = "metrics.csv"
SAMPLES_NAME = "samples.txt"
REPORT_NAME = "report.html"
DATA_FOLDERS = ("tokens", "data")  # what tasks read their data into
# Of whole files, written beside their place: what a killed process may have left parts of.
WHOLE = (CONFIG_NAME, WEIGHTS_NAME, TENSORS_NAME, RECORD_NAME, REPORT_NAME)


def is_run(folder: Path) -> bool:
    """Whether there is a run in `folder` that has begun, and can be resumed."""
    return all((folder / name).exists() for name in (CONFIG_NAME, TENSORS_NAME))


def read_run(
    folder: Path, kind: type[RunError] | type[CheckpointError], task: str | None = None
) -> tuple[type[Task[Any, Any]], dict[str, Any]]:
    """The class of a run's task and its config.json, or an error of `kind`."""
    path = folder / CONFIG_NAME
    if not os.path.lexists(path):
        raise kind(
            f"{folder}: expected a run, got no config.json there. Check the name of the run."
        )
    try:
        config = read_config(path)
    except CheckpointError as error:
        raise kind(str(error)) from error
    name = config.get("task")
    found = Task.known.get(name) if isinstance(name, str) else None
    if found is None or (task is not None and name != task) or not found.has_entries(config):
        wanted = f"{task!r}" if task else ", ".join(sorted(Task.known))
        raise kind(
            f"{path}: expected the run of a task ({wanted}), got "
            f"{config.get('task')!r:.60}. Check the name of the run."
        )
    return found, config


def kinds_of(task: type[Task[Any, Any]]) -> tuple[Any, Any, Any]:
    """The classes of a task's settings: data, model, training."""
    return task.data_settings, task.model_settings, task.training_settings


def settings_of(folder: Path, task: type[Task[Any, Any]], config: Mapping[str, Any]) -> RunSettings:
    """The settings in a run's config.json.

    Raises:
        RunError: when they are not such that a run could have been started with.
    """
    data, model, training = kinds_of(task)
    try:
        unknown = sorted(set(config["training"]).difference(names(training)))
        if unknown:
            raise ValueError(
                f"training: expected those of this version, got also {', '.join(unknown)}. "
                "Use the version of recurra that wrote the run."
            )
        return RunSettings(
            data=data.pick(config["data"]),
            model=model.pick({**config["model"], **config.get("model_settings", {})}),
            training=training.pick(config["training"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"them without {error}" if isinstance(error, KeyError) else str(error)
        what = " ".join(what.split())
        raise RunError(
            f"{folder / CONFIG_NAME}: expected the settings of a run, got {what:.300}. "
            "Restore the file from a copy."
        ) from error


def write_new_config(
    folder: Path,
    kind: type[Task[Any, Any]],
    settings: RunSettings,
    model: Model,
    task: Task[Any, Any],
) -> None:
    """Write what a new run is: its task, its model, its data and all settings."""
    entries = task.entries()
    write_config(
        folder / CONFIG_NAME,
        {
            "format": FORMAT,
            "task": kind.name,
            "model": model_config(model),
            "model_settings": settings.model.to_dict(),
            **entries,
            "data": {**settings.data.to_dict(), **entries.get("data", {})},
            "training": settings.training.to_dict(),
            "described": dict(task.describe().facts),
        },
    )


def absolute(task: type[Task[Any, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with full paths, so that a run can be resumed from any folder."""
    full: dict[str, Any] = {}
    for name in task.data_settings.paths():
        value = one_or_several(given.get(name))
        if isinstance(value, str | os.PathLike):
            full[name] = _absolute(value)
        elif isinstance(value, tuple) and all(isinstance(v, str | os.PathLike) for v in value):
            full[name] = tuple(map(_absolute, value))
    return {**given, **full}


def _absolute(path: str | os.PathLike[str]) -> str:
    """The full path; "-", which is standard input, as it is, and so is a pipe, which has none, and
    a name of what is no file, such as that of a world; "" names nothing, which settings refuse."""
    is_file = path != "" and Path(path).exists() and not Path(path).is_fifo()
    return str(Path(path).resolve()) if is_file else str(path)


# ---- new runs ------------------------------------------------------------------------------------


def next_name(task: str) -> Path:
    """A folder under runs/ that is not there yet: runs/lm-1, runs/lm-2 and so on."""
    home = Path("runs")
    number = 1
    while os.path.lexists(home / f"{task}-{number}"):
        number += 1
    return home / f"{task}-{number}"


def new_run(folder: Path) -> AbstractContextManager[NewFolder]:
    """Prepare a run for `folder`, which is not there yet, or is empty; see `new_folder`."""
    made = (*WHOLE, *DATA_FOLDERS)
    return new_folder(folder, refuse=_refuse_used, last=CONFIG_NAME, made=made)


def _refuse_used(folder: Path, name: str) -> NoReturn:
    """Raise RunError for a folder that holds something of that name."""
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
        f"{folder}: expected a new folder or an empty one, got one that holds {name} and is no "
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
