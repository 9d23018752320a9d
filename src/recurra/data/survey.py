"""One pass over labelled records before anything is trained: what is there, and what is wrong."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recurra.data.records import Records
from recurra.errors import DataError, argument
from recurra.models.scaling import Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What one pass found.

    Attributes:
        records: what was gone through.
        numbers: [N], the places of the usable records among all, growing.
        labels: [N], the class of each, as a place in `names`.
        lengths: [N], characters of a text or steps of a series.
        missing: [N], values of each that are missing.
        names: of the classes, as they come.
        num_channels: of series; None of texts.
        left_out: records without a text, a step or a label.
        first_place: of each class, where its first record stands.
    """

    records: Records
    numbers: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray
    missing: np.ndarray
    names: tuple[str, ...]
    num_channels: int | None
    left_out: int
    first_place: Mapping[str, str]


def survey(records: Records, missing: Missing) -> Survey:
    """Go through all records.

    Args:
        records: to be looked at.
        missing: "fail" raises where a text, a step, a label or a value is missing; with "fill"
            values may be missing, and what has no text, no step or no label is left out.
    Raises:
        DataError: when there is no usable record, when they are not all of one kind, or by
            `missing`.
    """
    names: dict[str, int] = {}
    places: dict[str, str] = {}
    numbers, labels, lengths, num_missing_of = (array("q") for _ in range(4))
    empty, unlabelled, gaps = _Problem(), _Problem(), _Problem()
    kind: tuple[int | None, str] | None = None
    for number, record in enumerate(records):
        channels = None if isinstance(record.value, str) else record.value.shape[1]
        if len(record.value) == 0:
            empty.add(record.place)
            continue
        if not record.label:
            unlabelled.add(record.place)
            continue
        kind = kind or (channels, record.place)
        if channels != kind[0]:
            raise DataError(
                f"{record.place}: expected {kind_name(kind[0])} as in {kind[1]}, got "
                f"{kind_name(channels)}. Give every example the same channels."
            )
        num_missing = 0 if channels is None else int(np.isnan(record.value).sum())
        if num_missing:
            gaps.add(record.place, num_missing)
        places.setdefault(record.label, record.place)
        numbers.append(number)
        labels.append(names.setdefault(record.label, len(names)))
        lengths.append(len(record.value))
        num_missing_of.append(num_missing)
    total = len(numbers) + empty.examples + unlabelled.examples
    if missing == "fail":
        what = "text" if kind is None or kind[0] is None else "step"
        for problem, wanted, remedy in (
            (empty, f"at least one {what} in every example", "leaves them out"),
            (unlabelled, "a label for every example", "leaves them out"),
            (gaps, "a number at every step", "carries the last value forward"),
        ):
            problem.check(records.where, total, wanted, remedy)
    if not numbers:
        raise DataError(
            f"{records.where}: expected labelled examples, got none. Name a file that has some."
        )
    return Survey(
        records=records,
        numbers=np.asarray(numbers),
        labels=np.asarray(labels),
        lengths=np.asarray(lengths),
        missing=np.asarray(num_missing_of),
        names=tuple(names),
        num_channels=kind[0] if kind else None,
        left_out=empty.examples + unlabelled.examples,
        first_place=places,
    )


class _Problem:
    """Something that is wrong with examples: how often, and where first."""

    def __init__(self) -> None:
        self.examples = self.values = 0
        self.first = ""

    def add(self, place: str, values: int = 0) -> None:
        self.first = self.first or place
        self.examples += 1
        self.values += values

    def check(self, where: str, total: int, wanted: str, remedy: str) -> None:
        if self.examples:
            what = f"{self.values:,} missing in" if self.values else "none in"
            raise DataError(
                f"{where}: expected {wanted}, got {what} {self.examples:,} of {total:,}, the first "
                f"at {self.first}. Correct them, or use {argument('missing=fill')}, which {remedy}."
            )


def kind_name(num_channels: int | None) -> str:
    """What examples with so many channels are called in messages."""
    return "a text" if num_channels is None else f"a series of {num_channels} channels"
