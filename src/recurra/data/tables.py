"""Labelled examples in tables: TSV, CSV, JSONL and Parquet, one example a row.

A table has a column of texts (or, in JSONL and Parquet, of series as lists) and one of labels.
Which they are is said by name or by number, or found: by well-known names, else by kind.
"""

import csv
import importlib
import io
import json
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.records import Record, Records, label_name, named
from recurra.errors import DataError, argument
from recurra.models.scaling import as_series
from recurra.text.reading import check_source, read_pieces, said_of_storage

TEXT_NAMES = (
    *("text", "sentence", "review", "content", "document", "comment", "message", "tweet"),
    *("utterance", "phrase", "question", "query", "title", "body", "description", "input"),
    *("series", "sequence", "values"),
)
LABEL_NAMES = (
    *("label", "labels", "class", "target", "category", "sentiment", "topic", "intent"),
    *("polarity", "rating", "stars", "language", "output", "y"),
)
_SAMPLE = 1000  # rows that are looked at to find out which column is which
_MOST_CLASSES = 50  # distinct values of the sample that a column of labels may have, or a tenth
_LONGEST_FIELD = 1 << 30  # characters; the csv module's own limit is 131,072
_LONGEST_NAME = 40  # characters of a column's name

Row = tuple[int, Sequence[Any]]  # the number of its line or row, from 1, and its cells


