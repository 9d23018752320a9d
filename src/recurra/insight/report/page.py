"""A report: figures in one file of HTML that needs no other, and their files beside it on request.

The page asks nothing of the network, which its own policy of content forbids it. Each drawing is in
it twice, for a wide window and for a phone.
"""

import base64
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from recurra.files import write_atomically
from recurra.insight.report.figure import Figure, Passage, spelled
from recurra.insight.report.folder import check_figures, write_figures
from recurra.insight.report.rendering import Drawing, drawn, png, svg_file, variables
from recurra.insight.style import NARROW, WIDE

_HERE = "recurra.insight.report"
_SHOWN_ROWS = 12  # of a table, in the page
_MOST_CSV = 150_000  # bytes of a table that the page brings with it
_SHADES = 8  # of a passage's colours, on each side
_LEAST_SHARE = 0.62  # of its size to which a drawing that has a width of its own is made smaller
_PIXELS = 96  # of CSS, an inch
_OURS = re.compile(rb'<meta name="generator" content="recurra">')
_HEAD = 4096  # bytes of a page among which that stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Figures with a heading.

    Attributes:
        title: of the page.
        figures: in order: the first is the one to look at first.
        subtitle: a line below the title.
        facts: below it, a label and a value each; where there are columns, a value for each.
        columns: names of what is compared; none where a report is of one thing.
        notes: sentences at the end, such as what was left out and why.
    """

    title: str
    figures: Sequence[Figure]
    subtitle: str = ""
    facts: Sequence[Sequence[str]] = ()
    columns: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = [each.name for each in self.figures]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"figures: expected a name for each alone, got {', '.join(twice)} more than once."
            )

    def html(self) -> str:
        """The page.

        Raises:
            ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
        """
        from jinja2 import Environment
        from markupsafe import Markup

        def resource(name: str) -> Markup:
            return Markup(files(_HERE).joinpath(name).read_text("utf-8"))

        page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
            str(resource("page.html"))
        )
        return page.render(
            report=self,
            shown=[_shown(each) for each in self.figures],
            variables=Markup(variables()),
            css=Markup(f"{resource('page.css')}{_shades()}"),
            script_first=resource("first.js"),
            script=resource("page.js"),
            made=f"Made by recurra on {time.strftime('%Y-%m-%d at %H:%M')}.",
        )

    def write(self, path: Path, figures: Path | None = None) -> Path:
        """Write the page, and on request the figures by themselves.

        Args:
            path: of the page.
            figures: a folder for an SVG, a PNG and a CSV of each figure, by its name.
        Raises:
            ValueError: when that folder holds pictures or tables of somebody else.
            CheckpointError: when something cannot be written.
        """
        if figures is not None:
            check_figures(figures)
        page = self.html()
        write_atomically(path, lambda part: part.write_text(page, "utf-8", "xmlcharrefreplace"))
        if figures is not None:
            write_figures(figures, (file for each in self.figures for file in files_of(each)))
        return path


def other_than_report(path: Path) -> str | None:
    """What is at a path that a report must not take the place of, in words; None where there is
    nothing, an empty file or an older report."""
    if path.is_symlink():
        return "a symbolic link"
    if not path.exists():
        return None
    if not path.is_file():
        return "no file"
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return None if not head or _OURS.search(head) else "a page that is none"


def files_of(figure: Figure) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files of a figure: SVG and PNG of its drawing, CSV of its table."""
    if figure.draw is not None:
        yield f"{figure.name}.svg", svg_file(figure.draw, figure.name).encode()
        yield f"{figure.name}.png", png(figure.draw)
    if figure.table:
        yield f"{figure.name}.csv", figure.csv().encode("utf-8", "replace")


# ---- what the template shows ---------------------------------------------------------------------


def _shown(figure: Figure) -> dict[str, Any]:
    return {
        "figure": figure,
        "drawings": _drawings(figure),
        "passages": [{"title": each.title, "runs": _runs(each)} for each in figure.passages],
        "table": _table(figure) if figure.table else None,
    }


def _drawings(figure: Figure) -> list[dict[str, Any]]:
    """For a wide window and for a phone; once for both, where it has a width of its own."""
    if figure.draw is None:
        return []
    wide = drawn(figure.draw, figure.name, WIDE)
    if wide.width != WIDE:
        return [_placed(wide, "both")]
    narrow = drawn(figure.draw, f"{figure.name}-narrow", NARROW)
    if narrow.width != NARROW:
        return [_placed(wide, "both")]
    return [_placed(wide, "wide"), _placed(narrow, "narrow")]


def _placed(drawing: Drawing, kind: str) -> dict[str, Any]:
    from markupsafe import Markup

    style = f"max-width:{_PIXELS * 1.15 * drawing.width:.0f}px"
    if kind == "both":
        style += f";min-width:{_PIXELS * _LEAST_SHARE * drawing.width:.0f}px"
    return {"svg": Markup(drawing.svg), "kind": kind, "style": style, "scrolls": kind == "both"}


def _table(figure: Figure) -> dict[str, Any]:
    columns = [list(column) for column in figure.table.values()]
    count = max(map(len, columns), default=0)
    rows = [
        [spelled(column[row]) if row < len(column) else "" for column in columns]
        for row in range(min(count, _SHOWN_ROWS))
    ]
    csv = figure.csv().encode("utf-8", "replace")
    encoded = base64.b64encode(csv).decode("ascii") if len(csv) <= _MOST_CSV else ""
    href = f"data:text/csv;charset=utf-8;base64,{encoded}" if encoded else ""
    names = list(figure.table)
    return {"names": names, "rows": rows, "left_out": count - len(rows), "href": href}


def _runs(passage: Passage) -> list[tuple[str, str]]:
    """Stretches of one shade, with its class; "" is no shade."""
    found: list[tuple[str, str]] = []
    values = passage.values if passage.values is not None else [0.0] * len(passage.text)
    for token, value in zip(passage.text, values, strict=True):
        # what is no number has no colour
        level = 0 if math.isnan(value) else round(_SHADES * min(1.0, max(-1.0, float(value))))
        shade = "" if level == 0 else f"{'a' if level > 0 else 'b'}{abs(level)}"
        if found and found[-1][0] == shade:
            found[-1] = (shade, found[-1][1] + token)
        else:
            found.append((shade, token))
    return found


def _shades() -> str:
    """CSS of the colours of passages: a1 to a8 above zero, b1 to b8 below."""
    return "".join(
        f".{side}{level}{{background:color-mix(in srgb,var(--series-{series}) "
        f"{round(62 * level / _SHADES)}%,transparent)}}"
        for side, series in (("a", 0), ("b", 1))
        for level in range(1, _SHADES + 1)
    )
