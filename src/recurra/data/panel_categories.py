"""Covariates that are categories, such as weather: each category is a column of 0 and 1.

Letters: T rows, K categories of a covariate.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from recurra.data.panel_columns import Columns
from recurra.data.records import named
from recurra.errors import DataError, argument
from recurra.models.series import Categories

MOST = 1000  # of a covariate; more are no kinds of anything
_MISSING = frozenset({"", "?", "na", "n/a", "nan", "null"})  # "none" is a kind of holiday


def found_categories(
    tables: Iterable[Columns], past: Sequence[str], known: Sequence[str], asked: Sequence[str]
) -> Categories:
    """The categories of those covariates that have some: those that are asked for, and those that
    hold words and not one number.

    Args:
        tables: all that are trained on.
        past, known: the covariates, by name or number.
        asked: those that are categories though they look like numbers, likewise.
    Raises:
        DataError: when one that is asked for is no covariate, or has too many.
    """
    found: dict[str, set[str]] = {}
    for columns in tables:
        beside = [columns.named(each, "past_covariates=") for each in past]
        beside += [columns.named(each, "known_covariates=") for each in known]
        wanted = [columns.named(each, "categories=") for each in asked]
        if strange := [name for name in wanted if name not in beside]:
            raise DataError(
                f"{columns.path}: expected a covariate for {argument('categories=')}, got "
                f"{strange[0]!r}. Name it as one too: {argument('known_covariates=')} or "
                f"{argument('past_covariates=')}."
            )
        for name in beside:
            names = {*_names(columns, name)} - {None}
            if names and (name in found or name in wanted or not any(map(_is_number, names))):
                found.setdefault(name, set()).update(map(str, names))
    for name, names in found.items():
        if len(names) > MOST:
            raise DataError(
                f"{name}: expected at most {MOST:,} categories of a covariate, got "
                f"{len(names):,}. Leave the column out, or join some of them."
            )
    return Categories({name: sorted(names) for name, names in found.items()})


def read_covariate(columns: Columns, name: str, categories: Categories) -> np.ndarray:
    """A covariate as numbers, NaN where it is missing: [T, 1], or [T, K] of categories.

    Raises:
        DataError: when a category is none of those that there are, naming its line.
    """
    if name not in categories:
        return columns.numbers(name)[:, None]
    number_of = {each: k for k, each in enumerate(categories[name])}
    rows = _names(columns, name)
    values = np.zeros((len(rows), len(number_of)))
    for row, (own, place) in enumerate(zip(rows, columns.places, strict=True)):
        if own is None:
            values[row] = np.nan
        elif own in number_of:
            values[row, number_of[own]] = 1
        else:
            raise DataError(
                f"{columns.path}, {columns.unit} {place}, column {name}: expected one of the "
                f"categories of training ({named(number_of)}), got {own!r:.40}. Correct it, or "
                f"leave it empty with {argument('missing=fill')}."
            )
    return values


def _names(columns: Columns, name: str) -> list[str | None]:
    """The category of each row, a number as it is shortest; None where it is missing."""
    return [None if cell.lower() in _MISSING else _plain(cell) for cell in columns.texts(name)]


def _plain(cell: str) -> str:
    return f"{float(cell):g}" if _is_number(cell) else cell


def _is_number(cell: str | None) -> bool:
    try:
        return cell is not None and "_" not in cell and math.isfinite(float(cell))
    except ValueError:
        return False
