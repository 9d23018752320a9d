import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recurra.data import CharacterVocabulary, TokenStreams
from recurra.tasks import LanguageTask
from recurra.training import Moment, TrainingConfig
from recurra.training.machine import build_fabric
from recurra.training.step import Stepper


def stepper(model: Any, **settings: Any) -> Stepper:
    config = TrainingConfig(device="cpu", batch_size=4, bptt=10, **settings)
    vocabulary = CharacterVocabulary.build(["abcdefghijklmnopqrst"[: model.decoder.out_features]])
    task = LanguageTask(vocabulary, {"train": np.zeros(1, dtype=np.uint8)})
    return Stepper(task, model, config, build_fabric(config))


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_state_is_carried_and_detached(model: nn.Module, tokens: np.ndarray) -> None:
    streams, step = TokenStreams(tokens, 4, 10), stepper(model)
    step(streams.window(0), 0.01, Moment())
    first = step.state
    assert isinstance(first, tuple)
    assert not any(part.requires_grad for part in first)
    with torch.no_grad():
        model.eval()
        _, expected = model(streams.window(1)[0], first)
    step(streams.window(1), 0.0, Moment())
    assert isinstance(step.state, tuple)
    # Dropout comes after the recurrence here, so the state does not depend on it.
    assert all(torch.equal(a, b) for a, b in zip(step.state, expected, strict=True))


def test_the_loss_is_the_mean_cross_entropy(model: nn.Module, tokens: np.ndarray) -> None:
    inputs, targets = TokenStreams(tokens, 4, 10).window(0)
    model.dropout = nn.Identity()
    with torch.no_grad():
        logits, _ = model(inputs)
        chosen = logits.log_softmax(-1).gather(-1, targets[..., None])
    outcome = stepper(model)((inputs, targets), 0.01, Moment())
    assert outcome.loss == pytest.approx(-chosen.mean().item(), rel=1e-6)
    assert outcome.grad_norm > 0
    assert not outcome.skipped


def test_a_step_that_is_not_finite_changes_nothing(model: nn.Module, tokens: np.ndarray) -> None:
    streams, step = TokenStreams(tokens, 4, 10), stepper(model)
    step(streams.window(0), 0.01, Moment())
    before = weights(model)
    memory = {name: value.clone() for name, value in _memory(step).items()}
    handle = model.decoder.register_forward_hook(lambda _m, _i, out: out * math.inf)
    outcome = step(streams.window(1), 0.01, Moment())
    handle.remove()
    assert outcome.skipped
    assert same(weights(model), before)
    assert all(torch.equal(value, memory[name]) for name, value in _memory(step).items())
    assert step.state is not None  # it is finite, so it is carried on
    assert not step(streams.window(2), 0.01, Moment()).skipped


def test_a_finite_loss_with_gradients_that_are_not_is_skipped_too(
    model: nn.Module, tokens: np.ndarray
) -> None:
    step = stepper(model)
    model.decoder.weight.register_hook(lambda gradient: gradient * math.nan)
    before = weights(model)
    outcome = step(TokenStreams(tokens, 4, 10).window(0), 0.01, Moment())
    assert outcome.skipped
    assert math.isfinite(outcome.loss)
    assert math.isnan(outcome.grad_norm)
    assert same(weights(model), before)


def test_a_state_that_is_not_finite_starts_again(model: nn.Module, tokens: np.ndarray) -> None:
    streams, step = TokenStreams(tokens, 4, 10), stepper(model)
    step.state = (torch.full((1, 4, 16), math.nan), torch.zeros(1, 4, 16))
    assert step(streams.window(0), 0.01, Moment()).skipped
    assert step.state is None
    assert not step(streams.window(1), 0.01, Moment()).skipped


def test_half_precision_keeps_the_weights_whole(model: nn.Module, tokens: np.ndarray) -> None:
    step = stepper(model, precision="bf16-mixed")
    outcome = step(TokenStreams(tokens, 4, 10).window(0), 0.01, Moment())
    assert math.isfinite(outcome.loss)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_double_precision_is_double_to_the_loss_and_the_state(
    model: nn.Module, tokens: np.ndarray
) -> None:
    step, streams = stepper(model, precision="64-true"), TokenStreams(tokens, 4, 10)
    model.dropout = nn.Identity()
    state = None
    for window in (streams.window(0), streams.window(1)):
        with torch.no_grad():
            logits, state = model(window[0], state)
            chosen = logits.log_softmax(-1).gather(-1, window[1][..., None])
        assert logits.dtype == torch.float64
        outcome = step(window, 0.0, Moment())
        assert outcome.loss == pytest.approx(-chosen.mean().item(), rel=1e-14)
    assert isinstance(step.state, tuple)
    assert isinstance(state, tuple)
    for carried, expected in zip(step.state, state, strict=True):
        torch.testing.assert_close(carried, expected, rtol=1e-14, atol=1e-15)


def _memory(step: Stepper) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": value
        for index, quantities in enumerate(step.optimizer.state.values())
        for name, value in quantities.items()
    }
