"""Tables of series as columns: CSV and its kin, Parquet, and arrays of numpy.

Letters: T rows, C columns, N series.
"""

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from recurra.data.sequences import (
    GAPS,
    INDEX_NAMES,
    TextTable,
    column_of_numbers,
    is_number,
    read_sequence,
    read_text_table,
    with_first_row,
)
from recurra.data.tables import suffix_of
from recurra.errors import DataError, argument

_TEXT = (".csv", ".tsv", ".txt", ".dat")
_PARQUET, _ARRAY = (".parquet", ".pq"), (".npy",)
FORMATS = (*_TEXT, *_PARQUET, *_ARRAY)
_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$")
_DATES = ("date", "datetime", "time", "timestamp", "ds", "dates", "date_time", "day", "month")


class Columns(ABC):
    """The columns of a table, each read when it is asked for.

    Attributes:
        path: of the file.
        names: [C]; "1", "2" and so on where the file has none.
        places: [T], where each row stands: the number of its line, or of its row.
        unit: what these are, "line" or "row".
        hint: what may be done about a column of something else than numbers.
    """

    path: Path
    names: tuple[str, ...]
    places: Sequence[int]
    unit = "row"
    hint = ""

    @abstractmethod
    def numbers(self, name: str) -> np.ndarray:
        """[T] float64, NaN where a value is missing.

        Raises:
            DataError: when a cell is no number.
        """

    @abstractmethod
    def texts(self, name: str) -> list[str]:
        """[T], the cells as text."""

    def dates(self, name: str, date_format: str | None) -> np.ndarray:
        """[T] datetime64[s], without a time zone: what has one is taken in UTC.

        Raises:
            DataError: when a cell is no date, naming its place.
        """
        texts = self.texts(name)
        plain = date_format is None and not any(map(_is_special, texts))
        if plain:
            try:
                return np.array(texts, dtype="M8[s]")
            except ValueError:  # said of the cell that is none, or one with a time zone
                pass
        return np.array(
            [
                _date(text, date_format, f"{self.path}, {self.unit} {place}, column {name}")
                for text, place in zip(texts, self.places, strict=True)
            ],
            dtype="M8[s]",
        )

    def offset(self, name: str, date_format: str | None, row: int) -> int | None:
        """Seconds that the clocks of a row's date are ahead of UTC; None where it does not say."""
        found = _parsed(self.texts(name)[row], date_format)
        ahead = None if found is None else found.utcoffset()
        return None if ahead is None else round(ahead.total_seconds())

    def __len__(self) -> int:
        return len(self.places)

    def named(self, column: str, which: str) -> str:
        """The name of a column that is asked for by its name, or by its number from 1.

        Raises:
            DataError: when there is none.
        """
        if column in self.names:
            return column
        if column.isdecimal() and 1 <= int(column) <= len(self.names):
            return self.names[int(column) - 1]
        raise DataError(
            f"{self.path}: expected a column {column!r}, got the columns "
            f"{', '.join(self.names):.200}. Choose among them, {argument(which)}."
        )

    def date_column(self) -> str | None:
        """The column whose name, or whose first cell, says that it has dates."""
        by_name = [name for name in self.names if name.strip().lower() in _DATES]
        for name in (*by_name, *self.names[:1]):
            text = self.texts(name)[0]
            try:
                _date(text, None, "")
            except DataError:
                continue
            if name in by_name or not text.isdigit():
                return name
        return None


class _TextColumns(Columns):
    unit = "line"

    def __init__(self, path: Path, table: TextTable) -> None:
        self.path, self._table = path, table
        width = len(table.rows[0][1])
        self.names = tuple(table.header or [str(i + 1) for i in range(width)])
        self.places = [line for line, _ in table.rows]
        self._at = {name: i for i, name in enumerate(self.names)}
        if self.names[0] in INDEX_NAMES and width > 1:
            self.names = self.names[1:]  # the numbers of the rows, as pandas writes them
        _refuse_repeated(path, self.names)

    def numbers(self, name: str) -> np.ndarray:
        at = self._at[name]
        try:
            return column_of_numbers(self.path, self._table, at)
        except DataError:
            there = [row for row in self._table.rows if row[1][at].lower() not in GAPS]
            if there and not any(is_number(cells[at]) for _, cells in there):  # something else
                line, cells = there[0]
                raise DataError(
                    f"{self.path}, line {line}, column {at + 1}: expected a number, got "
                    f"{cells[at]!r:.40}. {self.hint}"
                ) from None
            raise

    def texts(self, name: str) -> list[str]:
        at = self._at[name]
        return [cells[at] for _, cells in self._table.rows]


