"""Training a language model: truncated backpropagation through time over streams of tokens.

The state is carried from window to window and detached there; it starts at zero in each pass. The
run can be killed at any moment and goes on from its last checkpoint to the same weights, bit by bit
on the CPU, when steps or epochs end it.
Source of the method: Werbos (1990), "Backpropagation through time"; its truncation as in Williams
and Peng (1990), "An efficient gradient-based algorithm for on-line training of recurrent network
trajectories", with windows that do not overlap.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recurra.data import TokenStreams, Vocabulary, check_ids
from recurra.errors import CheckpointError, DataError, RunError, argument
from recurra.files import FolderLock, remove_parts
from recurra.interrupts import held_interrupts, stopped_by
from recurra.models import Model, save
from recurra.models.files import CONFIG_NAME, FORMAT, WEIGHTS_NAME
from recurra.models.saving import check_shapes, model_config, read_note, write_config
from recurra.training import carried
from recurra.training.budget import Budget, EvaluationPlan
from recurra.training.checkpoints import (
    TENSORS_NAME,
    Checkpoint,
    load_checkpoint,
    reported_as_run_error,
    save_checkpoint,
)
from recurra.training.config import TrainingConfig
from recurra.training.devices import build_fabric, repeatable
from recurra.training.evaluation import evaluate
from recurra.training.folders import WHOLE, refuse_run_files
from recurra.training.logs import RunLogs, status_of
from recurra.training.measures import measure, measure_name
from recurra.training.optimizers import load_optimizer_tensors, optimizer_tensors
from recurra.training.progress import Interval, Progress
from recurra.training.randomness import (
    derived_seed,
    generators_kept,
    random_states,
    restore_random_states,
    seed_all,
)
from recurra.training.samples import Sample, draw_text, due_milestone
from recurra.training.schedules import Schedule
from recurra.training.step import MAX_SKIPPED_IN_A_ROW, StepOutcome, Stepper, stopped_learning
from recurra.training.text import keep_part
from recurra.training.view import SilentView, Status, View, showing_builds

TASK = "lm"
CHECKPOINT_EVERY_S = 30.0
SHOW_EVERY_S = 0.25  # what a view draws; metrics.csv has its rows by steps
CHECKPOINT_SHARE = 0.05  # of the time, at most, goes into checkpoints
WORSE_THAN_CHANCE = 10.0  # times the loss of a guess among all tokens: such weights ran away
VALIDATION_TOKENS = 100_000  # of a longer split, spread over all of it: validating stays cheap

logger = logging.getLogger("recurra")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a finished run came to.

    Attributes:
        folder: of the run.
        level: of the vocabulary.
        steps: taken in all sessions.
        epochs: passes over the training text, with a fraction.
        tokens: read in all sessions.
        seconds: of all sessions.
        best_nll: smallest validation loss, nats a token: that of model.safetensors.
        best_step: the step it was reached at.
        skipped: steps skipped because a number was not finite.
        steps_before: of them, those that were taken before it was resumed.
        samples: those taken since it was started or resumed.
    """

    folder: Path
    level: str
    steps: int
    epochs: float
    tokens: int
    seconds: float
    best_nll: float
    best_step: int
    skipped: int
    steps_before: int
    samples: tuple[Sample, ...]

    @property
    def measure_name(self) -> str:
        """What the loss is quoted in: "bpc" or "ppl"."""
        return measure_name(self.level)

    @property
    def measure(self) -> float:
        """The smallest validation loss in it."""
        return measure(self.level, self.best_nll)


