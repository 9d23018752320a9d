"""From a file to sequences with a label, or numbers, at every step.

Letters: T steps of a sequence, I input, O numbers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.conll import WORDS_ALONE, TaggedSentence, read_conll
from recurra.data.frames import TABLES, FrameColumns, recordings, without_labels
from recurra.data.records import Record, Records, label_name, named
from recurra.data.rows import object_rows, parquet_rows, parquet_schema
from recurra.data.tables import suffix_of
from recurra.errors import DataError, argument
from recurra.models.scaling import Missing, as_series
from recurra.text.corpus import is_hidden

COLUMNS = (*WORDS_ALONE, ".txt", ".tsv")
_OBJECTS = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")
_MAY_BE_TEXT = tuple({*COLUMNS} - {*WORDS_ALONE})
_NUM_LOOKED_AT = 100  # sentences, to know what a file is
FORMATS = (*COLUMNS, *_OBJECTS, *TABLES)
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
        channels: the names of those of a recording.
    """

    values: tuple[str, ...] | np.ndarray
    targets: tuple[str, ...] | np.ndarray
    place: str
    channels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How files are read; columns by their names, or their numbers from 1.

    Attributes:
        word_column: of the words, or of the series; None finds it.
        tag_column: of the labels, or of the numbers, likewise.
        targets: columns of numbers to learn in place of labels, of recordings and rows.
        channels: columns of recordings that are read; none: all that are nothing else.
        group_column: which rows of a file are of one recording; None: all are.
        missing: what is done where a number of a series is missing: "fail" or "fill".
        encoding: of files of text.
    """

    word_column: str | None = None
    tag_column: str | None = None
    targets: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    group_column: str | None = None
    missing: Missing = "fail"
    encoding: str | None = None

    @property
    def frames(self) -> FrameColumns:
        """The same of recordings."""
        word = () if self.word_column is None else (self.word_column,)
        return FrameColumns(
            channels=self.channels or word,
            label=self.tag_column,
            targets=self.targets,
            group=self.group_column,
            encoding=self.encoding,
        )


def is_of_frames(path: Path) -> bool:
    """Whether a file has a row for each step of a recording, not one for each sequence."""
    if suffix_of(path) not in TABLES:
        return False
    return suffix_of(path) not in _PARQUET or not any(map(_is_sequence, parquet_schema(path).types))


def _is_sequence(kind: Any) -> bool:
    """Whether cells of a Parquet file's column hold a sequence: lists, or text to be split."""
    return str(kind).startswith(("list", "large_list", "fixed_size_list"))


def files_in(path: Path) -> list[Path]:
    """A file, or those of a folder that have sequences: its recordings, or else its other files.

    Raises:
        DataError: when the folder has none.
    """
    if not path.is_dir():
        return [path]
    there = [each for each in sorted(path.iterdir()) if each.is_file() and not is_hidden(each)]
    there = [each for each in there if not each.name.lower().startswith(("readme", "license"))]
    frames = [each for each in there if suffix_of(each) in TABLES]
    found = frames or [each for each in there if suffix_of(each) in FORMATS]
    if not found:
        raise DataError(
            f"{path}: expected files that end in {', '.join(FORMATS)}, got none in the folder. "
            "Name a folder that has some, or a file."
        )
    return found


def read_sequences(path: Path, how: Reading) -> list[Tagged]:
    """The sequences of a file, or of those of a folder; see `read_tagged`."""
    files = files_in(path)
    return [each for file in without_labels(files) for each in _of_one(file, how)]


def _of_one(path: Path, how: Reading) -> list[Tagged]:
    suffix = suffix_of(path)
    if not path.is_file():
        raise DataError(f"{path}: expected a file, got no such file. Check the path.")
    if suffix not in FORMATS:
        raise DataError(
            f"{path}: expected a file that ends in {', '.join(FORMATS)}, got "
            f"{suffix or 'a name without an end'}. Rename or convert it."
        )
    if suffix in COLUMNS:
        found = _of_columns(path, how)
    elif is_of_frames(path):
        found = _of_frames(path, how)
    else:
        found = _of_rows(path, how)
    found = list(found)
    if not found:
        raise DataError(f"{path}: expected at least one sequence, got none. Give it some.")
    return found


