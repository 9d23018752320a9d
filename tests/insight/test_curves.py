"""Curves of comparisons: every shape is drawn without a warning, and the axis spans the curves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recurra.insight import curves, draw_comparison
from recurra.training import Outcome, Point, Trial

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

SHAPES: dict[str, Callable[[float], float]] = {
    "a band far above what is solved": lambda share: 0.095 - 0.03 * share,
    "many decades": lambda share: 0.17 * 10 ** (-6 * share),
    "down to zero": lambda share: max(0.0, 0.5 - share),
    "always the same": lambda share: 0.25,
    "never finite": lambda share: float("nan"),
}


def outcomes(shape: Callable[[float], float], cells: int, points: int) -> list[Outcome]:
    return [
        Outcome(
            trial=Trial(task="adding", cell=f"cell_{cell}", hidden_size=3, seed=seed),
            parameters=1,
            points=tuple(
                Point(step=i, seconds=0.1 * i, loss=None, score=shape(i / max(1, points - 1)))
                for i in range(points)
            ),
            status="ended",
        )
        for cell in range(cells)
        for seed in range(2)
    ]


@pytest.mark.medium
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("cells", "points"), [(1, 1), (3, 20)])
def test_every_shape_is_drawn(shape: str, cells: int, points: int, tmp_path: Path) -> None:
    drawn = outcomes(SHAPES[shape], cells, points)
    path = draw_comparison(
        drawn, tmp_path / "a.svg", title="$x_{", measure="mse", baseline=1 / 6, solved=1e-3
    )
    assert "<svg" in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.medium
def test_many_cells_and_a_long_title_leave_room_for_the_curves(tmp_path: Path) -> None:
    drawn = outcomes(SHAPES["many decades"], 40, 2)
    title = "text:path=" + "long/" * 60
    path = draw_comparison(
        drawn, tmp_path / "a.svg", title=title, measure="nll", baseline=3.0, solved=None
    )
    assert path.is_file()


@pytest.mark.parametrize(
    ("scores", "baseline", "solved", "shown"),
    [
        ((0.0945, 0.06), 0.0945, 1e-3, {0.0945}),
        ((0.2, 1e-4), 1 / 6, 1e-3, {1 / 6, 1e-3}),
        ((0.2, 2e-3), 1 / 6, 1e-3, {1 / 6, 1e-3}),
        ((0.5, 0.0), 0.5, 0.0, {0.5, 0.0}),
        ((0.02, 0.01), 0.5, 0.0, set()),
    ],
)
def test_the_axis_spans_the_curves_and_the_levels_near_them(
    scores: tuple[float, float], baseline: float, solved: float, shown: set[float]
) -> None:
    scale, low, high = curves._span(np.array([*scores, np.nan]), baseline)
    assert (low, high) == (min(scores), max(scores))
    bottom, top = curves._with_near(low, high, (baseline, solved), scale)
    assert bottom < low
    assert top > high
    assert {level for level in (baseline, solved) if bottom <= level <= top} == shown
    if not shown & {solved}:
        assert bottom > 0.5 * low  # no empty room
