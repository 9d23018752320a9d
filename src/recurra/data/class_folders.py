"""A folder with a sub-folder for each class: texts, or series as arrays and tables of numbers."""

import re
from collections.abc import Iterator
from pathlib import Path

from recurra.data.records import Record, Records, named
from recurra.data.sequences import ARRAYS, SUFFIXES, TABLES, read_sequence
from recurra.data.tables import suffix_of
from recurra.errors import DataError
from recurra.models.scaling import as_series
from recurra.text.corpus import is_hidden
from recurra.text.reading import read_text

TEXTS = (".txt", ".text")
_NUMBERS = re.compile(r"[-+]?\d*\.\d+(e[-+]?\d+)?([,;\s]+[-+]?\d*\.?\d+(e[-+]?\d+)?)+", re.I)


class FolderRecords(Records):
    """One file an example, the name of its sub-folder its class."""

    def __init__(self, path: Path, *, encoding: str | None = None) -> None:
        """List the files; none is read yet.

        Args:
            path: the folder.
            encoding: of the texts, see `read_pieces`.
        Raises:
            DataError: when there are fewer than two sub-folders with files, or both texts and
                series in them.
        """
        self.where = str(path)
        self.encoding = encoding
        folders = sorted(each for each in path.iterdir() if each.is_dir() and not is_hidden(each))
        beside = [each for each in sorted(path.iterdir()) if each not in folders]
        self.files: list[tuple[Path, str]] = []
        kinds: dict[bool, Path] = {}
        for folder in folders:
            for file in sorted(folder.iterdir()):
                if not _is_example(file):
                    beside.append(file)
                    continue
                self.files.append((file, folder.name))
                kinds.setdefault(_is_text(file), file)
        classes = {label for _, label in self.files}
        if len(classes) < 2:
            raise DataError(
                f"{path}: expected a sub-folder for each of two or more classes, with files that "
                f"end in {', '.join((TEXTS[0], *SUFFIXES))}, got {len(classes)}. "
                "Sort the examples into folders named after their classes."
            )
        if len(kinds) > 1:
            raise DataError(
                f"{path}: expected texts or series, got both, such as {kinds[True]} and "
                f"{kinds[False]}. Keep one kind."
            )
        self.left_out = tuple(str(each.relative_to(path)) for each in beside)
        kind = "texts" if True in kinds else "series"
        self.notes = (f"a sub-folder for each class, a file for each of the {kind}",)
        first = self.files[0][0]
        if True in kinds and _NUMBERS.fullmatch(self._text(first).partition("\n")[0].strip()):
            self.notes += (
                f"{first.name} holds numbers, taken as a text: call such files .csv to read series",
            )

    def __iter__(self) -> Iterator[Record]:
        columns: dict[tuple[str, ...] | int, Path] = {}
        for file, label in self.files:
            if _is_text(file):
                value = self._text(file)
            else:
                recording = read_sequence(file, gaps=True)
                value = as_series(recording.values, str(file))
                columns.setdefault(recording.columns or value.shape[1], file)
                columns.setdefault(value.shape[1], file)
                _check_alike(columns)
                self.channels = recording.columns or self.channels
            yield Record(value=value, label=label, place=str(file))

    def _text(self, file: Path) -> str:
        return "" if not file.stat().st_size else read_text(file, encoding=self.encoding).strip()


def _check_alike(columns: dict[tuple[str, ...] | int, Path]) -> None:
    """All files have as many columns, and of one name where they have names."""
    for kind in (int, tuple):
        of_kind = [(own, file) for own, file in columns.items() if isinstance(own, kind)]
        if len(of_kind) > 1:
            (some, one), (others, other) = of_kind[:2]
            raise DataError(
                f"{other}: expected the columns of {one} ({_shown(some)}), got {_shown(others)}. "
                "Write every series with the same columns, in one order."
            )


def _shown(columns: tuple[str, ...] | int) -> str:
    return str(columns) if isinstance(columns, int) else named(columns)


def _is_text(path: Path) -> bool:
    return suffix_of(path) in TEXTS


def _is_example(path: Path) -> bool:
    """Whether a file is one: a text or a table may be compressed, an array not."""
    ends = suffix_of(path) in (*TEXTS, *TABLES) or path.suffix.lower() in ARRAYS
    return ends and not is_hidden(path) and path.is_file()
