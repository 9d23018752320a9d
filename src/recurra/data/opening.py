"""From what a user names, a file, a folder or lists, to a reader of its records."""

import logging
import os
from collections.abc import Sequence
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from recurra.data.class_folders import FolderRecords
from recurra.data.conll import WORDS_ALONE
from recurra.data.inputs import FileRecords, LineRecords
from recurra.data.records import GivenRecords, Records, SeveralRecords, named
from recurra.data.sequences import SUFFIXES
from recurra.data.tables import (
    JsonRecords,
    ParquetRecords,
    SeparatedRecords,
    TableRecords,
    lines_of,
    suffix_of,
)
from recurra.data.timeseries import TimeSeriesRecords
from recurra.errors import DataError, argument
from recurra.text.corpus import is_hidden

logger = logging.getLogger("recurra")

_NAMES_OF_PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_READERS: dict[str, type[TableRecords]] = {
    **dict.fromkeys((".tsv", ".tab", ".txt", ".csv"), SeparatedRecords),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), JsonRecords),
    **dict.fromkeys((".parquet", ".pq"), ParquetRecords),
}
_FORMATS = (*_READERS, ".ts")

_SERIES = (".ts", *SUFFIXES, ".jsonl", ".ndjson", ".json", ".parquet", ".pq")
_TABBED = 50  # lines of a .txt that are looked at for tabs

GivenData = str | PathLike[str] | Records | Sequence[Any]


def open_records(
    data: GivenData,
    *,
    text_column: str | int | None = None,
    label_column: str | int | None = None,
    encoding: str | None = None,
    like: Records | None = None,
) -> Records:
    """A reader of a file, a folder with a sub-folder for each class, several, or lists.

    Args:
        data: as of `read_labelled`, like the next three.
        text_column: of tables.
        label_column: of tables.
        encoding: of files of text.
        like: the training part, whose columns other tables have as well.
    Raises:
        DataError: when it is not there, or of no format that is read.
    """
    if isinstance(data, Records):
        return data
    if not isinstance(data, str | PathLike):
        if _is_pair(data):
            return GivenRecords(*data)
        if len(data) == 0:
            raise DataError("data: expected a file or a folder, got an empty list. Name one.")
        options = {"text_column": text_column, "label_column": label_column, "encoding": encoding}
        readers: list[Records] = []
        for one in data:
            readers.append(open_records(one, **options, like=like or next(iter(readers), None)))
        return readers[0] if len(readers) == 1 else SeveralRecords(readers)
    path = Path(data)
    if path.is_dir():
        return FolderRecords(path, encoding=encoding)
    if not path.exists():
        raise DataError(f"{path}: expected a file or a folder, got no such file. Check the path.")
    suffix = suffix_of(path)
    if suffix == ".ts":
        return TimeSeriesRecords(path, encoding=encoding)
    if suffix in _READERS:
        return _READERS[suffix](
            path,
            text_column=text_column,
            label_column=label_column,
            encoding=encoding,
            like=_table_of(like),
        )
    raise DataError(
        f"{path}: expected a file that ends in {', '.join(_FORMATS)}, or a folder with a "
        f"sub-folder for each class, got {suffix or 'a name without an end'}. Rename or convert it."
    )


def open_inputs(
    path: Path,
    *,
    series: bool,
    text_column: str | int | None = None,
    encoding: str | None = None,
) -> Records:
    """A reader of what a model is to say something of: examples of which nobody knows the label.

    Of texts: tables with a column of them, a line each of .txt, or a folder with a file for each.
    Of series: .ts, tables that hold them as lists, a file each of .npy and .csv, or a folder of
    such. A column of labels that is there counts for nothing.

    Args:
        path: a file or a folder.
        series: whether series are wanted, not texts.
        text_column: of tables, the column of the texts or series, by name, or number from 1.
        encoding: of files of text, see `read_pieces`.
    Raises:
        DataError: when it is not there, or of no format that is read.
    """
    suffix = suffix_of(path)
    table = {"text_column": text_column, "encoding": encoding, "labelled": False}
    if path.is_dir():
        return FileRecords.of_folder(path, series=series, encoding=encoding)
    if not path.exists():
        raise DataError(f"{path}: expected a file or a folder, got no such file. Check the path.")
    if series and suffix in SUFFIXES:
        return FileRecords(path, [path], series=True, encoding=encoding)
    if series and suffix == ".ts":
        return TimeSeriesRecords(path, encoding=encoding, labelled=False)
    if suffix not in (_SERIES if series else _READERS):
        kinds = ", ".join(_SERIES if series else _READERS)
        raise DataError(
            f"{path}: expected {'series' if series else 'texts'} in a file that ends in {kinds}, "
            f"or a folder of files, got {suffix or 'a name without an end'}. Rename or convert it."
        )
    if suffix == ".txt" and not _is_tabbed(path, encoding):
        return LineRecords(lines_of(path, encoding), str(path))
    return _READERS[suffix](path, **table)


