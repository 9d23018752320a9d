"""Drawings of two lessons in docs/insight.md: the cliff, and the bounds of the theorem.

`python -m benchmarks.draw_insight` draws both in seconds.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recurra.insight import cliff_descents, cliff_surface, counterexample, style
from recurra.insight.landscape import figure_of_surface
from recurra.insight.report.rendering import svg_file
from recurra.insight.spectrum_figures import draw_counterexample

FOLDER = Path(__file__).parents[1] / "docs/figures"
_POINTS = 101  # of the surface, along each direction


def _cliff(figure: Any) -> None:
    free, clipped = cliff_descents()
    paths = {"as it is": free, f"clipped at {clipped.max_norm:g}": clipped}
    drawing = figure_of_surface(cliff_surface(points=_POINTS), paths).draw
    assert drawing is not None
    drawing(figure)


def _theorem(figure: Any) -> None:
    case = counterexample(1.5)
    panels = {"from near zero, no input": case.exploding, "units saturated": case.saturated}
    draw_counterexample(panels, style.panels(figure, len(panels), height=2.8))


def _write(name: str, draw: Callable[[Any], None]) -> None:
    file = FOLDER / f"{name}.svg"
    file.write_text(svg_file(draw, name), "utf-8")
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    _write("cliff", _cliff)
    _write("theorem", _theorem)