class TableRecords(Records):
    """The rows of a table as records.

    Attributes:
        columns: names of the columns; None where the file has no header.
        text_column: place of the texts, from 0.
        label_column: place of the labels, from 0; None where they are not looked for.
    """

    unit = "line"

    def __init__(
        self,
        path: Path,
        *,
        text_column: str | int | None = None,
        label_column: str | int | None = None,
        encoding: str | None = None,
        like: "TableRecords | None" = None,
        labelled: bool = True,
    ) -> None:
        """Look at the first rows to find the header and the columns.

        Args:
            path: the file.
            text_column: the column of texts or series, by name, or by number from 1; None finds it.
            label_column: that of the labels, likewise.
            encoding: of a file of text, see `read_pieces`.
            like: another table of the same data, whose columns are taken where none is said.
            labelled: whether there is a column of labels; any that there is counts for nothing
                otherwise.
        Raises:
            DataError: when the file is not in the format, a column is missing, or it cannot be
                found out which is which.
        """
        self.path = check_source(path)
        self.where = str(path)
        self.encoding = encoding
        sample = [list(cells) for _, cells in islice(self.rows(), _SAMPLE)]
        if not sample:
            raise DataError(f"{path}: expected rows of examples, got none. Name a file with rows.")
        asked = (text_column, label_column, *(like.columns or () if like else ()))
        names = {str(name) for name in asked if name and not str(name).isdecimal()}
        self.columns = self.header(sample, names)
        self._has_header_row = self.columns is sample[0]
        if self._has_header_row:
            self.columns, *sample = sample
            self.columns = [column.strip() for column in self.columns]
            if not sample:
                raise DataError(
                    f"{path}: expected rows of examples below the header, got none. "
                    "Name a file with rows."
                )
        width = len(sample[0])
        if width < 2 and self.columns is None and labelled:
            raise DataError(
                f"{path}: expected a column of texts and one of labels, got one column. "
                "Separate them by a tab in .tsv, by a comma or semicolon in .csv."
            )
        if like is not None:
            text_column = self._alike(like, like.text_column, width) or text_column
            label_column = self._alike(like, like.label_column, width) or label_column
        self.label_column: int | None = None
        if labelled:
            self.text_column, self.label_column = self._found(sample, text_column, label_column)
        else:
            self.text_column = self._found_text(sample, text_column)
            self.others = self._other_names(width)
        self.notes = (*said_of_storage(self.path), self._note())

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Every row, the header too where the file has one, all of one width."""

    def header(self, sample: list[list[Any]], asked: set[str]) -> list[str] | None:
        """The names of the columns; the first row itself where that has them."""
        self._refuse_repeated(sample, asked)
        return sample[0] if {cell.strip() for cell in sample[0]} & asked else header_of(sample)

    def _refuse_repeated(self, sample: list[list[Any]], asked: set[str]) -> None:
        """Raise DataError where a first row with names of columns has one of them twice."""
        names = [str(cell).strip() for cell in sample[0]]
        for name in {*names}:
            known = name in asked or name.lower() in TEXT_NAMES + LABEL_NAMES
            if not known or names.count(name) == 1:
                continue
            below = (str(cells[names.index(name)]).strip() for cells in sample[1:])
            if name not in below:
                raise DataError(
                    f"{self.path}: expected columns of different names, got {name!r} "
                    f"{names.count(name)} times. Rename all but one."
                )

    def __iter__(self) -> Iterator[Record]:
        for number, cells in islice(self.rows(), 1 if self._has_header_row else 0, None):
            place = f"{self.path}, {self.unit} {number}"
            value = cells[self.text_column]
            if isinstance(value, list | np.ndarray):
                value = as_series(value, place)
            elif value is None or (isinstance(value, float) and np.isnan(value)):
                value = ""
            at = self.label_column
            others = None
            if self.others:
                beside = (cell for i, cell in enumerate(cells) if i != self.text_column)
                others = dict(zip(self.others, beside, strict=True))
            yield Record(
                value=value if isinstance(value, np.ndarray) else str(value).strip(),
                label="" if at is None else label_name(cells[at]),
                place=place,
                others=others,
            )

    def _other_names(self, width: int) -> tuple[str, ...]:
        """The names of the columns besides the one of the texts, each of them once."""
        names: list[str] = []
        for i in range(width):
            name = "" if self.columns is None else self.columns[i]
            if i != self.text_column:
                names.append(
                    name if name and name not in names else f"{name} column {i + 1}".strip()
                )
        return tuple(names)

    def _alike(self, like: "TableRecords", place: int | None, width: int) -> str | int | None:
        """The column of the other table's name; where either has no header, of its place."""
        if place is None:
            return None
        if self.columns is not None and like.columns is not None:
            name = like.columns[place]
            return name if name in self.columns else None
        return place + 1 if place < width else None

    def _found(
        self, sample: list[list[Any]], text: str | int | None, label: str | int | None
    ) -> tuple[int, int]:
        """The places of the two columns."""
        text_at = None if text is None else self._place(text, "text_column=", len(sample[0]))
        label_at = None if label is None else self._place(label, "label_column=", len(sample[0]))
        if label_at is None:
            label_at = self._by_name(LABEL_NAMES, text_at)
        if text_at is None:
            text_at = self._by_name(TEXT_NAMES, label_at)
        if label_at is None:
            label_at = self._label_by_kind(sample, text_at)
        if text_at is None:
            text_at = self._text_by_kind(sample, label_at)
        if text_at == label_at:
            raise DataError(
                f"{self.path}: expected two columns, got {self._name(text_at)} for both. "
                f"Name another one, {argument('text_column=')} or {argument('label_column=')}."
            )
        return text_at, label_at

    def _found_text(self, sample: list[list[Any]], text: str | int | None) -> int:
        """The place of the texts in a table without labels."""
        if text is not None:
            return self._place(text, "text_column=", len(sample[0]))
        by_name = self._by_name(TEXT_NAMES, None)
        return self._text_by_kind(sample, None) if by_name is None else by_name

    def _place(self, column: str | int, which: str, width: int) -> int:
        """Where a column is that was asked for by name, or by number from 1."""
        if self.columns is not None and column in self.columns:
            return self.columns.index(str(column))
        number = int(column) if str(column).isdecimal() else 0
        if 1 <= number <= width:
            return number - 1
        there = (
            f"columns 1 to {width} without names"
            if self.columns is None
            else f"the columns {', '.join(self.columns)}"
        )
        raise DataError(
            f"{self.path}: expected a column {column!r}, got {there}. "
            f"Choose one of them, {argument(which)}."
        )

    def _by_name(self, known: Sequence[str], other: int | None) -> int | None:
        if self.columns is None:
            return None
        names = [column.strip().lower() for column in self.columns]
        return next((names.index(n) for n in known if n in names and names.index(n) != other), None)

    def _label_by_kind(self, sample: list[list[Any]], text: int | None) -> int:
        """The one column with few distinct values; of a pair of such, the one with shorter ones."""
        few = [i for i in range(len(sample[0])) if i != text and _may_be_labels(sample, i)]
        sizes = [_mean_size(sample, i) for i in few]
        if len(few) == len(sample[0]) == 2 and sizes[0] != sizes[1]:
            few = [few[sizes.index(min(sizes))]]
        if len(few) == 1:
            return few[0]
        names = [self._name(i) for i in few or range(len(sample[0]))]
        raise DataError(
            f"{self.path}: expected one column of a few distinct values, the labels, got "
            f"{'none' if not few else f'{len(few)}'} among the first {len(sample)} rows. Say which "
            f"column has them, {argument('label_column=')}: {named(names)}."
        )

    def _text_by_kind(self, sample: list[list[Any]], label: int | None) -> int:
        """The column with the longest texts."""
        sizes = {i: _mean_size(sample, i) for i in range(len(sample[0])) if i != label}
        if not sizes or max(sizes.values()) == 0:
            beside = "" if label is None else f" beside {self._name(label)}"
            raise DataError(
                f"{self.path}: expected a column of texts{beside}, got none. "
                f"Say which column has them, {argument('text_column=')}."
            )
        found = max(sizes, key=sizes.__getitem__)
        cells = [row[found] for row in sample]
        if all(isinstance(cell, str) and _is_number(cell or "0") for cell in cells):
            raise DataError(
                f"{self.path}: expected a column of texts, got numbers alone. If these "
                f"are texts, name their column, {argument('text_column=')}; series of numbers are "
                "a file each."
            )
        return found

    def _name(self, place: int) -> str:
        return str(place + 1) if self.columns is None else repr(self.columns[place])

    def _note(self) -> str:
        used = [self.text_column, *([] if self.label_column is None else [self.label_column])]
        said = [
            f"{what} {self._name(at)}" for what, at in zip(("text", "label"), used, strict=False)
        ]
        head = "no header" if self.columns is None else "by the header"
        others = len(self.columns) - len(used) if self.columns is not None else 0
        fate = "carried to tables of predictions" if self.others else "not used"
        more = f", {others} other{'s' * (others > 1)} {fate}" if others > 0 else ""
        return f"columns: {', '.join(said)} ({head}{more})"


