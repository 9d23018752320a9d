"""A trainer in a run's folder: begun there or put where the last checkpoint has it, and trained."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recurra.errors import CheckpointError
from recurra.files import FolderLock, remove_parts
from recurra.insight.report import other_than_report
from recurra.models.files import WEIGHTS_NAME
from recurra.models.saving import check_shapes, read_note
from recurra.parallel import ALONE
from recurra.runs.checkpoints import TENSORS_NAME, load_checkpoint, reported_as_run_error
from recurra.runs.folder import REPORT_NAME, WHOLE
from recurra.runs.logbook import LOGS, FolderLogbook, marks_of, write_checkpoint
from recurra.runs.reporting import write_brief
from recurra.training.task import is_better
from recurra.training.trainer import Trainer
from recurra.views import Figure, Sample

logger = logging.getLogger("recurra")


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


def describe(trainer: Trainer[Any, Any], more: Sequence[tuple[str, str]] = ()) -> str:
    """What is read, what learns it and on what, and what else there is to say, a line each."""
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    recurrent = getattr(trainer.model, "recurrent", None)
    cell = getattr(recurrent, "cell", None)
    backend = "" if recurrent is None else f", backend {trainer.settings.backend}"
    lines = [
        *trainer.task.describe().lines,
        ("model", f"{'' if cell is None else cell.name + ', '}{parameters:,} parameters"),
        ("an epoch", f"{len(trainer.source):,} steps"),
        ("on", f"{trainer.device}, {torch.get_num_threads()} threads{backend}"),
        *more,
    ]
    width = max(len(label) for label, _ in lines)
    return "\n".join(f"{label:{width}}  {value}" for label, value in lines)


def begin(folder: Path, trainer: Trainer[Any, Any]) -> dict[str, int]:
    """Write the checkpoint of a run at its start; the lengths of the logs there."""
    marks = dict.fromkeys(LOGS, 0)
    trainer.seed()
    write_checkpoint(folder, trainer.checkpoint(ALONE), marks)
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
        marks = marks_of(checkpoint)
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
    folder: Path, trainer: Trainer[Any, Any], lock: FolderLock, marks: Mapping[str, int]
) -> TrainingResult:
    """Train in a folder that this process holds, its logs cut back to their marks."""
    steps_before = trainer.progress.step
    with reported_as_run_error(folder):
        remove_parts(folder, WHOLE)
        with FolderLogbook(folder, trainer, lock, marks) as book:
            trainer.logbook = book
            trainer.fit()
        _report(folder, trainer, book)
    return result_of(folder, trainer, steps_before)


def _report(folder: Path, trainer: Trainer[Any, Any], book: FolderLogbook) -> None:
    """Write the run's own report. The run is over and whole: an error in that, or Ctrl-C, costs the
    report alone, and is said."""
    path = folder / REPORT_NAME
    try:
        there = other_than_report(path)
        if not book.draws:
            said = (
                "matplotlib is not installed: pip install -e '.[compare]' in the clone of recurra"
            )
        elif there is not None:
            said = f"there is {there}, which is left as it is"
        else:
            write_brief(folder, trainer, book.figures)
            return
    except KeyboardInterrupt:
        said = "stopped while it was drawn; the run is complete"
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
    logger.warning(f"{path}: no report was written: {said:.300}")


def result_of(folder: Path, trainer: Trainer[Any, Any], steps_before: int) -> TrainingResult:
    """What a run came to that was trained to its end."""
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
