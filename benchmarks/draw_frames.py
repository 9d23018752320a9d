"""Draws what docs/frames.md shows: python -m benchmarks.draw_frames [RUNS]

figures/frames_noise.svg is drawn from the page's table of errors over noise. With a folder of runs,
as `python -m benchmarks frames --runs RUNS` leaves it, the timelines of each world are drawn as
well: clips with their frames, what is true and what was said.
"""

import io
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "frames.md"
FOLDER = PAGE.parent / "figures"
FIGURE = FOLDER / "frames_noise.svg"
TIMELINES = {"gestures": "gestures", "eyes": "eyes", "stick-figures": "stick_figures"}
CLIPS = {"gestures": 3, "eyes": 1, "stick-figures": 2}  # that are shown

_PANEL, _APART, _HEIGHT, _TOP = 240, 60, 150, 54
_GREY, _INK, _LINE = "#858d9b", "#6b7382", "#3d7ab8"  # read on white and black


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure at each amount of noise, with recurrence and of single frames."""

    what: str
    noises: tuple[float, ...]
    ours: tuple[float, ...]
    single: tuple[float, ...]


# ---- errors over noise ---------------------------------------------------------------------------


def curves(page: str) -> list[Curve]:
    """The rows of the page's table that begins with noise, two by two."""
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in page.splitlines()
        if re.match(r"\| [^|]+(\| [\d.]+ )+\|$", line)
    ]
    (_, *noises), *others = rows
    found = []
    for (what, *ours), (_, *single) in zip(others[::2], others[1::2], strict=True):
        found.append(Curve(what, *(tuple(map(float, each)) for each in (noises, ours, single))))
    return found


def drawn(found: Sequence[Curve]) -> str:
    """The curves as SVG, a panel for each."""
    return "\n".join((*_lines(found), "</svg>", ""))


def _lines(found: Sequence[Curve]) -> Iterator[str]:
    width = len(found) * (_PANEL + _APART)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_TOP + _HEIGHT + 42}" '
        f'font-family="sans-serif" font-size="13" fill="{_INK}">'
    )
    for number, curve in enumerate(found):
        yield from _panel(curve, number * (_PANEL + _APART) + _APART - 24)


def _panel(curve: Curve, left: float) -> Iterator[str]:
    bottom = _TOP + _HEIGHT
    least, most = min(curve.noises), max(curve.noises)
    step = _step(max(*curve.ours, *curve.single))
    high = step * (1 + int(max(*curve.ours, *curve.single) / step))

    def x(noise: float) -> float:
        return left + 6 + (_PANEL - 24) * (noise - least) / (most - least)

    def y(value: float) -> float:
        return bottom - _HEIGHT * value / high

    yield f'<text x="{left:g}" y="18" font-weight="bold">{escape(curve.what)}</text>'
    for tick in range(int(high / step) + 1):
        value = tick * step
        yield (
            f'<path d="M{left:g} {y(value):.1f}h{_PANEL - 12}" stroke="{_GREY}" '
            f'stroke-width="0.4"/>'
            f'<text x="{left - 6:g}" y="{y(value) + 4.5:.1f}" text-anchor="end">{value:g}</text>'
        )
    for noise in curve.noises:
        yield f'<text x="{x(noise):.1f}" y="{bottom + 18}" text-anchor="middle">{noise:g}</text>'
    yield (
        f'<text x="{left + _PANEL / 2 - 6:g}" y="{bottom + 36}" text-anchor="middle">noise</text>'
    )
    lines = (("with recurrence", curve.ours, _LINE), ("single frames", curve.single, _GREY))
    for place, (name, values, colour) in enumerate(lines):
        points = " ".join(
            f"{x(noise):.1f},{y(value):.1f}"
            for noise, value in zip(curve.noises, values, strict=True)
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for noise, value in zip(curve.noises, values, strict=True):
            yield f'<circle cx="{x(noise):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>'
        at = left + place * _PANEL / 2  # in a row of their own, where no line crosses them
        yield (
            f'<path d="M{at:g} 34h14" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{at + 19:g}" y="38" fill="{colour}">{name}</text>'
        )


def _step(most: float) -> float:
    """Between ticks, so that there are three to six of them."""
    for step in (1, 2, 5, 10, 20, 25):
        if most / step < 6:
            return step
    return 50


# ---- timelines -----------------------------------------------------------------------------------


def draw_timelines_of(runs: Path, folder: Path = FOLDER) -> Iterator[Path]:
    """The timelines of each world's run, of the test part, as small pictures."""
    from PIL import Image

    import recurra as rc
    from recurra.insight import timelines_png

    for name, file in TIMELINES.items():
        run = rc.Run.open(runs / name)
        clips = run.task.timelines(run.model.eval(), "test", CLIPS[name])  # pyright: ignore
        picture = Image.open(io.BytesIO(timelines_png(clips))).convert("RGB").quantize(64)
        path = folder / f"{file}_timeline.png"
        picture.save(path, optimize=True)
        yield path


def main() -> None:
    """Draw."""
    FIGURE.write_text(drawn(curves(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")
    print(FIGURE)
    for folder in sys.argv[1:]:
        for path in draw_timelines_of(Path(folder)):
            print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
