"""Examples without labels: lines, words of the command line, and files that hold one each."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from recurra.data.class_folders import TEXTS
from recurra.data.records import Record, Records
from recurra.data.sequences import SUFFIXES, read_sequence
from recurra.data.tables import suffix_of
from recurra.errors import DataError
from recurra.models.scaling import as_series
from recurra.text.corpus import is_hidden
from recurra.text.reading import read_text


class LineRecords(Records):
    """Lines, a text each; gone through once."""

    def __init__(self, lines: Iterable[str], where: str, *, first: int = 1) -> None:
        """Take the lines, of a file or of what is piped in, and the number of the first."""
        self._lines, self.where, self._first = lines, where, first

    def __iter__(self) -> Iterator[Record]:
        for number, line in enumerate(self._lines, self._first):
            yield Record(value=line.strip(), label="", place=f"{self.where}, line {number}")


class FileRecords(Records):
    """Files that hold an example each: a text, or a series as an array or a table of numbers."""

    def __init__(
        self, path: Path, files: Sequence[Path], *, series: bool, encoding: str | None = None
    ) -> None:
        """Take the files; none is read yet."""
        self.where, self.encoding = str(path), encoding
        self._files, self._series = files, series

    @classmethod
    def of_folder(cls, folder: Path, *, series: bool, encoding: str | None) -> "FileRecords":
        """The files of a folder, in the order of their names.

        Raises:
            DataError: when it has none.
        """
        ends = SUFFIXES if series else TEXTS
        there = [each for each in sorted(folder.iterdir()) if not is_hidden(each)]
        files = [each for each in there if each.is_file() and suffix_of(each) in ends]
        if not files:
            raise DataError(
                f"{folder}: expected files that end in {', '.join(ends)}, got none in the folder. "
                "Name a folder that has some, or a file."
            )
        records = cls(folder, files, series=series, encoding=encoding)
        records.left_out = tuple(each.name for each in there if each not in files)
        return records

    def __iter__(self) -> Iterator[Record]:
        for file in self._files:
            if self._series:
                value: Any = as_series(read_sequence(file, gaps=True).values, str(file))
            else:
                value = read_text(file, encoding=self.encoding).strip()
            yield Record(value=value, label="", place=str(file))


def in_chunks(
    records: Iterable[Record], size: int, *, series: bool, may_be_empty: bool = False
) -> Iterator[list[Record]]:
    """The records, some at a time, each of them with something to read; a text may be empty
    where that is said.

    Raises:
        DataError: where one is empty, or not of the kind that is wanted.
    """
    following = iter(records)
    while some := list(islice(following, size)):
        for record in some:
            if isinstance(record.value, str | tuple) == series:  # words are a text as well
                wanted, got = ("a series", "a text") if series else ("a text", "a series")
                raise DataError(
                    f"{record.place}: expected {wanted}, as the model reads, got {got}. Name data "
                    "of the kind that it was trained on."
                )
            if len(record.value) == 0 and (series or not may_be_empty):
                raise DataError(
                    f"{record.place}: expected {'a step' if series else 'a text'} at least, got "
                    "none. Leave it out."
                )
        yield some
