"""One step of training: forward, loss, backward, clip, update; skipped when not finite."""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from recurra.errors import RunError, argument
from recurra.nn.plain import evaluating
from recurra.parallel import ALONE, Ranks
from recurra.training.clipping import Clipper
from recurra.training.flossing import Flosser
from recurra.training.optimization import build_optimizer, set_learning_rate
from recurra.training.settings import TrainingSettings
from recurra.training.task import Carried, Loss, Moment, Task

MAX_SKIPPED_IN_A_ROW = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What one step did, in all ranks together.

    Attributes:
        loss: mean over what counts in the batch.
        grad_norm: norm of all gradients before clipping.
        skipped: whether the weights were left alone because one of the two was not finite.
        count: of what counts.
        part: the share of a whole batch that this one was.
        clipped: whether clipping changed a gradient.
    """

    loss: float
    grad_norm: float
    skipped: bool
    count: int
    part: float
    clipped: bool = False


class Stepper:
    """A model with its optimizer on a device, and the state it carries from batch to batch."""

    def __init__(
        self,
        task: Task[Any, Any],
        model: nn.Module,
        settings: TrainingSettings,
        fabric: Fabric,
        ranks: Ranks = ALONE,
    ) -> None:
        self.task, self.model = task, model
        self.device = fabric.device
        self.state: Carried = None
        self.index = 0  # steps of time that are in the state
        self._batch: Any = None
        self._settings = settings
        self._whole = task.whole(settings)
        self._fabric, self._ranks = fabric, ranks
        model.to(fabric.device)
        self.optimizer = build_optimizer(model, settings)
        self.clipper = Clipper(model, settings)
        self.flosser = Flosser(model, settings, ranks) if settings.floss else None
        self._parameters = list(model.parameters())
        # A wrapper does nothing at the model's own precision, and costs time.
        self._is_plain = settings.precision == "32-true"
        if self._is_plain:
            self.wrapped_model: Any = model
            self._wrapped_optimizer: Any = self.optimizer
        else:
            self.wrapped_model, self._wrapped_optimizer = fabric.setup(model, self.optimizer)

    def __call__(self, batch: Any, lr: float, moment: Moment) -> StepOutcome:
        """Take one step on a batch; the state is carried on, detached.

        A batch that is smaller than a whole one moves the weights by its share, so that whatever
        counts in it weighs the same. So does whatever counts in the share of each rank.
        """
        ranks = self._ranks
        if not self.model.training:
            self.wrapped_model.train()
        set_learning_rate(self.optimizer, lr)
        self._wrapped_optimizer.zero_grad(set_to_none=True)
        if self.state is None:
            self.index = 0
        flosser = self.flosser
        is_flossed = flosser is not None and flosser.due(moment.step)
        with flosser.watching() if flosser is not None and is_flossed else nullcontext():
            found: Loss = self.task.loss(self.wrapped_model, batch, self.state, moment)
        self._batch = batch
        whole = self._whole or ranks.sum(found.count)[0]
        share = found.count / whole if whole else 1.0
        loss = found.mean if share == 1.0 else found.mean * share
        if self._is_plain:
            loss.backward()
        else:
            self._fabric.backward(loss)
        if flosser is not None and is_flossed:
            flosser.add_gradients(moment.seed)
        ranks.sum_gradients(self._parameters)
        clipping = self.clipper()
        met = [found.mean.detach(), clipping.norm.to(found.mean), clipping.bit.to(found.mean)]
        own, grad_norm, bit = torch.stack(met).tolist()
        mean, count = ranks.mean(own, found.count)
        self.state = detach(found.state)
        self.index += found.steps
        skipped = not (math.isfinite(mean) and math.isfinite(grad_norm))
        if not skipped:
            self._wrapped_optimizer.step()
        elif ranks.sum(not is_finite(self.state))[0]:
            self.state = None
        part = 1.0 if self._whole is None else count / self._whole
        return StepOutcome(
            loss=mean,
            grad_norm=grad_norm,
            skipped=skipped,
            count=count,
            part=part,
            clipped=bool(bit),
        )

    def floss(self, batch: Any, moment: Moment) -> Tensor:
        """Take a step of flossing alone; the exponents before it, [layers and directions, k]."""
        assert self.flosser is not None
        with evaluating(self.model), self.flosser.watching(), torch.no_grad():
            self.task.loss(self.model, batch, None, moment)
        return self.flosser.step(moment.seed)

    @property
    @torch.no_grad()
    def present_loss(self) -> float:
        """The loss of the weights as they are now, on the last batch read, from a zero state.

        The loss of a step is that of the weights before it. nan where a weight is not finite; 0
        where no batch was read, and nothing is known against the weights.
        """
        if not all(bool(torch.isfinite(p).all()) for p in self._parameters):
            return math.nan
        if self._batch is None:
            return 0.0
        with evaluating(self.model):
            return self.task.loss(self.model, self._batch, None, Moment()).mean.item()


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


# ---- the carried state ---------------------------------------------------------------------------


def detach(state: Carried) -> Carried:
    """The same values, with no gradient flowing back beyond this batch."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return state.detach()
    return tuple(part.detach() for part in state)


def is_finite(state: Carried) -> bool:
    """Whether no entry is inf or nan."""
    return all(bool(torch.isfinite(part).all()) for part in _parts(state))


def to_tensors(state: Carried) -> dict[str, Tensor]:
    """Named tensors on the CPU, from which `from_tensors` makes the state again."""
    if isinstance(state, Tensor):
        return {"only": state.cpu()}
    return {str(index): part.cpu() for index, part in enumerate(_parts(state))}


def from_tensors(
    tensors: dict[str, Tensor], device: torch.device, expected: Carried = None
) -> Carried:
    """The state that `to_tensors` was given.

    Args:
        tensors: by name.
        device: to put it on.
        expected: a state of the same kind, whose shapes it must have, and whose dtypes it gets:
            runs in double precision once kept float32; None: any.
    Raises:
        ValueError: when it is of another kind.
    """
    if not tensors:
        return None
    names = ["only"] if "only" in tensors else [str(index) for index in range(len(tensors))]
    parts = [tensors[name].to(device) for name in names]
    if expected is not None:
        wanted, found = ([(*part.shape,) for part in each] for each in (_parts(expected), parts))
        if found != wanted or not all(part.is_floating_point() for part in parts):
            raise ValueError(f"a carried state of {found} where it should be {wanted}")
        parts = [part.to(like.dtype) for part, like in zip(parts, _parts(expected), strict=True)]
    return parts[0] if names == ["only"] else tuple(parts)


def _parts(state: Carried) -> tuple[Tensor, ...]:
    if state is None:
        return ()
    return (state,) if isinstance(state, Tensor) else state