class SeparatedRecords(TableRecords):
    """TSV and CSV.

    CSV is separated by commas, semicolons or tabs, whichever divides all rows alike, its cells
    quoted as RFC 4180 says. In TSV a quote is a character like any other, unless all cells of some
    column stand in quotes.
    """

    def rows(self) -> Iterator[Row]:
        """Every row; a line that is blank is none, but `""` in a table of one column is."""
        self._refuse_other_formats()
        separator, quoted = self._dialect()
        lines = lines_of(self.path, self.encoding)
        width = None
        for number, cells in csv_rows(self.path, lines, separator, quoted=quoted):
            if not cells or (width != 1 and len(cells) == 1 and cells[0].isspace()):
                continue
            width = width or len(cells)
            if len(cells) != width:
                raise DataError(
                    f"{self.path}, line {number}: expected {width} columns as in the lines above "
                    f"it, got {len(cells)}. {self._about_ragged(separator)}"
                )
            yield number, cells

    def _dialect(self) -> tuple[str, bool]:
        """What separates the cells, and whether quotes mean anything."""
        lines = list(
            islice((line for line in lines_of(self.path, self.encoding) if line.strip()), _SAMPLE)
        )
        if suffix_of(self.path) not in (".csv",):
            tabbed = [line.rstrip("\n").split("\t") for line in lines]
            columns = zip(*tabbed, strict=False)
            quoted = any(all(map(_is_quoted, column)) for column in columns)
            return "\t", quoted
        cut = len(lines) == _SAMPLE  # maybe in the middle of a quoted text
        widths = {
            separator: {
                len(row)
                for row in [*csv.reader(lines, delimiter=separator)][: -1 if cut else None]
                if row
            }
            for separator in ",;\t"
        }
        even = [s for s, found in widths.items() if len(found) == 1 and max(found) > 1]
        most = max(",;\t", key=lambda s: sum(line.count(s) for line in lines))
        return (even or [most])[0], True

    def _about_ragged(self, separator: str) -> str:
        if separator == "\t":
            return "Write every example in one line, and no tab inside a text."
        return f'Write every row with the same columns, a text with {separator!r} in "quotes".'

    def _refuse_other_formats(self) -> None:
        """Files of another kind under the name of a table, of which the text says nothing."""
        with self.path.open("rb") as file:
            head = file.read(4096)
        what = remedy = None
        if head.startswith(b"PAR1"):
            what, remedy = "a Parquet file", "Give it a name that ends in .parquet"
        elif head.startswith(b"PK\x03\x04") and b"[Content_Types].xml" in head:
            what, remedy = "an Excel workbook", "Save the sheet as CSV"
        elif head.startswith(b"\xd0\xcf\x11\xe0"):
            what, remedy = "an old Excel workbook", "Save the sheet as CSV"
        if what:
            raise DataError(f"{self.path}: expected a table as text, got {what}. {remedy}.")


