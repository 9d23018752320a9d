"""How training went: losses, what decides which model is best, and the norm of the gradient.

Letters: N rows of a run's metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from recurra.insight import style
from recurra.insight.clipping import column_of, share_of_steps
from recurra.insight.report.figure import Figure

_MOST_POINTS = 240  # of a line: means of stretches of a longer run
_RISEN = 0.02  # share by which a loss has risen again when a run has begun to learn by heart
_EVEN = 0.005  # share below which two figures are said to be even


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCurves:
    """What a run wrote down of its training; nan where nothing was measured at a step.

    Attributes:
        step: [N].
        seconds: [N] since the run began.
        train: [N] loss in training, the mean since the row before.
        val: [N] the same loss in validation; empty where it is not measured.
        grad_norm: [N] norm of all gradients before clipping, likewise a mean.
        largest: [N] the largest of these norms; nan of runs that did not keep it.
        clipped: [N] share of the steps that clipping changed; likewise.
        loss_name: of the loss, with its unit: "nll", ...
        judge: [N] the figure of validation that decides which model is best.
        judge_name: of it; that of the loss where it is the loss.
        higher_is_better: of it.
        clip_norm: what the norm is clipped to; None: it is not.
        skipped: steps that were skipped because a number was not finite.
        kept: the step whose weights were kept; None where it is that of the best validation.
    """

    step: np.ndarray
    seconds: np.ndarray
    train: np.ndarray
    val: np.ndarray
    grad_norm: np.ndarray
    largest: np.ndarray
    clipped: np.ndarray
    loss_name: str
    judge: np.ndarray
    judge_name: str
    higher_is_better: bool = False
    clip_norm: float | None = None
    skipped: int = 0
    kept: int | None = None

    @property
    def best(self) -> int | None:
        """The row of the validation of what was kept, or else of the best one; None: there was
        none."""
        if self.kept is not None:
            rows = np.flatnonzero((self.step == self.kept) & np.isfinite(self.judge))
            if len(rows):
                return int(rows[0])
        return self.lowest

    @property
    def lowest(self) -> int | None:
        """The row of the best validation; None: there was none."""
        values = self.judge if self.higher_is_better else -self.judge
        if not np.isfinite(values).any():
            return None
        return int(np.nanargmax(np.where(np.isfinite(values), values, -np.inf)))

    @property
    def clipped_share(self) -> float:
        """Share of all steps that clipping changed; 0 where it was not kept."""
        return share_of_steps(self.step, self.clipped) or 0.0

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[Mapping[str, Any]],
        *,
        loss_name: str,
        judge_name: str,
        higher_is_better: bool = False,
        clip_norm: float | None = None,
        kept: int | None = None,
    ) -> "TrainingCurves":
        """Of the rows of a run's metrics.csv; a column that it lacks is nan."""

        column = partial(column_of, rows)
        skipped = column("skipped")
        return cls(
            step=column("step"),
            seconds=column("elapsed_s"),
            train=column(loss_name),
            val=column(f"val_{loss_name}"),
            grad_norm=column("grad_norm"),
            largest=column("grad_norm_max"),
            clipped=column("clipped"),
            loss_name=loss_name,
            judge=column(f"val_{judge_name}"),
            judge_name=judge_name,
            higher_is_better=higher_is_better,
            clip_norm=clip_norm,
            skipped=int(np.nanmax(skipped)) if np.isfinite(skipped).any() else 0,
            kept=kept,
        )


