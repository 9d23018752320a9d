"""Series by mean and spread of each channel; what never changes, and what is missing, becomes 0."""

import json
import logging

import numpy as np
import pytest
import torch

from recurra.data import LabelledExamples
from recurra.data.scaling import measure_scaling
from recurra.errors import DataError
from recurra.models.scaling import Scaling, check_missing

NAN = float("nan")


def test_scaled_training_data_have_mean_0_and_spread_1() -> None:
    rng = np.random.default_rng(0)
    series = [rng.normal([5.0, -100.0], [2.0, 30.0], (n, 2)) for n in range(1, 60)]
    examples = LabelledExamples.of(series, [0] * len(series))
    scaled = measure_scaling(examples)(torch.from_numpy(examples.values))
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(2))


def test_large_offsets_do_not_spoil_the_spread() -> None:
    values = 10_000.0 + np.array([[0.0], [1.0], [2.0], [3.0]])
    scaling = measure_scaling(LabelledExamples.of([values], [0]))
    assert scaling.spread[0] == pytest.approx(np.sqrt(1.25), rel=1e-9)


def test_a_constant_channel_is_named_and_scaled_to_0(caplog: pytest.LogCaptureFixture) -> None:
    values = np.array([[1.0, 0.1], [2.0, 0.1]])
    with caplog.at_level(logging.WARNING):
        scaling = measure_scaling(LabelledExamples.of([values], [0]), names=["speed", "id"])
    assert caplog.messages == [
        "channels id: never change in the training part, and are scaled to 0"
    ]
    assert scaling(torch.tensor([[1.5, 77.0]])).tolist() == [[0.0, 0.0]]


def test_what_float32_cannot_hold_is_named(caplog: pytest.LogCaptureFixture) -> None:
    values = 1.7e9 + np.arange(2000.0)[:, None]
    with caplog.at_level(logging.WARNING):
        measure_scaling(LabelledExamples.of([values], [0]))
    assert "channels 0: change so little against their mean" in caplog.text


def test_missing_values_are_carried_forward_then_the_mean() -> None:
    series = np.array([[NAN, 1.0], [2.0, NAN], [NAN, 5.0], [4.0, NAN]])
    scaling = Scaling(mean=(3.0, 3.0), spread=(1.0, 2.0), missing="fill")
    prepared = scaling.prepared(series)
    np.testing.assert_array_equal(prepared, [[NAN, 1.0], [2.0, 1.0], [2.0, 5.0], [4.0, 5.0]])
    scaled = scaling(torch.from_numpy(prepared))
    assert scaled.tolist() == [[0.0, -1.0], [-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]


def test_missing_values_count_nowhere_in_the_measure() -> None:
    whole = np.array([[1.0], [5.0], [6.0]])
    gappy = np.array([[NAN], [1.0], [NAN], [5.0], [6.0]])
    measured = measure_scaling(LabelledExamples.of([gappy], [0]), missing="fill")
    wanted = measure_scaling(LabelledExamples.of([whole], [0]), missing="fill")
    assert measured == wanted


def test_a_config_makes_it_again() -> None:
    scaling = Scaling(mean=(0.1, 2.0), spread=(1 / 3, 0.0), missing="fill")
    assert Scaling.from_config(json.loads(json.dumps(scaling.to_config()))) == scaling


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([[1.0, NAN], [NAN, 1.0]], "got 2 missing, the first at step 0, channel 1.*missing=fill"),
        ([[1.0]], "expected 2 channels, as in training, got 1"),
        ([1.0, 2.0], "expected 2 channels, as in training, got 1"),
        (np.zeros((0, 2)), r"T and I of 1 or more, got shape \[0, 2\]"),
        ([[1.0, 2.0], [3.0]], "expected numbers, a row for each step"),
        (["a", "b"], "expected numbers, a row for each step, got values of <U1"),
        ([[1.0, 1e300]], r"numbers up to 3e38, got 1e\+300 at step 0, channel 1, 1 such in all"),
    ],
)
def test_series_that_cannot_be_used_are_refused(series: object, message: str) -> None:
    with pytest.raises(
        DataError, match=rf"^walk\.csv: {'.*' if message[0] != 'e' else ''}{message}"
    ):
        Scaling(mean=(0.0, 0.0), spread=(1.0, 1.0)).prepared(series, "walk.csv")


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="missing=: expected one of fail, fill, got 'drop'"):
        check_missing("drop")
    with pytest.raises(ValueError, match="a mean and a spread of each channel, got 1 and 2"):
        Scaling(mean=(0.0,), spread=(1.0, 1.0))
    with pytest.raises(ValueError, match="finite means and spreads of 0 or more"):
        Scaling(mean=(0.0,), spread=(-1.0,))
    for config in ({"mean": [1.0]}, {"mean": ["x"], "spread": [1.0], "missing": "fail"}):
        with pytest.raises(DataError, match=r"^scaling: expected a mean, a spread.*config\.json"):
            Scaling.from_config(config)
