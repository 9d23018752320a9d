"""Curves of a comparison: the score by step and by second, of every seed and every cell."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

_STYLES = ("-", "--", ":", "-.")
_LEGEND_COLUMNS = 4


@runtime_checkable
class Drawable(Protocol):
    """What is drawn of a trial; an `Outcome` is one."""

    @property
    def trial(self) -> Any:
        """Its settings: cell and task."""
        ...

    @property
    def points(self) -> Sequence[Any]:
        """Its curve: step, seconds and score of each."""
        ...


def draw_comparison(
    outcomes: Sequence[Drawable],
    path: Path,
    *,
    title: str,
    measure: str,
    baseline: float | None,
    solved: float | None,
) -> Path:
    """Draw the curves of all trials into `path`, as the format that its suffix names.

    A thin line is a trial, a thick one the median of a cell's trials, of which those that have
    ended keep their last score. The axis spans the curves. A level that lies far from all of them
    is named at the edge on its side, and no room is left empty to reach it.

    Args:
        outcomes: what is drawn.
        path: where to.
        title: what stands above, such as the task.
        measure: what the score is.
        baseline: the score of remembering nothing, a dotted line; None: it is not known.
        solved: the score down to which the task is solved, a dotted line; None: there is none.

    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    cells = list(dict.fromkeys(outcome.trial.cell for outcome in outcomes))
    legend_rows = -(-len(cells) // _LEGEND_COLUMNS)
    figure = Figure(figsize=(11, 4.2 + 0.2 * legend_rows), layout="constrained")
    axes = list(figure.subplots(1, 2, sharey=True))
    scores = np.array([point.score for outcome in outcomes for point in outcome.points])
    scale, low, high = _span(scores, baseline)
    for ax, quantity, label in zip(axes, ("step", "seconds"), ("steps", "seconds"), strict=True):
        ax.set_yscale(scale)
        for index, cell in enumerate(cells):
            own = [outcome for outcome in outcomes if outcome.trial.cell == cell]
            colour = f"C{index % 10}"
            style = _STYLES[index // 10 % len(_STYLES)]
            for outcome in own:
                at = [getattr(point, quantity) for point in outcome.points]
                ax.plot(
                    at,
                    [point.score for point in outcome.points],
                    style,
                    color=colour,
                    alpha=0.25,
                    linewidth=0.8,
                )
            at, middle = _median(own, quantity)
            marker = "." if at[-1] == 0 else None  # a line of no length would not be seen
            ax.plot(at, middle, style, color=colour, linewidth=1.8, label=cell, marker=marker)
        ax.set_xlabel(label)
        ax.grid(alpha=0.25)
        if scale == "log":
            subs = (1.0,) if high > 300 * low else (1.0, 2.0, 5.0)
            ax.yaxis.set_major_locator(LogLocator(subs=subs))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
    known = {"remembering nothing": baseline, "solved": solved}
    levels = {name: level for name, level in known.items() if level is not None}
    low, high = _with_near(low, high, levels.values(), scale)
    axes[0].set_ylim(low, high)
    for meaning, level in levels.items():
        _mark(axes, meaning, level, low, high)
    axes[0].set_ylabel(f"{measure}, validation")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=_LEGEND_COLUMNS,
        frameon=False,
        fontsize=8,
    )
    figure.suptitle(_shortened(title).replace("$", r"\$"), fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    figure.savefig(part)
    part.replace(path)
    return path


def _span(scores: np.ndarray, baseline: float | None) -> tuple[str, float, float]:
    """The scale of the scores' axis, and where the curves begin and end on it."""
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return "linear", baseline or 0.0, baseline or 0.0
    low, high = float(finite.min()), float(finite.max())
    return "log" if low > 0 and high > 3 * low else "linear", low, high


def _with_near(low: float, high: float, levels: Iterable[float], scale: str) -> tuple[float, float]:
    """The limits of the axis: a little more than the curves, and the levels that are near them."""
    to, back = (np.log, np.exp) if scale == "log" else (float, float)
    bottom, top = to(low), to(high)
    room = max(0.5 * (top - bottom), 0.05 * abs(top), 1e-9)
    near = [to(level) for level in levels if level > 0 or scale == "linear"]
    near = [level for level in near if bottom - room <= level <= top + room]
    bottom, top = min([bottom, *near]), max([top, *near])
    margin = max(0.06 * (top - bottom), 0.01 * abs(top), 1e-9)
    return float(back(bottom - margin)), float(back(top + margin))


def _mark(axes: Sequence[Any], meaning: str, level: float, low: float, high: float) -> None:
    """A line at the level, named in the margin where no curve is; or, far off, the name alone."""
    margin = {"color": "0.3", "fontsize": 7, "annotation_clip": False}
    if low <= level <= high:
        for ax in axes:
            ax.axhline(level, color="0.4", linestyle=":", linewidth=1.0)
        place = {"xycoords": ("axes fraction", "data"), "va": "center"}
        axes[-1].annotate(f"{meaning}\n{level:.3g}", (1.015, level), **place, **margin)
        return
    above = level > high
    place = {"xycoords": "axes fraction", "va": "top" if above else "bottom"}
    said = f"{meaning}:\n{'above' if above else 'below'}, {level:.3g}"
    axes[-1].annotate(said, (1.015, 1.0 if above else 0.0), **place, **margin)


def _shortened(title: str, most: int = 100) -> str:
    """A long title without its middle."""
    half = most // 2
    return title if len(title) <= most else f"{title[:half]} ... {title[-half:]}"


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
