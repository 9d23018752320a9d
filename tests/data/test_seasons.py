"""The season of series without dates."""

import numpy as np
import pytest

from recurra.data.seasons import found_season


@pytest.mark.parametrize("season", [5, 12, 24])
@pytest.mark.parametrize("trend", [0.0, 0.3])
def test_the_season_is_found_and_none_of_its_multiples(season: int, trend: float) -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(20 * season)
    pattern = rng.normal(size=season)
    values = pattern[steps % season] + trend * steps + 0.1 * rng.normal(size=len(steps))
    assert found_season([values[:, None]]) == season


@pytest.mark.parametrize("length", [3, 30, 300, 3000])
def test_a_random_walk_has_none(length: int) -> None:
    for seed in range(20):
        walk = np.cumsum(np.random.default_rng(seed).normal(size=(length, 1)), axis=0)
        assert found_season([walk]) == 1


def test_constant_series_have_none() -> None:
    assert found_season([np.ones((100, 2))]) == 1
