"""Runs: folders whose config.json says everything needed to make them again, or go on with them."""

import csv
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from recurra.errors import CheckpointError, DataError, RecurraError, RunError, argument
from recurra.files import FolderLock, read_header, remove_parts
from recurra.interrupts import ending_signals
from recurra.models import Model, load
from recurra.models.files import CONFIG_NAME, WEIGHTS_NAME
from recurra.models.saving import build, check_shapes, read_note, write_config
from recurra.models.starting import take_weights
from recurra.parallel import (
    ALONE,
    Ranks,
    by_torchrun,
    cores,
    launched,
    reported_by_torchrun,
    with_devices,
)
from recurra.settings import check_known, one_or_several
from recurra.training.checkpoints import (
    TENSORS_NAME,
    WHAT,
    how_to_go_on,
    load_checkpoint,
    reported_as_run_error,
    save_checkpoint,
)
from recurra.training.described import (
    absolute,
    is_run,
    kinds_of,
    read_run,
    settings_of,
    write_new_config,
)
from recurra.training.folders import WHOLE, new_folder, next_name
from recurra.training.keeping import FolderLogbook, marked
from recurra.training.logbook import METRICS_NAME, RunLogs
from recurra.training.machine import generators_kept, seed_all
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.training.task import Task, is_better
from recurra.training.trainer import Hook, Logbook, Trainer
from recurra.views import Figure, Sample, View

logger = logging.getLogger("recurra")

