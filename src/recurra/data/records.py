"""Labelled examples as their files hold them, before anything is encoded.

A reader can be gone through as often as anyone likes, and holds one record at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recurra.errors import DataError
from recurra.models.scaling import as_series

NUM_NAMED = 5  # things that a message names before it counts the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One example as it was read.

    Attributes:
        value: a text, or the words of one; a series [T, I] float32, NaN where a value is missing;
            or a `Series` to forecast, with what is known beside it.
        label: the name of its class, "" where there is none.
        place: for messages, where it stands: "reviews.tsv, line 7".
        others: of a row of a table without labels, its other cells by the names of their columns.
        written: as its file has it, where what is said of it may be written in the same form.
    """

    value: Any
    label: str
    place: str
    others: Mapping[str, Any] | None = None
    written: Any = None


class Records(ABC):
    """The records of a file, a folder or lists of Python.

    Attributes:
        where: the name of it, for messages.
        notes: how it was read, a sentence each: "columns: text, label".
        left_out: what lies beside the data and was not read.
        classes: the classes that the file itself declares, in its order; None where it does not.
        channels: names of a series' channels, once a record was read; None where there are none.
        others: names of the columns that each record has the cells of in its `others`.
    """

    where: str
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    others: tuple[str, ...] = ()

    @abstractmethod
    def __iter__(self) -> Iterator[Record]:
        """The records, in the order of the file.

        Raises:
            DataError: where the file is not what its format wants, naming the line.
        """


class GivenRecords(Records):
    """Examples that are in memory already: texts, or arrays as scikit-learn has them."""

    def __init__(self, values: Any, labels: Any, where: str = "data") -> None:
        """Take the lists as they are.

        Args:
            values: N texts; or N series, each [T, I] or [T]; in a list, an array, a tensor or a
                column of pandas.
            labels: N names or numbers of classes, likewise.
            where: what errors call them.
        Raises:
            DataError: when there are not as many labels as examples.
        """
        if isinstance(values, str) or len(values) != len(labels):
            raise DataError(
                f"{where}: expected a label for each of {len(values)} examples, got "
                f"{len(labels)}. Give a list of examples and one of labels, of one length."
            )
        self.values, self.labels, self.where = values, labels, where

    def __iter__(self) -> Iterator[Record]:
        for n, (value, label) in enumerate(zip(self.values, self.labels, strict=True)):
            place = f"{self.where}, example {n}"
            read = value.strip() if isinstance(value, str) else as_series(value, place)
            yield Record(value=read, label=label_name(label), place=place)


class SeveralRecords(Records):
    """Several files as if they were one, in the order given."""

    def __init__(self, parts: Sequence[Records]) -> None:
        """Take the readers, one or more."""
        self.parts = parts
        self.where = named(part.where for part in parts)
        self.notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
        self.left_out = tuple(dict.fromkeys(one for part in parts for one in part.left_out))

    def __iter__(self) -> Iterator[Record]:
        for part in self.parts:
            yield from part
        self.channels = self.parts[0].channels


def label_name(label: Any) -> str:
    """The name of a class that a file or a program gives as a string, a number or a truth value."""
    if hasattr(label, "item"):  # of numpy and torch
        label = label.item()
    if label is None or (isinstance(label, float) and np.isnan(label)):
        return ""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label).strip()


def named(things: Iterable[str]) -> str:
    """Some of the names, and how many more there are."""
    names = list(things)
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more
