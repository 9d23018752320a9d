"""What a forecaster reads and says: a series with what is known beside it, and its next steps.

Letters: T steps, F steps to come, C channels, P covariates of the past, K known covariates, Q
levels, N series.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from recurra.errors import DataError
from recurra.models.calendar import told
from recurra.models.parts import Names
from recurra.models.scaling import Scaling, as_series

_FEWEST = 2  # values of a channel of which a deviation can be taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A series up to the present.

    Attributes:
        values: [T, C], or [T] where C is 1; NaN where a value is missing.
        past: [T, P], covariates that nobody knows of the steps to come.
        known: [T + F, K], covariates that are known of them too.
        dates: [T] datetime64, one a step.
        name: which series it is, of a model of several.
        offset: seconds that clocks there are ahead of UTC, where the dates are in UTC and are to be
            told by those clocks.
    """

    values: Any
    past: Any = None
    known: Any = None
    dates: Any = None
    name: str | None = None
    offset: int | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The next steps of a series.

    Attributes:
        values: [F, C], the expected values, or the points of a model without a spread.
        levels: probabilities of the quantiles; empty of a model without a spread.
        quantiles: [Q, F, C].
        dates: [F] datetime64[s], where the series had dates.
        channels: their names, where the model has them.
        name: of the series.
        offset: of the series: seconds that what is told is ahead of the dates, which are in UTC.
    """

    values: np.ndarray
    levels: tuple[float, ...] = ()
    quantiles: np.ndarray | None = None
    dates: np.ndarray | None = None
    channels: tuple[str, ...] = ()
    name: str | None = None
    offset: int | None = None

    def __len__(self) -> int:
        return len(self.values)

    def told_dates(self) -> list[str] | None:
        """The dates as people write them, by the clocks of where the series is from; None without
        dates."""
        return None if self.dates is None else [told(date, self.offset) for date in self.dates]

    def to_json(self) -> dict[str, Any]:
        """Everything in it by name, as JSON takes it, with the dates as they are told."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        del own["offset"]
        return own if self.offset is None else {**own, "dates": self.told_dates()}

    def quantile(self, level: float) -> np.ndarray:
        """[F, C], the quantile of one of the levels.

        Raises:
            ValueError: when the forecast does not have it.
        """
        if self.quantiles is None or level not in self.levels:
            there = ", ".join(f"{each:g}" for each in self.levels) or "none"
            raise ValueError(
                f"Forecast.quantile: expected one of the levels {there}, got {level:g}. Ask for "
                f"it: model.predict(..., levels=({level:g},))."
            )
        return self.quantiles[self.levels.index(level)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesScaling:
    """The scaling of each series by its own mean and deviation, and of the covariates by theirs.

    Attributes:
        names: [N], of the series that were trained on.
        each: [N], the scaling of the channels of each.
        covariates: of the covariates of the past, then of the known ones, over all series; None
            where there are none.
    """

    names: tuple[str, ...]
    each: tuple[Scaling, ...]
    covariates: Scaling | None = None

    def __post_init__(self) -> None:
        if not self.each or len(self.names) != len(self.each):
            raise ValueError(
                f"scaling: expected a scaling for each of {len(self.names)} series, got "
                f"{len(self.each)}. Measure them again."
            )

    @property
    def num_channels(self) -> int:
        """C."""
        return len(self.each[0].mean)

    def of(self, name: str | None, values: np.ndarray) -> Scaling:
        """The scaling of a series by its name; where only one was trained on, that of this one; of
        a series that training never had, as measured on the values [T, C] that are given."""
        if name in self.names:
            return self.each[self.names.index(str(name))]
        return self.each[0] if len(self.each) == 1 else measured(values)

    def to_config(self) -> dict[str, Any]:
        """Everything that makes it again, as JSON types."""
        covariates = None if self.covariates is None else self.covariates.to_config()
        each = [scaling.to_config() for scaling in self.each]
        return {"names": [*self.names], "each": each, "covariates": covariates}

    @classmethod
    def from_config(cls, config: Any) -> "SeriesScaling":
        """The inverse of `to_config`.

        Raises:
            DataError: when it is not what `to_config` gives.
        """
        try:
            names = tuple(map(str, config["names"]))
            each = tuple(map(Scaling.from_config, config["each"]))
            covariates = config["covariates"]
            beside = None if covariates is None else Scaling.from_config(covariates)
            return cls(names=names, each=each, covariates=beside)
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"scaling: expected names, a scaling of each and one of covariates, got "
                f"{error!r:.200}. Use the config.json as the run wrote it."
            ) from error