ViewMaker = Callable[[str], View]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a finished run came to.

    Attributes:
        folder: of the run.
        task: its name.
        figure: the first of the task's figures, which decides which model is the best.
        steps: taken in all sessions.
        epochs: passes over the training data, with a fraction.
        counted: tokens or sequences read in all sessions.
        seconds: of all sessions.
        best: the best validation value of the figure: that of model.safetensors.
        best_step: the step it was reached at.
        figures: all validation figures at that step.
        counted_in: what was counted.
        skipped: steps skipped because a number was not finite.
        steps_before: of the steps, those that were taken before it was resumed.
        samples: those taken since it was started or resumed.
        stopped: why it ended before its budget was spent; None: it did not.
    """

    folder: Path
    task: str
    figure: Figure
    steps: int
    epochs: float
    counted: int
    seconds: float
    best: float
    best_step: int
    figures: Mapping[str, float]
    counted_in: str
    skipped: int
    steps_before: int
    samples: tuple[Sample, ...]
    stopped: str | None = None


last_started: Path | None = None  # for whoever has to say where a run is that was stopped


class Run:
    """A run: its folder, and what is in it.

    `Run.open(folder)` gives one that is there; `recurra.train` makes a new one.

    Attributes:
        folder: of the run.
        task_class: the kind of its task.
        config: the content of its config.json.
        result: what the last `fit` of this object came to; None before.
    """

    def __init__(
        self, folder: Path, task_class: type[Task[Any, Any]], config: Mapping[str, Any]
    ) -> None:
        self.folder, self.task_class, self.config = folder, task_class, config
        self.result: TrainingResult | None = None

    @classmethod
    def open(cls, folder: str | os.PathLike[str], task: str | None = None) -> "Run":
        """The run in a folder.

        Args:
            folder: of the run.
            task: the name of its task, where only such a run will do.
        Raises:
            CheckpointError: when the folder holds none.
        """
        folder = Path(folder)
        task_class, config = read_run(folder, CheckpointError, task)
        return cls(folder, task_class, config)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, task={self.task_class.name!r})"

    def _repr_html_(self) -> str:
        """A table for notebooks: what it is, and how good it became."""
        from html import escape

        rows = {"run": str(self.folder), "task": self.task_class.name}
        rows |= {"cell": str(self.config.get("model", {}).get("cell", ""))}
        if self.result is not None:
            figure = self.result.figure
            rows[f"validation {figure.name}"] = f"{self.result.best:{figure.spec}}"
            rows["steps"] = f"{self.result.steps:,}"
        cells = "".join(
            f"<tr><th style='text-align:left'>{escape(k)}</th><td>{escape(v)}</td></tr>"
            for k, v in rows.items()
        )
        return f"<table>{cells}</table>"

    @cached_property
    def task(self) -> Task[Any, Any]:
        """The task with the run's data.

        Raises:
            DataError: when the data in the folder are damaged or gone.
        """
        return self.task_class.open(self.folder, self.config)

    @property
    def model(self) -> Any:
        """The best model so far, in evaluation mode, on the CPU."""
        return self.load()

    def load(self, *, device: str | None = None) -> Any:
        """The best model so far, in evaluation mode.

        Raises:
            CheckpointError: when its files are missing or damaged.
            DeviceError: when this machine lacks the device.
        """
        if not (self.folder / WEIGHTS_NAME).exists() and is_run(self.folder):
            raise CheckpointError(
                f"{self.folder}: expected a run with a model, got one that was stopped before its "
                f"first validation. Go on with it by {argument('resume=True')}, or recurra train "
                f"--resume."
            )
        return load(self.folder, device=device)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its name."""
        return settings_of(self.folder, self.task_class, self.config).flat()

    @property
    def data_settings(self) -> Any:
        """Those of the run's data, as the task declares them."""
        return settings_of(self.folder, self.task_class, self.config).data

    def history(self) -> Any:
        """The rows of metrics.csv: a pandas frame where pandas is installed, else a list of
        dictionaries; what was not measured at a step is nan or None."""
        path = self.folder / METRICS_NAME
        try:
            with path.open(newline="") as file:
                rows = [
                    {k: float(v) if v else None for k, v in row.items()}
                    for row in csv.DictReader(file)
                ]
        except FileNotFoundError:
            rows = []
        for row in rows:
            row |= {k: int(v) for k, v in row.items() if k in ("step", "skipped") and v is not None}
        try:
            import pandas  # pyright: ignore[reportMissingImports]
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def evaluate(
        self,
        split: str | None = None,
        *,
        data: Any = None,
        device: str | None = None,
        **how: Any,
    ) -> dict[str, Any]:
        """The figures of the best model over one of the run's splits, or over other files.

        Args:
            split: "train", "val" or "test"; None: the test split, or the whole of `data`.
            data: another file of the same kind, or several; with `split`, that part of it.
            device: where to run; None: the CPU.
            how: settings of the task's data, where `data` is not to be read as the run read its
                own: encoding="latin-1".
        """
        model = self.load(device=device)
        if data is not None:
            check_known(how, type(self.data_settings))
            own = replace(self.data_settings, **how)
            figures = self.task_class.evaluate_file(model, one_or_several(data), split, own)
        else:
            figures = self.task.evaluate(model, split or "test")
        name = split or ("all" if data is not None else "test")
        return {**figures, "split": name, "run": str(self.folder)}

    def predict(self, inputs: Any, **settings: Any) -> list[Any]:
        """What the best model makes of inputs, one prediction for each."""
        return self.model.predict(inputs, **settings)

    def fit(
        self,
        *,
        resume: bool = True,
        view: ViewMaker | None = None,
        hooks: Sequence[Hook] = (),
        **given: Any,
    ) -> TrainingResult:
        """Go on with the run from its last checkpoint; see `go_on`."""
        if not resume:
            raise RunError(
                f"{self.folder}: expected resume=True, since the run was begun already. Start "
                "another with recurra.train."
            )
        own = self.__dict__.get("task")  # one that has its data
        self.result = go_on(self.folder, given, task=own, view=view, hooks=hooks)
        _, self.config = read_run(self.folder, RunError)
        return self.result


# ---- starting and going on -----------------------------------------------------------------------


