"""Optimizers by name, with weight decay on matrices only."""

import math

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer, RMSprop

from recurra.training.config import TrainingConfig


def build_optimizer(model: nn.Module, config: TrainingConfig) -> Optimizer:
    """The optimizer that `config` names over the parameters of `model` that train.

    Biases, gains, peepholes and other vectors are not decayed: pulling them to zero changes what
    a gate does at rest without making the function smoother.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for p in parameters if p.ndim >= 2],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "adamw":
        # One pass over memory instead of ten; it matters where the vocabulary is large.
        fused = all(p.is_floating_point() and p.device.type in {"cpu", "cuda"} for p in parameters)
        return AdamW(groups, lr=config.lr, fused=fused)
    if config.optimizer == "rmsprop":
        return RMSprop(groups, lr=config.lr, alpha=0.95)
    return SGD(groups, lr=config.lr, momentum=config.momentum)


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Use `lr` from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = lr


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