class LanguageTrainer:
    """One run of training: a model, its tokens, its settings and its folder.

    Args:
        model: trained in place; moved to the device that `config` names.
        vocabulary: of the tokens; samples are written in it.
        train: [N] token ids to learn from; may be memory-mapped.
        val: [N] token ids to validate on.
        config: how to train.
        folder: where checkpoints, metrics and samples go; made by the caller.
        view: what shows the run.
        lock: of the folder, where the caller holds it already.
    Raises:
        DataError: when `train` is shorter than one batch of windows, `val` than two tokens, or
            the priming text has characters that the vocabulary lacks.
        RunError: when this machine lacks the device.
    """

    def __init__(
        self,
        model: Model,
        vocabulary: Vocabulary,
        train: np.ndarray,
        val: np.ndarray,
        config: TrainingConfig,
        folder: Path,
        *,
        view: View | None = None,
        lock: FolderLock | None = None,
    ) -> None:
        self.model = model
        self.vocabulary = vocabulary
        self.config = config
        self.folder = Path(folder)
        self._val = val
        self._num_train = len(train)
        self._view = view or SilentView()
        self._lock = lock
        self._streams = TokenStreams(train, config.batch_size, config.bptt)
        if len(val) < 2:
            raise DataError(
                f"validation: expected at least 2 tokens, got {len(val)}. "
                f"Use more text, or a text of its own with {argument('val_data=')}."
            )
        vocabulary.encode(
            config.prime, where=argument("prime")
        )  # unseen characters: now, not hours later
        self._budget = Budget.of(config, len(self._streams))
        self._plan = EvaluationPlan.of(
            config,
            self._budget,
            step_tokens=config.batch_size * config.bptt,
            val_tokens=min(len(val), VALIDATION_TOKENS),
        )
        self._schedule = Schedule(config)
        self._stepper = Stepper(model, config, build_fabric(config))
        self._progress = Progress()
        self._samples: list[Sample] = []
        self._fraction = 0.0
        self._lr = 0.0
        # The lengths of the logs at the checkpoint that training goes on from; None: from none.
        self._marks: Mapping[str, int] | None = None
        self._saved_step = 0
        self._save_cost_s = 0.0

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return self._budget.fraction(self._progress.step, self._progress.elapsed_s) >= 1.0

    def fit(self, *, resume: bool = False) -> TrainingResult:
        """Train to the end of the budget, from the start or the folder's last checkpoint.

        A folder is trained in once: without `resume` one that has files of a run is refused. The
        global generators and their seeds are as before afterwards.

        Args:
            resume: go on from the last checkpoint.
        Raises:
            RunError: when the folder has a run already or another process trains it, ten steps in a
                row are not finite, or the folder cannot be written.
            CheckpointError: when the checkpoint is missing, cut short or of another model.
            KeyboardInterrupt: after Ctrl-C, once the step is finished and the checkpoint written.
            Terminated: after SIGTERM or SIGHUP, likewise.
        """
        with generators_kept(self._stepper.device), self._held() as lock:
            if resume and self._marks is None:
                self.restore()
            elif self._marks is None:
                refuse_run_files(self.folder)
                self._describe()
                self.begin(self.folder)
            marks, self._marks = self._marks, None
            assert marks is not None
            with reported_as_run_error(self.folder):
                remove_parts(self.folder, WHOLE)
                self._logs = RunLogs(self.folder, self.vocabulary.level, marks)
                try:
                    with repeatable(self._stepper.device), self._view, showing_builds(self._view):
                        self._run(lock)
                finally:
                    self._logs.close()
            return self._result()

    def begin(self, folder: Path) -> None:
        """Write the checkpoint of a run at its start into `folder`; `fit` goes on from it."""
        seed_all(derived_seed(self.config.seed, "dropout"))
        self._write_checkpoint(folder, {"metrics": 0, "events": 0, "samples": 0})
        self._marks = {"metrics": 0, "events": 0, "samples": 0}

    def restore(self) -> None:
        """Put everything back as the folder's last checkpoint has it; `fit` goes on from there.

        Nothing on the disk is changed.

        Raises:
            CheckpointError: when it is missing, damaged, or of another model.
        """
        checkpoint, path = load_checkpoint(self.folder), self.folder / TENSORS_NAME
        weights, device = checkpoint.group("model"), self._stepper.device
        check_shapes(path, {name: tuple(w.shape) for name, w in weights.items()}, self.model)
        try:
            progress = Progress.from_dict(checkpoint.record["progress"])
            if progress.window >= len(self._streams):
                raise ValueError(f"window {progress.window} of {len(self._streams)}")
            marks = {name: int(checkpoint.record["marks"][name]) for name in RunLogs.names}
            if min(marks.values()) < 0:
                raise ValueError(f"marks {marks}")
            if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
                raise ValueError("weights that are not finite")
            self.model.load_state_dict(weights, strict=False)  # of tied weights one may be there
            memory = checkpoint.group("optimizer")
            load_optimizer_tensors(self._stepper.optimizer, self.model, memory)
            self._stepper.state = carried.from_tensors(
                checkpoint.group("carried"), device, self._expected_state()
            )
            self._stepper.index = int(checkpoint.record.get("index", 0))
            restore_random_states(checkpoint.group("random"), device)
            self._schedule.restore(checkpoint.record["schedule"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = f"one without {error}" if isinstance(error, KeyError) else str(error)
            raise CheckpointError(
                f"{path}: expected the checkpoint of this run, got {reason:.300}. "
                "Restore the file from a copy, or start the run again under another name."
            ) from error
        self._progress = progress
        self._adopt_best()
        if not self.is_over:
            # The run may have been over and be extended: its end is still to come.
            progress.sampled = [share for share in progress.sampled if share < 1.0]
        self._saved_step = progress.step
        self._marks = marks

    def _expected_state(self) -> Any:
        """A state as the model makes it for a batch, to compare with; None where it cannot say."""
        make = getattr(self.model, "initial_state", None)
        return None if make is None else make(self.config.batch_size)

    def _adopt_best(self) -> None:
        """Take the model on the disk as it is: a kill may have come before its checkpoint."""
        progress, path = self._progress, self.folder / WEIGHTS_NAME
        if not path.exists():
            progress.best_nll = progress.best_step = None  # the next validation is the best
            return
        note = read_note(self.folder)
        try:
            nll, step = float(note["val_nll"]), int(note["step"])
        except (KeyError, ValueError):
            return  # written by an earlier version
        if math.isfinite(nll) and (progress.best_nll is None or nll < progress.best_nll):
            progress.best_nll, progress.best_step = nll, step

    @contextmanager
    def _held(self) -> Iterator[FolderLock]:
        """The folder's lock, the caller's or one for this call."""
        if self._lock is not None:
            yield self._lock
            return
        if not self.folder.is_dir():
            raise RunError(f"{self.folder}: expected a folder, got none. Make it first.")
        with FolderLock(self.folder) as lock:
            yield lock

    def _describe(self) -> None:
        """Write what this run is, so that `load_run` and the commands can use it."""
        keep_part(self.folder, "val", self._val, self.vocabulary)
        write_config(
            self.folder / CONFIG_NAME,
            {
                "format": FORMAT,
                "task": TASK,
                "model": model_config(self.model),
                "vocabulary": self.vocabulary.to_config(),
                "data": {"val_data": "given in Python", "tokens": {"val": len(self._val)}},
                "training": self.config.to_dict(),
            },
        )

    def _run(self, lock: FolderLock) -> None:
        self._start_clock()
        self._update_fraction()
        self._view.noted(self._about())
        self._steps_before = self._progress.step
        self._say_where()
        with held_interrupts() as interrupted:
            if self._progress.step == 0:
                self._sample_if_due()
            while self._fraction < 1.0:
                lock.check()
                outcome = self._step()
                self._after(outcome)
                signum = interrupted()
                if signum is not None and self._fraction < 1.0:
                    self._stop_early(signum)
            if self._progress.best_nll is None:  # resumed with a budget that was spent already
                self._validate()
                self._save()

    def _about(self) -> str:
        """One line: what is read, and what learns it."""
        symbols = {"char": "characters", "byte": "bytes", "word": "words"}
        kind = symbols.get(self.vocabulary.level, "tokens")
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"{self._num_train:,} {kind} to train on, {len(self._val):,} to validate on, "
            f"{len(self.vocabulary):,} kinds; {parameters:,} parameters; "
            f"an epoch is {len(self._streams):,} steps"
        )

    def _say_where(self) -> None:
        """Say from which step a resumed run goes on, and what ends it."""
        progress = self._progress
        if progress.step == 0:
            return
        ends = self._budget.describe(progress.elapsed_s)
        if self._fraction >= 1.0:
            self._note(
                f"nothing to train: the run is at step {progress.step}, and ends {ends}. "
                f"Give {argument('epochs=')}, {argument('max_steps=')} or "
                f"{argument('max_minutes=')} to go on."
            )
        else:
            epoch = progress.passes(len(self._streams))
            self._note(f"resumed at step {progress.step}, epoch {epoch:.2f}; the run ends {ends}")

    def _note(self, message: str, level: int = logging.INFO) -> None:
        logger.log(level, message)
        self._view.noted(message)

    def _start_clock(self) -> None:
        now = time.monotonic()
        self._started = now
        self._elapsed_before = self._progress.elapsed_s
        self._saved_at = now
        self._shown_at = -math.inf  # the first step is shown as soon as it is taken

    def _elapsed(self) -> float:
        return self._elapsed_before + time.monotonic() - self._started

    def _update_fraction(self) -> None:
        self._fraction = self._budget.fraction(self._progress.step, self._progress.elapsed_s)

    def _step(self) -> StepOutcome:
        """Train on the next window."""
        progress, started = self._progress, time.monotonic()
        if progress.window == 0:
            self._stepper.state = None
        inputs, targets = self._streams.window(progress.window)
        check_ids(self._streams.tokens, targets, len(self.vocabulary))
        self._lr = self._schedule.learning_rate(progress.step, self._fraction)
        outcome = self._stepper(inputs, targets, self._lr)
        progress.count(outcome, windows=len(self._streams), tokens=inputs.numel())
        part = len(inputs) / self.config.bptt
        progress.interval.add(outcome, inputs.numel(), time.monotonic() - started, part)
        progress.elapsed_s = self._elapsed()
        self._update_fraction()
        return outcome

    def _after(self, outcome: StepOutcome) -> None:
        """Report, validate, sample and save, each when it is due."""
        progress = self._progress
        if outcome.skipped:
            self._report_skip(outcome)
        improved = False
        validated = self._validation_due()
        if validated:
            improved = self._validate()
        if validated or progress.step % self.config.log_every == 0:
            self._write_row(validated=validated)
        elif time.monotonic() - self._shown_at >= SHOW_EVERY_S:
            self._show(self._status())
        self._sample_if_due()
        if improved or self._fraction >= 1.0 or self._checkpoint_due():
            self._save()

    def _report_skip(self, outcome: StepOutcome) -> None:
        progress = self._progress
        self._note(
            f"step {progress.step} skipped: loss {outcome.nll:g}, gradient norm "
            f"{outcome.grad_norm:g} ({progress.skipped_in_a_row} in a row)",
            logging.WARNING,
        )
        if progress.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise stopped_learning(progress.skipped_in_a_row, self._saved_step, self._lr)

    def _validation_due(self) -> bool:
        progress = self._progress
        return self._fraction >= 1.0 or self._plan.due(
            steps=progress.step - progress.val_step,
            seconds=progress.elapsed_s - progress.val_elapsed_s,
            last_cost_s=progress.val_cost_s,
        )

    def _validate(self) -> bool:
        """Measure the validation loss; keep the weights when it is the smallest so far."""
        progress = self._progress
        figures = evaluate(
            self.model,  # as it will be loaded: in its own precision, not that of training
            self._val,
            level=self.vocabulary.level,
            device=self._stepper.device,
            max_tokens=VALIDATION_TOKENS,
            vocab_size=len(self.vocabulary),
        )
        nll = figures["nll"]
        progress.val_cost_s = figures["seconds"]
        progress.val_step, progress.val_elapsed_s = progress.step, progress.elapsed_s
        if not math.isfinite(nll):
            progress.val_nll = None
            self._view.noted(f"step {progress.step}: validation loss {nll:g}")
            return False
        progress.val_nll = nll
        if self._schedule.validated(nll):
            self._view.noted(f"step {progress.step}: no better, learning rate halved")
        if progress.best_nll is not None and nll >= progress.best_nll:
            return False
        progress.best_nll, progress.best_step = nll, progress.step
        self._save_model()
        return True

    def _save_model(self) -> None:
        """Write the model, and with it how good it is and when."""
        nll = self._progress.val_nll
        note = {} if nll is None else {"val_nll": repr(nll), "step": str(self._progress.step)}
        save(self.model, self.folder, note=note)

    def _write_row(self, *, validated: bool) -> None:
        status = self._status()
        self._logs.row(status, validated=validated)
        self._show(status)
        self._progress.interval = Interval()

    def _show(self, status: Status) -> None:
        self._view.progressed(status)
        self._shown_at = time.monotonic()

    def _status(self) -> Status:
        progress = self._progress
        return status_of(
            progress,
            level=self.vocabulary.level,
            total_steps=self._budget.total_steps,
            epoch=progress.passes(len(self._streams)),
            fraction=self._fraction,
            lr=self._lr,
            seconds_left=self._budget.seconds_left(progress.step, progress.elapsed_s),
        )

    def _sample_if_due(self) -> None:
        milestone = due_milestone(self._fraction, self._progress.sampled)
        if milestone is None or self.config.sample_length == 0:
            return
        progress = self._progress
        text = draw_text(
            self.model,
            self.vocabulary,
            self.config.prime,
            length=self.config.sample_length,
            temperature=self.config.sample_temperature,
            seed=derived_seed(self.config.seed, f"sample {progress.step}"),
        )
        sample = Sample(
            fraction=milestone,
            step=progress.step,
            epoch=progress.passes(len(self._streams)),
            temperature=self.config.sample_temperature,
            val_nll=progress.val_nll,
            text=text,
        )
        progress.sampled.append(milestone)
        self._samples.append(sample)
        self._logs.sample(sample)
        self._view.sampled(sample)

    def _checkpoint_due(self) -> bool:
        if self.config.checkpoint_every is not None:
            return self._progress.step % self.config.checkpoint_every == 0
        pause = max(CHECKPOINT_EVERY_S, self._save_cost_s / CHECKPOINT_SHARE)
        return time.monotonic() - self._saved_at >= pause

    def _save(self) -> None:
        """Write the checkpoint, unless the weights ran away: then the one before is worth more."""
        started = time.monotonic()
        nll = self._stepper.present_nll
        chance = max(1.0, math.log(len(self.vocabulary)))
        if self._progress.step > 0 and not nll <= WORSE_THAN_CHANCE * chance:
            self._saved_at = started
            self._note(
                f"step {self._progress.step}: the weights have a loss of {nll:.3g}; the checkpoint "
                f"of step {self._saved_step} is kept instead",
                logging.WARNING,
            )
            return
        self._progress.elapsed_s = self._elapsed()
        self._write_checkpoint(self.folder, self._logs.marks())
        self._saved_step = self._progress.step
        self._saved_at = time.monotonic()
        self._save_cost_s = self._saved_at - started

    def _write_checkpoint(self, folder: Path, marks: Mapping[str, int]) -> None:
        """Write everything that training goes on from; nothing that training reads is touched."""
        groups = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors(self._stepper.optimizer, self.model),
            "carried": carried.to_tensors(self._stepper.state),
            "random": random_states(self._stepper.device),
        }
        record = {
            "progress": self._progress.to_dict(),
            "index": self._stepper.index,
            "schedule": self._schedule.state(),
            "marks": dict(marks),
        }
        tensors = {f"{group}/{k}": v for group, named in groups.items() for k, v in named.items()}
        save_checkpoint(folder, Checkpoint(tensors=tensors, record=record))

    def _stop_early(self, signum: int) -> None:
        """Keep what a signal to end would lose, then let it through."""
        if self._progress.best_nll is None:
            self._save_model()
        self._save()
        if self._progress.interval.steps:
            self._show(self._status())
        raise stopped_by(signum)

    def _result(self) -> TrainingResult:
        progress = self._progress
        if progress.best_nll is None or progress.best_step is None:
            raise RunError(
                f"{self.folder}: expected a finite validation loss, got none in the whole run. "
                f"Start again with a lower {argument('lr=')} or a smaller {argument('clip_norm=')}."
            )
        return TrainingResult(
            folder=self.folder,
            level=self.vocabulary.level,
            steps=progress.step,
            epochs=progress.passes(len(self._streams)),
            tokens=progress.tokens,
            seconds=progress.elapsed_s,
            best_nll=progress.best_nll,
            best_step=progress.best_step,
            skipped=progress.skipped,
            steps_before=self._steps_before,
            samples=tuple(self._samples),
        )
