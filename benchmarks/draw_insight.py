"""Drawings of the lessons in docs/insight.md: the cliff, the bounds of the theorem, and what a
flip-flop holds.

`python -m benchmarks.draw_insight` draws all; for the last one it trains a network for a minute.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.fixed_points import SEEDS, Memories, memories_of
from recurra.insight import cliff_descents, cliff_surface, counterexample, style
from recurra.insight.fixed_points import draw_eigenvalues, draw_fixed_points
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


def _flip_flop(of: Memories) -> Callable[[Any], None]:
    def draw(figure: Any) -> None:
        figure.set_figheight(3.9)
        left = figure.add_subplot(1, 2, 1, projection="3d")
        draw_fixed_points(of.found, of.states, left)
        left.view_init(elev=22, azim=-52)
        for axis in (left.xaxis, left.yaxis, left.zaxis):
            axis.set_pane_color((0, 0, 0, 0))
            axis.set_ticklabels([])
        draw_eigenvalues(of.found, figure.add_subplot(1, 2, 2))

    return draw


def _write(name: str, draw: Callable[[Any], None]) -> None:
    file = FOLDER / f"{name}.svg"
    file.write_text(svg_file(draw, name), "utf-8")
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draw_insight", description=__doc__)
    parser.add_argument("--untrained", action="store_true", help="leave the flip-flop out")
    torch.set_num_threads(1)
    _write("cliff", _cliff)
    _write("theorem", _theorem)
    if not parser.parse_args().untrained:
        _write("flip_flop", _flip_flop(memories_of(SEEDS[0])))
