"""The figures of forecasts over many windows, and those of forecasts that learn nothing.

Letters: F steps to come, B windows, C channels, Q levels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from recurra.tasks.forecast_measures import (
    absolute_error,
    covered,
    crps_of_quantiles,
    pinball,
    scaled_error,
    squared_error,
)
from recurra.tasks.naive import damped_velocity, persistence, seasonal

INTERVAL = (0.1, 0.9)  # whose coverage is measured: 80 %


class Scores:
    """Sums of errors over windows; a value that was never seen counts nowhere.

    Args:
        levels: of the quantiles; none of points.
    """

    def __init__(self, levels: Sequence[float] = ()) -> None:
        self.levels = tuple(levels)
        self._total: dict[str, float] = {}
        self._count: dict[str, int] = {}
        self._steps: np.ndarray | None = None
        self._counts: np.ndarray | None = None
        self._channels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._windows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"mse": [], "mae": []}

    def add(
        self,
        said: np.ndarray,
        true: np.ndarray,
        spread: np.ndarray,
        scale: np.ndarray,
        quantiles: np.ndarray | None = None,
    ) -> None:
        """Count some windows.

        Args:
            said: [F, B, C], in the units of the data.
            true: [F, B, C], NaN where a value is missing.
            spread: [B, C], the deviation that each series is scaled by; NaN of a channel that never
                changed, which then counts in no scaled figure.
            scale: [B, C], of `naive_scale`.
            quantiles: [Q, F, B, C].
        """
        each = {
            "mse": squared_error(said, true) / spread**2,
            "mae": absolute_error(said, true) / spread,
            "mse_unscaled": squared_error(said, true),
            "mae_unscaled": absolute_error(said, true),
            "mase": scaled_error(said, true, scale),
        }
        if quantiles is not None:
            each["crps"] = crps_of_quantiles(quantiles, true, self.levels) / spread
            each["pinball"] = pinball(quantiles, true, self.levels) / spread
            low, high = (self.levels.index(level) for level in self.interval)
            each["coverage"] = covered(quantiles[low], quantiles[high], true)
        for name, values in each.items():
            self._total[name] = self._total.get(name, 0.0) + float(np.nansum(values))
            self._count[name] = self._count.get(name, 0) + int((~np.isnan(values)).sum())
        for name in ("mse", "mae"):
            found = np.nansum(each[name], axis=(0, 1)), (~np.isnan(each[name])).sum(axis=(0, 1))
            total, count = self._channels.get(name, (0, 0))
            self._channels[name] = total + found[0], count + found[1]
            own = np.nansum(each[name], axis=(0, 2)), (~np.isnan(each[name])).sum(axis=(0, 2))
            self._windows[name].append(own)
        by_step = np.nansum(each["mse"], axis=(1, 2))
        count = (~np.isnan(each["mse"])).sum(axis=(1, 2))
        self._steps = by_step if self._steps is None else self._steps + by_step
        self._counts = count if self._counts is None else self._counts + count

    @property
    def interval(self) -> tuple[float, float]:
        """The levels whose coverage is measured: 0.1 and 0.9, or else the outermost."""
        if all(level in self.levels for level in INTERVAL):
            return INTERVAL
        return self.levels[0], self.levels[-1]

    def figures(self) -> dict[str, Any]:
        """The mean of each that something counts in, and `mse_by_step`, [F], scaled."""
        found: dict[str, Any] = {n: self._total[n] / k for n, k in self._count.items() if k}
        if "coverage" in found:
            found["interval"] = self.interval[1] - self.interval[0]
        if self._steps is not None:
            with np.errstate(invalid="ignore"):
                found["mse_by_step"] = (self._steps / self._counts).tolist()
        return found

    def by_window(self, figure: str) -> tuple[np.ndarray, np.ndarray]:
        """Of `mse` or `mae`, scaled, of each window in the order in which they were added: the sum
        [B] of the errors that count, and how many do."""
        totals, counts = zip(*self._windows[figure], strict=True)
        return np.concatenate(totals), np.concatenate(counts)

    def by_channel(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """`mse` and `mae`, scaled, of each channel that something counts in, by its name."""
        found: dict[str, dict[str, float]] = {name: {} for name in names}
        for figure, (total, count) in self._channels.items():
            for name, own, times in zip(names, total.tolist(), count.tolist(), strict=True):
                if times:
                    found[name][figure] = own / times
        return {name: own for name, own in found.items() if own}


def naive_forecasts(
    filled: np.ndarray, firsts: np.ndarray, starts: np.ndarray, horizon: int, season: int
) -> dict[str, np.ndarray]:
    """What is said without learning, [F, B, C] each, by name.

    A window before which there is no whole season is forecast by its last value, and one before
    which there is one step alone has no velocity.

    Args:
        filled: [S, C], all series end to end, without gaps.
        firsts: [B], where the series of each window begins among them.
        starts: [B], the first step to come.
        horizon: F.
        season: in steps; 1 where there is none.
    """

    def past(steps: int) -> np.ndarray:
        at = starts[:, None] + np.arange(-steps, 0)
        return filled[np.maximum(at, firsts[:, None])]

    last = persistence(past(1), horizon)
    found = {"persistence": last}
    if season > 1:
        is_whole = (starts - firsts >= season)[:, None, None]
        found["seasonal naive"] = np.where(is_whole, seasonal(past(season), horizon, season), last)
    found["damped velocity"] = damped_velocity(past(2), horizon)
    return {name: np.swapaxes(each, 0, 1) for name, each in found.items()}
