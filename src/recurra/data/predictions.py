"""Tables of predictions: written whole or not at all, a row for each input, in their order."""

import csv
import importlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from recurra.errors import DataError, argument
from recurra.files import replacing

INPUT = "input"  # the first column: the text, or where a series stands
FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
GENERATOR = "# generator = recurra"  # the first line of files whose form has comments

Rows = Sequence[Mapping[str, Any]]


def check_table(path: Path, names: Sequence[str], forms: Sequence[str] = ()) -> None:
    """Raise unless a table of predictions can be written there without destroying anything else.

    Args:
        path: to be written.
        names: the columns that every such table has behind that of the inputs.
        forms: the ends of other files that they may be written into. One that is there is replaced
            where its first line says that recurra wrote it.
    Raises:
        ValueError: when the name has another end, or is that of something that is no such table.
        DataError: when pyarrow is needed and is not there.
    """
    if path.suffix.lower() not in (*FORMATS, *forms):
        raise ValueError(
            f"out: expected a file that ends in {', '.join((*FORMATS, *forms))}, got "
            f"{str(path)!r}. Name such a file."
        )
    if path.suffix.lower() == ".parquet":
        _pyarrow()
    if not os.path.lexists(path):
        return
    got = "a symbolic link" if path.is_symlink() else None if path.is_file() else "no file"
    if got is None and path.stat().st_size:
        if path.suffix.lower() not in forms:
            if _columns(path)[: 1 + len(names)] != [INPUT, *names]:
                got = "a file that is none"
        elif _first_line(path) != GENERATOR:
            got = "which nothing says that recurra wrote"
    if got is not None:
        raise ValueError(
            f"out: expected a new file, or older predictions to replace, got {str(path)!r}, {got}. "
            "Choose another name."
        )


@contextmanager
def written_table(path: Path) -> Iterator[Callable[[Rows], None]]:
    """What takes rows, some at a time; they are in the file when the block has ended well.

    Raises:
        DataError: when it cannot be written; what was there is as before.
    """
    suffix = path.suffix.lower()
    with _replaced(path) as part:
        if suffix == ".parquet":
            with _parquet_writer(part) as put:
                yield put
        else:
            with part.open("w", encoding="utf-8", newline="") as file:
                yield _text_writer(file, suffix)


@contextmanager
def written_text(path: Path) -> Iterator[Callable[[str], object]]:
    """What takes a text, some at a time; it is in the file when the block has ended well.

    Raises:
        DataError: when it cannot be written; what was there is as before.
    """
    with _replaced(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        yield file.write


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A new file that takes the name of the path when the block has ended well."""
    try:
        with _folder_made(path.parent), replacing(path) as part:
            yield part
    except OSError as error:
        raise DataError(
            f"{path}: expected to write predictions, got {error.strerror or error}. "
            "Check the folder's permissions and the space on its disk."
        ) from error


@contextmanager
def _folder_made(folder: Path) -> Iterator[None]:
    """Make a folder, and those above it; none of them stays when the block ends with an error."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for each in new:
            with suppress(OSError):  # someone else has put something in it
                each.rmdir()
        raise


def with_others(
    row: Mapping[str, Any], columns: Iterable[str], cells: Mapping[str, Any]
) -> dict[str, Any]:
    """A row of predictions, and behind them the cells of the input's own row.

    Args:
        row: the columns of the predictions.
        columns: of the inputs, all that any of them has. One that has the name of a column of the
            predictions gets another.
        cells: of this input; what it lacks is None.
    """
    row = dict(row)
    for column in columns:
        name = column
        while name in row:
            name += " of the input"
        row[name] = cells.get(column)
    return row


def _text_writer(file: Any, suffix: str) -> Callable[[Rows], None]:
    table: list[csv.DictWriter[str]] = []

    def put(rows: Rows) -> None:
        if suffix == ".jsonl":
            file.writelines(f"{json_line(row)}\n" for row in rows)
            return
        if not table and rows:
            separator = "," if suffix == ".csv" else "\t"
            table.append(csv.DictWriter(file, list(rows[0]), delimiter=separator))
            table[0].writeheader()
        for writer in table:
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)

    return put


def json_line(value: Any) -> str:
    """A row, or a cell, as JSON; what JSON has no form for, a date say, as text."""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Numbers of numpy as lists, everything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _cell(value: Any) -> Any:
    """A value as a table of text has it: a list or an object as JSON."""
    return json_line(value) if isinstance(value, list | dict) else value


@contextmanager
def _parquet_writer(part: Path) -> Iterator[Callable[[Rows], None]]:
    arrow, parquet = _pyarrow()
    writers: list[Any] = []

    def put(rows: Rows) -> None:
        if not writers and rows:
            writers.append(parquet.ParquetWriter(part, _schema(arrow, rows)))
        for writer in writers:
            writer.write_table(_columns_of(arrow, rows, writer.schema))

    try:
        yield put
    finally:
        for writer in writers:
            writer.close()


def _schema(arrow: Any, rows: Rows) -> Any:
    """The kinds of the columns by their first rows; a column that is empty there has texts."""
    fields = []
    for name in rows[0]:
        try:
            kind = arrow.array([row[name] for row in rows]).type
        except (arrow.ArrowInvalid, arrow.ArrowTypeError):  # of several kinds
            kind = arrow.string()
        fields.append((name, arrow.string() if kind == arrow.null() else kind))
    return arrow.schema(fields)


def _columns_of(arrow: Any, rows: Rows, schema: Any) -> Any:
    """The rows as a table of these kinds of columns."""
    columns = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        values = [row[name] for row in rows]
        if kind == arrow.string():
            values = [v if v is None or isinstance(v, str) else json_line(v) for v in values]
        try:
            columns.append(arrow.array(values, kind))
        except (arrow.ArrowInvalid, arrow.ArrowTypeError) as error:
            raise DataError(
                f"{argument('out')}: expected {kind} in the column {name!r} as in the first rows, "
                f"got another kind ({error!s:.60}). Write .csv or .jsonl."
            ) from None
    return arrow.Table.from_arrays(columns, schema=schema)


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(
            f"{argument('out')}: expected pyarrow, to write Parquet with, got none. "
            "Install it: pip install pyarrow, or write .csv."
        ) from None


def _first_line(path: Path) -> str:
    """As it is written, without its end."""
    with path.open("rb") as file:
        return file.readline(1 << 10).decode("utf-8", "replace").rstrip("\r\n")


def _columns(path: Path) -> list[str]:
    """The names of the columns of a table that is there; none where it is no table."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return list(_pyarrow()[1].read_schema(path).names)
        with path.open(encoding="utf-8", newline="") as file:
            line = file.readline(1 << 20)
        if suffix == ".jsonl":
            return list(json.loads(line))
        return next(csv.reader([line], delimiter="," if suffix == ".csv" else "\t"), [])
    except (OSError, ValueError, TypeError, csv.Error):  # pyarrow's own derive from these
        return []
