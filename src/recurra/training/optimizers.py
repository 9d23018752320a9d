"""Optimizers by name, with weight decay on matrices only."""

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
    """Give the optimizer the memory that `optimizer_tensors` took."""
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("/")
        parameter = parameters[name]
        # Step counts stay where the optimizer made them (the CPU, unless it is fused on a GPU).
        device = parameter.device if value.ndim or _counts_on_device(optimizer) else "cpu"
        optimizer.state[parameter][quantity] = value.to(device, copy=True)


def _counts_on_device(optimizer: Optimizer) -> bool:
    return bool(optimizer.defaults.get("fused") or optimizer.defaults.get("capturable"))
