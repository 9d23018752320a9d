"""Trials: one cell trained on one task from one seed, under a budget of steps or seconds.

What a trial gives is its curve: the score on sequences that it was not trained on, by step and by
second of training. Many trials side by side are what `recurra compare` runs.
"""

import math
import time
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from recurra import cells
from recurra.data import Batch, Task, make_task
from recurra.lang import Cell
from recurra.nn import Recurrent
from recurra.nn.initial import Rule, parse
from recurra.training.clipping import clip_gradients

POINTS = 50  # of a curve, about
_JUDGED, _JUDGE_SEED = 8, 1_000_003  # batches that the score is measured on, and their seed


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

    @property
    def name(self) -> str:
        """What it is called among the trials of one comparison."""
        return f"{self.cell}-{self.seed}"

    def as_dict(self) -> dict[str, Any]:
        """The settings, as JSON has them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A measurement: after `step` steps and `seconds` of training; `loss` is the last step's."""

    step: int
    seconds: float
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

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "trial": self.trial.as_dict(),
            "parameters": self.parameters,
            "status": self.status,
            "points": [[p.step, p.seconds, p.loss, p.score] for p in self.points],
        }

    @classmethod
    def of_dict(cls, read: dict[str, Any]) -> "Outcome":
        """What `as_dict` gave."""
        points = (
            Point(step=step, seconds=seconds, loss=loss, score=score)
            for step, seconds, loss, score in read["points"]
        )
        return cls(
            trial=Trial(**read["trial"]),
            parameters=read["parameters"],
            points=tuple(points),
            status=read["status"],
        )


class Reader(nn.Module):
    """A recurrent layer and a linear read-out: at each step, or at the end of each sequence."""

    def __init__(self, task: Task, cell: str, hidden_size: int) -> None:
        super().__init__()
        self._at_each_step = task.at_each_step
        sizes = own_sizes(cell, hidden_size)
        of, init = cell_and_init(cell)
        self.recurrent = Recurrent(of, task.input_size, hidden_size, sizes=sizes, init=init)
        self.readout = nn.Linear(self.recurrent.output_size, task.output_size)

    def forward(self, batch: Batch) -> Tensor:
        """[T, B, O] at each step, [B, O] at the end."""
        y, _ = self.recurrent(batch.x, lengths=batch.lengths)
        if self._at_each_step:
            return self.readout(y)
        if batch.lengths is None:
            return self.readout(y[-1])
        return self.readout(y[batch.lengths - 1, torch.arange(y.shape[1])])


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
                f"{spelled}: expected settings PARAMETER=RULE, where a parameter is one of "
                f"{', '.join(of.parameters)}, got {setting!r}. Write one as in lstm:b_f=chrono400."
            )
        init[parameter] = parse(rule)
    return of, init


def own_sizes(cell: str, hidden_size: int) -> dict[str, int]:
    """Half of H for each size that a cell has of its own, such as a projection."""
    names = set(cell_and_init(cell)[0].size_names) - {"I", "H"}
    return dict.fromkeys(names, max(1, hidden_size // 2))


def count_parameters(task: Task, cell: str, hidden_size: int) -> int:
    """How many numbers a `Reader` trains; ValueError where the cell does not have that size."""
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


def run_trial(trial: Trial, threads: int = 1) -> Outcome:
    """Train until the task is solved or the budget is spent.

    Raises:
        ValueError: when the task, the cell or the budget is none.
    """
    if trial.max_steps is None and trial.max_seconds is None:
        raise ValueError("trial: expected max_steps or max_seconds, got neither. Give a budget.")
    torch.set_num_threads(threads)
    task = make_task(trial.task)
    torch.manual_seed(trial.seed)
    model = Reader(task, trial.cell, trial.hidden_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.lr)
    drawn = torch.Generator().manual_seed(trial.seed)
    judged = [
        task.judged(trial.batch_size, torch.Generator().manual_seed(_JUDGE_SEED + i))
        for i in range(_JUDGED)
    ]
    points: list[Point] = []
    loss: float | None = None
    seconds, step = 0.0, 0
    status, next_share = "ended", 0.0
    while True:
        share = _share(trial, step, seconds)
        if share >= next_share or (status == "diverged" and step > points[-1].step):
            points.append(
                Point(step=step, seconds=seconds, loss=loss, score=_score(model, task, judged))
            )
            next_share = (math.floor(share * POINTS) + 1) / POINTS
            if points[-1].score < task.solved:
                status = "solved"
                break
        if share >= 1.0 or status == "diverged":
            break
        start = time.perf_counter()
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


def _share(trial: Trial, step: int, seconds: float) -> float:
    """How much of the budget is spent, 0 to 1."""
    by_steps = 0.0 if trial.max_steps is None else step / trial.max_steps
    by_clock = 0.0 if trial.max_seconds is None else seconds / trial.max_seconds
    return min(1.0, max(by_steps, by_clock))


@torch.no_grad()
def _score(model: Reader, task: Task, judged: list[Batch]) -> float:
    scores = [task.score(model(batch), batch) for batch in judged]
    return sum(scores) / len(scores)
