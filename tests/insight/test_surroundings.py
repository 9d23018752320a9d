"""What lies around a model in its report: where it rests, and the loss about its weights."""

import pytest
import torch

import recurra as rc
from recurra.insight import surroundings
from recurra.insight.calls import LayerCall, call_of
from recurra.insight.surroundings import resting_points, surface_around
from recurra.lang import tanh


@rc.cell(state="h", sizes={"w": "H"})
def bistable(x, h, w, U):  # pyright: ignore
    """Units by themselves: h <- tanh(w h + U x), two stable points each where w > 1."""
    return tanh(w * h + U @ x)


def call_of_two_units(bias: float = 0.0, **options: object) -> LayerCall:
    """Of units of gain 2, which read noise about a mean; from all four corners."""
    layer = rc.Recurrent(bistable, 2, 2, dtype=torch.float64, **options)  # pyright: ignore
    with torch.no_grad():
        layer.get_parameter("w_l0").fill_(2.0)
        layer.get_parameter("U_l0").copy_(torch.eye(2))
    noise = 0.1 * torch.randn(30, 4, 2, dtype=torch.float64)
    x = noise - noise.mean((0, 1)) + bias
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 2)
    return call_of(layer, x, corners[None])


def test_what_a_layer_holds_is_found_from_the_states_it_went_through() -> None:
    figure = resting_points(call_of_two_units())
    assert figure.found.startswith("Under the mean of what it reads, ")
    unstable = list(figure.table["unstable directions"])
    assert unstable.count(0) == 4  # each of the two units at either of its points


def test_the_mean_of_what_it_reads_moves_the_points() -> None:
    figure = resting_points(call_of_two_units(bias=2.0))
    assert list(figure.table["unstable directions"]) == [0]  # the push leaves one point


def test_of_a_stack_the_last_layer_reads_what_the_first_says() -> None:
    torch.manual_seed(0)
    layer = rc.Recurrent("gru", 3, 4, num_layers=2, bidirectional=True, backend="reference")
    ids = torch.randint(3, (12, 2))
    lengths = torch.tensor([12, 9])
    call = call_of(layer, ids, embedding=torch.randn(3, 3), lengths=lengths)
    assert "fixed" in resting_points(call).found


def test_tokens_without_vectors_are_one_hot() -> None:
    torch.manual_seed(0)
    layer = rc.Recurrent("rnn", 3, 4, backend="reference")
    assert "fixed" in resting_points(call_of(layer, torch.randint(3, (12, 2)))).found


def test_large_states_are_left_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "LARGEST", 1)
    with pytest.raises(ValueError, match="its states have 2 numbers, more than the 1 of a report"):
        resting_points(call_of_two_units())


def test_the_middle_of_the_surface_is_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings.time, "process_time", lambda: 0.0)
    torch.manual_seed(0)
    layer = rc.Recurrent("rnn", 2, 3, backend="reference")
    x = torch.randn(5, 2, 2)
    before = [parameter.clone() for parameter in layer.parameters()]
    figure = surface_around(layer, lambda: layer(x)[0].square().mean())
    losses = list(figure.table["loss"])
    assert len(losses) == 15**2
    loss = layer(x)[0].square().mean().item()
    assert losses[len(losses) // 2] == pytest.approx(loss)
    assert all(map(torch.equal, before, layer.parameters()))


def test_a_loss_that_takes_long_has_a_coarse_surface_or_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = rc.Recurrent("rnn", 2, 3, backend="reference")
    x = torch.randn(5, 2, 2)
    seconds = iter([0.0, 0.15, 1.0, 3.0])
    monkeypatch.setattr(surroundings.time, "process_time", lambda: next(seconds))
    figure = surface_around(layer, lambda: layer(x)[0].square().mean())
    assert len(figure.table["loss"]) == 7**2
    with pytest.raises(ValueError, match=r"its loss takes 2\.0 s, and a surface is 49 of them"):
        surface_around(layer, lambda: layer(x)[0].square().mean())