def start(
    task: type[Task[Any, Any]] | Task[Any, Any],
    folder: Path | None,
    given: Mapping[str, Any],
    *,
    view: ViewMaker | None = None,
    hooks: Sequence[Hook] = (),
    init_from: str | os.PathLike[str] | None = None,
) -> Run:
    """Train a new model into a run folder.

    A new run is prepared in a hidden folder beside its own and put in place when it can start, its
    first checkpoint included: a start that fails leaves everything as it was. torch's settings
    (threads, generators) are as before afterwards.

    Args:
        task: its class, which reads the data that `given` names; or one that has its data.
        folder: of the run: not there yet, or empty; None: a new one under runs/.
        given: settings by name, and `no_clip`; the others have their defaults.
        view: makes the view from a title.
        hooks: told what the trainer does.
        init_from: a run or saved model whose weights the new one starts from, where names and
            shapes agree.
    Raises:
        ValueError: when a setting is out of its range or unknown.
        DataError: when the data cannot be read or are too few.
        RunError: when the folder holds anything already, or cannot be written, or training stops
            because its numbers are not finite.
        KeyboardInterrupt: after Ctrl-C, once the checkpoint is written.
        Terminated: after SIGTERM or SIGHUP, likewise; it ends a process with 128 + the signal.
    """
    kind = task if isinstance(task, type) else type(task)
    if not by_torchrun().is_first:
        return _follow_by_torchrun(task)
    global last_started
    last_started = folder = next_name(kind.name) if folder is None else folder
    with ending_signals(), settings_kept():
        asked = RunSettings.of(kinds_of(kind), absolute(kind, with_devices(given)))
        settings = kind.check(asked)
        with (
            _launched(settings.training, folder, task) as ranks,
            new_folder(folder) as new,
        ):
            use_threads(settings.training, ranks)
            ready = kind.prepare(new.path, settings.data) if isinstance(task, type) else task
            model, taken = _new_model(ready, settings, init_from)
            book = FolderLogbook(folder, model)
            trainer = _trainer(folder, ready, model, settings.training, book, view, hooks, ranks)
            trainer.about += taken
            write_new_config(new.path, kind, asked, model, ready)
            marks = begin(new.path, trainer)
            _have_followed(ranks, folder, new.path, settings.training)
            new.begin()
            result = fit_in(folder, trainer, book, new.lock, marks)
    _, config = read_run(folder, RunError)
    run = Run(folder, kind, config)
    run.result = result
    if not isinstance(task, type):
        run.__dict__["task"] = task
    return run


def go_on(
    folder: str | os.PathLike[str],
    given: Mapping[str, Any],
    *,
    task: Task[Any, Any] | str | None = None,
    view: ViewMaker | None = None,
    hooks: Sequence[Hook] = (),
) -> TrainingResult:
    """Go on with the run in a folder from its last checkpoint.

    What a run is may not change then; how long it goes on, how often it is saved and what it runs
    on may, and `lr` may be lowered. `epochs`, `max_steps` and `max_minutes` are one setting: any of
    them that is given takes the place of all that the run had.

    Raises:
        ValueError: when a setting is out of its range or unknown.
        DataError: when the data in the folder are damaged or gone.
        RunError: when the folder holds no run, or one that another process trains.
        CheckpointError: when the checkpoint is missing, cut short, or of other sizes.
    """
    if not by_torchrun().is_first:
        followed = _follow_by_torchrun(task).result
        assert followed is not None
        return followed
    folder = Path(folder)
    name = task.name if isinstance(task, Task) else task
    ready = task if isinstance(task, Task) else None
    with ending_signals(), settings_kept():
        read_run(folder, RunError, name)  # before anything is made in a folder that holds no run
        with FolderLock(folder) as lock:
            kind, config = read_run(folder, RunError, name)
            saved = settings_of(folder, kind, config)
            wanted, refused = saved.resumed(absolute(kind, with_devices(given)))
            if refused:
                raise RunError(
                    f"{folder}: expected the settings that the run was started with, got "
                    f"{', '.join(refused)}. Leave them out, or start another run with "
                    f"{argument('out=')}."
                )
            with _launched(wanted.training, folder, kind if ready is None else ready) as ranks:
                use_threads(wanted.training, ranks)
                task, model = _opened(folder, kind, config, wanted.training, ready)
                book = FolderLogbook(folder, model)
                try:
                    trainer = _trainer(
                        folder, task, model, wanted.training, book, view, hooks, ranks
                    )
                except DataError as error:
                    raise DataError(
                        f"{folder / CONFIG_NAME}: settings that its data do not fit: {error}"
                    ) from error
                marks = restore(trainer, folder)
                _have_followed(ranks, folder, folder, wanted.training)
                # Only a checkpoint that is accepted, and a limit still ahead, change the run.
                if wanted != saved and not trainer.is_over:
                    training = {"training": wanted.training.to_dict()}
                    write_config(folder / CONFIG_NAME, {**config, **training})
                return fit_in(folder, trainer, book, lock, marks)


def _opened(
    folder: Path,
    kind: type[Task[Any, Any]],
    config: Mapping[str, Any],
    settings: TrainingSettings,
    task: Task[Any, Any] | None,
) -> tuple[Task[Any, Any], Model]:
    """The task and a model of a run that is there, whose weights are still to be restored."""
    ready = kind.open(folder, config) if task is None else task
    model = _model_of(folder / CONFIG_NAME, config, folder / TENSORS_NAME, settings.backend)
    ready.adopt(model)
    return ready, model