class SentenceRecords(Records):
    """The sentences of a file as words, whatever labels it has besides."""

    def __init__(self, path: Path, how: Reading, labels: Sequence[str] = ()) -> None:
        """Take a file in columns, or of lists of words; where labels of the model stand beside
        them, what is written beside what it says is true."""
        self.where = str(path)
        self._path, self._how, self._labels = path, how, frozenset(labels)
        if suffix_of(path) in _MAY_BE_TEXT:
            self.notes = ("words in columns, with labels that the model knows",)

    @classmethod
    def are_in(cls, path: Path, how: Reading, labels: Sequence[str] = ()) -> bool:
        """Whether a file has sentences as words, not as texts to be split.

        Args:
            labels: that the model knows; of a file that may be text, those in its columns tell.
        """
        suffix = suffix_of(path)
        if suffix in WORDS_ALONE:
            return True
        if suffix in _MAY_BE_TEXT and path.is_file():
            return _has_labels(path, how, labels)
        if suffix not in (*_OBJECTS, *_PARQUET) or not path.is_file():
            return False
        _, first = next(_rows(path, how), ("", {}))
        names = _INPUTS if how.word_column is None else (how.word_column,)
        return any(isinstance(first.get(name), list) for name in names)

    def __iter__(self) -> Iterator[Record]:
        if suffix_of(self._path) in COLUMNS and not self._has_true:
            columns: dict[str, Any] = {"word_column": self._how.word_column, "has_tags": False}
            for each in read_conll(self._path, **columns, encoding=self._how.encoding):
                written = replace(each, tags=())
                yield Record(value=each.words, label="", place=each.place, written=written)
            return
        if suffix_of(self._path) in COLUMNS:
            for each in self._with_tags():
                yield Record(value=each.words, label="", place=each.place, written=each)
            return
        for place, row in _rows(self._path, self._how):
            name = _name(row, self._how.word_column, _INPUTS, "word_column", place)
            words, written = _values(row[name], place), None
            if self._has_true and isinstance(words, tuple):
                tags = _tags_beside(row, self._how) or ("",) * len(words)
                written = TaggedSentence(words=words, tags=tags, place=place)
            yield Record(value=words, label="", place=place, written=written)

    @cached_property
    def _has_true(self) -> bool:
        """Whether some of the first sentences have labels that the model knows."""
        try:
            if suffix_of(self._path) in COLUMNS:
                first: Iterable[Sequence[str]] = (each.tags for each in self._with_tags())
            else:
                rows = _rows(self._path, self._how)
                first = (_tags_beside(row, self._how) or () for _, row in rows)
            return any(self._labels & {*tags} for tags in islice(first, _NUM_LOOKED_AT))
        except DataError:  # no such column
            return False

    def _with_tags(self) -> Iterator[TaggedSentence]:
        how = self._how
        columns: dict[str, Any] = {"word_column": how.word_column, "tag_column": how.tag_column}
        return read_conll(self._path, **columns, encoding=how.encoding)


def _tags_beside(row: Mapping[str, Any], how: Reading) -> tuple[str, ...] | None:
    """The labels in a row of a table, "" where there is none; None where it has no list of them, or
    not one for each word."""
    names = _TARGETS if how.tag_column is None else (how.tag_column,)
    inputs = _INPUTS if how.word_column is None else (how.word_column,)
    tags, words = (
        next((row[name] for name in several if isinstance(row.get(name), list)), None)
        for several in (names, inputs)
    )
    if tags is None or words is None or len(tags) != len(words):
        return None
    return tuple("" if each is None else str(each) for each in tags)


def _has_labels(path: Path, how: Reading, labels: Sequence[str]) -> bool:
    """Whether the first sentences of a file in columns have labels, all of them these."""
    columns: dict[str, Any] = {"word_column": how.word_column, "tag_column": how.tag_column}
    try:
        first = [*islice(read_conll(path, **columns, encoding=how.encoding), _NUM_LOOKED_AT)]
    except DataError:
        return False
    tags = {tag for each in first for tag in each.tags}
    return bool(tags) and tags <= {*labels, ""}


def _of_columns(path: Path, how: Reading) -> Iterator[Tagged]:
    if how.targets:
        raise DataError(
            f"{path}: expected rows or recordings to learn numbers from, got words in columns and "
            f"{argument(f'target={how.targets[0]}')}. Leave it out."
        )
    columns: dict[str, Any] = {"word_column": how.word_column, "tag_column": how.tag_column}
    for each in read_conll(path, **columns, encoding=how.encoding):
        yield Tagged(values=each.words, targets=each.tags, place=each.place)


def _of_frames(path: Path, how: Reading) -> Iterator[Tagged]:
    for each in recordings(path, how.frames):
        assert each.targets is not None
        yield Tagged(
            values=each.values, targets=each.targets, place=each.place, channels=each.channels
        )


def _of_rows(path: Path, how: Reading) -> Iterator[Tagged]:
    for place, row in _rows(path, how):
        read = _values(row[_name(row, how.word_column, _INPUTS, "word_column", place)], place)
        if how.targets:
            several = [row[_name(row, each, (), "target", place)] for each in how.targets]
            wanted: Any = _side_by_side([as_series(each, place) for each in several], place)
        else:
            wanted = _targets(row[_name(row, how.tag_column, _TARGETS, "tag_column", place)], place)
        if len(read) != len(wanted):
            raise DataError(
                f"{place}: expected a label for each of the {len(read)} steps, got {len(wanted)}. "
                "Correct the row."
            )
        yield Tagged(values=read, targets=wanted, place=place)


def _side_by_side(several: Sequence[np.ndarray], place: str) -> np.ndarray:
    """[T, O] of several [T, 1]."""
    lengths = sorted({len(each) for each in several})
    if len(lengths) > 1:
        raise DataError(
            f"{place}: expected as many numbers of each column, got {lengths[0]} and "
            f"{lengths[-1]}. Correct the row."
        )
    return np.concatenate(several, axis=1)


def _rows(path: Path, how: Reading) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return parquet_rows(path) if suffix_of(path) in _PARQUET else object_rows(path, how.encoding)


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
