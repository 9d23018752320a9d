"""What takes the steps and how large they are: optimizers by name, learning rates over a run."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from recurra.training.settings import TrainingSettings

DEFAULT_WARMUP_STEPS = 100
DEFAULT_WARMUP_FRACTION = 0.1
FINAL_SHARE = 0.01  # of the learning rate is left at the end of a cosine
_SCALE = "scale"  # of a group of parameters: times the learning rate of the run
PATIENCE = 2  # validations without improvement before a plateau halves the rate


def build_optimizer(model: nn.Module, settings: TrainingSettings) -> Optimizer:
    """The optimizer that `settings` names over the parameters of `model` that train.

    Biases, gains, peepholes and other vectors are not decayed: pulling them to zero changes what
    a gate does at rest without making the function smoother. A part of the model that has a
    `learning_rate_scale`, such as an encoder of pictures, learns at so many times the rate.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    # Adam as it was published has no decay
    decay = 0.0 if settings.optimizer == "adam" else settings.weight_decay
    scales = _scales(model)
    by_rule: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in sorted(parameters, key=lambda p: p.ndim < 2):  # those that decay first
        rule = scales.get(parameter, 1.0), decay if parameter.ndim >= 2 else 0.0
        by_rule.setdefault(rule, []).append(parameter)
    groups = [
        {"params": own, "lr": settings.lr * scale, "weight_decay": own_decay, _SCALE: scale}
        for (scale, own_decay), own in by_rule.items()
    ]
    if settings.optimizer == "adam":
        return Adam(groups, lr=settings.lr)
    if settings.optimizer == "adamw":
        # One pass over memory instead of ten; it matters where the vocabulary is large.
        fused = all(p.is_floating_point() and p.device.type in {"cpu", "cuda"} for p in parameters)
        return AdamW(groups, lr=settings.lr, fused=fused)
    if settings.optimizer == "rmsprop":
        return RMSprop(groups, lr=settings.lr, alpha=0.95)
    return SGD(groups, lr=settings.lr, momentum=settings.momentum)


def _scales(model: nn.Module) -> dict[nn.Parameter, float]:
    """Times the rate at which the parameters of parts with a `learning_rate_scale` learn."""
    return {
        parameter: float(module.learning_rate_scale)  # pyright: ignore[reportArgumentType]
        for module in model.modules()
        if hasattr(module, "learning_rate_scale")
        for parameter in module.parameters()
    }


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Use `lr` from the next step on, in each part of the model times its scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get(_SCALE, 1.0)


def optimizer_tensors(optimizer: Optimizer, model: nn.Module) -> dict[str, torch.Tensor]:
    """The optimizer's memory by `<parameter>/<quantity>`, for a file that holds tensors only."""
    names: dict[torch.Tensor, str] = {
        parameter: name for name, parameter in model.named_parameters()
    }
    return {
        f"{names[parameter]}/{quantity}": value
        for parameter, quantities in optimizer.state.items()
        for quantity, value in quantities.items()
        if isinstance(value, torch.Tensor)
    }


def load_optimizer_tensors(
    optimizer: Optimizer, model: nn.Module, tensors: dict[str, torch.Tensor]
) -> None:
    """Give the optimizer the memory that `optimizer_tensors` took.

    Raises:
        ValueError: when it is not such: fused optimizers write to it by address, unchecked.
    """
    parameters = dict(model.named_parameters())
    _check_memory(optimizer, parameters, tensors)
    optimizer.state.clear()
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("/")
        parameter = parameters[name]
        # Step counts stay where the optimizer made them (the CPU, unless it is fused on a GPU).
        device = parameter.device if value.ndim or _counts_on_device(optimizer) else "cpu"
        optimizer.state[parameter][quantity] = value.to(device, copy=True)


# What each keeps for a parameter: a count of steps, and tensors like the parameter itself.
_QUANTITIES: dict[type[Optimizer], tuple[str, ...]] = {
    Adam: ("step", "exp_avg", "exp_avg_sq"),
    AdamW: ("step", "exp_avg", "exp_avg_sq"),
    RMSprop: ("step", "square_avg"),
    SGD: ("momentum_buffer",),
}


def _check_memory(
    optimizer: Optimizer, parameters: dict[str, nn.Parameter], tensors: dict[str, torch.Tensor]
) -> None:
    """ValueError unless each parameter has all that the optimizer keeps for it, or nothing."""
    quantities = _QUANTITIES[type(optimizer)]
    known = {f"{name}/{quantity}" for name in parameters for quantity in quantities}
    for key in tensors.keys() - known:
        raise ValueError(f"{key:.80} in the optimizer's memory, where {quantities} belong")
    for name, parameter in parameters.items():
        found = [q for q in quantities if f"{name}/{q}" in tensors]
        if found and len(found) < len(quantities):
            raise ValueError(f"only {', '.join(found)} of {name} in the optimizer's memory")
        for quantity in found:
            value = tensors[f"{name}/{quantity}"]
            if quantity == "step":
                fits = value.ndim == 0 and value.is_floating_point() and 0 < value < math.inf
            else:
                fits = value.shape == parameter.shape and value.dtype == parameter.dtype
            if not fits:
                raise ValueError(
                    f"{quantity} of {name} as {value.dtype} of shape {tuple(value.shape)}, which "
                    f"is not that of the parameter, {parameter.dtype} of {tuple(parameter.shape)}"
                )


def _counts_on_device(optimizer: Optimizer) -> bool:
    return bool(optimizer.defaults.get("fused") or optimizer.defaults.get("capturable"))


# ---- learning rates over a run -------------------------------------------------------------------


class Schedule:
    """The learning rate at each step, as a function of the step and the share of the run done.

    warm-up: rate * (step + 1) / warmup_steps, then the schedule's own factor. Nothing here reads a
    clock or a file, so the same steps give the same rates.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings
        self._scale = 1.0
        self._best: float | None = None
        self._waited = 0

    def learning_rate(self, step: int, fraction: float) -> float:
        """The rate for step number `step` (from 0), `fraction` of the run being done."""
        rate = self._settings.lr * self._scale * self._warm_up(step, fraction)
        if self._settings.schedule == "cosine":
            rate *= FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * fraction))
        return rate

    def validated(self, loss: float) -> bool:
        """Take note of a validation, less being better; whether the rate was halved for it."""
        if self._settings.schedule != "plateau":
            return False
        if self._best is None or loss < self._best:
            self._best, self._waited = loss, 0
            return False
        self._waited += 1
        if self._waited < PATIENCE:
            return False
        self._scale, self._waited = self._scale / 2, 0
        return True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"scale": self._scale, "best": self._best, "waited": self._waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned; KeyError, TypeError or ValueError where it did not."""
        best = state["best"]
        if not 0 < float(state["scale"]) <= 1 or int(state["waited"]) < 0:
            raise ValueError(f"the schedule {state!r:.80}")
        if best is not None and not math.isfinite(float(best)):
            raise ValueError(f"the schedule {state!r:.80}")
        self._scale, self._best, self._waited = state["scale"], state["best"], state["waited"]

    def _warm_up(self, step: int, fraction: float) -> float:
        steps = self._settings.warmup_steps
        if steps is not None:
            return 1.0 if steps == 0 else min(1.0, (step + 1) / steps)
        by_steps = (step + 1) / DEFAULT_WARMUP_STEPS
        return min(1.0, max(by_steps, fraction / DEFAULT_WARMUP_FRACTION))
