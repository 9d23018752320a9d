"""The .ts format of the UCR and UEA archives of labelled time series.

A header of lines that begin with @, then @data, then a series a line: the channels separated by
colons, the values of each by commas, "?" where one is missing, and the class last.

Source: Bagnall et al. (2018), "The UEA multivariate time series classification archive",
arXiv:1811.00075, and the description of the format in aeon and sktime.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recurra.data.records import Record, Records, named
from recurra.data.tables import lines_of
from recurra.errors import DataError
from recurra.models.scaling import as_series
from recurra.text.reading import check_source, said_of_storage

_MISSING = ("?", "nan", "NaN", "")


class TimeSeriesRecords(Records):
    """The series of a .ts file, each [T, I], of one length or of many."""

    def __init__(self, path: Path, *, encoding: str | None = None, labelled: bool = True) -> None:
        """Read the header.

        Args:
            path: the file.
            encoding: see `read_pieces`.
            labelled: whether it must have classes; those that it has count for nothing otherwise.
        Raises:
            DataError: when there is none, or it says that the file has no classes or time stamps.
        """
        self.path = check_source(path)
        self.where = str(path)
        self.encoding = encoding
        header = self._header()
        declared = header.get("classlabel")
        self._has_labels = labelled or (declared or "").lower().startswith("true")
        self._declared: frozenset[str] | None = None
        if labelled:
            self.classes = self._classes(declared)
            self._declared = frozenset(self.classes)
        if header.get("timestamps", "false").lower() == "true":
            raise DataError(
                f"{path}: expected series at even steps, got one with time stamps. "
                "Resample it, and write @timeStamps false."
            )
        name = header.get("problemname")
        note = f"UCR/UEA format{f', problem {name}' if name else ''}"
        self.notes = (*said_of_storage(path), note)

    def __iter__(self) -> Iterator[Record]:
        width = None
        for number, line in self._lines(after_header=True):
            place = f"{self.path}, line {number}"
            *channels, label = line.split(":")
            if not self._has_labels:
                channels, label = [*channels, label], ""
            if not channels:
                raise DataError(
                    f"{place}: expected a series and its class behind a colon, got {line:.40}. "
                    "Write the class last, as in 0.5,0.25:walking"
                )
            width = width or len(channels)
            if len(channels) != width:
                raise DataError(
                    f"{place}: expected {width} channels as in the lines above it, got "
                    f"{len(channels)}. Write every series with the same channels."
                )
            label = label.strip()
            if self._declared is not None and label not in self._declared:
                raise DataError(
                    f"{place}: expected one of the classes in the header "
                    f"({named(self.classes or ())}), got {label!r}. Add it to @classLabel."
                )
            yield Record(value=_series(channels, place), label=label, place=place)

    def _lines(self, *, after_header: bool) -> Iterator[tuple[int, str]]:
        """The lines of the header or of the data, without comments, with their numbers."""
        in_data = False
        for number, line in enumerate(lines_of(self.path, self.encoding), 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            if line.lower() == "@data":
                in_data = True
            elif in_data == after_header:
                yield number, line
            if in_data and not after_header:
                return
        if not in_data:
            raise DataError(
                f"{self.path}: expected a line @data above the series, got none. "
                "Download or write the file again."
            )

    def _header(self) -> dict[str, str]:
        """What stands behind each @name, by the name in small letters."""
        header = {}
        for number, line in self._lines(after_header=False):
            if not line.startswith("@"):
                raise DataError(
                    f"{self.path}, line {number}: expected a header of lines that begin with @, "
                    f"got {line:.40}. Download or write the file again."
                )
            name, _, value = line[1:].partition(" ")
            header[name.strip().lower()] = value.strip()
        return header

    def _classes(self, declared: str | None) -> tuple[str, ...]:
        has, *classes = (declared or "false").split()
        if has.lower() != "true" or not classes:
            raise DataError(
                f"{self.path}: expected series with classes, @classLabel true and their names, "
                f"got @classLabel {declared or '... in no line'}. Use data for classification."
            )
        return tuple(classes)


def _series(channels: list[str], place: str) -> np.ndarray:
    """[T, I] of the channels as they are written."""
    columns = []
    for i, channel in enumerate(channels, 1):
        cells = [cell.strip() for cell in channel.split(",")] if channel.strip() else []
        try:
            columns.append([float("nan" if cell in _MISSING else cell) for cell in cells])
        except ValueError as error:
            raise DataError(
                f"{place}, channel {i}: expected numbers separated by commas, got {error}. "
                "Write ? where a value is missing."
            ) from None
    lengths = sorted({len(column) for column in columns})
    if len(lengths) > 1:
        raise DataError(
            f"{place}: expected channels of one length, got {lengths[0]} and {lengths[-1]} steps. "
            "Fill the shorter ones with ?."
        )
    if lengths == [0]:
        return np.zeros((0, len(columns)), dtype=np.float32)
    return as_series(np.array(columns).T, place)