def may_be_inputs(name: str) -> bool:
    """Whether a word names a file of inputs, and is not itself a text to be read."""
    known = (*_FORMATS, *_SERIES, *WORDS_ALONE)
    return not name.split()[1:] and suffix_of(Path(name)) in known


def _is_tabbed(path: Path, encoding: str | None) -> bool:
    """Whether a .txt is a table: a tab in each of its first lines."""
    lines = [line for line in islice(lines_of(path, encoding), _TABBED) if line.strip()]
    return bool(lines) and all("\t" in line for line in lines)


def _table_of(records: Records | None) -> TableRecords | None:
    """The table among them whose columns count, if there is one."""
    if isinstance(records, SeveralRecords):
        return _table_of(records.parts[0])
    return records if isinstance(records, TableRecords) else None


def _is_pair(data: Sequence[Any]) -> bool:
    """Whether it is (examples, labels) and not a list of paths."""
    return len(data) == 2 and not any(isinstance(each, str | PathLike | Records) for each in data)


def paths_of(data: Any) -> set[str]:
    """The files and folders that are named, each by its true path; of what is no name, none."""
    if isinstance(data, str | PathLike):
        data = [data]
    named = data if isinstance(data, list | tuple) else ()
    return {os.path.realpath(one) for one in named if isinstance(one, str | PathLike)}


def warn_of_one_held_out(val_data: Any, test_data: Any) -> None:
    """Log a warning where one file or folder is named to validate and to test on."""
    if both := paths_of(val_data) & paths_of(test_data):
        logger.warning(
            "%s: named to validate and to test on, so figures on the test part are of what chose "
            "the best model, and too good",
            min(both),
        )


def entries_by_part(folder: Path, formats: Sequence[str] | None = None) -> dict[str, list[Path]]:
    """The files and sub-folders of a folder whose names say that they are "train", "val" or "test".

    A word of the name between points says so, or its end: train.tsv, wiki.valid.tokens,
    Gestures_TEST.ts.

    Args:
        folder: that is looked into.
        formats: the ends that names of files must have; None means any.
    """
    found: dict[str, list[Path]] = {}
    for entry in sorted(each for each in folder.iterdir() if not is_hidden(each)):
        if entry.is_file() and formats is not None and suffix_of(entry) not in formats:
            continue
        words = entry.name.lower().split(".")
        for name, names in _NAMES_OF_PARTS.items():
            ends = tuple(sign + each for sign in "_-" for each in names)
            if any(word in names or word.endswith(ends) for word in words):
                found.setdefault(name, []).append(entry)
                break
    return {name: found[name] for name in _NAMES_OF_PARTS if name in found}


def sources_by_part(data: GivenData) -> dict[str, GivenData]:
    """What `data` names, by part: its "train" alone, unless it is a folder that has the parts."""
    if not isinstance(data, str | PathLike) or not Path(data).is_dir():
        return {"train": data}
    found = entries_by_part(Path(data), _FORMATS)
    if "train" not in found:
        return {"train": data}
    for name, those in found.items():
        series = [each for each in those if suffix_of(each) == ".ts"]
        if len(those) > 1 and len(series) != 1:
            raise DataError(
                f"{fspath(data)}: expected one {name} part, got {named(e.name for e in those)}. "
                f"Name the files: {argument('data=')}, {argument('val_data=')} and "
                f"{argument('test_data=')}."
            )
        found[name] = series or those
    return {name: those[0] for name, those in found.items()}