def begin(folder: Path, trainer: Trainer[Any, Any]) -> dict[str, int]:
    """Write the checkpoint of a run at its start; the lengths of the logs there."""
    marks = dict.fromkeys(RunLogs.names, 0)
    trainer.seed()
    save_checkpoint(folder, marked(trainer.checkpoint(ALONE), marks))
    return marks


def restore(trainer: Trainer[Any, Any], folder: Path) -> dict[str, int]:
    """Put a trainer where the folder's last checkpoint has it; the lengths of the logs there.

    Nothing on the disk is changed.

    Raises:
        CheckpointError: when it is missing, damaged, or of another model.
    """
    checkpoint, path = load_checkpoint(folder), folder / TENSORS_NAME
    weights = checkpoint.group("model")
    check_shapes(path, {name: tuple(w.shape) for name, w in weights.items()}, trainer.model)
    try:
        marks = {name: int(checkpoint.record["marks"][name]) for name in RunLogs.names}
        if min(marks.values()) < 0:
            raise ValueError(f"marks {marks}")
        trainer.restore(checkpoint)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = f"one without {error}" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(
            f"{path}: expected the checkpoint of this run, got {reason:.300}. "
            "Restore the file from a copy, or start the run again under another name."
        ) from error
    _adopt_best(trainer, folder)
    return marks


def _adopt_best(trainer: Trainer[Any, Any], folder: Path) -> None:
    """Take the model on the disk as it is: a kill may have come before its checkpoint."""
    progress, path = trainer.progress, folder / WEIGHTS_NAME
    if not path.exists():
        progress.best = progress.best_step = None  # the next validation is the best
        return
    note = read_note(folder)
    try:
        value, step = float(note[f"val_{trainer.criterion.name}"]), int(note["step"])
    except (KeyError, ValueError):
        return  # written by an earlier version
    if is_better(trainer.criterion, value, progress.best):
        progress.best, progress.best_step, progress.best_val = value, step, {}


def fit_in(
    folder: Path,
    trainer: Trainer[Any, Any],
    book: "FolderLogbook",
    lock: FolderLock,
    marks: Mapping[str, int],
) -> TrainingResult:
    """Train in a folder that this process holds, its logs cut back to their marks."""
    steps_before = trainer.progress.step
    with generators_kept(trainer.device), reported_as_run_error(folder):
        remove_parts(folder, WHOLE)
        with book.opened(trainer, lock, marks):
            trainer.fit()
    return _result(folder, trainer, steps_before)


def _result(folder: Path, trainer: Trainer[Any, Any], steps_before: int) -> TrainingResult:
    progress = trainer.progress
    assert progress.best is not None
    assert progress.best_step is not None
    return TrainingResult(
        folder=folder,
        task=trainer.task.name,
        figure=trainer.criterion,
        steps=progress.step,
        epochs=progress.passes(len(trainer.source)),
        counted=progress.counted,
        seconds=progress.elapsed_s,
        best=progress.best,
        best_step=progress.best_step,
        figures=progress.best_val or trainer.task.completed(progress.best),
        counted_in=trainer.task.counted,
        skipped=progress.skipped,
        steps_before=steps_before,
        samples=tuple(trainer.samples),
        stopped=trainer.stopped,
    )


# ---- ranks but the first -------------------------------------------------------------------------


def _launched(
    settings: TrainingSettings, folder: Path, task: type[Task[Any, Any]] | Task[Any, Any]
) -> AbstractContextManager[Ranks]:
    """Rank 0, the others started, each of which follows."""
    advice = partial(how_to_go_on, folder)
    return launched(settings.devices, settings.device, _follow, task, advice=advice)


def _have_followed(ranks: Ranks, folder: Path, path: Path, settings: TrainingSettings) -> None:
    """In rank 0: have the other ranks open a run that is at `path` now, and wait for them."""
    ranks.broadcast((folder, path, settings))
    ranks.sum(0.0)


