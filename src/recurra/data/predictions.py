"""Tables of predictions: written whole or not at all, a row for each input, in their order."""

import csv
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from recurra.errors import DataError, argument
from recurra.files import replacing

INPUT = "input"  # the first column: the text, or where a series stands
FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")

Rows = Sequence[Mapping[str, Any]]


def check_table(path: Path, names: Sequence[str]) -> None:
    """Raise unless a table of predictions can be written there without destroying anything else.

    Args:
        path: to be written.
        names: the columns that every such table has behind that of the inputs.
    Raises:
        ValueError: when the name has another end, or is that of something that is no such table.
        DataError: when pyarrow is needed and is not there.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"out: expected a file that ends in {', '.join(FORMATS)}, got {str(path)!r}. "
            "Name such a file."
        )
    if path.suffix.lower() == ".parquet":
        _pyarrow()
    if not os.path.lexists(path):
        return
    got = "a symbolic link" if path.is_symlink() else None if path.is_file() else "no file"
    if got is None and path.stat().st_size:
        found = _columns(path)
        if found[: 1 + len(names)] != [INPUT, *names]:
            got = "a file that is none"
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
    try:
        with _folder_made(path.parent), replacing(path) as part:
            if suffix == ".parquet":
                with _parquet_writer(part) as put:
                    yield put
            else:
                with part.open("w", encoding="utf-8", newline="") as file:
                    yield _text_writer(file, suffix)
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


def _text_writer(file: Any, suffix: str) -> Callable[[Rows], None]:
    table: list[csv.DictWriter[str]] = []

    def put(rows: Rows) -> None:
        if suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        if not table and rows:
            separator = "," if suffix == ".csv" else "\t"
            table.append(csv.DictWriter(file, list(rows[0]), delimiter=separator))
            table[0].writeheader()
        for writer in table:
            writer.writerows(rows)

    return put


@contextmanager
def _parquet_writer(part: Path) -> Iterator[Callable[[Rows], None]]:
    arrow, parquet = _pyarrow()
    writers: list[Any] = []

    def put(rows: Rows) -> None:
        table = arrow.Table.from_pylist(list(rows), writers[0].schema if writers else None)
        if not writers:
            writers.append(parquet.ParquetWriter(part, table.schema))
        writers[0].write_table(table)

    try:
        yield put
    finally:
        for writer in writers:
            writer.close()


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(
            f"{argument('out')}: expected pyarrow, to write Parquet with, got none. "
            "Install it: pip install pyarrow, or write .csv."
        ) from None


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
