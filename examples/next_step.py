"""A task of one's own, outside the package: predict the next value of a wave from those before it.

    python examples/next_step.py

It says what its data are, what a batch is, what is minimised and what is reported. Steps,
validation, the best model, early stopping, resuming, metrics.csv and the live view come with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

import recurra as rc
from recurra.models import Model
from recurra.models.cell_entries import cell_config
from recurra.settings import Settings, setting
from recurra.training import Description, Figure, Loss, Moment, Task, TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveSettings(Settings):
    length: int = setting(60, "Steps of a sequence.", "Data", least=2)
    noise: float = setting(0.05, "Standard deviation of what is added.", "Data")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveModelSettings(Settings):
    hidden_size: int = setting(32, "Units of the layer.", "Model")


class WaveModel(Model):
    """A GRU and a linear read-out, one number a step."""

    def __init__(
        self, hidden_size: int = 32, *, cell: Any = "gru", backend: str = "auto", **where: Any
    ) -> None:
        super().__init__()
        self.recurrent = rc.Recurrent(cell, 1, hidden_size, backend=backend, **where)
        self.readout = nn.Linear(hidden_size, 1, **where)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.recurrent(x)[0])  # [T, B, 1]

    @property
    def config(self) -> dict[str, Any]:
        return {**cell_config(self.recurrent.cell), "hidden_size": self.recurrent.hidden_size}


class Waves:
    """Batches of sines of random phase and frequency: each a function of its two numbers."""

    def __init__(self, settings: WaveSettings, batch_size: int, seed: int) -> None:
        self.settings, self.batch_size, self.seed = settings, batch_size, seed
        self.own = slice(None)  # of the sequences of a batch

    def __len__(self) -> int:
        return 50  # batches of a pass

    def batch(self, epoch: int, index: int) -> Tensor:
        drawn = torch.Generator().manual_seed(self.seed + 50 * epoch + index)
        phase, pace = torch.rand(2, self.batch_size, 1, generator=drawn)
        time = torch.arange(self.settings.length)[:, None, None]
        wave = torch.sin(6.3 * phase + (0.1 + 0.3 * pace) * time)
        noise = torch.randn(wave.shape, generator=drawn)
        return (wave + self.settings.noise * noise)[:, self.own]

    def shard(self, rank: int, world_size: int) -> "Waves":
        part = Waves(self.settings, self.batch_size, self.seed)
        part.own = slice(rank, None, world_size)
        return part


class NextStep(Task[WaveModel, Tensor]):
    name: ClassVar[str] = "next-step"
    title: ClassVar[str] = "model of waves"
    counted: ClassVar[str] = "sequences"
    loss_name: ClassVar[str] = "mse"
    data_settings: ClassVar[type[Settings]] = WaveSettings
    model_settings: ClassVar[type[Settings]] = WaveModelSettings

    def __init__(self, settings: WaveSettings) -> None:
        self.settings = settings

    @classmethod
    def prepare(cls, folder: Path, data: WaveSettings) -> "NextStep":
        return cls(data)  # nothing is read; a task with files writes them into the folder here

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> "NextStep":
        return cls(WaveSettings.pick(config["data"]))

    def entries(self) -> dict[str, Any]:
        return {}

    def describe(self) -> Description:
        return Description(lines=[("waves", f"{self.settings.length} steps each")])

    @property
    def figures(self) -> Sequence[Figure]:
        return (Figure(name="mse", unit="mean squared error"),)

    def build(self, model: WaveModelSettings, *, backend: str = "auto") -> WaveModel:
        return WaveModel(model.hidden_size, backend=backend)

    def source(self, split: str, training: TrainingSettings) -> Waves:
        seed = {"train": training.seed * 10**6, "val": -1000, "test": -2000}[split]
        return Waves(self.settings, training.batch_size, seed % 2**62)

    def loss(self, model: nn.Module, batch: Tensor, state: Any, moment: Moment) -> Loss:
        batch = batch.to(next(model.parameters()))
        mean = functional.mse_loss(model(batch[:-1]), batch[1:])
        return Loss(mean=mean, count=batch.shape[1])

    def validate(self, model: WaveModel, device: torch.device) -> dict[str, float]:
        return self.evaluate(model, "val")

    def evaluate(self, model: WaveModel, split: str) -> dict[str, float]:
        with torch.no_grad():  # called in evaluation mode
            losses = [
                self.loss(model, self.source(split, TrainingSettings()).batch(0, i), None, Moment())
                for i in range(4)
            ]
        return {"mse": sum(loss.mean.item() for loss in losses) / len(losses)}


if __name__ == "__main__":
    run = rc.train(NextStep, epochs=4, lr=0.01, hidden_size=24)
    print(run.evaluate("test"))
