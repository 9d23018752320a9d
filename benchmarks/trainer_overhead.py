"""What the trainer costs beside a bare loop of the same steps, where a step takes about 2 ms."""

import time
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import Rounds, row
from recurra.models.readout import Readout
from recurra.tasks.made_up import Adding
from recurra.tasks.problem_options import ReadoutSettings
from recurra.tasks.problems import ProblemTask
from recurra.training import Hook, Trainer, TrainingSettings, clip_gradients

MOST = 0.05  # of a step that the trainer may cost
SEQUENCE, SIZE, HIDDEN, STEPS = 40, 16, 32, 300  # an LSTM's step of about 2 ms


class _Clock(Hook):
    """The moments after the first and after the last step."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0
        self.losses: list[float] = []

    def stepped(self, trainer: Trainer[Any, Any], outcome: Any) -> None:
        self.ended = time.perf_counter()
        self.began = self.began or self.ended
        self.losses.append(outcome.loss)


def _model(task: ProblemTask) -> Readout:
    torch.manual_seed(1)
    return task.build(ReadoutSettings(hidden_size=HIDDEN))


def _trained(steps: int) -> tuple[float, list[float]]:
    """Seconds a step by the trainer, without validations, and the losses."""
    task, clock = ProblemTask(Adding(steps=SEQUENCE)), _Clock()
    settings = TrainingSettings(
        optimizer="adam", lr=1e-3, schedule="constant", warmup_steps=0, batch_size=SIZE, seed=1,
        max_steps=steps, eval_every=steps, device="cpu",
    )  # fmt: skip
    Trainer(task, _model(task), settings, hooks=[clock]).fit()
    return (clock.ended - clock.began) / (steps - 1), clock.losses


def _bare(steps: int) -> tuple[float, list[float]]:
    """The same by a loop that does nothing else."""
    task = ProblemTask(Adding(steps=SEQUENCE))
    model = _model(task)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    drawn = torch.Generator().manual_seed(1)
    losses, began = [], 0.0
    model.train()
    for _ in range(steps):
        batch = task.problem.batch(SIZE, drawn)
        optimizer.zero_grad(set_to_none=True)
        loss = task.problem.loss(model(batch.x, batch.lengths), batch)
        loss.backward()
        clip_gradients(model.parameters(), max_norm=1.0)
        losses.append(loss.item())
        optimizer.step()
        began = began or time.perf_counter()
    return (time.perf_counter() - began) / (steps - 1), losses


def _check() -> None:
    if _trained(10)[1] != _bare(10)[1]:
        raise DisagreementError("trainer_overhead: the trainer's losses are not the bare loop's")


def _run(settings: Settings) -> Iterator[Row]:
    sides = {"recurra": _trained, "bare loop": _bare}
    rounds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(3 if settings.quick else 15):
        for name, side in sides.items():
            rounds[name].append(1e3 * side(STEPS)[0])
    job = f"a step of an LSTM, T{SEQUENCE} B{SIZE} H{HIDDEN}"
    target = Target(value=1 / (1 + MOST))
    yield row(Rounds(ms=rounds), job, "bare loop", settings, target=target)


BENCHMARKS = (
    Benchmark(
        name="trainer_overhead",
        doc="the trainer beside a bare loop of the same steps of about 2 ms, the losses bit for "
        "bit the same; ratio: the bare loop's time over the trainer's",
        check=_check,
        run=_run,
    ),
)
