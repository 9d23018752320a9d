"""Recorded sequences from files: arrays of numpy, and tables of numbers written as text.

Tables come as many programs write them: with a header or without, separated by commas, semicolons,
tabs or spaces, with decimal points or commas. What can be read in one way only is read in that way;
anything else is an error that names the file and the line.
"""

import csv
import re
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from recurra.data.files import why_no_array
from recurra.errors import DataError
from recurra.text.reading import read_text, said_of_storage

ARRAYS, TABLES = (".npy",), (".csv", ".tsv")
SUFFIXES = ARRAYS + TABLES

_MISSING = frozenset({"", "?", "-", "na", "n/a", "nan", "null", "none", "inf", "-inf", "+inf"})
GAPS = _MISSING - {"inf", "-inf", "+inf"}  # what says, among numbers, that one is missing
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
INDEX_NAMES = frozenset({"", "Unnamed: 0"})  # what pandas writes above the numbers of its rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a file holds.

    Attributes:
        values: [T, I] float64, all finite but for NaN where a gap was allowed.
        columns: the names of the features, where the file has a header.
        left_out: what of the file is no feature: "the header", "the numbers of the rows".
    """

    values: np.ndarray
    columns: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = field(default=())


def read_sequence(path: Path, *, gaps: bool = False) -> Recording:
    """The sequence of a file, a row for each step.

    Args:
        path: of a name that ends as one of `SUFFIXES`.
        gaps: whether a value may be missing; it is NaN then.
    Raises:
        DataError: when it does not hold finite real numbers in rows of one length, naming the
            line or the step.
    """
    if path.suffix.lower() in ARRAYS:
        return Recording(values=_checked(path, _array(path), gaps))
    return _table(path, gaps)


def _array(path: Path) -> np.ndarray:
    try:
        read = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        said = said_of_storage(path) if path.is_file() else []
        raise DataError(
            f"{path}: expected an array of numbers as numpy.save writes it, got: "
            f"{said[0] if said else why_no_array(error)}. Save it again as floating-point numbers."
        ) from None
    if not isinstance(read, np.ndarray):
        raise DataError(
            f"{path}: expected one array, got an archive of several. Save each with numpy.save."
        )
    if read.dtype.kind not in "fiub":
        hint = "the real and the imaginary part as two features" if read.dtype.kind == "c" else ""
        raise DataError(
            f"{path}: expected real numbers, got an array of {read.dtype}. "
            f"Save {hint or 'it again as floating-point numbers'}."
        )
    return read.astype(np.float64)


def _checked(path: Path, values: np.ndarray, gaps: bool) -> np.ndarray:
    """Finite and of the shape [T, I], or an error that says where it is not."""
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(
            f"{path}: expected an array of shape [T, I] with T and I of 1 or more, got "
            f"{list(values.shape)}. Give it one row for each step, one column for each feature."
        )
    bad = np.argwhere(np.isinf(values) if gaps else ~np.isfinite(values))
    if len(bad):
        step, feature = bad[0].tolist()
        raise DataError(
            f"{path}: expected finite numbers, got {values[step, feature]} at step {step}, feature "
            f"{feature}, and {len(bad)} such in all. Fill them in, or leave those steps out."
        )
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """The cells of a table written as text.

    Attributes:
        header: the names of the columns; None where there are none.
        rows: the number of each row's line, and its cells, as many in all.
        separator: what stands between cells.
        first_line: the number of the first line that is no comment.
    """

    header: list[str] | None
    rows: list[tuple[int, list[str]]]
    separator: str
    first_line: int


def read_text_table(path: Path, *, encoding: str | None = None) -> TextTable:
    """The cells of a table written as text.

    Raises:
        DataError: when rows have different numbers of cells, or there is none.
    """
    lines = _lines(path, encoding)
    if not lines:
        raise DataError(f"{path}: expected rows of numbers, got an empty file. Leave it out.")
    separator = _separator([line for _, line in lines])
    try:
        rows = [(number, _cells(line, separator)) for number, line in lines]
    except csv.Error as error:
        raise DataError(
            f"{path}: expected rows of numbers, got what is no table ({error}). Leave it out."
        ) from None
    header = rows.pop(0)[1] if _is_header(rows[0][1]) else None
    if not rows:
        raise DataError(
            f"{path}: expected rows of numbers below the header, got none. Leave it out."
        )
    width = len(rows[0][1] if header is None else header)
    for number, cells in rows:
        if len(cells) != width:
            if not any(map(is_number, cells)):
                raise DataError(
                    f"{path}, line {number}: expected numbers, got {separator.join(cells)!r:.60}. "
                    "Write numbers alone, a header only in the first line."
                )
            raise DataError(
                f"{path}, line {number}: expected {width} columns as in the lines above it, got "
                f"{len(cells)}. Write every step with the same columns."
            )
    return TextTable(header=header, rows=rows, separator=separator, first_line=lines[0][0])


def with_first_row(table: TextTable, names: Collection[str]) -> TextTable:
    """A table of words: where it is a single column, its first row is a word as the others are,
    unless it is one of these names of columns, or what is below it are numbers."""
    header = table.header
    if header is None or len(header) != 1 or header[0].strip().lower() in names:
        return table
    if all(is_number(cells[0]) for _, cells in table.rows):
        return table
    return replace(table, header=None, rows=[(table.first_line, header), *table.rows])


def column_of_numbers(path: Path, table: TextTable, column: int) -> np.ndarray:
    """[T] float64, one column of a table, NaN where a cell says that a value is missing.

    Raises:
        DataError: when a cell is no finite number, or can be read in two ways, naming its line.
    """
    rows = [(line, [cells[column]]) for line, cells in table.rows]
    comma = _has_decimal_commas(path, rows, table.separator)
    found = [_number(path, line, column, cells[0], comma, True) for line, cells in rows]
    values = np.array(found, dtype=np.float64)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        line, cells = rows[int(infinite[0])]
        raise DataError(
            f"{path}, line {line}, column {column + 1}: expected a finite number, got "
            f"{cells[0]!r:.40}. Fill it in, or leave it empty."
        )
    return values


def _table(path: Path, gaps: bool) -> Recording:
    table = read_text_table(path)
    header, rows, separator = table.header, table.rows, table.separator
    width = len(rows[0][1])
    comma = _has_decimal_commas(path, rows, separator)
    values = np.array([[_number(path, n, i, cell, comma, gaps) for i, cell in enumerate(cells)]
                       for n, cells in rows])  # fmt: skip
    if header is None:
        _refuse_numbered_header(path, rows, separator)
        return Recording(values=_checked(path, values, gaps))
    left_out = ["the header"]
    if header[0] in INDEX_NAMES and width > 1:
        if (np.diff(values[:, 0]) != 1).any():
            raise DataError(
                f"{path}, line {table.first_line}: expected a name for each column, got none "
                "above the first, which does not count the rows either. Name it."
            )
        values, header = values[:, 1:], header[1:]
        left_out.append("the numbers of the rows")
    return Recording(
        values=_checked(path, values, gaps), columns=tuple(header), left_out=tuple(left_out)
    )


def _lines(path: Path, encoding: str | None = None) -> list[tuple[int, str]]:
    """The lines that are neither empty nor comments, with their numbers from 1 on."""
    lines = enumerate(re.split(r"\r\n|\r|\n", read_text(path, encoding=encoding)), 1)
    return [(number, line) for number, line in lines if line.strip() and line.lstrip()[0] != "#"]


def _separator(lines: Sequence[str]) -> str:
    r"""What stands between the cells of every line: ";", a tab, "," or, failing those, spaces."""
    bare = [re.sub(r'"[^"]*"', "", line) for line in lines]
    for separator in ";\t,":
        if any(separator in line for line in bare):
            return separator
    return " "


def _cells(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    if '"' not in line:
        return [cell.strip() for cell in line.split(separator)]
    cells = next(csv.reader([line], delimiter=separator, skipinitialspace=separator != "\t"))
    return [cell.strip() for cell in cells]


def _is_header(cells: Sequence[str]) -> bool:
    """Whether the first row names columns: names alone, or numbers of columns above row numbers."""
    first, *rest = cells
    if not first and rest and rest == [str(i) for i in range(len(rest))]:
        return True
    names = cells if first else rest
    return bool(names) and not any(is_number(c) or c.lower() in _MISSING for c in names)


def is_number(cell: str) -> bool:
    """Whether a cell is a number, with a point or a comma."""
    try:
        _float(cell.replace(",", ".", 1))
    except ValueError:
        return False
    return True


def _float(cell: str) -> float:
    if "_" in cell:  # Python's own way to write a number
        raise ValueError(cell)
    return float(cell)


def _has_decimal_commas(
    path: Path, rows: Sequence[tuple[int, Sequence[str]]], separator: str
) -> bool:
    """Whether the numbers have decimal commas, where nothing else can be meant.

    A file that is separated by semicolons comes from where decimals have commas. In others 1,234
    may be a thousand and more, unless a number beside it, such as 0,5, cannot be.
    """
    with_comma = [(n, cell) for n, cells in rows for cell in cells if "," in cell]
    if not with_comma:
        return False
    with_point = [(n, cell) for n, cells in rows for cell in cells if "." in cell]
    sure = separator == ";" or not all(_THOUSANDS.fullmatch(cell) for _, cell in with_comma)
    if with_point or not sure:
        line, cell = with_comma[0]
        other = f"and {with_point[0][1]!r} in line {with_point[0][0]}" if with_point else "alone"
        raise DataError(
            f"{path}, line {line}: expected numbers that can be read in one way, got {cell!r} "
            f"{other}. Write decimals with points, and thousands without a mark."
        )
    return True


def _number(path: Path, line: int, column: int, cell: str, comma: bool, gaps: bool) -> float:
    if gaps and cell.lower() in GAPS:
        return float("nan")
    try:
        return _float(cell.replace(",", ".", 1) if comma else cell)
    except ValueError:
        got = repr(cell) if cell else "nothing"
        remedy = (
            "Fill it in, or leave that step out"
            if cell.lower() in _MISSING
            else "Write numbers alone, a header only in the first line"
        )
        raise DataError(
            f"{path}, line {line}, column {column + 1}: expected a number, got {got}. {remedy}."
        ) from None


def _refuse_numbered_header(
    path: Path, rows: Sequence[tuple[int, Sequence[str]]], separator: str
) -> None:
    """A first row 0, 1, 2 above fractions may be a step, and may be a header of numbers."""
    (number, first), *others = rows
    counted = len(first) > 1 and list(first) == [str(i) for i in range(len(first))]
    if counted and any("." in cell or "," in cell for _, cells in others for cell in cells):
        raise DataError(
            f"{path}, line {number}: expected names of columns or a step, got "
            f"{separator.join(first)}, which may be either. Remove the header, or write the "
            f"step as {separator.join(cell + '.0' for cell in first)}."
        )
