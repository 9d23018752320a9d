"""A task of one's own, outside the package: predict the next value of a wave from those before it.

    python examples/next_step.py

It says what its data are, what a batch is, what is minimised and what is reported. Steps,
validation, the best model, early stopping, resuming, metrics.csv and the live view come with it.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

import recurra as rc
from recurra.models import Model
from recurra.models.cell_entries import cell_config
from recurra.settings import Settings, setting
from recurra.training import Description, Loss, Moment, Task, TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveSettings(Settings):
    length: int = setting(60, "Steps of a sequence.", "Data", least=2)
    noise: float = setting(0.05, "Standard deviation of what is added.", "Data")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveModelSettings(Settings):
    hidden_size: int = setting(32, "Units of the layer.", "Model")


class WaveModel(Model):
    """A GRU and a linear read-out, one number a step."""

    def __init__(self, hidden_size: int, *, cell: Any = "gru", backend: str = "auto", **where: Any):
        super().__init__()
        self.recurrent = rc.Recurrent(cell, 1, hidden_size, backend=backend, **where)
        self.readout = nn.Linear(hidden_size, 1, **where)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.recurrent(x)[0])  # [T, B, 1]

    @property
    def config(self) -> dict[str, Any]:
        return {**cell_config(self.recurrent.cell), "hidden_size": self.recurrent.hidden_size}


@dataclass(frozen=True)
class Waves:
    """Batches of sines of random phase and frequency: each a function of its two numbers."""

    settings: WaveSettings
    batch_size: int
    seed: int
    own: tuple[int, int] = (0, 1)  # of the sequences of a batch: the first, and every how many

    def __len__(self) -> int:
        return 50  # batches of a pass

    def batch(self, epoch: int, index: int) -> Tensor:
        drawn = torch.Generator().manual_seed(self.seed + 50 * epoch + index)
        phase, pace = torch.rand(2, self.batch_size, 1, generator=drawn)
        time = torch.arange(self.settings.length)[:, None, None]
        wave = torch.sin(6.3 * phase + (0.1 + 0.3 * pace) * time)
        noise = torch.randn(wave.shape, generator=drawn)
        return (wave + self.settings.noise * noise)[:, self.own[0] :: self.own[1]]

    def shard(self, rank: int, world_size: int) -> "Waves":
        return replace(self, own=(rank, world_size))


class NextStep(Task[WaveModel, Tensor]):
    name: ClassVar[str] = "next-step"
    title: ClassVar[str] = "model of waves"
    counted: ClassVar[str] = "sequences"
    loss_name: ClassVar[str] = "mse"
    data_settings: ClassVar[type[Settings]] = WaveSettings
    model_settings: ClassVar[type[Settings]] = WaveModelSettings

    def describe(self) -> Description:
        return Description(lines=[("waves", f"{self.settings.length} steps each")])

    def build(self, model: WaveModelSettings, *, backend: str = "auto") -> WaveModel:
        return WaveModel(model.hidden_size, backend=backend)

    def source(self, split: str, training: TrainingSettings) -> Waves:
        seed = {"train": training.seed * 10**6, "val": -1000, "test": -2000}[split]
        return Waves(self.settings, training.batch_size, seed % 2**62)

    def loss(self, model: nn.Module, batch: Tensor, state: Any, moment: Moment) -> Loss:
        batch = batch.to(next(model.parameters()))
        mean = functional.mse_loss(model(batch[:-1]), batch[1:])
        return Loss(mean=mean, count=batch.shape[1])


if __name__ == "__main__":
    run = rc.train(NextStep, epochs=4, lr=0.01, hidden_size=24)
    print(run.evaluate("test"))
