"""Dates of a series: how far apart its steps are, which dates come next, and what a date says.

T steps, N features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recurra.errors import DataError, argument

CALENDAR = ("minute", "hour", "weekday", "day", "yearday")
_PERIODS = {"minute": 60.0, "hour": 24.0, "weekday": 7.0, "day": 31.0, "yearday": 366.0}
_DAY = 86_400  # seconds
_MANY = 8  # dates among which no weekend is no accident


@dataclass(frozen=True, slots=True, kw_only=True)
class Frequency:
    """How far apart the steps of a series are.

    Attributes:
        unit: "seconds", "weekdays" (Monday to Friday) or "months".
        count: how many of them a step takes.
        day: of months, the day of each that a date is, its last where it has no such day: 31 is
            the last of every month.
    """

    unit: str
    count: int
    day: int = 1

    @classmethod
    def of(cls, dates: np.ndarray) -> "Frequency":
        """What most steps between these dates are.

        Args:
            dates: [T] datetime64, growing, two or more.
        """
        months = _whole_months(dates)
        if months is not None:
            return cls(unit="months", count=months[0], day=months[1])
        steps, times = np.unique(np.diff(_seconds(dates)), return_counts=True)
        step = int(steps[times.argmax()])
        is_daily = step == _DAY and len(dates) >= _MANY
        if is_daily and np.is_busday(dates.astype("M8[D]")).all():
            return cls(unit="weekdays", count=1)
        return cls(unit="seconds", count=step)

    def places(self, dates: np.ndarray) -> np.ndarray:
        """[T] float64: how many steps each date lies behind the first, a fraction off the grid."""
        if self.unit == "months":
            months = dates.astype("M8[M]")
            return (months - months[0]).astype(np.float64) / self.count
        if self.unit == "weekdays":
            days = dates.astype("M8[D]")
            return np.busday_count(days[0], days).astype(np.float64)
        return (_seconds(dates) - _seconds(dates)[0]) / self.count

    def following(self, last: np.datetime64, steps: int) -> np.ndarray:
        """[steps] datetime64[s], the dates behind a date."""
        number = np.arange(1, steps + 1, dtype=np.int64)
        start = last.astype("M8[s]")
        if self.unit == "months":
            time = start - start.astype("M8[D]")  # of the day
            months = start.astype("M8[M]") + number * self.count
            return _days_in(months, self.day).astype("M8[s]") + time
        if self.unit == "weekdays":
            day = start.astype("M8[D]")
            days = np.busday_offset(day, number, roll="forward").astype("M8[s]")
            return days + (start - day)
        return start + (number * self.count).astype("m8[s]")

    @property
    def season(self) -> int | None:
        """Steps of the season that such series mostly have: a day, a week or a year; None: none."""
        if self.unit == "weekdays":
            return 5
        if self.unit == "months":
            return 12 // self.count if 12 % self.count == 0 and self.count < 12 else None
        if self.count < _DAY:
            return _DAY // self.count if _DAY % self.count == 0 else None
        return {_DAY: 7, 7 * _DAY: 52}.get(self.count)

    def __str__(self) -> str:
        if self.unit == "months":
            years, rest = divmod(self.count, 12)
            size, name = (self.count, "month") if rest else (years, "year")
        elif self.unit == "weekdays":
            size, name = self.count, "weekday"
        else:
            sizes = {_DAY: "day", 3600: "hour", 60: "minute", 1: "second"}
            unit = next(each for each in sizes if self.count % each == 0)
            size, name = self.count // unit, sizes[unit]
        return f"1 {name}" if size == 1 else f"{size} {name}s"


def calendar_features(dates: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """[T, 2 N] float32: where each date is in its hour, day, week, month or year, as the sine and
    the cosine of an angle, so that the end of a period lies beside its start.

    Args:
        dates: [T] datetime64.
        names: of `CALENDAR`.
    """
    columns = []
    for name in names:
        angle = 2 * np.pi * _within(dates, name) / _PERIODS[name]
        columns += [np.sin(angle), np.cos(angle)]
    made = np.stack(columns, axis=1) if columns else np.zeros((len(dates), 0))
    return made.astype(np.float32)


def check_calendar(names: Sequence[str]) -> None:
    """Raise ValueError unless these are calendar features, each once."""
    wrong = [name for name in names if name not in CALENDAR]
    if isinstance(names, str) or wrong or len({*names}) < len(names):
        got = repr(names) if isinstance(names, str) or not wrong else repr(wrong[0])
        raise ValueError(
            f"{argument('calendar=')}: expected some of {', '.join(CALENDAR)}, each once, got "
            f"{got}. Choose among them."
        )


def checked_dates(dates: object, steps: int, where: str) -> np.ndarray:
    """[T] datetime64[s], of what a user gives.

    Raises:
        DataError: when they are no dates, not as many as steps, or do not grow.
    """
    try:
        found = np.asarray(dates).astype("M8[s]")
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: expected dates as numpy has them, got {error!s:.80}. Give datetime64, or "
            "text as in 2016-07-01T13:00."
        ) from None
    if found.shape != (steps,) or np.isnat(found).any():
        got = "one that is missing" if found.shape == (steps,) else f"shape {list(found.shape)}"
        raise DataError(f"{where}: expected {steps} dates, one a step, got {got}. Give them all.")
    wrong = np.flatnonzero(np.diff(found) <= np.timedelta64(0, "s"))
    if len(wrong):
        at = int(wrong[0]) + 1
        what = "twice" if found[at] == found[at - 1] else f"behind {said(found[at - 1])}"
        raise DataError(
            f"{where}: expected dates that grow, got {said(found[at])} {what}, at step {at}. "
            "Sort the steps, and keep one of each date."
        )
    return found


def said(date: np.datetime64) -> str:
    """A date as people write it, without a time of day that is midnight."""
    day, _, time = str(date.astype("M8[s]")).partition("T")
    return day if time == "00:00:00" else f"{day} {time.removesuffix(':00')}"


def told(date: np.datetime64, offset: int | None) -> str:
    """A date in UTC by clocks that are so many seconds ahead of it, with how far they are; as
    `said` where nobody knows how far."""
    if offset is None:
        return said(date)
    local = str(date.astype("M8[s]") + np.timedelta64(offset, "s")).replace("T", " ")
    hours, minutes = divmod(abs(offset) // 60, 60)
    sign = "-" if offset < 0 else "+"
    return f"{local.removesuffix(':00')}{sign}{hours:02}:{minutes:02}"


def _seconds(dates: np.ndarray) -> np.ndarray:
    return dates.astype("M8[s]").astype(np.int64)


def _whole_months(dates: np.ndarray) -> tuple[int, int] | None:
    """The months that most steps take, where all dates are of one day of the month, at one time of
    the day; and this day, 31 of dates that are the last of their months."""
    days, months = dates.astype("M8[D]"), dates.astype("M8[M]")
    steps = np.diff(months).astype(np.int64)
    times = dates.astype("M8[s]") - days
    if not len(steps) or steps.min() < 1 or (times != times[0]).any():
        return None
    own = (days - months.astype("M8[D]")).astype(np.int64) + 1
    for day in (31, int(own.max())):
        if (_days_in(months, day) == days).all():
            return int(np.bincount(steps).argmax()), day
    return None


def _days_in(months: np.ndarray, day: int) -> np.ndarray:
    """[T] datetime64[D], this day of each month, or its last."""
    last = (months + 1).astype("M8[D]") - np.timedelta64(1, "D")
    return np.minimum(months.astype("M8[D]") + np.timedelta64(day - 1, "D"), last)


def _within(dates: np.ndarray, name: str) -> np.ndarray:
    """How far each date is in its period, in the unit of `_PERIODS`."""
    seconds = _seconds(dates)
    days = dates.astype("M8[D]")
    if name == "minute":
        return seconds % 3600 / 60
    if name == "hour":
        return seconds % _DAY / 3600
    if name == "weekday":
        return (days.astype(np.int64) + 3) % 7  # the first day of 1970 was a Thursday
    start = days.astype("M8[M]" if name == "day" else "M8[Y]").astype("M8[D]")
    return (days - start).astype(np.float64)
