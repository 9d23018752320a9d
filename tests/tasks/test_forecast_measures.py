"""Errors of forecasts by hand, and the CRPS of draws and quantiles against its closed form."""

import numpy as np
import pytest
import torch

from recurra.tasks import forecast_measures as measures
from recurra.tasks import naive

LEVELS = tuple(np.arange(1, 200) / 200)


def test_point_errors_by_hand() -> None:
    said, true = np.array([1.0, 2.0, 5.0], np.float32), np.array([2.0, np.nan, 2.0], np.float32)
    assert np.nanmean(measures.squared_error(said, true)) == 5.0
    assert np.nanmean(measures.absolute_error(said, true)) == 2.0


def test_the_scale_is_that_of_the_seasonal_naive_of_training() -> None:
    series = [np.array([[0.0, 1], [1, 1], [4, 1], [4, 1]]), np.array([[9.0, 1], [np.nan, 1]])]
    scale = measures.naive_scale(series)
    assert scale[0] == pytest.approx(4 / 3)
    assert np.isnan(scale[1])  # never changes
    assert measures.naive_scale(series[:1], season=2)[0] == pytest.approx(3.5)
    assert np.isnan(measures.naive_scale(series[1:], season=5)).all()
    errors = measures.scaled_error(np.array([[2.0, 7]]), np.array([[0.0, 1]]), scale)
    assert np.nanmean(errors) == pytest.approx(1.5)


def test_the_standard_error_of_a_mean_is_that_over_blocks() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=50)
    alone = measures.standard_error(means, np.ones(50), np.arange(50))
    assert alone == pytest.approx(means.std(ddof=1) / np.sqrt(50))
    # what goes together counts once, however often it is measured
    often = np.repeat(means, 7)
    assert measures.standard_error(often, np.ones(350), np.repeat(np.arange(50), 7)) == (
        pytest.approx(alone)
    )
    weighted = measures.standard_error(means, np.repeat([1.0, 0.0], 25), np.arange(50))
    assert weighted == pytest.approx(means[:25].std() / np.sqrt(25) * np.sqrt(50 / 49))
    assert measures.standard_error(means, np.ones(50), np.zeros(50)) is None


def test_persistence_in_its_own_training_part_has_a_scaled_error_of_one() -> None:
    walk = np.cumsum(np.random.default_rng(0).normal(size=(200, 2)), axis=0)
    said = naive.persistence(walk[:-1, None], 1)[:, 0]
    errors = measures.scaled_error(said, walk[1:], measures.naive_scale([walk]))
    assert errors.mean() == pytest.approx(1.0)


def test_pinball_by_hand() -> None:
    said = np.array([[1.0, 3.0], [2.0, 4.0]])
    found = measures.pinball(said, np.array([2.0, np.nan]), (0.25, 0.5))
    assert found[0] == pytest.approx((0.25 * 1 + 0) / 2)
    assert np.isnan(found[1])


def normal() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=20), rng.uniform(0.5, 2, size=20), rng.normal(scale=3, size=20)


def test_the_crps_of_a_normal_distribution_is_its_integral() -> None:
    loc, scale, true = normal()
    grid = np.linspace(-30, 30, 60_001)
    normals = torch.distributions.Normal(torch.tensor(loc), torch.tensor(scale))
    below = normals.cdf(torch.tensor(grid)[:, None])
    square = (below.numpy() - (grid[:, None] >= true)) ** 2
    wanted = square.sum(axis=0) * (grid[1] - grid[0])
    np.testing.assert_allclose(measures.crps_of_normal(loc, scale, true), wanted, atol=2e-3)


def test_the_crps_of_many_draws_and_quantiles_is_that_of_the_distribution() -> None:
    loc, scale, true = normal()
    wanted = measures.crps_of_normal(loc, scale, true)
    drawn = loc + scale * np.random.default_rng(1).normal(size=(20_000, 20))
    np.testing.assert_allclose(measures.crps_of_samples(drawn, true), wanted, atol=0.03)
    z = torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64)).numpy()
    quantiles = loc + scale * z[:, None]
    found = measures.crps_of_quantiles(quantiles, true, LEVELS)
    np.testing.assert_allclose(found, wanted, atol=0.02)
    even = 2 * measures.pinball(quantiles, true, LEVELS)
    np.testing.assert_allclose(found, even, rtol=0.02)


def test_the_crps_of_draws_is_the_mean_over_pairs() -> None:
    drawn, true = np.random.default_rng(0).normal(size=7), np.array([0.3])
    pairs = np.abs(drawn[:, None] - drawn[None]).mean()
    wanted = np.abs(drawn - true).mean() - pairs / 2
    assert measures.crps_of_samples(drawn[:, None], true) == pytest.approx(wanted)
    assert measures.crps_of_samples(np.array([[3.0]]), np.array([1.0])) == pytest.approx(2.0)


def test_coverage_counts_what_was_seen() -> None:
    inside = measures.covered(np.zeros(4), np.ones(4), np.array([0.5, 1.0, 2.0, np.nan]))
    assert np.nanmean(inside) == pytest.approx(2 / 3)
