"""The names that version 0.1 had for the training of a language model."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.parts import keep_part
from recurra.errors import RunError
from recurra.files import FolderLock
from recurra.models import Model
from recurra.models.files import CONFIG_NAME, FORMAT
from recurra.models.saving import model_config, write_config
from recurra.runs import Run, TrainingResult, ViewMaker, go_on, start
from recurra.runs.fitting import begin, describe, fit_in, restore
from recurra.runs.folder import refuse_run_files
from recurra.tasks.evaluation import evaluate
from recurra.tasks.language import LanguageTask, LanguageTraining
from recurra.text import Vocabulary
from recurra.training.hooks import Hook
from recurra.training.machine import generators_kept
from recurra.training.trainer import Trainer
from recurra.views import View

__all__ = [
    "LanguageTrainer",
    "LoadedRun",
    "TrainingConfig",
    "evaluate",
    "evaluate_run",
    "load_run",
    "train_language_model",
]

TrainingConfig = LanguageTraining


def train_language_model(
    folder: str | os.PathLike[str],
    given: Mapping[str, Any] | None = None,
    *,
    resume: bool = False,
    view: ViewMaker | None = None,
) -> TrainingResult:
    """As `recurra.train("lm", ...)`, with the settings in a dictionary and silent by default."""
    if resume:
        return go_on(folder, given or {}, task="lm", view=view)
    return start(LanguageTask, Path(folder), given or {}, view=view)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRun:
    """The best model of a run and the vocabulary of its tokens."""

    folder: Path
    model: Any
    vocabulary: Vocabulary


def load_run(folder: str | os.PathLike[str], *, device: str | None = None) -> LoadedRun:
    """As `recurra.load`, with the vocabulary beside the model."""
    run = Run.open(folder, "lm")
    model = run.load(device=device)
    return LoadedRun(folder=run.folder, model=model, vocabulary=model.vocabulary)


def evaluate_run(
    folder: str | os.PathLike[str],
    *,
    split: str | None = None,
    data: str | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """As `Run.open(folder).evaluate`."""
    return Run.open(folder, "lm").evaluate(split, data=data, device=device)


class LanguageTrainer:
    """One run of training on tokens that are at hand, in a folder made by the caller.

    Args:
        model: trained in place.
        vocabulary: of the tokens.
        train: [N] token ids to learn from.
        val: [N] token ids to validate on.
        config: how to train.
        folder: where checkpoints, metrics and samples go.
        view: what shows the run.
        hooks: told what the trainer does.
        clock: seconds, from any start.
    """

    def __init__(
        self,
        model: Model,
        vocabulary: Vocabulary,
        train: np.ndarray,
        val: np.ndarray,
        config: LanguageTraining,
        folder: Path,
        *,
        view: View | None = None,
        hooks: Sequence[Hook] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = Path(folder)
        self.task = LanguageTask(vocabulary, {"train": train, "val": val})
        self.task.adopt(model)
        self.trainer = Trainer(self.task, model, config, view=view, hooks=hooks, clock=clock)
        self.trainer.about = describe(self.trainer)
        self._marks: Mapping[str, int] | None = None

    def restore(self) -> None:
        """Put everything back as the folder's last checkpoint has it; `fit` goes on from there.

        Raises:
            CheckpointError: when it is missing, damaged, or of another model.
        """
        self._marks = restore(self.trainer, self.folder)

    def fit(self, *, resume: bool = False) -> TrainingResult:
        """Train to the end of the budget, from the start or the folder's last checkpoint.

        Raises:
            RunError: when the folder has a run already and `resume` is not given, or another
                process trains it.
            CheckpointError: when the checkpoint is missing or damaged.
        """
        if not self.folder.is_dir():
            raise RunError(f"{self.folder}: expected a folder, got none. Make it first.")
        with generators_kept(self.trainer.device), FolderLock(self.folder) as lock:
            if resume and self._marks is None:
                self.restore()
            elif self._marks is None:
                refuse_run_files(self.folder)
                self._begin()
            marks, self._marks = self._marks, None
            assert marks is not None
            return fit_in(self.folder, self.trainer, lock, marks)

    def _begin(self) -> None:
        """Write what this run is, and the checkpoint of its start."""
        vocabulary, text = self.task.vocabulary, self.task.text
        keep_part(self.folder, "val", text.split("val"), vocabulary)
        write_config(
            self.folder / CONFIG_NAME,
            {
                "format": FORMAT,
                "task": LanguageTask.name,
                "model": model_config(self.trainer.model),
                "vocabulary": vocabulary.to_config(),
                "data": {"val_data": "given in Python", "tokens": {"val": text.sizes["val"]}},
                "training": self.trainer.settings.to_dict(),
            },
        )
        self._marks = begin(self.folder, self.trainer)
