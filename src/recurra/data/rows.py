"""The rows of files of objects: JSON lines and Parquet, each with the place where it stands."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from recurra.data.tables import lines_of
from recurra.errors import DataError


def object_rows(path: Path, encoding: str | None = None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a file of JSON lines.

    Raises:
        DataError: when a line is no object, naming it.
    """
    for number, line in enumerate(lines_of(path, encoding), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{place}: expected a JSON object, got: {error}. Correct it.") from None
        if not isinstance(row, dict):
            raise DataError(f"{place}: expected a JSON object, got {line!r:.60}. Correct it.")
        yield place, row


def parquet_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a Parquet file, by the names of its columns.

    Raises:
        DataError: when pyarrow is not there, or the file cannot be read.
    """
    with _parquet(path) as file:
        number = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", row


def parquet_schema(path: Path) -> Any:
    """The names and types of the columns of a Parquet file, as pyarrow has them.

    Raises:
        DataError: as `parquet_rows`.
    """
    with _parquet(path) as file:
        return file.schema_arrow


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(
            f"{path}: expected pyarrow, to read Parquet with, got none. Install it: "
            "pip install pyarrow, or write the rows as JSON lines."
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, ValueError) as error:  # pyarrow's own derive from these
        if isinstance(error, DataError):
            raise
        said = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{path}: expected a Parquet file, got: {said}. Write it again.") from error
