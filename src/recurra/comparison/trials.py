"""Trials: one cell trained on one task from one seed, under a budget of steps or seconds.

What a trial gives is its curve, by step and by second of training, on two parts of the data that it
is not trained on: the score on the one, the validation part, says when to stop and which point of
the curve is best; the score of that point on the other, the test part, is what is reported. Many
trials side by side are what `recurra compare` runs.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recurra.comparison.cells import digest_of, entered, made
from recurra.comparison.subjects import Measure, Subject, subject_of
from recurra.errors import DataError, RunError
from recurra.lang import Cell
from recurra.settings import (
    MAX_COUNT,
    MAX_SEED,
    MAX_SIZE,
    positive,
    positive_float32,
    whole,
)
from recurra.training import Hook, Moment, StepOutcome, Trainer
from recurra.training.budget import EvaluationPlan

FORMAT = 2  # of an outcome that is written down
POINTS = 50  # of a curve, about
_REPORT_EVERY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is trained, and for how long.

    Attributes:
        task: its name, with settings after a colon: "adding", "copying:delay=200",
            "lm:data=input.txt,bptt=50".
        cell: as cells are spelled: "lstm", "lstm:b_f=chrono400:b_i=-b_f", "zoneout(lstm, 0.1)"; or
            a Cell object, in place of which there is then what it is called.
        hidden_size: H.
        seed: of the weights and of the training sequences.
        lr: learning rate of Adam, constant.
        batch_size: B.
        clip: largest global norm of the gradients.
        max_steps: steps after which it ends; None: no such limit.
        max_seconds: seconds of training after which it ends; None: no such limit.
        data: digest of the user's data that the task reads; None: it is not checked.
        equations: digest of the cell; None: it is not checked.
        is_probe: whether it only helps to choose a learning rate.
        own: of a Cell object that was given, plain values of which it is made again.

    Raises:
        ValueError: when a number is out of its range, or a Cell object cannot be written down.
    """

    task: str
    cell: Any
    hidden_size: int
    seed: int = 0
    lr: float = 1e-3
    batch_size: int = 64
    clip: float = 1.0
    max_steps: int | None = None
    max_seconds: float | None = None
    data: str | None = None
    equations: str | None = field(default=None, compare=False)
    is_probe: bool = False
    own: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.cell, Cell):
            name, values = entered(self.cell)
            for attribute, value in (("cell", name), ("own", values)):
                object.__setattr__(self, attribute, value)
        for name in ("hidden_size", "batch_size"):
            whole(name, getattr(self, name), least=1, most=MAX_SIZE)
        whole("max_steps", self.max_steps, least=1, most=MAX_COUNT, optional=True)
        whole("seed", self.seed, least=0, most=MAX_SEED)
        for name in ("lr", "clip"):
            positive_float32(name, getattr(self, name))
        positive("max_seconds", self.max_seconds, optional=True)

    @property
    def name(self) -> str:
        """What it is called among the trials of one comparison."""
        return f"{self.cell}-rate-{self.lr:g}" if self.is_probe else f"{self.cell}-{self.seed}"

    def made_cell(self) -> Cell:
        """The cell itself.

        Raises:
            ValueError: when there is no such cell.
            CellError: when the equations of a file of the user's are wrong.
        """
        return made(self.cell if self.own is None else self.own)

    def as_dict(self) -> dict[str, Any]:
        """The settings, as JSON has them; of a Cell object the name alone."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "own"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A measurement of a trial.

    Attributes:
        step: steps so far.
        seconds: of training so far: building kernels and measuring take none.
        loss: of the last step.
        score: on the validation part.
        test: the score on the test part, where that on the validation part was the best so far.
    """

    step: int
    seconds: float
    loss: float | None
    score: float
    test: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a trial is: steps, the share of its budget, the last loss, the best score so far."""

    step: int
    share: float
    loss: float | None
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a trial.

    Attributes:
        trial: its settings.
        parameters: how many numbers were trained.
        points: its curve.
        status: "solved", "ended" when the budget was spent, or "diverged".
    """

    trial: Trial
    parameters: int
    points: tuple[Point, ...]
    status: str

    def best(self, seconds: float = math.inf) -> Point:
        """The point with the best score on the validation part, of those up to `seconds`."""
        measured = [p for p in self.points if p.test is not None and p.seconds <= seconds]
        return min(measured, key=lambda point: point.score, default=self.points[0])

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "format": FORMAT,
            "trial": self.trial.as_dict(),
            "parameters": self.parameters,
            "status": self.status,
            "points": [[p.step, p.seconds, p.loss, p.score, p.test] for p in self.points],
        }

    @classmethod
    def of_dict(cls, read: dict[str, Any]) -> "Outcome":
        """What `as_dict` gave.

        Raises:
            ValueError, TypeError or LookupError: when it is anything else.
        """
        if read["format"] != FORMAT or not read["points"]:
            raise ValueError(f"format {read['format']!r}, {len(read['points'])} points")
        points = (
            Point(step=step, seconds=seconds, loss=loss, score=score, test=test)
            for step, seconds, loss, score, test in read["points"]
        )
        return cls(
            trial=Trial(**read["trial"]),
            parameters=read["parameters"],
            points=tuple(points),
            status=read["status"],
        )