def figure_of_training(runs: Mapping[str, TrainingCurves]) -> Figure:
    """The figure of a report that shows how one run was trained, or several on one scale.

    Args:
        runs: by the name that they are told apart by; one may have any name.
    """
    first = next(iter(runs.values()))
    table: dict[str, Any] = {}
    for name, run in runs.items():
        of = f"{name} " if len(runs) > 1 else ""
        columns = {
            "step": run.step,
            "seconds": run.seconds,
            f"train {run.loss_name}": run.train,
            f"validation {run.loss_name}": run.val,
            f"validation {run.judge_name}": run.judge,
            "gradient norm": run.grad_norm,
            "largest gradient norm": run.largest,
            "share of steps clipped": run.clipped,
        }
        columns = {name: each for name, each in columns.items() if np.isfinite(each).any()}
        table |= {f"{of}{column}": values for column, values in columns.items()}
    several = len(runs) > 1
    lede = (
        "Look for which run is ahead at the same step, and whether it still falls at the end"
        if several
        else "Look for a gap that opens between training and validation"
    )
    return Figure(
        name="training",
        title="Training",
        lede=f"{lede}, and for jumps of the gradient's norm.",
        found=_found_in_several(runs) if several else _found(first),
        draw=lambda figure: draw_training(figure, runs),
        table=table,
    )


def draw_training(figure: Any, runs: Mapping[str, TrainingCurves]) -> None:
    """Draw loss, deciding figure and norm of the gradient by step on a figure of matplotlib."""
    first = next(iter(runs.values()))
    has_judge = any(run.judge_name != run.loss_name for run in runs.values())
    axes = style.panels(figure, 2 + has_judge, height=2.7)
    for number, (name, run) in enumerate(runs.items()):
        of = f"{style.plain(name, 24)}, " if len(runs) > 1 else ""
        own, other = style.colour(number), style.colour(1) if len(runs) == 1 else None
        _line(axes[0], run.step, run.train, f"{of}training", own, linewidth=1.1, alpha=0.75)
        _line(
            axes[0],
            run.step,
            run.val,
            f"{of}validation",
            other or own,
            linestyle="-" if other else "--",
            marker="o",
        )
        if has_judge:
            _line(axes[1], run.step, run.judge, style.plain(name, 24), other or own, marker="o")
        _line(axes[-1], run.step, run.largest, "", own, linewidth=0.8, alpha=0.45)
        _line(axes[-1], run.step, run.grad_norm, style.plain(name, 24), own, linewidth=1.3)
        best = run.best
        if best is not None:
            ax = axes[1] if has_judge else axes[0]
            ax.plot(
                [run.step[best]],
                [run.judge[best]],
                marker="o",
                markersize=9,
                markerfacecolor="none",
                markeredgecolor=style.INK,
                linestyle="none",
            )
    _finish(axes, runs, first, has_judge)


def _finish(
    axes: Sequence[Any], runs: Mapping[str, TrainingCurves], first: TrainingCurves, has_judge: bool
) -> None:
    axes[0].set_title(first.loss_name)
    if axes[0].get_lines():
        axes[0].legend()
    if has_judge:
        axes[1].set_title(f"validation {first.judge_name}".replace("_", " "))
    last = axes[-1]
    last.set_title("norm of the gradient")
    norms = np.concatenate([run.grad_norm for run in runs.values()])
    if (norms[np.isfinite(norms)] > 0).any():
        style.logarithmic(last.yaxis)
    for limit in sorted({run.clip_norm for run in runs.values() if run.clip_norm is not None}):
        last.axhline(limit, color=style.FAINT, linewidth=1.0, linestyle=":")
        last.annotate(
            f"clipped to {limit:g}",
            (1.0, limit),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            fontsize=7.5,
            color=style.FAINT,
        )
    for ax in axes:
        ax.set_xlabel("step")


def _line(
    ax: Any, step: np.ndarray, values: np.ndarray, label: str, color: Any, **how: Any
) -> None:
    is_there = np.isfinite(values)
    if not is_there.any():
        return
    x, y = thinned(step[is_there], values[is_there])
    ax.plot(x, y, label=label, color=color, **({**how, "marker": None} if len(x) > 60 else how))


