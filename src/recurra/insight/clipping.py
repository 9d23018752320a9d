"""How long the gradients of a run were, how often clipping bit, and the threshold that follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recurra.errors import argument
from recurra.insight import style

WARM_UP = 0.1  # of a run, whose gradients say little of the rest
LEAST, MOST = 0.5, 10.0  # times the usual norm: thresholds between them still converge


@dataclass(frozen=True, slots=True, kw_only=True)
class ClippingReport:
    """The norms of a run's gradients before clipping; N rows of its history.

    Attributes:
        steps: [N] int64, at the end of each row.
        norms: [N], mean over the steps of a row.
        largest: [N], the largest of a row; nan where the history has none.
        clipped: [N], share of a row's steps that clipping changed; nan where it has none.
        usual: the median of `norms` after the first tenth of the run.
        recommended: `usual` with two digits, a threshold to try; 0 where there is nothing to clip.
    """

    steps: np.ndarray
    norms: np.ndarray
    largest: np.ndarray
    clipped: np.ndarray
    usual: float
    recommended: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The thresholds between which training still converged in the paper's experiments."""
        return LEAST * self.usual, MOST * self.usual

    @property
    def clipped_share(self) -> float | None:
        """Share of all steps that clipping changed; None where the history does not say."""
        return share_of_steps(self.steps, self.clipped)

    @property
    def line(self) -> str:
        """All of it in one line."""
        low, high = self.bounds
        said = f"gradient norms: usually {self.usual:.2g}"
        if np.isfinite(self.largest).any():
            said += f", at most {np.nanmax(self.largest):.2g}"
        if self.clipped_share is not None:
            said += f"; {self.clipped_share:.0%} of the steps were clipped"
        if not self.recommended:  # no threshold is 0
            return f"{said}; there is nothing to clip"
        threshold = argument(f"clip_norm={self.recommended:g}")
        return f"{said}; to try: {threshold} (anything from {low:.2g} to {high:.2g})"


def share_of_steps(steps: np.ndarray, share: np.ndarray) -> float | None:
    """The share of all steps, from those of the steps of each row; None where no row has one.

    Args:
        steps: [N], at the end of each row.
        share: [N], nan where a row has none.
    """
    weights = np.diff(steps, prepend=0)
    known = np.isfinite(share) & (weights > 0)
    return float(np.average(share[known], weights=weights[known])) if known.any() else None


def column_of(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """[N] float64: a column of a history, nan where a row lacks it."""
    values = [row.get(name) for row in rows]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def clipping_report(history: Any) -> ClippingReport:
    """What a run's history says of its gradients, and the threshold that it recommends.

    The threshold is the usual norm of a gradient: the paper finds it from the average norm over a
    large number of updates, and its trainings converged from half to ten times that. Difference:
    the median of the rows stands for the average, which the very explosions that are to be clipped
    would raise.

    Args:
        history: of `Run.history()`: a pandas frame, or rows by column; read are `step`,
            `grad_norm` and, where they are there, `grad_norm_max` and `clipped`.
    Raises:
        ValueError: when no row has a finite norm.
    Source: Pascanu, Mikolov, Bengio (2013), "On the difficulty of training recurrent neural
    networks", arXiv:1211.5063, section 3.2.
    """
    rows = history.to_dict("records") if hasattr(history, "to_dict") else list(history)
    columns = (column_of(rows, name) for name in ("step", "grad_norm", "grad_norm_max", "clipped"))
    steps, norms, largest, clipped = columns
    known = np.isfinite(norms) & np.isfinite(steps)
    if not known.any():
        raise ValueError(
            f"history: expected rows with a finite grad_norm, got {len(rows)} without. Train a "
            "few steps first."
        )
    steps, norms, largest, clipped = (a[known] for a in (steps, norms, largest, clipped))
    late = norms[steps > WARM_UP * steps[-1]]
    usual = float(np.median(late))
    return ClippingReport(
        steps=steps.astype(np.int64),
        norms=norms,
        largest=largest,
        clipped=clipped,
        usual=usual,
        recommended=float(f"{usual:.2g}"),
    )


def draw_clipping(report: ClippingReport, axes: Any) -> None:
    """Draw the norms over training on a logarithmic scale, the recommended threshold, and the band
    of thresholds that would do."""
    if np.isfinite(report.largest).any():
        axes.plot(
            report.steps, report.largest, color=style.RED, linewidth=0.8, label="largest of a row"
        )
    axes.plot(report.steps, report.norms, color=style.BLUE, linewidth=1.6, label="mean of a row")
    axes.axhspan(*report.bounds, color=style.GREEN, alpha=0.1)
    axes.axhline(
        report.recommended,
        linestyle="--",
        linewidth=1.0,
        color=style.FAINT,
        label=f"recommended threshold {report.recommended:g}",
    )
    if (report.norms > 0).all():
        style.logarithmic(axes.yaxis)
    axes.set_xlabel("step")
    axes.set_ylabel("gradient norm before clipping")
    axes.legend()
