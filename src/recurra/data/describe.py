"""What was read, in numbers: printed before training and kept in the run's config.json."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

_MOST_CLASSES = 20  # that a table shows


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDescription:
    """One part of the data.

    Attributes:
        name: "train", "val" or "test".
        where: the file or folder that it was read from.
        count: its examples.
        lengths: the shortest, the median and the longest example.
        classes: how many examples each class has.
        missing: values that were missing and are filled.
        left_out: examples without a text, a step or a label.
    """

    name: str
    where: str
    count: int
    lengths: tuple[int, float, int]
    classes: dict[str, int]
    missing: int = 0
    left_out: int = 0

    @classmethod
    def of(
        cls,
        name: str,
        where: str,
        lengths: np.ndarray,
        labels: Sequence[str],
        *,
        missing: int = 0,
        left_out: int = 0,
    ) -> "PartDescription":
        """That of examples of these lengths and classes."""
        return cls(
            name=name,
            where=where,
            count=len(labels),
            lengths=(int(lengths.min()), float(np.median(lengths)), int(lengths.max())),
            classes=dict(Counter(labels)),
            missing=missing,
            left_out=left_out,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDescription:
    """All parts of labelled data; `rich` prints it as a table.

    Attributes:
        parts: training, validation and test.
        classes: their names, class 0 first.
        unit: what lengths are counted in: "characters", "words", "steps".
        num_channels: of series; None of texts.
        notes: how the data were read.
        beside: files that lie beside the data and were not read.
    """

    parts: tuple[PartDescription, ...]
    classes: tuple[str, ...]
    unit: str
    num_channels: int | None = None
    notes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def to_config(self) -> dict[str, Any]:
        """Everything in it, as JSON types."""
        return asdict(self)

    def __rich__(self) -> Group:
        """A table with a column for each part, and the notes below it."""
        table = Table(box=None, pad_edge=False)
        table.add_column("")
        for part in self.parts:
            table.add_column(part.name, justify="right")
        rows = {
            "examples": [f"{part.count:,}" for part in self.parts],
            f"{self.unit}, shortest": [f"{part.lengths[0]:,}" for part in self.parts],
            f"{self.unit}, median": [f"{part.lengths[1]:,g}" for part in self.parts],
            f"{self.unit}, longest": [f"{part.lengths[2]:,}" for part in self.parts],
        }
        for name in self.classes[:_MOST_CLASSES]:
            rows[f"class {name}"] = [f"{part.classes.get(name, 0):,}" for part in self.parts]
        for title, field in (("values missing", "missing"), ("left out", "left_out")):
            numbers = [getattr(part, field) for part in self.parts]
            if any(numbers):
                rows[title] = [f"{number:,}" for number in numbers]
        for title, cells in rows.items():
            table.add_row(title, *cells)
        return Group(table, *(Text(line) for line in self._lines()))

    def _lines(self) -> list[str]:
        """What stands below the table."""
        lines = [*self.notes]
        if len(self.classes) > _MOST_CLASSES:
            lines.append(f"{len(self.classes) - _MOST_CLASSES} more classes")
        if self.num_channels is not None:
            lines.append(f"{self.num_channels} channels")
        if self.beside:
            more = f" and {len(self.beside) - 5} more" if len(self.beside) > 5 else ""
            lines.append(f"not read: {', '.join(self.beside[:5])}{more}")
        return lines
