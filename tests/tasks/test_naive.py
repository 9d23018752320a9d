"""Forecasts that learn nothing, by hand."""

import numpy as np
import pytest

from recurra.tasks import naive

PAST = np.array([[1.0, 2, 4, 8]])[..., None]


def test_persistence_repeats_the_last_value() -> None:
    assert naive.persistence(PAST, 3).ravel().tolist() == [8, 8, 8]


def test_the_last_season_is_repeated() -> None:
    assert naive.seasonal(PAST, 5, 3).ravel().tolist() == [2, 4, 8, 2, 4]
    with pytest.raises(ValueError, match=r"season: expected 1 to 4 steps, .*got 5\. Look further"):
        naive.seasonal(PAST, 5, 5)


def test_the_last_step_dies_away() -> None:
    found = naive.damped_velocity(PAST, 3).ravel()
    assert found.tolist() == pytest.approx([8 + 3.2, 8 + 3.2 + 2.56, 8 + 3.2 + 2.56 + 2.048])
    assert naive.damped_velocity(PAST, 2, damping=0.0).ravel().tolist() == [8, 8]
    with pytest.raises(ValueError, match=r"expected two steps of the past or more, got one"):
        naive.damped_velocity(PAST[:, :1], 2)


def test_what_is_missing_is_the_value_before() -> None:
    past = np.array([[1.0, 2, np.nan], [np.nan, np.nan, np.nan]])[..., None]
    assert naive.persistence(past, 1)[0].item() == 2
    assert np.isnan(naive.persistence(past, 1)[1]).all()
    assert naive.seasonal(past, 2, 2)[0].ravel().tolist() == [2, 2]
    assert naive.damped_velocity(past[:1], 1).item() == 2
    long = np.concatenate([past[:1], past[1:]], axis=1)
    assert naive.damped_velocity(long, 1).item() == 2
