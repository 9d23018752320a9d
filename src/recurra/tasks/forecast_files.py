"""What a forecaster's run reads to forecast, and the rows that it writes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.panels import Reading, read_panel
from recurra.data.records import Record, Records
from recurra.models import Forecast
from recurra.models.calendar import told
from recurra.models.series import names_of


class SeriesRecords(Records):
    """The series of a file or a folder, a record each."""

    def __init__(self, path: Path, how: Reading) -> None:
        """Read them.

        Raises:
            DataError: when they cannot be read.
        """
        self.where = str(path)
        self._panel = read_panel(path, how)
        self.notes = self._panel.notes

    def __iter__(self) -> Iterator[Record]:
        for series in self._panel.series:
            name = f", series {series.name}" if series.name else ""
            yield Record(value=series, label="", place=f"{self.where}{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownWindow:
    """A window to look at, in the units of the data.

    Attributes:
        past: [T, C].
        true: [F, C], what came; None where nobody knows yet.
        values: [F, C], what the model says.
        quantiles: [2, F, C], the ends of an interval; None of points.
    """

    past: np.ndarray
    true: np.ndarray | None
    values: np.ndarray
    quantiles: np.ndarray | None


def rows_of(forecast: Forecast) -> list[dict[str, Any]]:
    """A row for each step: its number from 1, the name of its series and its date where there are
    such, the value of each channel under its name, and its quantiles under its name and the
    level."""
    channels = names_of(forecast.values.shape[1], forecast.channels)
    rows: list[dict[str, Any]] = []
    for step, values in enumerate(forecast.values):
        row: dict[str, Any] = {"step": step + 1}
        if forecast.name is not None:
            row["series"] = forecast.name
        if forecast.dates is not None:
            row["date"] = told(forecast.dates[step], forecast.offset)
        row |= dict(zip(channels, values.tolist(), strict=True))
        if forecast.quantiles is not None:
            for level, each in zip(forecast.levels, forecast.quantiles[:, step], strict=True):
                row |= {
                    f"{channel} {level:g}": float(value)
                    for channel, value in zip(channels, each, strict=True)
                }
        rows.append(row)
    return rows
