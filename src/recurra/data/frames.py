"""Recordings: a table for each series, with a row for each step, and a label or numbers to learn in
each row; or the labels in a file of their own beside it.

    walk_01.csv                              acc_x, acc_y, acc_z, activity
    walk_02.npy and walk_02.labels.csv       [T, I] and [T]
    gaze_01.csv and gaze_01.targets.csv      [T, I] and [T, O]

Letters: T steps, I channels, O numbers to learn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recurra.data.files import why_no_array
from recurra.data.panel_columns import Columns, read_columns
from recurra.data.records import Record, Records, named
from recurra.data.tables import suffix_of
from recurra.errors import DataError, argument
from recurra.models.scaling import as_series

TABLES = (".csv", ".npy", ".parquet", ".pq")
_LABELS = ("label", "labels", "tag", "tags", "class", "activity", "gesture", "target", "y")
_CLOCKS = ("time", "timestamp", "date", "datetime", "frame", "step", "index", "seconds", "t")
# how the name of a file of labels, or of numbers to learn, ends behind that of a series
_NUMBERS = "targets"
_BESIDE = ("labels", "label", _NUMBERS)
_BESIDE_FORMATS = (*TABLES, ".txt", ".tsv")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameColumns:
    """Which columns of recordings are what; each by its name, or its number from 1.

    Attributes:
        channels: that are read; none: all that are nothing else.
        label: of the labels; None finds it by its name.
        targets: of numbers that are learned in place of labels.
        group: that says which rows are of one recording; None: all rows are.
        encoding: of files of text.
    """

    channels: tuple[str, ...] = ()
    label: str | None = None
    targets: tuple[str, ...] = ()
    group: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """A recording.

    Attributes:
        values: [T, I] float32, NaN where one is missing.
        targets: the name of a label for each step, "" where there is none; [T, O] float32; or None
            where nobody knows.
        channels: their names.
        place: the file, and which recording of it.
    """

    values: np.ndarray
    targets: tuple[str, ...] | np.ndarray | None
    channels: tuple[str, ...]
    place: str


def recordings(path: Path, how: FrameColumns, *, labelled: bool = True) -> Iterator[Frames]:
    """The recordings of a file, one by one; those of an array [N, T, I] are N.

    Args:
        path: of a .csv, .npy or .parquet.
        how: which columns are what.
        labelled: whether there must be labels, or numbers to learn.
    Raises:
        DataError: when a column is not there or has cells that are no numbers, or when labels are
            not as many as steps.
    """
    beside = _labels_beside(path)
    for number, columns in read_columns(path, encoding=how.encoding, hint=other_columns()):
        place = f"{path}, series {number}" if number else str(path)
        roles = _Roles.of(columns, how, has_file=beside is not None)
        if beside is not None:
            found = _of_file(beside, how, number)
        elif roles.targets:
            found = _stacked(columns, roles.targets, place)
        else:
            found = None if roles.label is None else tuple(columns.texts(roles.label))
        if found is None and labelled:
            raise DataError(
                f"{place}: expected a label in each row, got the columns {named(columns.names)} "
                f"and no file {path.name.partition('.')[0]}.labels.csv beside it. Name the column "
                f"of the labels, {argument('tag_column=')}, or of the numbers to learn, "
                f"{argument('target=')}."
            )
        values = _stacked(columns, roles.channels, place)
        if found is not None and len(found) != len(values):
            raise DataError(
                f"{beside or place}: expected a label for each of the {len(values)} steps of "
                f"{place}, got {len(found)}. Give it as many."
            )
        for name, rows in _groups(columns, roles.group):
            own = found[rows] if isinstance(found, np.ndarray) else found
            if isinstance(found, tuple):
                own = tuple(found[row] for row in rows)
            yield Frames(
                values=values[rows],
                targets=own,
                channels=roles.channels,
                place=f"{place}, {name}" if name else place,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Roles:
    """Which column of a table is what."""

    channels: tuple[str, ...]
    label: str | None
    targets: tuple[str, ...]
    group: str | None

    @classmethod
    def of(cls, columns: Columns, how: FrameColumns, *, has_file: bool) -> "_Roles":
        group = None if how.group is None else columns.named(how.group, "group_column=")
        targets: tuple[str, ...] = ()
        label = None
        if not has_file:
            targets = tuple(columns.named(each, "target=") for each in how.targets)
            label = _label(columns, how) if not targets else None
        channels = tuple(columns.named(each, "channels=") for each in how.channels)
        if not channels:
            taken = {group, label, *targets}
            channels = tuple(
                name
                for name in columns.names
                if name not in taken and name.strip().lower() not in (*_CLOCKS, *_LABELS)
            )
        if not channels:
            raise DataError(
                f"{columns.path}: expected columns of numbers to read beside the labels, got none "
                f"among {named(columns.names)}. Name them, {argument('channels=')}."
            )
        return cls(channels=channels, label=label, targets=targets, group=group)


def _label(columns: Columns, how: FrameColumns) -> str | None:
    if how.label is not None:
        return columns.named(how.label, "tag_column=")
    known = [name for name in columns.names if name.strip().lower() in _LABELS]
    return known[0] if known else None


def _stacked(columns: Columns, names: Sequence[str], place: str) -> np.ndarray:
    return as_series(np.stack([columns.numbers(name) for name in names], axis=1), place)


def _groups(columns: Columns, group: str | None) -> list[tuple[str, np.ndarray]]:
    """The rows of each recording, with its name where a column says it."""
    if group is None:
        return [("", np.arange(len(columns)))]
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(columns.texts(group)):
        rows.setdefault(name, []).append(row)
    return [(f"{group} {name}", np.array(own)) for name, own in rows.items()]


# ---- labels in a file of their own ---------------------------------------------------------------


def without_labels(files: Sequence[Path]) -> list[Path]:
    """The files but those that have the labels of another of them, as their names say:
    walk.labels.csv or walk_labels.npy beside walk.csv or walk.npy."""
    series = {(each.parent, _stem(each)) for each in files}
    return [each for each in files if (each.parent, _series_of(each)) not in series]


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix)


def _series_of(path: Path) -> str | None:
    """The name, without its end, of the series that a file has the labels of."""
    stem = _stem(path)
    for word in _BESIDE:
        for sign in "._-":
            if stem.lower().endswith(f"{sign}{word}"):
                return stem[: -len(word) - 1]
    return None


def _labels_beside(path: Path) -> Path | None:
    found = [
        each
        for each in sorted(path.parent.iterdir())
        if suffix_of(each) in _BESIDE_FORMATS and _series_of(each) == _stem(path)
    ]
    if len(found) > 1:
        raise DataError(
            f"{path}: expected one file of its labels, got {named(each.name for each in found)}. "
            "Leave one."
        )
    return found[0] if found else None


def _of_file(path: Path, how: FrameColumns, number: str) -> tuple[str, ...] | np.ndarray:
    """The labels in a file, or the numbers."""
    if suffix_of(path) == ".npy":
        values = _array(path)
        if number and values.ndim > 1:  # of N series
            values = values[int(number) - 1]
        if values.dtype.kind in "fc" or values.ndim > 1:
            return as_series(values, str(path))
        return tuple(map(str, values.tolist()))
    has_numbers = how.targets or _stem(path).lower().endswith(_NUMBERS)
    known = None if has_numbers else {*_LABELS, (how.label or "").lower()}
    [(_, columns)] = read_columns(
        path, encoding=how.encoding, above_words=known, hint=other_columns()
    )
    rest = [name for name in columns.names if name.strip().lower() not in _CLOCKS]
    if has_numbers:
        names = [columns.named(each, "target=") for each in how.targets] or rest
        return _stacked(columns, names, str(path))
    if how.label is not None:
        return tuple(columns.texts(columns.named(how.label, "tag_column=")))
    known = [name for name in columns.names if name.strip().lower() in _LABELS]
    chosen = known or rest
    if len(chosen) != 1 and not known:
        raise DataError(
            f"{path}: expected one column of labels, got {named(columns.names)}. Name it, "
            f"{argument('tag_column=')}, or those of the numbers to learn, {argument('target=')}."
        )
    return tuple(columns.texts(chosen[0]))


def other_columns() -> str:
    """What to do about a column that is neither read nor learned as numbers."""
    return (
        f"The column of labels is named by {argument('tag_column=')}, those that are read by "
        f"{argument('channels=')}, numbers to learn by {argument('target=')}."
    )


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{path}: expected an array of labels as numpy.save writes it, got: "
            f"{why_no_array(error)}. Save it again."
        ) from None


# ---- without labels ------------------------------------------------------------------------------


class FrameRecords(Records):
    """Recordings of which nobody knows the labels, or whose labels count for nothing."""

    def __init__(self, where: Path, files: Sequence[Path], how: FrameColumns) -> None:
        """Take files; none is read yet."""
        self.where = str(where)
        self._files, self._how = without_labels(files), how

    def __iter__(self) -> Iterator[Record]:
        for file in self._files:
            for each in recordings(file, self._how, labelled=False):
                yield Record(value=each.values, label="", place=each.place)