class Categories(dict[str, Names]):
    """The names of the categories of covariates, by covariate: each has a column of 0 and 1 of its
    own, in the order of these names, among what the model reads as the covariate.

    Raises:
        DataError: when it is no such table.
    """

    def __init__(self, given: Mapping[str, Sequence[str]]) -> None:
        """Take the names of each covariate."""
        if not isinstance(given, Mapping):
            raise DataError(
                f"categories: expected names by covariate, got {given!r:.60}. Give them as in "
                "{'weather': ['rain', 'sun']}."
            )
        super().__init__({str(name): Names(list(names)) for name, names in given.items()})

    def to_config(self) -> dict[str, list[str]]:
        """The names, by covariate."""
        return {name: [*names] for name, names in self.items()}

    @staticmethod
    def from_config(config: Any) -> "Categories":
        """The inverse of `to_config`."""
        return Categories(config)


def measured(values: np.ndarray) -> Scaling:
    """The mean and the deviation of each channel [T, C]; of one without two values, 0 and 0."""
    wide = np.asarray(values, dtype=np.float64)
    count = (~np.isnan(wide)).sum(0)
    mean = np.nansum(wide, axis=0) / np.maximum(count, 1)
    square = np.nansum((wide - mean) ** 2, axis=0) / np.maximum(count, 1)
    with np.errstate(invalid="ignore"):
        varies = np.fmax.reduce(wide, axis=0) > np.fmin.reduce(wide, axis=0)
    spread = np.where(varies & (count >= _FEWEST), np.sqrt(square), 0.0)
    return Scaling(mean=tuple(mean.tolist()), spread=tuple(spread.tolist()), missing="fill")


def scaled(values: np.ndarray, scaling: Scaling) -> np.ndarray:
    """[T, C] float32, NaN where a value is missing."""
    spread = np.array(scaling.spread)
    factor = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    return ((values - np.array(scaling.mean)) * factor).astype(np.float32)


def given_series(given: Any, where: str) -> Series:
    """A series as a user gives it, checked: arrays become [T, C] float64, and names text.

    Raises:
        DataError: when it is no table of numbers.
    """
    series = given if isinstance(given, Series) else Series(values=given)
    read = {
        name: None
        if part is None and name != "values"
        else as_series(part, f"{where}{said}", double=True)
        for name, part, said in (
            ("values", series.values, ""),
            ("past", series.past, ", past covariates"),
            ("known", series.known, ", known covariates"),
        )
    }
    return Series(
        values=read["values"],
        past=read["past"],
        known=read["known"],
        dates=series.dates,
        name=None if series.name is None else str(series.name),
        offset=series.offset,
    )


def with_size(values: np.ndarray | None, rows: int, size: int, what: str) -> np.ndarray:
    """[rows, size] of covariates that a model reads; of none that it does, [rows, 0].

    Raises:
        DataError: when it has other columns, or too few rows.
    """
    if not size and values is None:
        return np.zeros((rows, 0), dtype=np.float32)
    found = (0, 0) if values is None else values.shape
    if values is None or found[1] != size or len(values) < rows:
        got = "none" if values is None else f"{found[1]} over {found[0]} steps"
        raise DataError(
            f"{what}: expected {size} over {rows} steps, as the model reads, got {got}. Give a row "
            "a step, a column for each."
        )
    return values[:rows]


def names_of(count: int, names: Sequence[str] | None) -> tuple[str, ...]:
    """The names of channels; where there are none, "channel 1" and so on."""
    return tuple(names) if names else tuple(f"channel {i + 1}" for i in range(count))
