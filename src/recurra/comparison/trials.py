"""Trials: one cell trained on one task from one seed, under a budget of steps or seconds.

What a trial gives is its curve, by step and by second of training, on two parts of the task's
sequences that it is not trained on: the score on the one, the validation part, says when to stop
and which point of the curve is best; the score of that point on the other, the test part, is what
is reported. Many trials side by side are what `recurra compare` runs.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from recurra import cells
from recurra.data import Batch, Task, make_task
from recurra.errors import DataError
from recurra.lang import Cell
from recurra.nn import Recurrent
from recurra.nn.initial import Rule, parse
from recurra.settings import (
    MAX_COUNT,
    MAX_SEED,
    MAX_SIZE,
    positive,
    positive_float32,
    whole,
)
from recurra.training.step import clip_gradients

FORMAT = 2  # of an outcome that is written down
POINTS = 50  # of a curve, about
_REPORT_EVERY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is trained, and for how long.

    Attributes:
        task: as `make_task` takes it: "adding", "copying:delay=200".
        cell: the name of a registered cell, and after it how its parameters start, where they
            start otherwise than the cell says: "lstm:b_f=chrono400:b_i=-b_f".
        hidden_size: H.
        seed: of the weights and of the training sequences.
        lr: learning rate of Adam, constant.
        batch_size: B.
        clip: largest global norm of the gradients.
        max_steps: steps after which it ends; None: no such limit.
        max_seconds: seconds of training after which it ends; None: no such limit.
        data: digest of the user's data that the task reads; None: it is not checked.

    Raises:
        ValueError: when a number is out of its range.
    """

    task: str
    cell: str
    hidden_size: int
    seed: int = 0
    lr: float = 1e-3
    batch_size: int = 64
    clip: float = 1.0
    max_steps: int | None = None
    max_seconds: float | None = None
    data: str | None = None

    def __post_init__(self) -> None:
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
        return f"{self.cell}-{self.seed}"

    def as_dict(self) -> dict[str, Any]:
        """The settings, as JSON has them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


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


class Classifier(nn.Module):
    """A recurrent layer and a linear read-out: at each step, or at the end of each sequence."""

    def __init__(self, task: Task, cell: str, hidden_size: int) -> None:
        super().__init__()
        self._at_each_step = task.at_each_step
        sizes = own_sizes(cell, hidden_size)
        of, init = cell_and_init(cell)
        self.recurrent = Recurrent(
            of,
            task.input_size,
            hidden_size,
            sizes=sizes,
            init=init,
            dtype=torch.float32,
            device="cpu",
        )
        self.readout = nn.Linear(
            self.recurrent.output_size, task.output_size, dtype=torch.float32, device="cpu"
        )

    def forward(self, batch: Batch) -> Tensor:
        """[T, B, O] at each step, [B, O] at the end."""
        y, _ = self.recurrent(batch.x, lengths=batch.lengths)
        if self._at_each_step:
            return self.readout(y)
        if batch.lengths is None:
            return self.readout(y[-1])
        return self.readout(
            y[batch.lengths - 1, torch.arange(y.shape[1], dtype=torch.int64, device=y.device)]
        )


def cell_and_init(spelled: str) -> tuple[Cell, dict[str, Rule]]:
    """The cell that a trial names, and the rules behind its name.

    Raises:
        ValueError: when there is no such cell, parameter or rule.
    """
    name, *settings = spelled.split(":")
    of = cells.get(name)
    init: dict[str, Rule] = {}
    for setting in settings:
        parameter, is_one, rule = setting.partition("=")
        if not is_one or parameter not in of.parameters:
            raise ValueError(
                f"cell: expected settings PARAMETER=RULE, where a parameter is one of "
                f"{', '.join(of.parameters)}, got {setting!r}. Write one as in lstm:b_f=chrono400."
            )
        init[parameter] = parse(rule)
    return of, init


def own_sizes(cell: str, hidden_size: int) -> dict[str, int]:
    """Half of H for each size that a cell has of its own, such as a projection."""
    names = set(cell_and_init(cell)[0].size_names) - {"I", "H"}
    return dict.fromkeys(names, max(1, hidden_size // 2))


def count_parameters(task: Task, cell: str, hidden_size: int) -> int:
    """How many numbers a `Classifier` trains; ValueError where the cell does not have that size."""
    of, _ = cell_and_init(cell)
    sizes = {"I": task.input_size, "H": hidden_size, **own_sizes(cell, hidden_size)}
    output = of.output_size.evaluate(sizes)
    return of.count_parameters(sizes) + (output + 1) * task.output_size


def hidden_size_for(task: Task, cell: str, parameters: int) -> int:
    """The hidden size with which a cell has the number of parameters nearest to that given."""
    best: tuple[int, int] | None = None
    for size in range(1, 8192):
        try:
            count = count_parameters(task, cell, size)
        except ValueError:  # a number of heads that does not go into it
            continue
        if best is None or abs(count - parameters) < best[0]:
            best = (abs(count - parameters), size)
        if count > 2 * parameters:
            break
    if best is None:
        raise ValueError(f"{cell}: expected a hidden size below 8192 to suit it, got none.")
    return best[1]


def run_trial(
    trial: Trial, threads: int = 1, report: Callable[[Progress], object] | None = None
) -> Outcome:
    """Train until the task is solved or the budget is spent.

    Threads and random numbers of the process are afterwards as they were before.

    Args:
        trial: what to train.
        threads: how many to compute with.
        report: told a few times a second how far the trial is.

    Raises:
        ValueError: when the task, the cell or the budget is none.
        DataError: when the task's data cannot be read, or is not what the trial names.
    """
    if trial.max_steps is None and trial.max_seconds is None:
        raise ValueError("trial: expected max_steps or max_seconds, got neither. Give a budget.")
    task = make_task(trial.task)
    if trial.data not in (None, task.digest):
        raise DataError(
            f"{trial.task}: expected the data with which the comparison was begun, got other data. "
            "Keep it as it is until all trials have ended."
        )
    with _threads_of_its_own(threads), torch.random.fork_rng(devices=[]):
        return _train(trial, task, report or (lambda progress: None))


def _train(trial: Trial, task: Task, report: Callable[[Progress], object]) -> Outcome:
    torch.manual_seed(trial.seed)
    model = Classifier(task, trial.cell, trial.hidden_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.lr)
    drawn = torch.Generator().manual_seed(trial.seed)
    val, test = (list(task.held_out(part, trial.batch_size)) for part in ("val", "test"))
    _build(model, task, trial)
    points: list[Point] = []
    loss: float | None = None
    best = math.inf
    seconds, step = 0.0, 0
    status, next_share, reported = "ended", 0.0, -math.inf
    while True:
        share = _share(trial, step, seconds)
        if share >= next_share or (status == "diverged" and step > points[-1].step):
            score = _score(model, task, val)
            reached = _score(model, task, test) if score < best else None
            best = min(best, score)
            points.append(Point(step=step, seconds=seconds, loss=loss, score=score, test=reached))
            next_share = (math.floor(share * POINTS) + 1) / POINTS
            if task.solved is not None and score <= task.solved:
                status = "solved"
                break
        start = time.perf_counter()
        if start - reported >= _REPORT_EVERY_S:
            report(Progress(step=step, share=share, loss=loss, score=best))
            reported = start = time.perf_counter()
        if share >= 1.0 or status == "diverged":
            break
        batch = task.batch(trial.batch_size, drawn)
        found = task.loss(model(batch), batch)
        optimizer.zero_grad()
        found.backward()
        norm = clip_gradients(model.parameters(), max_norm=trial.clip)
        loss = found.item()
        if not math.isfinite(loss) or not torch.isfinite(norm):
            status = "diverged"
            continue
        optimizer.step()
        step, seconds = step + 1, seconds + time.perf_counter() - start
    count = sum(parameter.numel() for parameter in model.parameters())
    return Outcome(trial=trial, parameters=count, points=tuple(points), status=status)


def _build(model: Classifier, task: Task, trial: Trial) -> None:
    """Have everything built and loaded that a first step would wait for, and leave no trace.

    Kernels are built at the first call and at the first gradient, which took the first trial of a
    cell a second or more that the others did not wait for.
    """
    with torch.random.fork_rng(devices=[]):
        batch = task.batch(trial.batch_size, torch.Generator().manual_seed(trial.seed))
        task.loss(model(batch), batch).backward()
        model.zero_grad()
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


def _share(trial: Trial, step: int, seconds: float) -> float:
    """How much of the budget is spent, 0 to 1."""
    by_steps = 0.0 if trial.max_steps is None else step / trial.max_steps
    by_clock = 0.0 if trial.max_seconds is None else seconds / trial.max_seconds
    return min(1.0, max(by_steps, by_clock))


@torch.no_grad()
def _score(model: Classifier, task: Task, batches: Sequence[Batch]) -> float:
    """The mean over the answers of all batches."""
    model.eval()
    total = sum(task.score(model(batch), batch) * batch.count for batch in batches)
    model.train()
    return total / sum(batch.count for batch in batches)