class _ParquetColumns(Columns):
    def __init__(self, path: Path) -> None:
        try:
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise DataError(
                f"{path}: expected pyarrow, to read Parquet with, got none. Install it: pip "
                "install pyarrow, or write the table as CSV."
            ) from None
        try:
            self._table = parquet.read_table(path)
        except (OSError, ValueError) as error:  # pyarrow's own derive from these
            said = str(error).partition("\n")[0].rstrip(".")
            raise DataError(
                f"{path}: expected a Parquet file, got: {said}. Write it again."
            ) from error
        self.path, self.names = path, tuple(map(str, self._table.column_names))
        self.places = range(1, self._table.num_rows + 1)
        _refuse_repeated(path, self.names)

    def numbers(self, name: str) -> np.ndarray:
        cells = self._table.column(name).to_pylist()
        for place, cell in zip(self.places, cells, strict=True):
            if cell is not None and not isinstance(cell, int | float):
                raise DataError(
                    f"{self.path}, row {place}, column {name}: expected a number, got "
                    f"{cell!r:.40}. {self.hint}"
                )
        values = np.array([np.nan if c is None else c for c in cells], dtype=np.float64)
        if np.isinf(values).any():
            place = int(np.flatnonzero(np.isinf(values))[0]) + 1
            raise DataError(
                f"{self.path}, row {place}, column {name}: expected a finite number, got "
                f"{values[place - 1]}. Fill it in, or leave it empty."
            )
        return values

    def texts(self, name: str) -> list[str]:
        cells = self._table.column(name).to_pylist()
        return ["" if cell is None else str(cell) for cell in cells]


class _ArrayColumns(Columns):
    def __init__(self, path: Path, values: np.ndarray) -> None:
        self.path, self._values = path, values
        self.names = tuple(str(i + 1) for i in range(values.shape[1]))
        self.places = range(1, len(values) + 1)

    def numbers(self, name: str) -> np.ndarray:
        return self._values[:, int(name) - 1]

    def texts(self, name: str) -> list[str]:
        return [f"{value:g}" for value in self.numbers(name)]

    def date_column(self) -> str | None:
        return None


def read_columns(
    path: Path,
    *,
    encoding: str | None = None,
    above_words: Collection[str] | None = None,
    hint: str | None = None,
) -> list[tuple[str, Columns]]:
    """The table of a file; of an array [N, T, C] that of each of its N series, with its number.

    Args:
        path: of the file.
        encoding: of text.
        above_words: of a table of labels the names that a column of words may have; one column with
            another first row has no name, see `with_first_row`.
        hint: what may be done about a column of something else than numbers; None names the
            options of forecasters.
    Raises:
        DataError: when the file is not there, or of no format that is read.
    """
    tables = _tables(path, encoding, above_words)
    for _, columns in tables:
        columns.hint = _other_columns() if hint is None else hint
    return tables


def _tables(
    path: Path, encoding: str | None, above_words: Collection[str] | None
) -> list[tuple[str, Columns]]:
    if not path.is_file():
        raise DataError(f"{path}: expected a file, got no such file. Check the path.")
    suffix = suffix_of(path)
    if suffix in _TEXT:
        table = read_text_table(path, encoding=encoding)
        if above_words is not None:
            table = with_first_row(table, above_words)
        return [("", _TextColumns(path, table))]
    if suffix in _PARQUET:
        return [("", _ParquetColumns(path))]
    if suffix in _ARRAY:
        return _arrays(path)
    raise DataError(
        f"{path}: expected a file that ends in {', '.join(FORMATS)}, got "
        f"{suffix or 'a name without an end'}. Rename or convert it."
    )


def _arrays(path: Path) -> list[tuple[str, Columns]]:
    try:
        ranks = np.load(path, mmap_mode="r", allow_pickle=False).ndim
    except (ValueError, EOFError, OSError, AttributeError):
        ranks = 2  # whatever is wrong with it is said where it is read
    if ranks not in (1, 3):
        return [("", _ArrayColumns(path, read_sequence(path, gaps=True).values))]
    values = np.load(path, allow_pickle=False)
    if values.dtype.kind not in "fiub" or 0 in values.shape or np.isinf(values).any():
        raise DataError(
            f"{path}: expected finite real numbers, got an array {list(values.shape)} of "
            f"{values.dtype} with others in it. Save it again without them."
        )
    values = values.astype(np.float64)
    if ranks == 1:
        return [("", _ArrayColumns(path, values[:, None]))]
    return [(str(n + 1), _ArrayColumns(path, each)) for n, each in enumerate(values)]


def _other_columns() -> str:
    return (
        f"A column of names of series is said by {argument('group_column=')}, one of dates by "
        f"{argument('date_column=')}, of categories that are known ahead by "
        f"{argument('known_covariates=')}; {argument('target=')} names those that are forecast."
    )


def _refuse_repeated(path: Path, names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            f"{path}: expected columns of different names, got {twice[0]!r} "
            f"{names.count(twice[0])} times. Rename all but one."
        )


def _is_special(text: str) -> bool:
    """Whether numpy would take a date otherwise than it is written: digits alone, or a zone."""
    return (text.isdigit() and len(text) != 4) or _ZONE.search(text) is not None


def _parsed(text: str, date_format: str | None) -> datetime | None:
    """A date, with its time zone where it has one; None of what is none."""
    try:
        if date_format is not None:
            return datetime.strptime(text, date_format)
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def _date(text: str, date_format: str | None, where: str) -> np.datetime64:
    found = _parsed(text, date_format)
    if found is None:
        wanted = "an ISO date, as in 2016-07-01 13:00" if date_format is None else date_format
        raise DataError(
            f"{where}: expected {wanted}, got {text!r:.40}. Write dates so, or say how they are "
            f"written: {argument('date_format=')}."
        )
    if found.tzinfo is not None:
        found = found.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(found, "s")
