"""From a file to sequences with a label, or numbers, at every step.

Letters: T steps of a sequence, I input, O numbers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.conll import read_conll
from recurra.data.records import label_name, named
from recurra.data.tables import lines_of, suffix_of
from recurra.errors import DataError, argument
from recurra.models.scaling import Missing, as_series

COLUMNS = (".conllu", ".conll", ".txt", ".tsv", ".bio", ".iob", ".iob2", ".pos")
_OBJECTS = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")
FORMATS = (*COLUMNS, *_OBJECTS, *_PARQUET)
_INPUTS = ("words", "tokens", "forms", "form", "sentence", "series", "sequence", "frames", "values")
_TARGETS = ("tags", "labels", "upos", "pos_tags", "ner_tags", "slots", "chunk_tags", "targets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A sequence as it was read.

    Attributes:
        values: words; or a series [T, I] float32.
        targets: the name of a label for each step, "" where there is none; or [T, O] float32,
            NaN where a number is missing.
        place: where it stands, for messages.
    """

    values: tuple[str, ...] | np.ndarray
    targets: tuple[str, ...] | np.ndarray
    place: str

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How files are read.

    Attributes:
        word_column: of the words, or of the series: a name, or a number from 1; None finds it.
        tag_column: of the labels, or of the numbers, likewise.
        missing: what is done where a number of a series is missing: "fail" or "fill".
        encoding: of files of text.
    """

    word_column: str | None = None
    tag_column: str | None = None
    missing: Missing = "fail"
    encoding: str | None = None


def read_sequences(path: Path, how: Reading) -> list[Tagged]:
    """The sequences of one file; see `read_tagged`."""
    suffix = suffix_of(path)
    if not path.is_file():
        raise DataError(f"{path}: expected a file, got no such file. Check the path.")
    if suffix not in FORMATS:
        raise DataError(
            f"{path}: expected a file that ends in {', '.join(FORMATS)}, got "
            f"{suffix or 'a name without an end'}. Rename or convert it."
        )
    if suffix in COLUMNS:
        found = [
            Tagged(values=each.words, targets=each.tags, place=each.place)
            for each in read_conll(
                path,
                word_column=how.word_column,
                tag_column=how.tag_column,
                encoding=how.encoding,
            )
        ]
    else:
        found = list(_of_rows(path, how))
    if not found:
        raise DataError(f"{path}: expected at least one sequence, got none. Give it some.")
    return found


def _of_rows(path: Path, how: Reading) -> Iterator[Tagged]:
    rows = _parquet(path) if suffix_of(path) in _PARQUET else _objects(path, how.encoding)
    for place, row in rows:
        values = row[_name(row, how.word_column, _INPUTS, "word_column", place)]
        targets = row[_name(row, how.tag_column, _TARGETS, "tag_column", place)]
        read, wanted = _values(values, place), _targets(targets, place)
        if len(read) != len(wanted):
            raise DataError(
                f"{place}: expected a label for each of the {len(read)} steps, got {len(wanted)}. "
                "Correct the row."
            )
        yield Tagged(values=read, targets=wanted, place=place)


def _objects(path: Path, encoding: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
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


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(
            f"{path}: expected pyarrow, to read Parquet with, got none. Install it: "
            "pip install pyarrow, or write the rows as JSON lines."
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (OSError, ValueError) as error:  # pyarrow's own derive from these
        said = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{path}: expected a Parquet file, got: {said}. Write it again.") from error


def _name(
    row: Mapping[str, Any], given: str | None, known: Sequence[str], option: str, place: str
) -> str:
    """The name of a column of a row."""
    names = list(row)
    if given is not None:
        if given in row:
            return given
        if given.isdecimal() and 1 <= int(given) <= len(names):
            return names[int(given) - 1]
    else:
        found = [name for name in known if name in row]
        if found:
            return found[0]
    got = argument(f"{option}={given}") if given is not None else "none of that kind by name"
    raise DataError(
        f"{place}: expected a column for {argument(f'{option}=')}, of {named(names)}, got {got}. "
        "Name one."
    )


def _values(given: Any, place: str) -> tuple[str, ...] | np.ndarray:
    if isinstance(given, str):
        given = given.split()
    if isinstance(given, list) and not given:
        raise DataError(f"{place}: expected a step at least, got none. Leave the row out.")
    if isinstance(given, list) and all(isinstance(each, str) for each in given):
        return tuple(given)
    return as_series(given, place)


def _targets(given: Any, place: str) -> tuple[str, ...] | np.ndarray:
    if isinstance(given, str):
        given = given.split()
    if not isinstance(given, list) or not given:
        raise DataError(
            f"{place}: expected a list with a label or numbers for each step, got {given!r:.60}. "
            "Correct it."
        )
    if all(each is None or isinstance(each, str | bool | int) for each in given):
        return tuple(map(label_name, given))
    return as_series(given, place)
