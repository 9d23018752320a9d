"""Curves of a comparison: the score by step and by second, of every seed and every cell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Drawable(Protocol):
    """What is drawn of a trial; `recurra.training.Outcome` is one."""

    @property
    def trial(self) -> Any:
        """Its settings: cell and task."""
        ...

    @property
    def points(self) -> Sequence[Any]:
        """Its curve: step, seconds and score of each."""
        ...


def draw_comparison(
    outcomes: Sequence[Drawable], path: Path, *, measure: str, baseline: float, solved: float
) -> Path:
    """Draw the curves of all trials into `path`, as the format that its suffix names.

    A thin line is a trial, a thick one the median of a cell's trials, of which those that have
    ended keep their last score.

    Args:
        outcomes: what is drawn.
        path: where to.
        measure: what the score is.
        baseline: the score of remembering nothing, a dotted line.
        solved: the score below which the task is solved, a dotted line.

    Raises:
        ModuleNotFoundError: without matplotlib (`pip install recurra[compare]`).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    cells = list(dict.fromkeys(outcome.trial.cell for outcome in outcomes))
    for ax, quantity, label in zip(axes, ("step", "seconds"), ("steps", "seconds"), strict=True):
        for index, cell in enumerate(cells):
            own = [outcome for outcome in outcomes if outcome.trial.cell == cell]
            colour = f"C{index % 10}"
            style = "-" if index < 10 else "--"
            for outcome in own:
                at = [getattr(point, quantity) for point in outcome.points]
                scores = [point.score for point in outcome.points]
                ax.plot(at, scores, style, color=colour, alpha=0.25, linewidth=0.8)
            at, middle = _median(own, quantity)
            ax.plot(at, middle, style, color=colour, linewidth=1.8, label=cell)
        for level, meaning, side in _levels(baseline, solved):
            ax.axhline(level, color="0.4", linestyle=":", linewidth=1.0)
            where = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": side}
            ax.annotate(meaning, (0.99, level), color="0.3", fontsize=7, **where)
        ax.set_xlabel(label)
        ax.set_yscale("log")
        ax.grid(alpha=0.25)
    axes[0].set_ylabel(measure)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8
    )
    if outcomes:
        figure.suptitle(outcomes[0].trial.task)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    figure.savefig(part)
    part.replace(path)
    return path


def _levels(baseline: float, solved: float) -> tuple[tuple[float, str, str], ...]:
    """What is marked, what it is called, and on which side of its line: curves lie on the first."""
    return (baseline, "remembering nothing", "top"), (solved, "solved", "bottom")


def _median(own: Sequence[Drawable], quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """The median curve; a trial that has ended keeps its last score."""
    curves = [
        (
            np.array([getattr(point, quantity) for point in outcome.points], dtype=float),
            np.array([point.score for point in outcome.points]),
        )
        for outcome in own
    ]
    stop = max(at[-1] for at, _ in curves)
    grid = np.linspace(0.0, stop, 100)
    return grid, np.median([np.interp(grid, at, scores) for at, scores in curves], axis=0)
