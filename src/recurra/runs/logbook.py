"""What keeps a run in its folder: its model, its checkpoints, and three files that grow."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from recurra.files import AppendLog, FolderLock
from recurra.files.metrics import EventLog, MetricsTable
from recurra.insight.report import Figure, png
from recurra.models import save
from recurra.runs.checkpoints import save_checkpoint
from recurra.runs.folder import METRICS_NAME, SAMPLES_NAME
from recurra.terminal import printable
from recurra.training.hooks import Logbook
from recurra.training.progress import Checkpoint
from recurra.training.task import Task
from recurra.training.trainer import Trainer
from recurra.views import Sample, Status

# By these names a checkpoint keeps the lengths of the files.
LOGS: tuple[str, ...] = ("metrics", "events", "samples")


class FolderLogbook(Logbook):
    """Keeps a run in its folder; metrics.csv, TensorBoard events and samples.txt are open in it.

    Attributes:
        figures: those of the task that it was told, for the report at the end.

    Args:
        folder: of the run.
        trainer: whose run it is.
        lock: of the folder, which this process holds.
        marks: lengths of the files at the checkpoint; what is beyond them is dropped.
    """

    def __init__(
        self, folder: Path, trainer: Trainer[Any, Any], lock: FolderLock, marks: Mapping[str, int]
    ) -> None:
        self._folder, self._model, self._lock = folder, trainer.model, lock
        self.figures: list[Figure] = []
        columns = columns_of(trainer.task)
        with contextlib.ExitStack() as opened:  # all three or none
            self._metrics = MetricsTable(folder / METRICS_NAME, columns, keep=marks["metrics"])
            opened.callback(self._metrics.close)
            self._events = EventLog(folder, keep=marks["events"])
            opened.callback(self._events.close)
            self._samples = AppendLog(folder / SAMPLES_NAME, keep=marks["samples"])
            opened.callback(self._samples.close)
            self._opened = opened.pop_all()
        if not any(marks.values()):
            settings = trainer.settings.to_dict()
            said = "\n".join(f"{name}: {value}" for name, value in settings.items())
            self._events.add_text("data and model", printable(trainer.about), 0)
            self._events.add_text("settings", printable(said), 0)

    def __enter__(self) -> "FolderLogbook":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.close()

    def check(self) -> None:
        """Raise RunError when the folder is no longer where it was."""
        self._lock.check()

    def row(self, status: Status, *, validated: bool) -> None:
        """Write one row; the validation figures only where they are new."""
        row = {
            "step": status.step,
            "epoch": status.epoch,
            **status.train,
            **({f"val_{name}": value for name, value in status.val.items()} if validated else {}),
            "lr": status.lr,
            "grad_norm": status.grad_norm,
            "grad_norm_max": status.largest_grad_norm,
            "clipped": status.clipped,
            f"{status.counted}_per_s": status.per_s,
            "skipped": status.skipped,
            "elapsed_s": status.elapsed_s,
        }
        self._metrics.add(row)
        self._events.add(row)

    def sample(self, sample: Sample) -> None:
        """Write one sample under its heading."""
        self._samples.append(f"=== {sample.heading} ===\n{sample.text}\n\n".encode())
        self._events.add_text("sample", printable(sample.text), sample.step)

    @property
    def draws(self) -> bool:
        """Whether matplotlib is there, which the extra `compare` brings."""
        return find_spec("matplotlib") is not None

    def figure(self, figure: Figure, step: int) -> None:
        """Write a figure into the events, and keep it for the report."""
        if figure.draw is not None:
            self._events.add_image(figure.name, png(figure.draw), step)
        self.figures.append(figure)

    def keep_model(self, note: Mapping[str, str]) -> None:
        """Write the model."""
        save(self._model, self._folder, note=note)

    def keep_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint, with the lengths of the logs."""
        logs = (self._metrics, self._events, self._samples)
        marks = {name: log.mark() for name, log in zip(LOGS, logs, strict=True)}
        write_checkpoint(self._folder, checkpoint, marks)


def write_checkpoint(folder: Path, checkpoint: Checkpoint, marks: Mapping[str, int]) -> None:
    """Write a checkpoint with the lengths that the logs have at it."""
    save_checkpoint(folder, replace(checkpoint, record={**checkpoint.record, "marks": dict(marks)}))


def marks_of(checkpoint: Checkpoint) -> dict[str, int]:
    """The lengths of the logs at a checkpoint; an error of Python's where it has none."""
    marks = {name: int(checkpoint.record["marks"][name]) for name in LOGS}
    if min(marks.values()) < 0:
        raise ValueError(f"marks {marks}")
    return marks


def columns_of(task: Task[Any, Any]) -> tuple[str, ...]:
    """The columns of metrics.csv; the training loss is that since the row before."""
    return (
        *("step", "epoch", *task.training_figures(1.0)),
        *(f"val_{figure.name}" for figure in task.figures),
        *(
            "lr",
            "grad_norm",
            "grad_norm_max",
            "clipped",
            f"{task.counted}_per_s",
            "skipped",
            "elapsed_s",
        ),
    )
