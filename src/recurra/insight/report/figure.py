"""A figure of a report: a drawing or a text, what to look for in it, and what was found."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A text whose tokens are coloured, such as by what a neuron does at each.

    Attributes:
        text: its tokens, in order; together they are the text.
        values: one for each token, from -1 (red) over 0 (no colour) to 1 (blue); None: no colours.
        title: a line above it.
    """

    text: Sequence[str]
    values: Sequence[float] | None = None
    title: str = ""

    def __post_init__(self) -> None:
        if self.values is not None and len(self.values) != len(self.text):
            raise ValueError(
                f"values: expected one for each of {len(self.text)} tokens, got "
                f"{len(self.values)}. Give as many."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of a report.

    Attributes:
        name: of its files: letters, digits and underscores.
        title: a few words above it.
        lede: one sentence that says what to look for.
        found: one sentence that says what was found in this run.
        draw: draws on a figure of matplotlib, which has a width (`style.WIDE` or `style.NARROW`)
            and takes the height that it needs, as `style.panels` does; called with the style set.
            One that sets a width of its own is shown at that. None: nothing is drawn.
        table: columns of numbers or words, each a sequence, for the CSV: those that were drawn.
        passages: texts that are shown below the drawing, or in its place.
        beside: makes one figure of this one and those of other runs, of the same name, by the names
            of the runs; None: each is shown by itself.
        numbers: what `beside` reads of each.
    Raises:
        ValueError: when the name is none of a file, or there is nothing to show.
    """

    name: str
    title: str
    lede: str
    found: str
    draw: Callable[[Any], object] | None = None
    table: Mapping[str, Any] = field(default_factory=dict)
    passages: Sequence[Passage] = ()
    beside: "Callable[[Mapping[str, Any]], Figure] | None" = None
    numbers: Any = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"name: expected small letters, digits and underscores, got {self.name!r}. "
                "Choose such a name."
            )
        if self.draw is None and not self.passages:
            raise ValueError(f"{self.name}: expected a drawing or a passage, got neither.")

    def csv(self) -> str:
        """The table as CSV, numbers with six digits; short columns end in empty fields."""
        import csv

        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.table)
        columns = [list(column) for column in self.table.values()]
        for row in range(max(map(len, columns), default=0)):
            cells = [column[row] if row < len(column) else "" for column in columns]
            writer.writerow([spelled(cell) for cell in cells])
        return file.getvalue()


def spelled(value: Any) -> str:
    """A number with six digits, anything else as it is; nothing for None and for what is no
    number."""
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    if math.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else f"{number:.6g}"
