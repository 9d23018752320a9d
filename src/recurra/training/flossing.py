"""Gradient flossing while a model trains: before its first step, and beside some of the others."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Adam

from recurra.insight.flossing import Read, flossing_loss, watched
from recurra.nn.stack import CellStack
from recurra.parallel import ALONE, Ranks
from recurra.training.settings import TrainingSettings

LR = 1e-3  # of Adam in the steps before training, as in the paper


class Flosser:
    """Pushes the first Lyapunov exponents of a model's recurrent layers to zero.

    Beside a step of training, `floss_weight` times the sum of their squares is added to the loss;
    before training it is the loss, and Adam takes the steps. A gradient of it that is not finite,
    as where a layer forgets all at once, is left out; `remark` says how often.

    Args:
        model: whose layers.
        settings: of which those of flossing are read.
        ranks: that train together; each flosses on its own share of a batch.
    Raises:
        ValueError: when the model has no recurrent layer.
    Source: Engelken (2023), arXiv:2312.17306, sections 3 and 4.
    """

    def __init__(self, model: nn.Module, settings: TrainingSettings, ranks: Ranks = ALONE) -> None:
        self._layers = [module for module in model.modules() if isinstance(module, CellStack)]
        if not self._layers:
            raise ValueError(
                f"floss: expected a model with a recurrent layer, got {type(model).__name__}. "
                "Leave it out."
            )
        self._settings, self._ranks = settings, ranks
        layers = nn.ModuleList(self._layers)
        self._parameters = [p for p in layers.parameters() if p.requires_grad]
        self._reads: list[Read] = []
        self._tried = self._unread = self._left_out = 0
        self._optimizer = Adam(self._parameters, lr=LR)

    def due(self, step: int) -> bool:
        """Whether a step of training is flossed."""
        every = self._settings.floss_every
        return every > 0 and step % every == 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what the layers read in the block."""
        with watched(self._layers) as self._reads:
            yield

    def add_gradients(self, seed: int) -> None:
        """Add the gradients of the extra loss to those of the parameters."""
        self._add(self._settings.floss_weight, seed)

    def step(self, seed: int) -> Tensor:
        """A step on the extra loss alone; the exponents before it, [layers and directions, k]."""
        self._optimizer.zero_grad(set_to_none=True)
        exponents = self._add(1.0, seed)
        self._ranks.sum_gradients(self._parameters)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return exponents

    @property
    def remark(self) -> str | None:
        """Of how many steps that were to be flossed none was, and why; None: of none."""
        reasons = {
            "no layer read more than one step at once": self._unread,
            "the gradient was not finite": self._left_out,
        }
        said = [f"in {count:,} {reason}" for reason, count in reasons.items() if count]
        return f"of {self._tried:,} steps of flossing {', '.join(said)}" if said else None

    def _add(self, weight: float, seed: int) -> Tensor:
        self._tried += 1
        if not self._reads:  # a batch of sequences of one step
            self._unread += 1
            return torch.empty(0, self._settings.floss, dtype=torch.float32, device="cpu")
        loss, exponents = flossing_loss(self._reads, self._settings.floss, seed=seed)
        self._reads = []
        found = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        known = [g for g in found if g is not None]
        if not all(bool(torch.isfinite(g).all()) for g in known):
            self._left_out += 1
            return exponents
        for parameter, gradient in zip(self._parameters, found, strict=True):
            if gradient is None:
                continue
            own = gradient * (weight / self._ranks.world_size)
            parameter.grad = own if parameter.grad is None else parameter.grad + own
        return exponents


def spelled(exponents: Tensor) -> str:
    """The first of each layer and direction to the last, as in "-0.51..-0.93"."""
    rows = [row[torch.isfinite(row)].tolist() for row in exponents]
    return ", ".join(f"{row[0]:.2f}..{row[-1]:.2f}" for row in rows if row)
