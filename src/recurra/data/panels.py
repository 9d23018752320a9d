"""Series to forecast, from files: several in one, each with dates and covariates, or without.

A table has a row a step. Its columns are what is forecast, covariates of the past, covariates that
are known ahead, and at most one of dates and one of names of series.

Letters: T steps, C channels, P covariates of the past, K known covariates, N series.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from recurra.data.opening import paths_of
from recurra.data.panel_categories import found_categories, read_covariate
from recurra.data.panel_columns import FORMATS, Columns, read_columns
from recurra.data.records import named
from recurra.data.tables import suffix_of
from recurra.errors import DataError, argument
from recurra.models import Categories, Series
from recurra.models.calendar import Frequency, said
from recurra.text.corpus import is_hidden

_GRID = 1e-6  # of a step: how far a date may lie off
_Tables = list[tuple[str, Columns]]  # those of a file, with their numbers where it has several


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How tables of series are read.

    Attributes:
        target: columns that are forecast; none: all that are nothing else.
        past_covariates: columns that nobody knows ahead.
        known_covariates: columns that are known ahead.
        categories: covariates that are categories though they look like numbers.
        learned: the categories of all covariates that have some, as training had them; None finds
            them.
        date_column: None finds it.
        group_column: of the names of series; None: a file is a series.
        date_format: as strptime has it; None: ISO.
        missing: "fail", or what is done with missing values later.
        encoding: of files of text.
    """

    target: tuple[str, ...] = ()
    past_covariates: tuple[str, ...] = ()
    known_covariates: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    learned: Categories | None = None
    date_column: str | None = None
    group_column: str | None = None
    date_format: str | None = None
    missing: str = "fail"
    encoding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Series of the same columns.

    Attributes:
        series: each with values [T, C], and with covariates, dates and a name where there are any;
            known covariates may go on behind the last value.
        channels: the names of what is forecast.
        past: the names of covariates of the past.
        known: of those known ahead.
        frequency: what lies between dates; None without dates.
        notes: how the files were read, a sentence each.
        categories: of covariates, of which a column of numbers for each is in the series.
    """

    series: tuple[Series, ...]
    channels: tuple[str, ...]
    past: tuple[str, ...]
    known: tuple[str, ...]
    frequency: Frequency | None
    notes: tuple[str, ...]
    categories: Categories = field(default_factory=lambda: Categories({}))


def read_panel(data: str | Path | Sequence[str | Path], how: Reading) -> Panel:
    """The series of a file, of several, or of all files of a folder.

    Args:
        data: .csv, .tsv, .txt (compressed or not), .parquet or .npy; a file without a group column
            is a series, an array [N, T, C] is N.
        how: which columns are what.
    Raises:
        DataError: when anything is not as it should be, naming the file and the place.
    """
    files = files_of(data)
    opened: Iterable[_Tables] = (read_columns(file, encoding=how.encoding) for file in files)
    past, known, asked = how.past_covariates, how.known_covariates, how.categories
    if how.learned is None and (past or known or asked):
        opened = list(opened)  # a category may be in the last file alone
        every = (columns for tables in opened for _, columns in tables)
        how = replace(how, learned=found_categories(every, past, known, asked))
    several = len(files) > 1
    panels = [
        _of_file(file, tables, how, several=several)
        for file, tables in zip(files, opened, strict=True)
    ]
    first = panels[0]
    for file, panel in zip(files, panels, strict=True):
        if panel.channels != first.channels:
            raise DataError(
                f"{file}: expected the columns {', '.join(first.channels):.100}, as in "
                f"{files[0]}, got {', '.join(panel.channels):.100}. Name those that are forecast, "
                f"{argument('target=')}."
            )
        if str(panel.frequency) != str(first.frequency):
            raise DataError(
                f"{file}: expected a step of {first.frequency or 'no dates'}, as in {files[0]}, "
                f"got {panel.frequency or 'no dates'}. Bring them to one."
            )
    notes = dict.fromkeys(note for panel in panels for note in panel.notes)
    every = tuple(one for panel in panels for one in panel.series)
    names = [one.name for one in every]
    twice = [name for name in names if names.count(name) > 1] if len({*names}) < len(names) else []
    if twice:
        raise DataError(
            f"{named(map(str, files))}: expected series of different names, got {twice[0]!r} "
            f"{names.count(twice[0])} times. Rename the files, or the groups in them."
        )
    return replace(first, series=every, notes=tuple(notes))


def files_of(data: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that are named, those of a folder in the order of their names.

    Raises:
        DataError: when one is not there, or a folder has none.
    """
    found: list[Path] = []
    for one in [data] if isinstance(data, str | Path) else data:
        path = Path(one)
        if not path.is_dir():
            found.append(path)
            continue
        inside = [
            each
            for each in sorted(path.iterdir())
            if each.is_file() and not is_hidden(each) and suffix_of(each) in FORMATS
        ]
        if not inside:
            raise DataError(
                f"{path}: expected files that end in {', '.join(FORMATS)}, got none in the folder. "
                "Name a folder that has some, or a file."
            )
        found += inside
    if not found:
        raise DataError("data: expected a file or a folder, got an empty list. Name one.")
    return found