class JsonRecords(TableRecords):
    """JSONL: an object a line, all with the same two keys; further keys may come and go."""

    def __init__(self, path: Path, **options: Any) -> None:
        """As a table, whose columns are the keys of the first lines."""
        self._keys: list[str] | None = None
        super().__init__(path, **options)

    def rows(self) -> Iterator[Row]:
        """The values of every line under the keys of the first ones, None where it has none."""
        if self._keys is None:
            first = islice(self._objects(), _SAMPLE)
            self._keys = list(dict.fromkeys(key for _, each in first for key in each))
        for number, each in self._objects():
            yield number, [each.get(key) for key in self._keys]

    def header(self, sample: list[list[Any]], asked: set[str]) -> list[str] | None:
        """The keys."""
        return self._keys

    def _objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(lines_of(self.path, self.encoding), 1):
            if not line.strip():
                continue
            try:
                each = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{self.path}, line {number}: expected one JSON object, got {line.strip():.40} "
                    f"({error}). Write one object a line (JSONL)."
                ) from None
            if not isinstance(each, dict):
                raise DataError(
                    f'{self.path}, line {number}: expected an object such as {{"text": "...", '
                    f'"label": "..."}}, got {line.strip():.40}. Write one object a line (JSONL).'
                )
            yield number, each


