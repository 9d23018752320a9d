"""Tables with a row for each frame of a clip: its label, or numbers to learn.

    wave_01.labels.csv beside wave_01.gif, or labels.csv in the folder of its frames
    labels.csv above all clips, with a column `clip` that has their names
    .targets.csv, or targets.csv, where numbers are learned

Letters: T frames, O numbers to learn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.clip_files import ClipReading
from recurra.data.panel_columns import read_columns
from recurra.data.records import named
from recurra.data.sequences import TextTable, column_of_numbers, read_text_table, with_first_row
from recurra.data.tables import suffix_of
from recurra.errors import DataError, argument

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".npy")
LABELS, TARGETS = "labels", "targets"
_LABEL_NAMES = ("label", "labels", "tag", "class", "gesture", "action", "state", "target", "y")
_CLIP_NAMES = ("clip", "video", "sequence", "recording", "file", "name")
_FRAME_NAMES = ("frame", "frames", "step", "index", "number", "")
_CLOCKS = ("time", "timestamp", "seconds", "t")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameTruth:
    """What a table says of the frames of one clip.

    Attributes:
        targets: the T names of labels, "" where there is none; or [T, O] float32, NaN where a
            number is missing.
        names: of the O numbers; empty of labels.
        path: of the table.
        places: of its rows, "line 2" and so on.
    """

    targets: tuple[str, ...] | np.ndarray
    names: tuple[str, ...]
    path: Path
    places: Sequence[str]

    def check(self, num_frames: int, clip: str) -> None:
        """Raise DataError, naming the line, unless there is a row for each frame of the clip."""
        rows = len(self.targets)
        if rows == num_frames:
            return
        row = num_frames if rows > num_frames else rows - 1
        place = f"{self.path}, {self.places[row]}" if self.places else str(self.path)
        which = "the first without a frame" if rows > num_frames else "the last"
        raise DataError(
            f"{place}: expected a row for each of the {num_frames} frames of {clip}, got {rows}, "
            f"of which this is {which}. Give it as many."
        )

    def every(self, step: int) -> tuple[str, ...] | np.ndarray:
        """Of the first frame, and of each so many frames on."""
        return self.targets[::step]


class TablesBeside:
    """The tables of clips by their names, of folders that are gone through once each."""

    def __init__(self) -> None:
        """None is known yet."""
        self._by_stem: dict[Path, dict[str, list[Path]]] = {}

    def of(self, clip: Path) -> Path | None:
        """The table of a clip: NAME.labels.csv, NAME_targets.csv and the like, or in its folder.

        Raises:
            DataError: when there are several.
        """
        stem = clip.name if clip.is_dir() else clip.name.removesuffix(clip.suffix)
        beside = self._tables(clip.parent)
        names = [f"{stem}{sign}{word}" for word in (LABELS, "label", TARGETS) for sign in "._-"]
        found = [each for name in names for each in beside.get(name, [])]
        if clip.is_dir():
            inside = self._tables(clip)
            found += [each for word in (LABELS, TARGETS) for each in inside.get(word, [])]
        if len(found) > 1:
            raise DataError(
                f"{clip}: expected one table of its labels, got {named(map(str, found))}. Leave "
                f"one."
            )
        return found[0] if found else None

    def _tables(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._by_stem:
            by_stem = self._by_stem[folder] = {}
            for each in sorted(folder.iterdir()):
                if (stem := _stem(each)) is not None:
                    by_stem.setdefault(stem, []).append(each)
        return self._by_stem[folder]


def labels_of_all(folder: Path) -> Path | None:
    """The table of all clips below a folder: labels.csv or targets.csv in it.

    Raises:
        DataError: when there are several.
    """
    found = [each for each in sorted(folder.iterdir()) if _stem(each) in (LABELS, TARGETS)]
    if len(found) > 1:
        raise DataError(
            f"{folder}: expected one table of labels, got {named(each.name for each in found)}. "
            f"Leave one."
        )
    return found[0] if found else None


def is_table(path: Path) -> bool:
    """Whether a file's name says that it has the labels of a clip or of all of them."""
    stem = _stem(path) or ""
    words = (LABELS, "label", TARGETS)
    return stem in words or any(stem.endswith(sign + word) for word in words for sign in "._-")


def _stem(path: Path) -> str | None:
    """The name of a file that may be a table, in small letters where it says so; else None."""
    if not path.is_file() or suffix_of(path) not in SUFFIXES:
        return None
    return path.name[: path.name.lower().rindex(suffix_of(path))]


# ---- tables --------------------------------------------------------------------------------------


def read_truth(path: Path, how: ClipReading) -> FrameTruth:
    """The table of one clip.

    Raises:
        DataError: when a column is not there, or has cells that are no numbers where they should
            be; when a column of numbers of frames does not count on.
    """
    table = _Table.of(path, how)
    return table.truth(list(range(len(table.places))))


