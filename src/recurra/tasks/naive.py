"""Forecasts that learn nothing: what a model that has learned is read beside.

Each takes the past [N, T, C] and gives the next F steps [N, F, C]. A missing value (NaN) of the
past is the last one before it; where there is none, it stays missing.

Letters: N windows, T steps of the past, F steps ahead, C channels.
"""

import numpy as np

DAMPING = 0.8


def persistence(past: np.ndarray, horizon: int) -> np.ndarray:
    """The last value, repeated. Of motion this is zero velocity."""
    return np.repeat(_carried(past)[:, -1:], horizon, axis=1)


def seasonal(past: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The last season, repeated.

    Raises:
        ValueError: when the past is shorter than a season.
    """
    if not 1 <= season <= past.shape[1]:
        raise ValueError(
            f"season: expected 1 to {past.shape[1]} steps, which is what there is of the past, got "
            f"{season}. Look further back."
        )
    last = _carried(past)[:, -season:]
    return last[:, np.arange(horizon) % season]


def damped_velocity(past: np.ndarray, horizon: int, damping: float = DAMPING) -> np.ndarray:
    """The last step goes on, each time `damping` times as far as the time before.

    Raises:
        ValueError: when the past is one step alone.
    """
    if past.shape[1] < 2:
        raise ValueError(
            "damped velocity: expected two steps of the past or more, got one. Look further back."
        )
    last = _carried(past)[:, -2:]
    velocity = last[:, 1:] - last[:, :1]
    reach = np.cumsum(damping ** np.arange(1, horizon + 1))
    return last[:, 1:] + reach[:, None].astype(past.dtype) * velocity


def _carried(past: np.ndarray) -> np.ndarray:
    gaps = np.isnan(past)
    if not gaps.any():
        return past
    steps = np.arange(past.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(gaps, 0, steps), axis=1)
    return np.take_along_axis(past, last, axis=1)