def run_trial(
    trial: Trial,
    threads: int = 1,
    report: Callable[[Progress], object] | None = None,
    folder: Path | None = None,
) -> Outcome:
    """Train until the task is solved or the budget is spent.

    Threads and random numbers of the process are afterwards as they were before.

    Args:
        trial: what to train.
        threads: how many to compute with.
        report: told a few times a second how far the trial is.
        folder: of the `Subject` of the same task in another process, which has read the data.

    Raises:
        ValueError: when the task, the cell or the budget is none.
        DataError: when the task's data cannot be read, or are not what the trial names.
        RunError: when the cell's equations are not what the trial names.
    """
    if trial.max_steps is None and trial.max_seconds is None:
        raise ValueError("trial: expected max_steps or max_seconds, got neither. Give a budget.")
    subject = subject_of(trial.task, folder)
    if trial.data not in (None, subject.digest):
        raise DataError(
            f"{trial.task}: expected the data with which the comparison was begun, got other data. "
            "Keep it as it is until all trials have ended."
        )
    cell = trial.made_cell()
    if trial.equations not in (None, digest_of(cell)):
        raise RunError(
            f"{trial.cell}: expected the equations with which the comparison was begun, got "
            "others. Keep them as they are until all trials have ended."
        )
    with _threads_of_its_own(threads), torch.random.fork_rng(devices=[]):
        return _train(trial, cell, subject, report or (lambda progress: None))


def _train(
    trial: Trial, cell: Cell, subject: Subject, report: Callable[[Progress], object]
) -> Outcome:
    settings = subject.training(
        seed=trial.seed,
        lr=trial.lr,
        batch_size=trial.batch_size,
        clip_norm=trial.clip,
        max_steps=trial.max_steps,
        max_minutes=None if trial.max_seconds is None else trial.max_seconds / 60,
    )
    torch.manual_seed(trial.seed)
    model = subject.build(cell, trial.hidden_size, settings.backend)
    curve = _Curve(subject.measure, report)
    trainer = Trainer(
        subject.task,
        model,
        settings,
        hooks=[curve],
        clock=time.perf_counter,
        plan=EvaluationPlan(shares=POINTS),
        counts_steps_alone=True,
    )
    _build(trainer)
    try:
        trainer.fit()
    except RunError:
        if any(math.isfinite(point.score) for point in curve.points):
            raise
        curve.status = "diverged"  # it never had a score
    count = model.num_parameters(only_trainable=True)
    return Outcome(
        trial=trial, parameters=count, points=tuple(curve.points), status=curve.status or "ended"
    )


class _Curve(Hook):
    """Takes the points of a trial, and ends it when it is solved or its numbers are not finite."""

    def __init__(self, measure: Measure, report: Callable[[Progress], object]) -> None:
        self.points: list[Point] = []
        self.status: str | None = None
        self._measure, self._report = measure, report
        self._loss: float | None = None
        self._best = math.inf
        self._reported = -math.inf

    def stepped(self, trainer: Trainer[Any, Any], outcome: StepOutcome) -> None:
        """Note the loss."""
        self._loss = outcome.loss
        if outcome.skipped:
            self.status = "diverged"
            trainer.stop(self.status)
        elif time.perf_counter() - self._reported >= _REPORT_EVERY_S:
            self._tell(trainer)

    def validated(self, trainer: Trainer[Any, Any], figures: Mapping[str, float]) -> None:
        """Take a point; what is the best so far is measured on the test part too."""
        progress = trainer.progress
        step = progress.step - progress.skipped  # a step that is skipped is none
        if self.points and step == self.points[-1].step:
            return
        score, test = self._measure.score(figures), None
        if score < self._best:
            test = self._measure.score(trainer.task.evaluate(trainer.model, "test"))
            self._best = score
        seconds = progress.elapsed_s
        self.points.append(
            Point(step=step, seconds=seconds, loss=self._loss, score=score, test=test)
        )
        solved = self._measure.solved
        if solved is not None and score <= solved and self.status is None:
            self.status = "solved"
            trainer.stop(self.status)
        if step == 0:
            self._tell(trainer)

    def _tell(self, trainer: Trainer[Any, Any]) -> None:
        progress = trainer.progress
        share = trainer.budget.fraction(progress.step, progress.elapsed_s)
        self._report(Progress(step=progress.step, share=share, loss=self._loss, score=self._best))
        self._reported = time.perf_counter()


def _build(trainer: Trainer[Any, Any]) -> None:
    """Have everything built and loaded that a first step would wait for, and leave no trace.

    Kernels are built at the first call and at the first gradient, which took the first trial of a
    cell a second or more that the others did not wait for.
    """
    with torch.random.fork_rng(devices=[]):
        batch = trainer.source.batch(0, 0)
        trainer.task.loss(trainer.model, batch, None, Moment()).mean.backward()
        trainer.model.zero_grad()
        spare = nn.Parameter(torch.zeros(1, dtype=torch.float32, device="cpu"))
        spare.grad = torch.zeros(1, dtype=torch.float32, device="cpu")
        torch.optim.Adam([spare]).step()


@contextmanager
def _threads_of_its_own(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
