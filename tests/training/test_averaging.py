"""The moving average of weights: what it is, that it is what is kept, and that it goes on."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import recurra as rc
from recurra.training.averaging import WeightAverage

SETTINGS = {
    "hidden_size": 8,
    "embedding_size": 4,
    "batch_size": 2,
    "bptt": 10,
    "schedule": "constant",
    "warmup_steps": 0,
    "eval_every": 4,
    "sample_length": 5,
    "view": None,
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "input.txt"
    path.write_text("to be or not to be, that is the question\n" * 40)
    return path


def test_it_is_the_mean_at_first_and_of_the_last_steps_then() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average, expected = WeightAverage(model, 0.9), 1.0
    for step in range(1, 200):
        with torch.no_grad():
            model.weight.fill_(step % 7)
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step % 7)
    with average.in_place():
        assert model.weight.item() == pytest.approx(expected, rel=1e-5)
    assert model.weight.item() == 199 % 7


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(1), torch.zeros(2, 1), torch.zeros(2, 2, dtype=torch.float64),
     torch.full((2, 2), torch.nan)],
)  # fmt: skip
def test_an_average_of_other_sizes_is_refused_and_changes_nothing(wrong: torch.Tensor) -> None:
    average = WeightAverage(nn.Linear(2, 2), 0.5)
    own = {name: tensor.clone() for name, tensor in average.tensors().items()}
    with pytest.raises(ValueError, match="weight"):
        average.load({"bias": torch.ones(2), "weight": wrong})
    assert all(torch.equal(own[name], tensor) for name, tensor in average.tensors().items())


def test_a_block_that_fails_leaves_the_models_own_weights() -> None:
    model = nn.Linear(2, 2)
    own = model.weight.detach().clone()
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model.weight.add_(1.0)
    seen = []

    def fail() -> None:
        with average.in_place():
            seen.append(model.weight.detach().clone())
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail()
    assert seen[0].equal(own)
    assert model.weight.equal(own + 1.0)


@pytest.mark.medium
def test_what_is_kept_is_the_average_and_what_learns_is_not(text: Path, tmp_path: Path) -> None:
    """The same steps are taken; the model of the run has other weights, and is validated so."""
    plain = rc.train("lm", data=text, out=tmp_path / "plain", max_steps=8, **SETTINGS)
    run = rc.train("lm", data=text, out=tmp_path / "run", max_steps=8, average=0.9, **SETTINGS)
    first, second = (load_file(each.folder / "training.safetensors") for each in (plain, run))
    for name, tensor in first.items():
        assert second[name].equal(tensor)
    kept = load_file(run.folder / "model.safetensors")
    for name, tensor in kept.items():
        assert tensor.equal(second[f"average/{name}"])
        assert not tensor.equal(second[f"model/{name}"])
    assert run.evaluate("val")["nll"] == pytest.approx(run.result.figures["nll"], rel=1e-5)


@pytest.mark.medium
def test_a_run_goes_on_to_the_bit(text: Path, tmp_path: Path) -> None:
    options = {**SETTINGS, "average": 0.95}
    whole = rc.train("lm", data=text, out=tmp_path / "whole", max_steps=12, **options)
    part = rc.train("lm", data=text, out=tmp_path / "part", max_steps=8, **options)
    rc.train("lm", out=part.folder, resume=True, max_steps=12, view=None)
    last = [load_file(each.folder / "training.safetensors") for each in (whole, part)]
    assert last[0].keys() == last[1].keys()
    assert all(tensor.equal(last[1][name]) for name, tensor in last[0].items())
