"""The theorem of vanishing gradients, its counterexample, and the power method."""

import math

import numpy as np
import pytest
import torch

import recurra as rc
from recurra import cells
from recurra.insight.power import power_method
from recurra.insight.vanishing import counterexample, simple_recurrence, vanishing
from recurra.lang import cell, clamp, leaky_relu, sigmoid, tanh


def layer_with(W: torch.Tensor, name: str = "rnn") -> rc.Recurrent:
    H = len(W)
    layer = rc.Recurrent(name, 2, H, dtype=torch.float64, backend="reference")
    with torch.no_grad():
        layer.get_parameter("W_hh_l0").copy_(W)
    return layer


def scaled(sigma: float, size: int, generator: torch.Generator) -> torch.Tensor:
    """A matrix at random whose largest singular value is `sigma`."""
    W = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return sigma * W / torch.linalg.matrix_norm(W, 2)


@pytest.mark.medium
def test_below_the_bound_no_gradient_ever_exceeds_it() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        layer = layer_with(scaled(0.9, 8, generator))
        x = torch.randn(20, 2, 2, generator=generator, dtype=torch.float64)
        found = vanishing(layer, x, max_lag=20)
        assert found.eta == pytest.approx(0.9)
        bound = found.bound[:, None] * (1 + 1e-12)
        assert (found.product_norm <= bound).all()
        assert (found.gradient <= found.product_norm * (1 + 1e-12)).all()
        assert (found.product_norm <= found.product_of_norms * (1 + 1e-12)).all()
        assert (found.product_of_norms <= bound).all()


def test_above_the_bound_one_input_explodes_and_another_does_not() -> None:
    found = counterexample(1.5)
    for case in (found.exploding, found.saturated):
        assert case.eta == pytest.approx(1.5)
    assert found.exploding.kind == "explodes"
    assert "here it does" in found.exploding.verdict()
    assert found.saturated.kind == "vanishes"
    assert found.saturated.gradient.max() <= 1.0
    assert "may explode, but need not" in found.saturated.verdict()


def test_a_pair_that_explodes_and_one_that_does_not_are_among_random_matrices() -> None:
    generator = torch.Generator().manual_seed(1)
    kinds = set()
    for push in (0.0, 3.0):
        Q = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64))[0]
        layer = layer_with(1.5 * Q)
        with torch.no_grad():
            layer.get_parameter("b_h_l0").fill_(push)
        state = 1e-5 * torch.randn(1, 1, 16, generator=generator, dtype=torch.float64)
        kinds.add(vanishing(layer, torch.zeros(30, 1, 2, dtype=torch.float64), state=state).kind)
    assert kinds == {"explodes", "vanishes"}


def test_the_verdict_says_what_the_theorem_does() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 1, 2, generator=generator, dtype=torch.float64)
    surely = vanishing(layer_with(scaled(0.5, 8, generator)), x)
    assert surely.kind == "vanishes"
    assert "0.5, is below 1/gamma = 1: it must vanish" in surely.verdict()
    perhaps = vanishing(layer_with(scaled(1.2, 8, generator)), x)
    assert perhaps.kind != "explodes"
    single, whole = perhaps.largest.mean() / 1.2, perhaps.product_norm[-1, 0] ** (1 / 40) / 1.2
    assert f"a single step has {single:.0%} of it on average" in perhaps.verdict()
    assert f"the product of all 40 has {whole:.0%} of it a step" in perhaps.verdict()
    layer = rc.Recurrent("gru", 2, 8, dtype=torch.float64, backend="reference")
    gated = vanishing(layer, x)
    assert gated.simple is None
    assert "which this cell is not" in gated.verdict()
    assert gated.eta == pytest.approx(gated.largest.max())


@cell(state="h")
def of_sigmoid(x, h, W, U, b):
    return sigmoid(U @ x - b + W @ h)


@cell(state="h")
def of_leaky(x, h, W, U):
    return leaky_relu(W @ h + U @ x, 1.5)


@cell(state="h")
def with_a_gain(x, h, W, U, g):
    return tanh(g * (W @ h) + U @ x)


@cell(state="h")
def twice(x, h, W, V, U):
    return tanh(W @ h + V @ h + U @ x)