def check_apart(train: object, held_out: object, name: str) -> None:
    """Raise DataError where a file is both to be learned and held out."""
    if both := paths_of(train) & paths_of(held_out):
        raise DataError(
            f"{min(both)}: expected other series for {name} than to train on, got the same. Name "
            f"another for {argument(f'{name}_data=')}, or leave it out."
        )


def _of_file(path: Path, tables: _Tables, how: Reading, *, several: bool) -> Panel:
    series: list[Series] = []
    roles: _Roles | None = None
    notes: list[str] = []
    frequency: Frequency | None = None
    for number, columns in tables:
        roles = _Roles.of(columns, how)
        stem = path.name.partition(".")[0]
        name = "_".join(each for each in (stem if several else "", number) if each)
        found, own, notes = _series_of(columns, roles, how, name)
        frequency = frequency or own
        series += found
    assert roles is not None
    categories = how.learned or Categories({})
    return Panel(
        series=tuple(series),
        channels=roles.target,
        past=roles.past,
        known=roles.known,
        frequency=frequency,
        notes=(roles.said(), *_said_of(categories), *notes),
        categories=categories,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Roles:
    """Which column of a table is what."""

    target: tuple[str, ...]
    past: tuple[str, ...]
    known: tuple[str, ...]
    date: str | None
    group: str | None

    @classmethod
    def of(cls, columns: Columns, how: Reading) -> "_Roles":
        date, group = how.date_column, how.group_column
        date = columns.date_column() if date is None else columns.named(date, "date_column=")
        group = None if group is None else columns.named(group, "group_column=")
        past, known, target = (
            tuple(columns.named(column, f"{which}=") for column in asked)
            for which, asked in (
                ("past_covariates", how.past_covariates),
                ("known_covariates", how.known_covariates),
                ("target", how.target),
            )
        )
        taken = {date, group, *past, *known}
        if not target:
            target = tuple(name for name in columns.names if name not in taken)
        both = [name for name in target if name in taken] + [n for n in past if n in known]
        if both or not target:
            got = f"{both[0]!r} for two things" if both else "none left"
            raise DataError(
                f"{columns.path}: expected columns to forecast, and others beside them, got {got}. "
                f"Name those that are forecast, {argument('target=')}."
            )
        return cls(target=target, past=past, known=known, date=date, group=group)

    def said(self) -> str:
        """What was taken for what."""
        parts = [f"forecast {named(self.target)}"]
        parts += [f"dates {self.date}"] if self.date else []
        parts += [f"series by {self.group}"] if self.group else []
        parts += [f"of the past {named(self.past)}"] if self.past else []
        parts += [f"known ahead {named(self.known)}"] if self.known else []
        return f"columns: {'; '.join(parts)}"


def _said_of(categories: Categories) -> list[str]:
    """A line for each covariate of categories."""
    return [f"categories of {name}, {len(own)}: {named(own)}" for name, own in categories.items()]


def _series_of(
    columns: Columns, roles: _Roles, how: Reading, name: str
) -> tuple[list[Series], Frequency | None, list[str]]:
    """The series of a table, each checked; what lies between their dates; and what was noted."""
    every = (*roles.target, *roles.past, *roles.known)
    categories = how.learned or Categories({})
    targets = [columns.numbers(each)[:, None] for each in roles.target]
    past, known = (
        [read_covariate(columns, each, categories) for each in names]
        for names in (roles.past, roles.known)
    )
    values = np.concatenate([*targets, *past, *known], axis=1)
    # where each column of the table begins among the numbers, of which categories have several
    firsts = np.cumsum([0, *(each.shape[1] for each in (*targets, *past, *known))])[:-1]
    dates = None if roles.date is None else columns.dates(roles.date, how.date_format)
    rows_of = {name: np.arange(len(columns))}
    if roles.group is not None:
        groups: dict[str, list[int]] = {}
        for row, group in enumerate(columns.texts(roles.group)):
            groups.setdefault(group, []).append(row)
        rows_of = {f"{name}_{g}" if name else g: np.array(rows) for g, rows in groups.items()}

    def offset_of(rows: np.ndarray) -> int | None:
        """That of the last date, which may be another than in winter."""
        if roles.date is None:
            return None
        return columns.offset(roles.date, how.date_format, int(rows[-1]))

    notes: list[str] = []
    found: list[Series] = []
    frequency: Frequency | None = None
    counted: list[_Gaps] = []
    for own_name, rows in rows_of.items():
        own, own_dates = values[rows], None
        if dates is not None:
            own_dates = dates[rows]
            _check_order(columns, roles, own_dates, rows)
            if len(rows) > 1:
                frequency = frequency or Frequency.of(own_dates)
                own, own_dates = _on_grid(columns, own, own_dates, rows, frequency, how, notes)
        C, P = len(roles.target), sum(each.shape[1] for each in past)
        length = _length(own[:, :C], bool(roles.known))
        counted.append(_Gaps(columns=columns, rows=rows, values=own[:length, firsts]))
        found.append(
            Series(
                values=own[:length, :C],
                past=own[:length, C : C + P] if P else None,
                known=own[:, C + P :] if roles.known else None,
                dates=None if own_dates is None else own_dates[:length],
                name=own_name or None,
                offset=offset_of(rows),
            )
        )
    _check_missing(columns, every, counted, how.missing, notes)
    return found, frequency, notes


def _length(target: np.ndarray, has_known: bool) -> int:
    """The steps that have something to learn of: rows at the end that have known covariates alone
    are steps to come."""
    if not has_known:
        return len(target)
    there = np.flatnonzero(~np.isnan(target).all(axis=1))
    return int(there[-1]) + 1 if len(there) else len(target)


def _check_order(columns: Columns, roles: _Roles, dates: np.ndarray, rows: np.ndarray) -> None:
    wrong = np.flatnonzero(np.diff(dates) <= np.timedelta64(0, "s"))
    if not len(wrong):
        return
    at = int(wrong[0]) + 1
    place = f"{columns.path}, {columns.unit} {columns.places[int(rows[at])]}"
    if dates[at] == dates[at - 1]:
        several = ""
        if roles.group is None:
            several = f" Where there are several series, name {argument('group_column=')}."
        raise DataError(
            f"{place}: expected each date once, got {said(dates[at])} twice. Keep one of the rows."
            f"{several}"
        )
    raise DataError(
        f"{place}: expected dates that grow, got {said(dates[at])} behind "
        f"{said(dates[at - 1])}. Sort the rows by date."
    )


def _on_grid(
    columns: Columns,
    values: np.ndarray,
    dates: np.ndarray,
    rows: np.ndarray,
    frequency: Frequency,
    how: Reading,
    notes: list[str],
) -> tuple[np.ndarray, np.ndarray]:
    """A row for each step, those that the table lacks missing in all columns."""
    places = frequency.places(dates)
    whole = np.rint(places).astype(np.int64)
    off = np.flatnonzero((np.abs(places - whole) > _GRID) | (np.diff(whole, prepend=-1) < 1))
    if len(off):
        at = int(off[0])
        raise DataError(
            f"{columns.path}, {columns.unit} {columns.places[int(rows[at])]}: expected steps of "
            f"{frequency}, as most are, got {said(dates[at])} behind {said(dates[at - 1])}. Bring "
            "them to even steps."
        )
    missing = int(whole[-1]) + 1 - len(whole)
    if not missing:
        return values, dates
    gaps = np.flatnonzero(np.diff(whole) > 1)
    first = int(gaps[0])
    where = f"between {said(dates[first])} and {said(dates[first + 1])}"
    if how.missing == "fail":
        raise DataError(
            f"{columns.path}, {columns.unit} {columns.places[int(rows[first + 1])]}: expected a "
            f"row for each {frequency}, got none {where}, {missing:,} missing in {_gaps(gaps)}. "
            f"Fill them in, or use {argument('missing=mask')}."
        )
    notes.append(f"{missing:,} steps were missing in {_gaps(gaps)}, the first {where}")
    full = np.full((int(whole[-1]) + 1, values.shape[1]), np.nan)
    full[whole] = values
    every = np.concatenate([dates[:1], frequency.following(dates[0], len(full) - 1)])
    return full, every


def _gaps(found: np.ndarray) -> str:
    return "1 gap" if len(found) == 1 else f"{len(found):,} gaps"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gaps:
    """A series in which missing values are counted: its rows in the table, and its values."""

    columns: Columns
    rows: np.ndarray
    values: np.ndarray


def _check_missing(
    columns: Columns,
    names: Sequence[str],
    counted: Sequence[_Gaps],
    missing: str,
    notes: list[str],
) -> None:
    """Raise or note that values are missing, how many in which column, and where the first is."""
    each = np.sum([np.isnan(one.values).sum(axis=0) for one in counted], axis=0)
    if not each.sum():
        return
    by_column = named(f"{n:,} in {name}" for n, name in zip(each, names, strict=True) if n)
    if missing == "fail":
        one = next(one for one in counted if np.isnan(one.values).any())
        row = int(np.argwhere(np.isnan(one.values))[0][0])
        place = columns.places[int(one.rows[row])]
        raise DataError(
            f"{columns.path}: expected a number in every row, got {each.sum():,} missing "
            f"({by_column}), the first in {columns.unit} {place}. Fill them in, or use "
            f"{argument('missing=fill')} or {argument('missing=mask')}."
        )
    empty = [name for n, name in zip(each, names, strict=True) if n == _steps(counted)]
    if empty:
        raise DataError(
            f"{columns.path}: expected numbers in column {empty[0]}, got none at all. Leave it "
            f"out: {argument('target=')} names those that are forecast."
        )
    notes.append(f"{each.sum():,} values are missing: {by_column}")


def _steps(counted: Sequence[_Gaps]) -> int:
    return sum(len(one.values) for one in counted)
