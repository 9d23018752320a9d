import pytest
import torch
from torch import nn

from recurra.training import TrainingConfig, build_optimizer
from recurra.training.optimization import (
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)

NAMES = ("adamw", "rmsprop", "sgd")


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(4, 3, generator=generator)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_only_matrices_decay(name: str) -> None:
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, TrainingConfig(optimizer=name, weight_decay=0.1))
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert decay == {id(model.weight): 0.1, id(model.bias): 0.0}


@pytest.mark.parametrize("name", NAMES)
def test_frozen_parameters_are_left_out(name: str) -> None:
    model = nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    optimizer = build_optimizer(model, TrainingConfig(optimizer=name))
    assert [p.shape for group in optimizer.param_groups for p in group["params"]] == [(2,)]


@pytest.mark.parametrize("name", [*NAMES, "adam"])
def test_a_part_learns_at_its_own_rate(name: str) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 2)))
    model[1].learning_rate_scale = 0.1
    optimizer = build_optimizer(model, TrainingConfig(optimizer=name, lr=0.5))
    for lr in (0.5, 0.2):
        set_learning_rate(optimizer, lr)
        rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
        own = {p: pytest.approx(0.1 * lr) for p in model[1].parameters()}
        assert rates == {**dict.fromkeys(model[0].parameters(), lr), **own}


@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_goes_on_from_its_tensors_bit_by_bit(name: str) -> None:
    config = TrainingConfig(optimizer=name, lr=0.05)
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, config)
    for seed in range(3):
        take_step(model, optimizer, seed)
    tensors = {key: value.clone() for key, value in optimizer_tensors(optimizer, model).items()}
    assert all(key.startswith(("weight/", "bias/")) for key in tensors)

    twin = nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    other = build_optimizer(twin, config)
    load_optimizer_tensors(other, twin, tensors)
    for seed in range(3, 6):
        take_step(model, optimizer, seed)
        take_step(twin, other, seed)
    assert torch.equal(model.weight, twin.weight)
    assert torch.equal(model.bias, twin.bias)


def test_the_learning_rate_reaches_every_group() -> None:
    optimizer = build_optimizer(nn.Linear(3, 2), TrainingConfig())
    set_learning_rate(optimizer, 0.123)
    assert [group["lr"] for group in optimizer.param_groups] == [0.123, 0.123]
