"""What keeps a run in its folder: its model, its checkpoints and the files that grow."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recurra.files import FolderLock
from recurra.models import Model, save
from recurra.training.checkpoints import Checkpoint, save_checkpoint
from recurra.training.logbook import RunLogs, columns_of
from recurra.training.trainer import Logbook, Trainer
from recurra.views import Sample, Status


class FolderLogbook(Logbook):
    """Keeps a run in its folder, once it is opened."""

    def __init__(self, folder: Path, model: Model) -> None:
        self._folder, self._model = folder, model
        self._lock: FolderLock | None = None
        self._logs: RunLogs | None = None

    @contextmanager
    def opened(
        self, trainer: Trainer[Any, Any], lock: FolderLock, marks: Mapping[str, int]
    ) -> Iterator[None]:
        """The growing files open, cut back to their marks."""
        task = trainer.task
        columns = columns_of(
            list(task.training_figures(1.0)),
            [figure.name for figure in task.figures],
            task.counted,
        )
        self._lock, self._logs = lock, RunLogs(self._folder, columns, marks)
        try:
            if not any(marks.values()):
                self._logs.text("data and model", trainer.about)
                settings = trainer.settings.to_dict()
                self._logs.text("settings", "\n".join(f"{k}: {v}" for k, v in settings.items()))
            yield
        finally:
            self._logs.close()

    @property
    def logs(self) -> RunLogs:
        """The growing files."""
        assert self._logs is not None
        return self._logs

    def check(self) -> None:
        """Raise RunError when the folder is no longer where it was."""
        assert self._lock is not None
        self._lock.check()

    def row(self, status: Status, *, validated: bool) -> None:
        """Write a row of metrics.csv."""
        self.logs.row(status, validated=validated)

    def sample(self, sample: Sample) -> None:
        """Write a sample."""
        self.logs.sample(sample)

    def picture(self, name: str, png: bytes, step: int) -> None:
        """Write a picture into the events."""
        self.logs.picture(name, png, step)

    def keep_model(self, note: Mapping[str, str]) -> None:
        """Write the model."""
        save(self._model, self._folder, note=note)

    def keep_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint, with the lengths of the logs."""
        save_checkpoint(self._folder, marked(checkpoint, self.logs.marks()))


def marked(checkpoint: Checkpoint, marks: Mapping[str, int]) -> Checkpoint:
    """The checkpoint with the lengths that the logs had at it."""
    return Checkpoint(
        tensors=checkpoint.tensors, record={**checkpoint.record, "marks": dict(marks)}
    )