class ParquetRecords(TableRecords):
    """Parquet, read by pyarrow a batch of rows at a time."""

    unit = "row"

    def rows(self) -> Iterator[Row]:
        """Every row."""
        file = self._file()
        number = 0
        try:
            for batch in file.iter_batches():
                columns = [column.to_pylist() for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield number, cells
        except (OSError, ValueError) as error:  # pyarrow's own derive from these
            raise self._damaged(error) from error
        finally:
            file.close()

    def header(self, sample: list[list[Any]], asked: set[str]) -> list[str] | None:
        """The names in the file's schema."""
        file = self._file()
        try:
            names = list(file.schema_arrow.names)
        finally:
            file.close()
        self._refuse_repeated([names], asked)
        return names

    def _file(self) -> Any:
        try:
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise DataError(
                f"{self.path}: expected pyarrow, to read Parquet with, got none. "
                "Install it: pip install pyarrow, or write the table as CSV."
            ) from None
        try:
            return parquet.ParquetFile(self.path)
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        said = str(error).partition("\n")[0].rstrip(".")
        return DataError(f"{self.path}: expected a Parquet file, got: {said}. Write it again.")


def csv_rows(
    path: Path,
    lines: Iterator[str],
    separator: str,
    *,
    quoted: bool = True,
    skipinitialspace: bool = False,
    strict: bool = True,
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table of text, each with the number of its last line.

    Args:
        path: of the table, for messages.
        lines: of it.
        separator: what stands between cells.
        quoted: whether quotes are read as RFC 4180 says; otherwise they are characters.
        skipinitialspace: whether spaces behind a separator count for nothing.
        strict: whether a text may have lines of its own, and all of a quoted text is quoted; else
            `"Hello" she said` is taken as it stands, and a row is a line.
    Raises:
        DataError: where a quote is never closed, which else would make one long text of all rows
            behind it.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    reader = csv.reader(
        lines,
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        skipinitialspace=skipinitialspace,
        strict=strict,
    )
    last = 0
    try:
        for cells in reader:
            if not strict and reader.line_num > last + 1:
                raise csv.Error("a quote that does not end in its line")
            last = reader.line_num
            yield last, cells
    except csv.Error as error:
        raise DataError(
            f"{path}, line {last + 1}: expected a row of a table, got: {error}. "
            'Close every quote, and write one inside a quoted text twice, as in "a ""b"" c".'
        ) from None


def lines_of(path: Path, encoding: str | None = None) -> Iterator[str]:
    """The lines of a text, each with a line feed, whatever the file ends them with."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    held = ""
    for piece in read_pieces(path, encoding=encoding):
        *lines, held = (held + newlines.decode(piece)).split("\n")
        yield from (line + "\n" for line in lines)
    held += newlines.decode("", final=True)
    if held:
        yield held


def header_of(sample: list[list[str]]) -> list[str] | None:
    """The first row, if it names the columns.

    It does when it has a well-known name, when it has a name above numbers, or when what it has in
    a column of labels is no label of the rows below it.
    """
    first, rest = sample[0], sample[1:]
    names = [cell.strip() for cell in first]
    if len({*names}) < len(names) or any(map(_is_number, names)):
        return None
    labels = [i for i in range(len(first)) if _may_be_labels(rest, i)]
    if any(cells[i].strip() == names[i] for i in labels for cells in rest):
        return None  # a row like the others
    known = [i for i, name in enumerate(names) if name.lower() in TEXT_NAMES + LABEL_NAMES]
    if known and not any(cells[i].strip() == names[i] for i in known for cells in rest):
        return first  # whatever the others are called
    if not all(_may_be_name(name) for name in names):
        return None
    for i, name in enumerate(names):
        if name and rest and all(_is_number(cells[i]) for cells in rest):
            return first
    for i in labels:
        counts = Counter(cells[i].strip() for cells in rest)
        if len(rest) >= 4 and min(counts.values()) > 1:
            return first
    return None


def _may_be_name(cell: str) -> bool:
    return not _is_number(cell) and len(cell) <= _LONGEST_NAME and len(cell.split()) <= 3


def _may_be_labels(sample: list[list[Any]], column: int) -> bool:
    """Whether a column has few distinct values, each short and none a fraction."""
    values = [cells[column] for cells in sample]
    if any(isinstance(value, list | dict | np.ndarray) for value in values):
        return False
    names = {label_name(value) for value in values}
    distinct = len(names - {""})
    short = all(len(name) <= 2 * _LONGEST_NAME and not _is_fraction(name) for name in names)
    return short and 2 <= distinct <= max(
        2, min(_MOST_CLASSES, len(sample) // 2), len(sample) // 10
    )


def _is_fraction(cell: str) -> bool:
    """Whether it is a number that is measured, not one that names a class."""
    return _is_number(cell) and math.isfinite(float(cell)) and not float(cell).is_integer()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _mean_size(sample: list[list[Any]], column: int) -> float:
    """Characters of a text, numbers of a list; of what is neither, 0."""
    sizes = [len(c[column]) if isinstance(c[column], str | list) else 0 for c in sample]
    return sum(sizes) / len(sizes)


def _is_quoted(cell: str) -> bool:
    return len(cell) >= 2 and cell[0] == cell[-1] == '"'


def suffix_of(path: Path) -> str:
    """The end of the name, without that of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in (".gz", ".bz2", ".xz", ".zip"):
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
