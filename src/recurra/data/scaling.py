"""The mean and spread of every channel, measured on the part of the data that is trained on."""

import logging
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from recurra.models.scaling import Missing, Scaling

logger = logging.getLogger("recurra.data")

_ROWS = 1 << 16  # steps that are read at a time
_COARSE = 1e-5  # of a mean: a smaller spread is mostly the rounding of float32


@runtime_checkable
class HasValues(Protocol):
    """Examples whose steps lie end to end."""

    @property
    def values(self) -> np.ndarray:
        """[S, I]."""
        ...


def measure_scaling(
    examples: HasValues | np.ndarray,
    *,
    missing: Missing = "fail",
    names: Sequence[str] | None = None,
    what: str = "channels",
) -> Scaling:
    """The scaling of these series; what is missing counts nowhere.

    A channel that never changes, and one whose changes are lost in float32, are named in a warning.

    Args:
        examples: of series [T, I], of the training part alone; or all their steps [S, I].
        missing: what the scaling is to do with missing values later.
        names: of the channels, for the warnings.
        what: these are, for the warnings.
    Raises:
        ValueError: when the examples are no series.
    Cost: two passes over the values, in float64.
    """
    values = examples if isinstance(examples, np.ndarray) else examples.values
    if values.ndim != 2:
        raise ValueError("scaling: expected series of numbers, got ids. Scale numbers alone.")
    blocks = [slice(start, start + _ROWS) for start in range(0, len(values), _ROWS)]
    num, total = np.zeros((2, values.shape[1]))
    low, high = np.full((2, values.shape[1]), [[np.inf], [-np.inf]])
    for block in blocks:
        part = np.asarray(values[block], dtype=np.float64)
        num += (~np.isnan(part)).sum(0)
        total += np.nansum(part, axis=0)
        low = np.fmin(low, np.fmin.reduce(part))
        high = np.fmax(high, np.fmax.reduce(part))
    mean = total / np.maximum(num, 1)
    square = sum(
        np.nansum((np.asarray(values[block], dtype=np.float64) - mean) ** 2, axis=0)
        for block in blocks
    )
    spread = np.where(low < high, np.sqrt(square / np.maximum(num, 1)), 0.0)
    channels = [str(i) for i in range(len(mean))] if names is None else names
    _warn(what, channels, spread == 0, "never change in the training part, and are scaled to 0")
    _warn(
        what,
        channels,
        (spread > 0) & (spread < _COARSE * np.abs(mean)),
        "change so little against their mean that most of it is lost in float32; subtract it",
    )
    return Scaling(mean=tuple(mean.tolist()), spread=tuple(spread.tolist()), missing=missing)


def _warn(what: str, channels: Sequence[str], chosen: np.ndarray, said: str) -> None:
    named = [channel for channel, one in zip(channels, chosen, strict=True) if one]
    if named:
        more = f" and {len(named) - 5} more" if len(named) > 5 else ""
        logger.warning("%s %s%s: %s", what, ", ".join(named[:5]), more, said)