@cell(state="h")
def clamped(x, h, W, U):
    return clamp(W @ h + U @ x, -1.0, 1.0)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (cells.get("rnn"), ("W_hh", "tanh", 1.0)),
        (cells.get("rnn_relu"), ("W_hh", "relu", 1.0)),
        (cells.get("torch_rnn_tanh"), ("weight_hh", "tanh", 1.0)),
        (cells.get("dynamical_system"), ("W", "tanh", 1.0)),
        (of_sigmoid, ("W", "sigmoid", 0.25)),
        (of_leaky, ("W", "leaky_relu", 1.5)),
        (clamped, ("W", "clamp", 1.0)),
        (with_a_gain, None),
        (twice, None),
        (cells.get("gru"), None),
        (cells.get("lstm"), None),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_form_of_the_theorem_is_found_in_the_equations(
    of: object, expected: tuple[str, str, float] | None
) -> None:
    found = simple_recurrence(of)
    assert (None if found is None else (found.parameter, found.activation, found.gamma)) == expected


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_bounds_of_activations_bound_them(name: str) -> None:
    from recurra.insight.vanishing import _GAMMA

    z = torch.linspace(-6, 6, 20001, dtype=torch.float64, requires_grad=True)
    getattr(torch.nn.functional, name)(z).sum().backward()
    assert _GAMMA[name] - 1e-3 < float(z.grad.abs().max()) <= _GAMMA[name]


# ---- the linear case -----------------------------------------------------------------------------


def test_growth_goes_to_the_largest_eigenvalue() -> None:
    drawn = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = torch.linalg.qr(drawn)[0]
    W = basis @ torch.tensor([1.2, -0.8, 0.5, 0.1], dtype=torch.float64).diag() @ basis.T
    found = power_method(W, 60)
    assert found.growth[-1] == pytest.approx(1.2, rel=1e-6)
    assert found.radius == pytest.approx(1.2, rel=1e-6)
    assert found.gap == pytest.approx(0.8 / 1.2, rel=1e-5)
    assert found.alignment[-1] == pytest.approx(1.0)
    assert found.log_norms[-1] == pytest.approx(np.log(found.growth).sum())


def test_h_t_is_the_power_of_the_matrix() -> None:
    W = 0.7 * torch.randn(5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    h = torch.randn(5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    found = power_method(W, 12, h)
    expected = torch.linalg.matrix_power(W, 12) @ h
    assert math.exp(found.log_norms[-1]) == pytest.approx(float(expected.norm() / h.norm()))


def test_a_complex_pair_turns_in_its_plane() -> None:
    turn = 0.9 * torch.tensor([[math.cos(0.7), -math.sin(0.7)], [math.sin(0.7), math.cos(0.7)]])
    W = torch.block_diag(turn, torch.tensor([[0.3]])).double()
    found = power_method(W, 40)
    assert found.growth[-1] == pytest.approx(0.9, rel=1e-6)
    assert found.alignment[-1] == pytest.approx(1.0)
    assert found.gap == pytest.approx(0.3 / 0.9, rel=1e-6)


def test_powers_out_of_range_keep_their_logarithm() -> None:
    found = power_method(0.01 * torch.eye(3, dtype=torch.float64), 400)
    assert found.log_norms[-1] == pytest.approx(400 * math.log(0.01))


@pytest.mark.parametrize("reverse", [False, True])
def test_each_sequence_counts_from_its_own_last_step(reverse: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = rc.Recurrent("rnn", 2, 4, dtype=torch.float64, backend="reference", reverse=reverse)
    with torch.no_grad():
        layer.get_parameter("W_hh_l0").copy_(scaled(0.9, 4, generator))
    x = torch.randn(6, 2, 2, generator=generator, dtype=torch.float64)
    for max_lag in (2, 9):
        found = vanishing(layer, x, lengths=[3, 5], max_lag=max_lag)
        assert len(found.lags) == min(max_lag, 5) + 1
        for b, length in enumerate((3, 5)):
            alone = vanishing(layer, x[:length, b : b + 1], max_lag=max_lag)
            count = len(alone.lags)
            for name in ("product_norm", "product_of_norms", "largest"):
                ours, theirs = (getattr(each, name) for each in (found, alone))
                np.testing.assert_allclose(ours[: len(theirs), b], theirs[:, 0], rtol=1e-10)
                assert np.isnan(ours[len(theirs) :, b]).all()
            assert (found.gradient[:count, b] <= found.bound[:count] * (1 + 1e-12)).all()
        assert found.kind == alone.kind
        assert "must vanish" in found.verdict()


def test_steps_that_a_sequence_has_not_are_no_identity() -> None:
    layer = rc.Recurrent("gru", 2, 4, dtype=torch.float64, backend="reference")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(0.1)
    assert vanishing(layer, torch.zeros(6, 2, 2, dtype=torch.float64), lengths=[3, 5]).eta < 0.9


def test_no_lag_to_look_at_is_refused() -> None:
    layer = layer_with(torch.eye(2, dtype=torch.float64))
    x = torch.zeros(4, 1, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="expected max_lag of 1 or more, got 0"):
        vanishing(layer, x, max_lag=0)
    with pytest.raises(ValueError, match="expected a sequence that has steps, got none"):
        vanishing(layer, x, lengths=[0])


def test_what_has_no_powers_is_refused() -> None:
    W = torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"h_0: expected \[3\] numbers .* got zeros"):
        power_method(W, 5, torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"h_0: expected \[3\] numbers .* got \[4\]"):
        power_method(W, 5, torch.ones(4, dtype=torch.float64))