def thinned(
    x: np.ndarray, y: np.ndarray, most: int = _MOST_POINTS
) -> tuple[np.ndarray, np.ndarray]:
    """The means of so many stretches of a line at most, as even as they can be."""
    if len(x) <= most:
        return x, y
    edges = np.linspace(0, len(x), most + 1).astype(np.int64)
    counts = np.diff(edges)
    return tuple(np.add.reduceat(each, edges[:-1]) / counts for each in (x, y))  # type: ignore


# ---- in words ------------------------------------------------------------------------------------


def _found(run: TrainingCurves) -> str:
    said = [_judged(run), _gap(run), _norms(run)]
    return "; ".join(each for each in said if each) + "."


def _judged(run: TrainingCurves) -> str:
    best = run.best
    if best is None:
        return "No validation was finite"
    name = run.judge_name.replace("_", " ")
    lowest = run.lowest
    if lowest is not None and run.judge[lowest] != run.judge[best]:
        return (
            f"Validation {name} is {run.judge[best]:.4g} at step {run.step[best]:,.0f}, which is "
            f"kept: {run.judge[lowest]:.4g} at step {run.step[lowest]:,.0f} is not better beyond "
            "chance"
        )
    values, steps = (each[np.isfinite(run.judge)] for each in (run.judge, run.step))
    at = "the last" if run.step[best] == steps[-1] else f"of {steps[-1]:,.0f}"
    text = f"Validation {name} was best at step {run.step[best]:,.0f}, {at}: {run.judge[best]:.4g}"
    if len(values) > 1 and values[0] != run.judge[best]:
        text += f", from {values[0]:.4g} at step {steps[0]:,.0f}"
    return text


def _gap(run: TrainingCurves) -> str:
    """Whether the model learns by heart."""
    both = np.isfinite(run.val)
    train = run.train[np.isfinite(run.train)]
    if not both.any() or not len(train):
        return ""
    val, lowest = run.val[both], np.nanmin(run.val)
    last_train = float(train[-max(1, len(train) // 50) :].mean())
    if val[-1] > lowest * (1 + _RISEN) and last_train < val[-1]:
        return (
            f"{run.loss_name} in validation has risen by {val[-1] - lowest:.3g} since its lowest "
            "while training went on: it learns by heart"
        )
    gap = val[-1] - last_train
    if abs(gap) <= _EVEN * abs(val[-1]):
        return f"training and validation end even in {run.loss_name}"
    return (
        f"at the end {run.loss_name} is {abs(gap):.3g} {'lower' if gap > 0 else 'higher'} in "
        "training than in validation"
    )


def _norms(run: TrainingCurves) -> str:
    norms = run.grad_norm[np.isfinite(run.grad_norm)]
    if not len(norms):
        return ""
    most = run.largest if np.isfinite(run.largest).any() else run.grad_norm
    highest = int(np.nanargmax(most))
    text = (
        f"the gradient's norm was {np.median(norms):.2g} in the median and "
        f"{most[highest]:.2g} at most (step {run.step[highest]:,.0f})"
    )
    if np.isfinite(run.clipped).any():
        text += f", and clipping bit in {run.clipped_share:.0%} of the steps"
    elif run.clip_norm is not None:
        share = float((norms > run.clip_norm).mean())
        text += f", above {run.clip_norm:g}, where it is clipped, in {share:.0%} of the rows"
    if run.skipped:
        text += f"; {run.skipped:,} steps were skipped"
    return text


def _found_in_several(runs: Mapping[str, TrainingCurves]) -> str:
    judged = {name: run.judge[run.best] for name, run in runs.items() if run.best is not None}
    if not judged:
        return "No validation of any run was finite."
    names = {run.judge_name for run in runs.values()}
    if len(names) > 1:
        return "The runs are judged by different figures, which do not compare."
    run = next(iter(runs.values()))
    order = sorted(judged, key=lambda name: judged[name], reverse=run.higher_is_better)
    said = ", ".join(f"{name} {judged[name]:.4g}" for name in order)
    return f"Best validation {run.judge_name.replace('_', ' ')}: {said}."
