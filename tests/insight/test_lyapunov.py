"""Lyapunov spectra against what is known of a system beforehand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import recurra as rc
from recurra.insight.calls import call_of
from recurra.insight.dynamics_figures import figure_of_lyapunov
from recurra.insight.lyapunov import lyapunov_spectrum, spectrum_of_run
from recurra.insight.runs import linearized_run
from recurra.lang import cell


@cell(state="h")
def linear(x, h, W, U):
    return W @ h + U @ x


@cell(state="h")
def squared(x, h, r, U):
    """The logistic map, in each unit: h_t = r h (1 - h)."""
    return r * h * (1 - h) + U @ x


def layer_of(of: object, hidden: int, **weights: Tensor) -> rc.Recurrent:
    layer = rc.Recurrent(of, 1, hidden, dtype=torch.float64, backend="reference")
    with torch.no_grad():
        for name in layer.cell.parameters:
            getattr(layer, f"{name}_l0").copy_(weights.get(name, torch.zeros(())))
    return layer


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def still(steps: int, batch: int = 1, size: int = 1) -> Tensor:
    return torch.zeros(steps, batch, size, dtype=torch.float64)


def test_a_linear_cells_exponents_are_the_logarithms_of_its_eigenvalues() -> None:
    basis = torch.eye(5, dtype=torch.float64) + 0.3 * drawn(5, 5)
    values = torch.tensor([1.3, -0.9, 0.6, 0.35, 0.15], dtype=torch.float64)
    W = basis @ values.diag() @ torch.linalg.inv(basis)
    found = lyapunov_spectrum(layer_of(linear, 5, W=W), still(400), burn_in=100)
    np.testing.assert_allclose(found.exponents, values.abs().log().numpy(), atol=1e-8)
    assert found.log_det == pytest.approx(float(torch.linalg.slogdet(W)[1]), abs=1e-10)


def test_a_complex_pair_has_one_exponent_twice() -> None:
    W = 0.8 * torch.tensor([[math.cos(1.0), -math.sin(1.0)], [math.sin(1.0), math.cos(1.0)]])
    found = lyapunov_spectrum(layer_of(linear, 2, W=W.double()), still(50))
    np.testing.assert_allclose(found.exponents, [math.log(0.8)] * 2, atol=1e-6)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_exponents_sum_to_the_mean_log_determinant(name: str) -> None:
    torch.manual_seed(0)
    layer = rc.Recurrent(name, 2, 4, dtype=torch.float64, backend="reference")
    x = drawn(20, 2, 2)
    found = lyapunov_spectrum(layer, x)
    run = linearized_run(call_of(layer, x), (0, 0))
    with torch.no_grad():
        expected = torch.stack([torch.linalg.slogdet(run.jacobian(k))[1] for k in range(20)]).mean()
    assert found.exponents.sum() == pytest.approx(float(expected), abs=1e-9)
    assert found.log_det == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.medium
def test_a_one_unit_map_is_the_mean_log_slope() -> None:
    """The logistic map at r = 4, whose exponent is log 2: along the run it is mean log |r (1 -
    2 h)|."""
    layer = layer_of(squared, 1, r=torch.tensor([4.0]))
    first = torch.tensor([[[0.3]]], dtype=torch.float64)
    found = lyapunov_spectrum(layer, still(5000), state=first)
    h, slopes = 0.3, []
    for _ in range(5000):
        slopes.append(math.log(abs(4 * (1 - 2 * h))))
        h = 4 * h * (1 - h)
    assert found.exponents[0] == pytest.approx(sum(slopes) / len(slopes), abs=1e-6)
    assert found.exponents[0] == pytest.approx(math.log(2), abs=0.03)


@pytest.mark.medium
@pytest.mark.parametrize(("gain", "sign"), [(0.5, -1), (3.0, 1)])
def test_a_tanh_network_is_stable_at_a_small_gain_and_chaotic_at_a_large_one(
    gain: float, sign: int
) -> None:
    W = gain * drawn(48, 48, seed=1) / math.sqrt(48)
    layer = layer_of("rnn", 48, W_hh=W)
    found = lyapunov_spectrum(layer, still(250), state=drawn(1, 1, 48, seed=2), burn_in=50)
    assert np.sign(found.exponents[0]) == sign
    if sign < 0:
        assert (found.exponents < 0).all()
        assert found.kaplan_yorke == 0.0
    else:
        assert 1 < found.kaplan_yorke < 48


@pytest.mark.medium
def test_some_exponents_are_the_first_of_all() -> None:
    layer = layer_of("rnn", 12, W_hh=1.5 * drawn(12, 12) / math.sqrt(12))
    x, first = still(600), drawn(1, 1, 12, seed=3)
    every = lyapunov_spectrum(layer, x, state=first, burn_in=300)
    some = lyapunov_spectrum(layer, x, state=first, burn_in=300, num_exponents=2)
    np.testing.assert_allclose(some.exponents, every.exponents[:2], atol=0.02)
    assert math.isnan(some.log_det)


def test_the_dimension_is_where_the_sum_of_exponents_turns_negative() -> None:
    def of(*exponents: float, size: int | None = None) -> float:
        run = linearized_run(call_of(layer_of(linear, 2), still(2)), (0, 0))
        found = spectrum_of_run(run)
        values = np.array(exponents)
        object.__setattr__(found, "exponents", values)
        object.__setattr__(found, "size", size or len(values))
        return found.kaplan_yorke

    assert of(0.9, 0.0, -14.6) == pytest.approx(2 + 0.9 / 14.6)  # the Lorenz system's
    assert of(-0.1, -0.2) == 0.0
    assert of(0.3, -0.1) == 2.0
    assert math.isnan(of(0.3, -0.1, size=5))


def test_steps_past_the_end_of_a_sequence_do_not_count() -> None:
    torch.manual_seed(0)
    layer = rc.Recurrent("gru", 2, 3, dtype=torch.float64, backend="reference")
    x = drawn(9, 2, 2)
    found = lyapunov_spectrum(layer, x, lengths=[9, 4])
    first, second = lyapunov_spectrum(layer, x[:, :1]), lyapunov_spectrum(layer, x[:4, 1:])
    np.testing.assert_allclose(found.each, [first.exponents, second.exponents], atol=1e-9)
    with pytest.raises(ValueError, match="expected a sequence of more than 6 steps"):
        lyapunov_spectrum(layer, x, lengths=[5, 4], burn_in=6)


def test_what_cannot_be_counted_is_said() -> None:
    layer = layer_of(linear, 2)
    with pytest.raises(ValueError, match=r"num_exponents in 1..2, .*, got 3"):
        lyapunov_spectrum(layer, still(4), num_exponents=3)
    with pytest.raises(ValueError, match=r"burn_in in 0..3, for 4 steps, got 4"):
        lyapunov_spectrum(layer, still(4), burn_in=4)


def test_what_keeps_changes_has_no_horizon() -> None:
    @cell(state="h")
    def sum_of_all(x, h, W):
        return h + W @ x

    spectrum = lyapunov_spectrum(layer_of(sum_of_all, 1, W=drawn(1, 1)), drawn(6, 1, 1))
    assert spectrum.exponents.tolist() == [0.0]
    assert spectrum.horizon == math.inf
    assert figure_of_lyapunov({"sum": spectrum}).found == "sum keeps changes as they are."


def test_the_first_steps_of_each_sequence_are_left_out_from_the_end_too() -> None:
    layer = rc.Recurrent("gru", 2, 3, dtype=torch.float64, backend="reference", reverse=True)
    x = drawn(7, 2, 2)
    found = lyapunov_spectrum(layer, x, lengths=[7, 4], burn_in=2)
    alone = [lyapunov_spectrum(layer, x[:n, b : b + 1], burn_in=2) for b, n in ((0, 7), (1, 4))]
    for each, own in zip(found.each, alone, strict=True):
        np.testing.assert_allclose(each, own.each[0], rtol=1e-9)
