"""How good forecasts are: of points, of quantiles, and of intervals; and what they are read beside.

All take arrays in the units in which the errors are to be said. A value that is NaN in `true` was
never seen, and counts nowhere.

Letters: N windows, F steps ahead, C channels, T steps of a series, Q levels, D draws, K blocks.
"""

import math
from collections.abc import Sequence

import numpy as np


def squared_error(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Of each element; the root of its mean is the RMSE, its mean the MSE."""
    return np.square(said.astype(np.float64) - true)


def absolute_error(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Of each element; its mean is the MAE."""
    return np.abs(said.astype(np.float64) - true)


def naive_scale(series: Sequence[np.ndarray], season: int = 1) -> np.ndarray:
    """What an absolute error is divided by to be a scaled one: the mean absolute difference of
    values that lie a season apart, in the part that was trained on.

    Args:
        series: each [T, C].
        season: in steps; 1 is the difference to the value before.
    Returns:
        scale: [C]; NaN of a channel that never changes, or is no season long.

    Source: Hyndman, Koehler (2006), "Another look at measures of forecast accuracy", International
    Journal of Forecasting 22, eq. of section 3; with a season as in the M4 competition.
    """
    total, count = 0.0, 0
    for values in series:
        change = np.abs(values[season:].astype(np.float64) - values[:-season])
        total = total + np.nansum(change, axis=0)
        count = count + (~np.isnan(change)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.asarray(total / count)
    return np.where(scale > 0, scale, np.nan)


def scaled_error(said: np.ndarray, true: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Of each element, the absolute error over `naive_scale`; its mean is the MASE.

    Args:
        said, true: [..., C].
        scale: [C]; a channel whose scale is NaN counts nowhere.
    """
    return absolute_error(said, true) / scale


def standard_error(difference: np.ndarray, weight: np.ndarray, block: np.ndarray) -> float | None:
    """Of the weighted mean of differences: blocks of them may go together, which have nothing to do
    with one another.

    Args:
        difference: [N], such as of the errors of two forecasts of the same window.
        weight: [N], of each in the mean.
        block: [N], the number of the block that each is in.
    Returns:
        error: None of a single block, of which it cannot be told.

    Source: Liang, Zeger (1986), "Longitudinal data analysis using generalized linear models",
    Biometrika 73: the variance of a mean over clusters. That differences of errors are judged by
    it: Diebold, Mariano (1995), "Comparing predictive accuracy", JBES 13.
    """
    names, number = np.unique(block, return_inverse=True)
    K = len(names)
    if K < 2:
        return None
    share = weight / weight.sum()
    off = share * (difference - (share * difference).sum())
    of_blocks = np.bincount(number, weights=off, minlength=K)
    return math.sqrt(K / (K - 1) * float((of_blocks**2).sum()))


def pinball(quantiles: np.ndarray, true: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Of each element [...], the pinball loss, mean over levels.

    Args:
        quantiles: [Q, ...].
        true: [...].
        levels: Q probabilities.

    Source: Koenker, Bassett (1978), "Regression Quantiles", Econometrica 46.
    """
    return _pinball_of_each(quantiles, true, levels).mean(axis=0)


def crps_of_quantiles(
    quantiles: np.ndarray, true: np.ndarray, levels: Sequence[float]
) -> np.ndarray:
    """Of each element, the continuous ranked probability score: twice the integral of the pinball
    loss over all levels, each of which stands for those nearest to it.

    Args, Returns: as of `pinball`; the levels grow.

    Source: Laio, Tamea (2007), "Verification tools for probabilistic forecasts of continuous
    hydrological variables", Hydrology and Earth System Sciences 11, eq. 6-7.
    """
    at = np.asarray(levels, dtype=np.float64)
    weight = np.diff(np.concatenate([[0.0], (at[1:] + at[:-1]) / 2, [1.0]]))
    return 2 * np.tensordot(weight, _pinball_of_each(quantiles, true, levels), axes=1)


def crps_of_samples(samples: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Of each element, the CRPS of the distribution that the draws [D, ...] are: E|X - y| less half
    of E|X - X'|. Of one draw it is the absolute error.

    Source: Gneiting, Raftery (2007), "Strictly Proper Scoring Rules, Prediction, and Estimation",
    JASA 102, eq. 21.
    Cost: D log D an element.
    """
    drawn = np.sort(samples.astype(np.float64), axis=0)
    D = len(drawn)
    # the sum of |x_i - x_j| over all pairs, of values in order, is a weighted sum of them
    weight = 2 * np.arange(1, D + 1) - D - 1
    apart = np.tensordot(weight, drawn, axes=1) / D**2
    return np.abs(drawn - true).mean(axis=0) - apart


def crps_of_normal(loc: np.ndarray, scale: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Of each element, the CRPS of a normal distribution, exact.

    Source: Gneiting, Raftery (2007), eq. 5 (there with the other sign).
    """
    z = (true - loc) / scale
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(z / math.sqrt(2)))
    return scale * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi))


def covered(low: np.ndarray, high: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Of each element, 1 where it lies in its interval, 0 where not, NaN where it was never seen;
    the mean is the coverage, to be read beside the probability that the interval is said for."""
    inside = ((low <= true) & (true <= high)).astype(np.float64)
    return np.where(np.isnan(true), np.nan, inside)


def _pinball_of_each(
    quantiles: np.ndarray, true: np.ndarray, levels: Sequence[float]
) -> np.ndarray:
    """The pinball loss of each level, [Q, ...]."""
    error = true - quantiles.astype(np.float64)
    level = np.reshape(levels, (-1, *[1] * true.ndim))
    return np.maximum(level * error, (level - 1) * error)
