"""Dates: how far apart they are, which come next, and what they say."""

import numpy as np
import pytest

from recurra.errors import DataError
from recurra.models.calendar import (
    CALENDAR,
    Frequency,
    calendar_features,
    check_calendar,
    checked_dates,
    told,
)
from recurra.models.series import Forecast
from recurra.tasks.forecast_files import rows_of


def dates(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="M8[s]")


@pytest.mark.parametrize(
    ("given", "said", "season", "following"),
    [
        (dates("2016-07-01T00", "2016-07-01T01", "2016-07-01T02"), "1 hour", 24, "2016-07-01T03"),
        (dates("2020-01-01T00:00", "2020-01-01T00:15"), "15 minutes", 96, "2020-01-01T00:30"),
        (dates("2020-02-28", "2020-02-29"), "1 day", 7, "2020-03-01"),
        (dates("2020-01-06", "2020-01-13"), "7 days", 52, "2020-01-20"),
        (dates("2020-01-01", "2020-02-01", "2020-03-01"), "1 month", 12, "2020-04-01"),
        (dates("2020-01-31", "2020-02-29", "2020-03-31"), "1 month", 12, "2020-04-30"),
        (dates("2020-01-01", "2020-04-01"), "3 months", 4, "2020-07-01"),
        (dates("2019-01-01", "2020-01-01"), "1 year", None, "2021-01-01"),
    ],
)
def test_steps_between_dates(
    given: np.ndarray, said: str, season: int | None, following: str
) -> None:
    frequency = Frequency.of(given)
    assert (str(frequency), frequency.season) == (said, season)
    assert frequency.following(given[-1], 1) == dates(following)
    np.testing.assert_array_equal(frequency.places(given), np.arange(len(given)))


@pytest.mark.parametrize(
    ("given", "following"),
    [
        (dates("2023-12-31", "2024-01-31"), dates("2024-02-29", "2024-03-31")),
        (dates("2023-05-31", "2023-07-31"), dates("2023-09-30", "2023-11-30")),
        (dates("2023-12-30", "2024-01-30"), dates("2024-02-29", "2024-03-30")),
        (dates("2024-01-30", "2024-02-29", "2024-03-30"), dates("2024-04-30", "2024-05-30")),
        (
            dates("2023-01-31T12", "2023-02-28T12", "2023-03-31T12"),
            dates("2023-04-30T12", "2023-05-31T12"),
        ),
        (dates("2023-02-28", "2023-03-28"), dates("2023-04-28", "2023-05-28")),
    ],
)
def test_a_month_without_the_day_has_its_last(given: np.ndarray, following: np.ndarray) -> None:
    frequency = Frequency.of(given)
    np.testing.assert_array_equal(frequency.following(given[-1], 2), following)
    np.testing.assert_array_equal(frequency.places(given), np.arange(len(given)))
    whole = np.concatenate([given, following])
    assert Frequency.of(whole).count == frequency.count


def test_what_follows_weekdays_is_at_their_time_of_day() -> None:
    days = np.arange("2020-01-01", "2020-02-01", dtype="M8[D]")
    closes = days[np.is_busday(days)].astype("M8[s]") + np.timedelta64(16, "h")
    found = Frequency.of(closes).following(closes[-1], 1)
    np.testing.assert_array_equal(found, dates("2020-02-03T16"))


def test_weekends_are_no_gaps_in_a_series_of_weekdays() -> None:
    days = np.arange("2020-01-01", "2020-02-01", dtype="M8[D]")
    days = days[np.is_busday(days)].astype("M8[s]")
    frequency = Frequency.of(days)
    assert str(frequency) == "1 weekday"
    np.testing.assert_array_equal(frequency.places(days), np.arange(len(days)))
    # 31 January 2020 was a Friday
    np.testing.assert_array_equal(
        frequency.following(days[-1], 2), dates("2020-02-03", "2020-02-04")
    )


def test_a_gap_is_more_than_a_place() -> None:
    given = dates("2020-01-01T00", "2020-01-01T01", "2020-01-01T04", "2020-01-01T05")
    np.testing.assert_array_equal(Frequency.of(given).places(given), [0, 1, 4, 5])


def test_features_go_round() -> None:
    hours = np.arange("2020-01-01T00", "2020-01-08T00", dtype="M8[h]").astype("M8[s]")
    found = calendar_features(hours, CALENDAR)
    assert found.shape == (168, 2 * len(CALENDAR))
    np.testing.assert_allclose(np.hypot(found[:, ::2], found[:, 1::2]), 1, atol=1e-6)
    of_hours = calendar_features(hours, ["hour"])
    np.testing.assert_allclose(of_hours[6], [1, 0], atol=1e-6)  # a quarter of the day
    np.testing.assert_allclose(of_hours[:24], of_hours[24:48], atol=1e-6)
    monday = calendar_features(dates("2020-01-06"), ["weekday"])
    np.testing.assert_allclose(monday, [[0, 1]], atol=1e-6)


def test_dates_that_do_not_grow_are_named() -> None:
    with pytest.raises(DataError, match="grow, got 2020-01-01 twice, at step 1"):
        checked_dates(dates("2020-01-01", "2020-01-01"), 2, "series 0")
    with pytest.raises(DataError, match="got 2020-01-01 behind 2020-01-02 13:00, at step 1"):
        checked_dates(dates("2020-01-02T13:00", "2020-01-01"), 2, "series 0")
    with pytest.raises(DataError, match="expected 3 dates"):
        checked_dates(dates("2020-01-01"), 3, "series 0")
    with pytest.raises(DataError, match="expected dates as numpy has them"):
        checked_dates(["yesterday"], 1, "series 0")


@pytest.mark.parametrize("names", [("moon",), ("hour", "hour"), "hour"])
def test_names_of_features_are_checked(names: object) -> None:
    with pytest.raises(ValueError, match="calendar=: expected some of minute, hour"):
        check_calendar(names)  # type: ignore[arg-type]


def test_dates_are_told_by_the_clocks_of_their_series() -> None:
    [midnight, noon] = dates("2020-01-01T00:00", "2020-01-01T12:00:30")
    assert told(midnight, None) == "2020-01-01"
    assert told(midnight, 0) == "2020-01-01 00:00+00:00"
    assert told(noon, 7200) == "2020-01-01 14:00:30+02:00"
    assert told(midnight, -12600) == "2019-12-31 20:30-03:30"
    said = Forecast(values=np.zeros((1, 1)), dates=dates("2020-01-01T00:00"), offset=3600)
    assert rows_of(said)[0]["date"] == "2020-01-01 01:00+01:00"
    assert said.to_json()["dates"] == ["2020-01-01 01:00+01:00"]
    assert "offset" not in said.to_json()