def read_truths(path: Path, how: ClipReading) -> dict[str, FrameTruth]:
    """The table of all clips, by the names that its column `clip` has.

    Raises:
        DataError: as `read_truth`; or when there is no such column.
    """
    table = _Table.of(path, how)
    clip = next((n for n in table.names if n.strip().lower() in _CLIP_NAMES), None)
    if clip is None:
        raise DataError(
            f"{path}: expected a column clip, as a table for all clips has, got "
            f"{named(table.names)}. Add it, or write a table for each clip: NAME.labels.csv."
        )
    table.names = tuple(name for name in table.names if name != clip)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(table.texts(clip)):
        rows.setdefault(name.replace("\\", "/"), []).append(row)
    return {name: table.truth(own) for name, own in rows.items()}


@dataclass(slots=True, kw_only=True)
class _Table:
    """The columns of a table of labels, each read once."""

    path: Path
    names: tuple[str, ...]
    places: Sequence[str]
    how: ClipReading
    columns: Any  # `Columns` of arrays and Parquet, or a `TextTable`
    header: tuple[str, ...]
    _read: dict[tuple[str, str], Any] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, how: ClipReading) -> "_Table":
        if suffix_of(path) in (".parquet", ".npy"):
            hint = f"The column of labels is named by {argument('tag_column=')}."
            [(_, columns)] = read_columns(path, hint=hint)
            names, unit = columns.names, columns.unit
            places = [f"{unit} {place}" for place in columns.places]
        else:
            columns = read_text_table(path, encoding=how.encoding)
            if not _has_numbers(path, how):
                known = {*_LABEL_NAMES, (how.label or "").lower()}
                columns = with_first_row(columns, known)
            width = len(columns.rows[0][1])
            names = tuple(columns.header or map(str, range(1, width + 1)))
            places = [f"line {line}" for line, _ in columns.rows]
        if twice := [name for name in names if names.count(name) > 1]:
            raise DataError(
                f"{path}: expected columns of different names, got {twice[0]!r} twice. Rename one."
            )
        return cls(
            path=path, names=names, places=places, how=how, columns=columns, header=tuple(names)
        )

    def texts(self, name: str) -> list[str]:
        return self._once("texts", name, self._texts)

    def numbers(self, name: str) -> np.ndarray:
        return self._once("numbers", name, self._numbers)

    def _once(self, kind: str, name: str, read: Callable[[str], Any]) -> Any:
        if (kind, name) not in self._read:
            self._read[kind, name] = read(name)
        return self._read[kind, name]

    def _texts(self, name: str) -> list[str]:
        if isinstance(self.columns, TextTable):
            at = self.header.index(name)
            return [cells[at] for _, cells in self.columns.rows]
        return self.columns.texts(name)

    def _numbers(self, name: str) -> np.ndarray:
        if isinstance(self.columns, TextTable):
            return column_of_numbers(self.path, self.columns, self.header.index(name))
        return self.columns.numbers(name)

    def truth(self, rows: list[int]) -> FrameTruth:
        """What some of its rows say."""
        places = [self.places[row] for row in rows]
        self._check_order(rows)
        rest = [n for n in self.names if n.strip().lower() not in (*_FRAME_NAMES, *_CLOCKS)]
        if _has_numbers(self.path, self.how):
            chosen = [self._named(each, "target=") for each in self.how.targets] or rest
            values = np.stack([self.numbers(name)[rows] for name in chosen], axis=1)
            return FrameTruth(
                targets=values.astype(np.float32),
                names=tuple(chosen),
                path=self.path,
                places=places,
            )
        label = self._label(rest)
        every = self.texts(label)
        return FrameTruth(
            targets=tuple("" if (said := every[row].strip()) == '""' else said for row in rows),
            names=(),
            path=self.path,
            places=places,
        )

    def _label(self, rest: list[str]) -> str:
        if self.how.label is not None:
            return self._named(self.how.label, "tag_column=")
        known = [name for name in self.names if name.strip().lower() in _LABEL_NAMES]
        chosen = known[:1] or rest
        if len(chosen) != 1:
            raise DataError(
                f"{self.path}: expected one column of labels, got {named(self.names)}. Name it, "
                f"{argument('tag_column=')}, or those of the numbers to learn, "
                f"{argument('target=')}."
            )
        return chosen[0]

    def _named(self, column: str, option: str) -> str:
        if column in self.names:
            return column
        if column.isdecimal() and 1 <= int(column) <= len(self.names):
            return self.names[int(column) - 1]
        raise DataError(
            f"{self.path}: expected a column {column!r}, got {named(self.names)}. Choose among "
            f"them, {argument(option)}."
        )

    def _check_order(self, rows: list[int]) -> None:
        """Where a column has the numbers of frames, they count on by one, from any number."""
        name = next((n for n in self.names if n.strip().lower() in _FRAME_NAMES), None)
        if name is None or len(self.names) < 2:
            return
        numbers = self.numbers(name)[rows]
        wrong = np.flatnonzero(np.diff(numbers) != 1)
        if len(wrong):
            row = int(wrong[0]) + 1
            raise DataError(
                f"{self.path}, {self.places[rows[row]]}: expected frame {numbers[row - 1] + 1:g} "
                f"behind {numbers[row - 1]:g}, got {numbers[row]:g}. Write a row for each frame, "
                f"in their order; a label may be empty."
            )


def _has_numbers(path: Path, how: ClipReading) -> bool:
    """Whether numbers are learned of a table, in place of labels."""
    return bool(how.targets) or (_stem(path) or "").lower().endswith(TARGETS)
