"""Spectra of Jacobians and of their products."""

import numpy as np
import pytest
import torch

import recurra as rc
from recurra.insight.calls import call_of
from recurra.insight.jacobians import jacobian_products, jacobian_spectra
from recurra.insight.runs import linearized_run


def layer_and_input(name: str = "gru", steps: int = 8) -> tuple[rc.Recurrent, torch.Tensor]:
    torch.manual_seed(0)
    layer = rc.Recurrent(name, 3, 4, dtype=torch.float64, backend="reference")
    return layer, torch.randn(steps, 2, 3, dtype=torch.float64)


def jacobians(layer: rc.Recurrent, x: torch.Tensor) -> np.ndarray:
    run = linearized_run(call_of(layer, x), (0, 0))
    with torch.no_grad():
        return torch.stack([run.jacobian(k) for k in range(len(x))]).numpy()


def test_spectra_are_those_of_each_steps_jacobian() -> None:
    layer, x = layer_and_input("lstm")
    found, expected = jacobian_spectra(layer, x), jacobians(layer, x)
    np.testing.assert_allclose(
        found.singular_values, np.linalg.svd(expected, compute_uv=False), atol=1e-12
    )
    sizes = -np.sort(-np.abs(np.linalg.eigvals(expected)), -1)
    np.testing.assert_allclose(np.abs(found.eigenvalues), sizes, atol=1e-10)
    np.testing.assert_allclose(found.radius, sizes[..., 0], atol=1e-10)
    assert found.steps.tolist() == list(range(8))


def test_some_steps_can_be_looked_at() -> None:
    layer, x = layer_and_input()
    some, every = jacobian_spectra(layer, x, steps=[-1, 2]), jacobian_spectra(layer, x)
    assert some.steps.tolist() == [7, 2]
    np.testing.assert_allclose(some.singular_values, every.singular_values[[7, 2]])


def test_products_end_at_the_last_step() -> None:
    layer, x = layer_and_input()
    found, each = jacobian_products(layer, x, lags=[1, 3, 8]), jacobians(layer, x)
    for row, lag in enumerate((1, 3, 8)):
        product = np.broadcast_to(np.eye(4), (2, 4, 4))
        for J in each[len(x) - lag :]:
            product = J @ product
        expected = np.log(np.linalg.svd(product, compute_uv=False))
        known = ~np.isnan(found.log_singular_values[row])
        np.testing.assert_allclose(
            found.log_singular_values[row][known], expected[known], atol=1e-6
        )
        norms = np.linalg.norm(each[len(x) - lag :], 2, axis=(-2, -1))
        np.testing.assert_allclose(found.log_bound[row], np.log(norms).sum(0), atol=1e-10)
    assert (found.log_singular_values[:, :, 0] <= found.log_bound + 1e-10).all()


def test_long_products_leave_no_range_of_numbers() -> None:
    layer, _ = layer_and_input("rnn")
    with torch.no_grad():
        layer.get_parameter("W_hh_l0").mul_(0).add_(1e-9 * torch.eye(4, dtype=torch.float64))
    x = torch.zeros(100, 1, 3, dtype=torch.float64)
    found = jacobian_products(layer, x, lags=[100])
    assert found.log_singular_values[0, 0, 0] == pytest.approx(100 * np.log(1e-9), rel=0.05)


def test_lags_beyond_the_steps_are_refused() -> None:
    layer, x = layer_and_input()
    with pytest.raises(ValueError, match=r"expected lags in 1..8, for 8 steps, got 9"):
        jacobian_products(layer, x, lags=[9])


def test_past_the_end_of_a_sequence_there_is_no_jacobian() -> None:
    layer, x = layer_and_input()
    lengths = [5, 3]
    spectra = jacobian_spectra(layer, x, lengths=lengths)
    products = jacobian_products(layer, x, lengths=lengths, lags=[1, 2, 4])
    assert spectra.steps.tolist() == list(range(5))
    for b, length in enumerate(lengths):
        own = x[:length, b : b + 1]
        alone = jacobian_spectra(layer, own)
        np.testing.assert_allclose(spectra.singular_values[:length, b], alone.singular_values[:, 0])
        np.testing.assert_allclose(spectra.radius[:length, b], alone.radius[:, 0])
        assert np.isnan(spectra.singular_values[length:, b]).all()
        lags = [lag for lag in (1, 2, 4) if lag <= length]
        alone = jacobian_products(layer, own, lags=lags)
        of_lags = products.log_singular_values[: len(lags), b]
        np.testing.assert_allclose(of_lags, alone.log_singular_values[:, 0], atol=1e-8)
        np.testing.assert_allclose(products.log_bound[: len(lags), b], alone.log_bound[:, 0])
        assert np.isnan(products.log_bound[len(lags) :, b]).all()
    with pytest.raises(ValueError, match=r"expected lags in 1..5, for 5 steps, got 6"):
        jacobian_products(layer, x, lengths=lengths, lags=[6])


def test_steps_that_there_are_not_are_refused() -> None:
    layer, x = layer_and_input()
    for steps, got in (([8], "8"), ([-9], "-9"), ([], "none")):
        with pytest.raises(ValueError, match=rf"steps in 0..7, or from -8 on .*, got {got}\."):
            jacobian_spectra(layer, x, steps=steps)
