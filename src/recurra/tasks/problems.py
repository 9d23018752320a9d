"""The made-up problems as tasks: adding, copying, temporal-order, arithmetic, nesting, flip-flop.

There are no data to read: a problem's settings say what is drawn, and the seed draws it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from recurra.data.source import Source, check_index, check_rank
from recurra.models.readout import Readout
from recurra.nn.plain import evaluating
from recurra.settings import Settings
from recurra.tasks.cells import with_cell
from recurra.tasks.made_up import (
    Adding,
    Arithmetic,
    Batch,
    Copying,
    FlipFlop,
    Nesting,
    Part,
    Problem,
    TemporalOrder,
)
from recurra.tasks.problem_options import ReadoutSettings
from recurra.training.settings import RunSettings
from recurra.training.task import Carried, Description, Figure, Loss, Moment, Task

BATCHES = 1000  # of what is called a pass: a problem has no end
_HELD_OUT = 64  # sequences of a held-out batch before anything is trained


class Drawn(Source[Batch]):
    """Batches drawn one after the other by one generator, which starts at a seed.

    Batch `index` of pass `epoch` is draw 1000 epoch + index. To ask for the one after the last
    costs one draw; to ask for an earlier one, or to skip some, all from the first.
    """

    def __init__(self, problem: Problem, size: int, seed: int) -> None:
        self.problem, self.size, self.seed = problem, size, seed
        self._share = (0, 1)
        self._restart()

    def _restart(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self._drawn = 0

    def __len__(self) -> int:
        return BATCHES

    def batch(self, epoch: int, index: int) -> Batch:
        """The batch; IndexError when a pass has none of this index."""
        check_index(index, BATCHES)
        number = epoch * BATCHES + index
        if number < self._drawn:
            self._restart()
        while True:
            batch = self.problem.batch(self.size, self._generator)
            self._drawn += 1
            if self._drawn > number:
                return batch if self._share == (0, 1) else batch.share(*self._share)

    def shard(self, rank: int, world_size: int) -> "Drawn":
        """Every W-th sequence of each batch, from the rank on.

        Raises:
            ValueError: when the rank is not in 0..W-1, or a batch has fewer than W sequences.
        """
        check_rank(rank, world_size)
        if self.size < world_size:
            raise ValueError(
                f"batch_size: expected a sequence for each of {world_size} processes, got "
                f"{self.size}. Use a larger batch, or fewer processes."
            )
        part = Drawn(self.problem, self.size, self.seed)
        part._share = (rank, world_size)
        return part


class ProblemTask(Task[Readout, Batch]):
    """A made-up problem; each has a class of its own, by its name.

    The held-out sequences come in batches as large as those that are trained on.
    """

    title: ClassVar[str] = "made-up problem"
    counted: ClassVar[str] = "answers"
    data_settings: ClassVar[type[Settings]] = Problem
    model_settings: ClassVar[type[Settings]] = ReadoutSettings

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._size = _HELD_OUT
        self._held_out: dict[Part, list[Batch]] = {}

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """The settings with the cell that they name."""
        return with_cell(settings)

    @classmethod
    def prepare(cls, folder: Path, data: Problem) -> "ProblemTask":
        """The task: nothing is read."""
        return cls(data)

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> "ProblemTask":
        """The task of these settings."""
        data: Any = cls.data_settings.pick(config["data"])
        task = cls(data)
        task._size = config.get("training", {}).get("batch_size", _HELD_OUT)
        return task

    def entries(self) -> dict[str, Any]:
        """Nothing besides the settings."""
        return {}

    def describe(self) -> Description:
        """The problem and its settings."""
        given = ", ".join(f"{name} {value:,}" for name, value in self.problem.to_dict().items())
        return Description(lines=[(self.problem.problem, given)])

    # ---- model -----------------------------------------------------------------------------------

    @property
    def figures(self) -> Sequence[Figure]:
        """The measure of the problem."""
        return (Figure(name=self.problem.measure, spec=".3g"),)

    @property
    def loss_name(self) -> str:  # type: ignore[override]
        """What is minimised."""
        return self.problem.loss_name

    @property
    def baseline(self) -> float:
        """Of the best answer that remembers nothing."""
        return self.problem.baseline

    @property
    def solved(self) -> float | None:
        """Down to which the literature calls it solved."""
        return self.problem.solved

    @property
    def chance(self) -> float:
        """The loss of a guess, about."""
        return self.problem.baseline

    def build(self, model: ReadoutSettings, *, backend: str = "auto") -> Readout:
        """Recurrent layers and a read-out for the problem."""
        return Readout(
            self.problem.input_size,
            self.problem.output_size,
            at_each_step=self.problem.at_each_step,
            **model.arguments(),
            backend=backend,
            dtype=torch.float32,
        )

    # ---- training --------------------------------------------------------------------------------

    def source(self, split: str, training: Any) -> Drawn:
        """What is drawn from the seed."""
        if training.batch_size != self._size:
            self._size, self._held_out = training.batch_size, {}
        return Drawn(self.problem, training.batch_size, training.seed)

    def loss(self, model: nn.Module, batch: Batch, state: Carried, moment: Moment) -> Loss:
        """The loss of the problem, over what counts of the batch."""
        batch = batch.to(next(model.parameters()))
        mean = self.problem.loss(model(batch.x, batch.lengths), batch)
        return Loss(mean=mean, count=int(batch.count))

    def validate(self, model: Readout, device: torch.device) -> dict[str, float]:
        """The measure on the validation part, each sequence once."""
        return self._measure(model, "val")

    def evaluate(self, model: Readout, split: str) -> dict[str, Any]:
        """The measure on a held-out part, "val" or "test"."""
        if split not in ("val", "test"):
            raise ValueError(
                f"split: expected val or test, got {split!r}. What is trained on is drawn anew."
            )
        return self._measure(model, split)

    def _measure(self, model: Readout, part: Part) -> dict[str, float]:
        """The mean over the answers of all batches of a part."""
        like = next(model.parameters())
        total = counted = 0.0
        with torch.no_grad(), evaluating(model):
            if part not in self._held_out:
                self._held_out[part] = list(self.problem.held_out(part, self._size))
            for drawn in self._held_out[part]:
                batch = drawn.to(like)
                total += self.problem.score(model(batch.x, batch.lengths), batch) * batch.count
                counted += batch.count
        return {self.problem.measure: total / counted}


class AddingTask(ProblemTask):
    """`recurra compare adding`."""

    name, data_settings = Adding.problem, Adding


class ArithmeticTask(ProblemTask):
    """`recurra compare arithmetic`."""

    name, data_settings = Arithmetic.problem, Arithmetic


class CopyingTask(ProblemTask):
    """`recurra compare copying`."""

    name, data_settings = Copying.problem, Copying


class FlipFlopTask(ProblemTask):
    """`recurra compare flip-flop`."""

    name, data_settings = FlipFlop.problem, FlipFlop


class NestingTask(ProblemTask):
    """`recurra compare nesting`."""

    name, data_settings = Nesting.problem, Nesting


class TemporalOrderTask(ProblemTask):
    """`recurra compare temporal-order`."""

    name, data_settings = TemporalOrder.problem, TemporalOrder
