"""One step of training: forward, loss, backward, clip, update; skipped when not finite."""

import math
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from recurra.errors import RunError, argument
from recurra.training import carried
from recurra.training.carried import Carried
from recurra.training.clipping import clip_gradients
from recurra.training.config import TrainingConfig
from recurra.training.optimizers import build_optimizer, set_learning_rate

MAX_SKIPPED_IN_A_ROW = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What one step did.

    Attributes:
        nll: mean loss of the window, nats a token.
        grad_norm: norm of all gradients before clipping.
        skipped: whether the weights were left alone because one of the two was not finite.
    """

    nll: float
    grad_norm: float
    skipped: bool


class Stepper:
    """A model with its optimizer on a device, and the state it carries from window to window."""

    def __init__(self, model: nn.Module, config: TrainingConfig, fabric: Fabric) -> None:
        self.model = model
        self.device = fabric.device
        self.state: Carried = None
        self.index = 0  # tokens of each stream that are in the state
        self._window: tuple[Tensor, Tensor] | None = None
        self._config = config
        self._fabric = fabric
        model.to(fabric.device)
        self.optimizer = build_optimizer(model, config)
        self.wrapped_model, self._wrapped_optimizer = fabric.setup(model, self.optimizer)

    def __call__(self, inputs: Tensor, targets: Tensor, lr: float) -> StepOutcome:
        """Take one step on a window [T, B]; the state is carried on, detached.

        Loss: mean cross entropy over all T * B targets, in nats. A window shorter than the others
        moves the weights by its share of a whole one, so that each token weighs the same.
        """
        self.wrapped_model.train()
        set_learning_rate(self.optimizer, lr)
        self._wrapped_optimizer.zero_grad(set_to_none=True)
        if self.state is None:
            self.index = 0
        reads_index = getattr(self.model, "reads_index", False)
        options = {"start": self.index} if reads_index else {}
        logits, state = self.wrapped_model(inputs.to(self.device), self.state, **options)
        loss = functional.cross_entropy(
            logits.flatten(0, 1).float(), targets.to(self.device).flatten()
        )
        self._window = inputs, targets
        self._fabric.backward(loss * (len(inputs) / self._config.bptt))
        norm = clip_gradients(
            self.model.parameters(),
            max_norm=self._config.clip_norm,
            max_value=self._config.clip_value,
        )
        nll, grad_norm = torch.stack([loss.detach(), norm.to(loss)]).tolist()
        self.state = carried.detach(state)
        self.index += len(inputs)
        skipped = not (math.isfinite(nll) and math.isfinite(grad_norm))
        if not skipped:
            self._wrapped_optimizer.step()
        elif not carried.is_finite(self.state):
            self.state = None
        return StepOutcome(nll=nll, grad_norm=grad_norm, skipped=skipped)

    @property
    @torch.no_grad()
    def present_nll(self) -> float:
        """The loss of the weights as they are now, on the last window read, from a zero state.

        The loss of a step is that of the weights before it. Not finite where a weight is not; nan
        before the first step.
        """
        parameters = list(self.model.parameters())
        if self._window is None or not all(bool(torch.isfinite(p).all()) for p in parameters):
            return math.nan
        inputs, targets = (part.to(self.device) for part in self._window)
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            logits, _ = self.model(inputs, None)
        finally:
            for module in training:
                module.training = True
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).item()


def stopped_learning(count: int, saved_step: int, lr: float) -> RunError:
    """The error for too many skipped steps in a row."""
    return RunError(
        f"training: expected finite gradients, got inf or nan in {count} steps in a row. "
        f"Go on from the last good checkpoint, that of step {saved_step}, with "
        f"{argument('resume=True')} and a "
        f"lower {argument('lr=')} (it was {lr:.3g}), or start again with more "
        f"{argument('warmup_steps=')}, a smaller "
        f"{argument('clip_norm=')}, or {argument('precision=32-true')}."
    )