def _follow(ranks: Ranks, task: type[Task[Any, Any]] | Task[Any, Any] | str | None) -> Run:
    """In any other rank: open what rank 0 has prepared, and train along."""
    folder, path, settings = ranks.broadcast((Path(), Path(), TrainingSettings()))
    ready = task if isinstance(task, Task) else None
    with settings_kept():
        use_threads(settings, ranks)
        kind, config = read_run(path, RunError)
        opened, model = _opened(path, kind, config, settings, ready)
        trainer = Trainer(opened, model, settings, logbook=Logbook(), ranks=ranks)
        restore(trainer, path)
        steps_before = trainer.progress.step
        ranks.sum(0.0)
        with generators_kept(trainer.device):
            trainer.fit()
    run = Run(folder, kind, config)
    run.result = _result(folder, trainer, steps_before)
    return run


def _follow_by_torchrun(task: type[Task[Any, Any]] | Task[Any, Any] | str | None) -> Run:
    ranks = by_torchrun()
    with ending_signals(), reported_by_torchrun():
        try:
            return _follow(ranks, task)
        except (RecurraError, ValueError) as error:
            logger.error("rank %d: %s", ranks.rank, error)  # rank 0 cannot say it
            raise


def _trainer(
    folder: Path,
    task: Task[Any, Any],
    model: Model,
    settings: TrainingSettings,
    book: FolderLogbook,
    view: ViewMaker | None,
    hooks: Sequence[Hook],
    ranks: Ranks,
) -> Trainer[Any, Any]:
    shown = None if view is None else view(f"{task.titled(model)}, {folder}")
    trainer = Trainer(task, model, settings, logbook=book, view=shown, hooks=hooks, ranks=ranks)
    trainer.about = describe(trainer)
    return trainer


def describe(trainer: Trainer[Any, Any]) -> str:
    """What is read, what learns it and on what, a line each."""
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    recurrent = getattr(trainer.model, "recurrent", None)
    cell = getattr(recurrent, "cell", None)
    backend = "" if recurrent is None else f", backend {trainer.settings.backend}"
    lines = [
        *trainer.task.describe().lines,
        ("model", f"{'' if cell is None else cell.name + ', '}{parameters:,} parameters"),
        ("an epoch", f"{len(trainer.source):,} steps"),
        ("on", f"{trainer.device}, {torch.get_num_threads()} threads{backend}"),
    ]
    width = max(len(label) for label, _ in lines)
    return "\n".join(f"{label:{width}}  {value}" for label, value in lines)


def _new_model(
    task: Task[Any, Any], settings: RunSettings, init_from: str | os.PathLike[str] | None
) -> tuple[Model, str]:
    """The model, and in words what it took from another."""
    seed_all(settings.training.seed)
    try:
        model = task.build(settings.model, backend=settings.training.backend)
    except (RuntimeError, MemoryError, OverflowError) as error:
        sizes = ", ".join(
            f"{name} {value:,}"
            for name, value in settings.model.to_dict().items()
            if isinstance(value, int) and not isinstance(value, bool)
        )
        raise RunError(
            f"{task.name}: expected sizes that fit into memory, got {sizes} "
            f"({str(error).splitlines()[0]:.120}). Make it smaller."
        ) from error
    said = ""
    if init_from is not None:
        taken = take_weights(model, load(init_from))
        said = f"\nfrom {init_from}  {taken}"
        logger.info("%s: %s", init_from, taken)
        if not taken.tensors:
            raise RunError(
                f"{argument('init_from')}: expected a run with weights of the same names and "
                f"shapes, got none that agree. {taken}."
            )
    return model, said


def _model_of(where: Path, config: Mapping[str, Any], weights: Path, backend: str) -> Model:
    """A model as config.json has it, its shapes those of the checkpoint."""
    shapes = {
        name.removeprefix("model/"): shape
        for name, shape in read_header(weights, WHAT)[0].items()
        if name.startswith("model/")
    }
    return build(where, config, weights, shapes, backend=backend)


# ---- torch's own settings ------------------------------------------------------------------------


@contextmanager
def settings_kept() -> Iterator[None]:
    """Leave torch's threads and generators as they were before the block, and have gradients in
    it whatever the caller has turned off."""
    threads = torch.get_num_threads()
    try:
        with generators_kept(), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)


def use_threads(settings: TrainingSettings, ranks: Ranks = ALONE) -> None:
    """Compute with as many threads as the settings say; ranks on one machine share its cores."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    elif ranks.local_world_size > 1:
        torch.set_num_threads(max(1, cores() // ranks.local_world_size))
