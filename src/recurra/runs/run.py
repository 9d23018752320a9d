"""A run: a folder whose config.json says all that is needed to use it, or go on with it."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from recurra.errors import CheckpointError, RunError, argument
from recurra.files.metrics import read_metrics
from recurra.insight.clipping import ClippingReport, clipping_report
from recurra.insight.report import Report
from recurra.models import load
from recurra.models.files import WEIGHTS_NAME
from recurra.runs.checkpoints import load_checkpoint
from recurra.runs.fitting import TrainingResult
from recurra.runs.folder import METRICS_NAME, is_run, read_run, settings_of
from recurra.runs.reporting import Reported, report_of
from recurra.runs.starting import ViewMaker, go_on
from recurra.settings import check_known, one_or_several
from recurra.training.hooks import Hook
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.training.task import Task
from recurra.views import Watch, unwatched


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
        return self._adopted(self.task_class.open(self.folder, self.config))

    def _adopted(self, task: Task[Any, Any]) -> Task[Any, Any]:
        """A task that evaluates as it did in this run's training."""
        with contextlib.suppress(RunError):  # the model can be used where the settings are damaged
            task.training = self._own_settings.training
        task.folder = self.folder
        return task

    @property
    def _own_class(self) -> type[Task[Any, Any]]:
        """The task's class, of which each evaluates as it did in this run's training."""
        kind = self.task_class
        with contextlib.suppress(RunError):
            return type(kind.__name__, (kind,), {"training": self._own_settings.training})
        return kind

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
                f"first validation. Go on with it by {argument('resume=True')}."
            )
        return load(self.folder, device=device)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its name."""
        return self._own_settings.flat()

    @property
    def data_settings(self) -> Any:
        """Those of the run's data, as the task declares them."""
        return self._own_settings.data

    @property
    def _own_settings(self) -> RunSettings:
        return settings_of(self.folder, self.task_class, self.config)

    def history(self) -> Any:
        """The rows of metrics.csv: a pandas frame where pandas is installed, else a list of
        dictionaries; what was not measured at a step is nan or None."""
        rows = read_metrics(self.folder / METRICS_NAME)
        try:
            import pandas  # pyright: ignore[reportMissingImports]
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def clipping(self) -> ClippingReport:
        """How long the run's gradients were, how often clipping bit, and the threshold that its
        history recommends; ValueError where it has no row yet."""
        return clipping_report(self.history())

    def evaluate(
        self,
        split: str | None = None,
        *,
        data: Any = None,
        device: str | None = None,
        watch: Watch = unwatched,
        **how: Any,
    ) -> dict[str, Any]:
        """The figures of the best model over one of the run's splits, or over other files.

        Args:
            split: "train", "val" or "test"; None: the test split, or the whole of `data`.
            data: another file of the same kind, or several; with `split`, that part of it.
            device: where to run; None: the CPU.
            watch: is told what is done, and how far it is, by a task that takes long over it.
            how: settings of the task's data, where `data` is not to be read as the run read its
                own: encoding="latin-1"; of the run's own data those that its task is measured by,
                where another value is to count than the run's: beam_size=1.
        Raises:
            ValueError: when there is no such part or setting, or a value is out of its range.
            CheckpointError: when the run has no model.
            DataError: when the data are damaged or gone.
        """
        model = self.load(device=device)
        if data is not None:
            check_known(how, type(self.data_settings))
            own = replace(self.data_settings, **how)
            figures = self._own_class.evaluate_file(model, one_or_several(data), split, own)
        else:
            task = self._adopted(self.task)  # which may have been trained in another run since
            if how:
                task.training = self._measured(task, how)
            task.watch = watch
            try:
                figures = task.evaluate(model, split or "test")
            finally:
                task.watch = unwatched
        name = split or ("all" if data is not None else "test")
        return {**figures, "split": name, "run": str(self.folder)}

    def _measured(self, task: Task[Any, Any], how: Mapping[str, Any]) -> TrainingSettings:
        """The settings of the run's training with others of those that say how it is measured."""
        known = task.measured_by
        if unknown := sorted(set(how).difference(known)):
            those = f"one of {', '.join(known)}" if known else f"no setting for runs of {task.name}"
            raise ValueError(
                f"{unknown[0]}: expected {those}, got {how[unknown[0]]!r:.40}. Leave it out, or "
                f"name other files for {argument('data=')}, which settings of data are for."
            )
        return replace(task.training or task.training_settings(), **how)

    def predict(self, inputs: Any, **settings: Any) -> list[Any]:
        """What the best model makes of inputs, one prediction for each."""
        return self.model.predict(inputs, **settings)

    def report(self) -> Report:
        """What there is to see of the run and its best model: `report().write(path)` writes a page.

        Raises:
            CheckpointError: when the run has no model yet.
            DataError: when the data in the folder are damaged or gone.
        """
        return report_of(self.reported())

    def reported(self, checkpoint: str = "best", *, device: str | None = None) -> Reported:
        """What a report of the run is made of.

        Args:
            checkpoint: "best", or "last", the weights that training goes on from.
            device: where the model is.
        """
        model, name = self.load(device=device), self.folder.resolve().name
        if checkpoint == "last":
            model.load_state_dict(load_checkpoint(self.folder).group("model"), strict=False)
            name = f"{name}, last"
        return Reported(
            folder=self.folder,
            task=self.task,
            settings=self._own_settings,
            model=model,
            name=name,
        )

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
