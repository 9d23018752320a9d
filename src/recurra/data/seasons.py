"""The season of series that have no dates: the lag at which their changes repeat."""

from collections.abc import Sequence

import numpy as np

_LONGEST = 1000  # steps
_NEAR = 0.75  # of the highest peak
_CLEAR = 0.2  # the least autocorrelation that is a season
_SURE = 4.0  # times its deviation over independent changes: no accident among many lags


def found_season(series: Sequence[np.ndarray]) -> int:
    """The lag, 2 or more, at which the differences of successive values are most alike, or 1 where
    they are alike nowhere.

    The autocorrelation of each channel's differences is averaged over channels and series; the
    first clear peak that is at least three quarters of the highest is the season, so
    that none of its multiples is taken.

    Args:
        series: each [T, C]; of the part that is trained on. Missing values count as no change.
    """
    total, count = np.zeros(_LONGEST + 1), np.zeros(_LONGEST + 1)
    longest = 1
    for values in series:
        change = np.nan_to_num(np.diff(np.asarray(values, dtype=np.float64), axis=0))
        lags = min(_LONGEST, len(change) // 3)
        if lags < 2:
            continue
        change = change - change.mean(axis=0)
        power = np.abs(np.fft.rfft(change, 2 * len(change), axis=0)) ** 2
        found = np.fft.irfft(power, axis=0)[: lags + 1]
        varies = found[0] > 0
        longest = max(longest, len(change))
        if varies.any():
            total[: lags + 1] += (found[:, varies] / found[0, varies]).mean(axis=1)
            count[: lags + 1] += 1
    there = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    inner = there[2:-1]
    is_peak = (
        (inner > there[1:-2]) & (inner >= there[3:]) & (inner > max(_CLEAR, _SURE / longest**0.5))
    )
    peaks = np.flatnonzero(is_peak) + 2
    if not len(peaks):
        return 1
    highest = there[peaks].max()
    return int(next(lag for lag in peaks if there[lag] >= _NEAR * highest))
