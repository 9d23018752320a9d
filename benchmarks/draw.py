"""Draws docs/figures/speed.svg from the first table of docs/speed.md: python -m benchmarks.draw."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "speed.md"
FIGURE = PAGE.parent / "figures" / "speed.svg"

_WIDTH, _LABELS, _ROW, _TOP, _BOTTOM = 850, 480, 24, 34, 24
_TICKS = (1, 2, 5, 10, 20)
_GREY, _INK, _BAR, _MORE = "#858d9b", "#6b7382", "#3d7ab8", "#9cc0e2"  # read on white and black


@dataclass(frozen=True, slots=True)
class Bar:
    """How many times faster `what` is `than`, from the least to the most."""

    what: str
    than: str
    low: float
    high: float
    text: str


def bars(page: str) -> list[Bar]:
    """The rows of the page's first table."""
    row = re.compile(r"\| ([^|]+) \| ([\d.]+)(?: to ([\d.]+))? \| ([^|]+) \| `\w+` \|")
    found = (row.fullmatch(line) for line in page.splitlines())
    return [_bar(*match.groups()) for match in found if match]


def _bar(what: str, low: str, high: str | None, than: str) -> Bar:
    text = low if high is None else f"{low} to {high}"
    return Bar(what, than, float(low), float(high or low), text)


def drawn(rows: list[Bar]) -> str:
    """The chart as SVG: a bar a row on a logarithmic axis that starts at "as fast"."""
    return "\n".join((*_lines(rows), "</svg>", ""))


def _lines(rows: list[Bar]) -> Iterator[str]:
    bottom = _TOP + _ROW * len(rows)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + _BOTTOM}" '
        f'font-family="sans-serif" font-size="13" fill="{_INK}">'
    )
    yield f'<text x="{_LABELS}" y="18" font-weight="bold">times faster on a CPU</text>'
    for tick in _TICKS:
        x = _place(tick)
        yield f'<path d="M{x:.0f} {_TOP - 6}V{bottom}" stroke="{_GREY}" stroke-width="0.5"/>'
        yield f'<text x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">{tick}x</text>'
    for index, bar in enumerate(rows):
        middle = _TOP + _ROW * (index + 0.5)
        least, most = _place(bar.low), _place(bar.high)
        yield (
            f'<text x="{_LABELS - 10}" y="{middle + 4.5:g}" text-anchor="end">'
            f'{escape(bar.what)} <tspan fill="{_GREY}">vs {escape(bar.than)}</tspan></text>'
        )
        for start, end, fill in ((_place(1), least, _BAR), (least, most, _MORE)):
            if end > start:
                yield (
                    f'<rect x="{start:.1f}" y="{middle - 7:g}" width="{end - start:.1f}" '
                    f'height="14" fill="{fill}"/>'
                )
        yield f'<text x="{most + 6:.1f}" y="{middle + 4.5:g}">{bar.text}</text>'


def _place(times: float) -> float:
    """Where a ratio stands on the axis."""
    return _LABELS + (_WIDTH - _LABELS - 60) * math.log(times) / math.log(_TICKS[-1])


if __name__ == "__main__":
    FIGURE.write_text(drawn(bars(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")
