"""Scaling of numeric series, as the model owns it: each channel by its own mean and spread.

T time, I channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recurra.errors import DataError, argument

Missing = Literal["fail", "fill"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """(x - mean) / spread of each channel, of the part of the data that was trained on.

    A channel that never changed there (spread 0) tells nothing and becomes 0, whatever it is later.
    With `missing="fill"` a missing value (NaN) takes the last one before it in its series; where
    there is none, it becomes 0, which is the mean.

    Attributes:
        mean: [I], in the units of the data.
        spread: [I], standard deviations, in the units of the data; 0 of a constant channel.
        missing: "fail" or "fill", what `prepared` does with missing values.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    missing: Missing = "fail"

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.spread):
            raise ValueError(
                f"scaling: expected a mean and a spread of each channel, got {len(self.mean)} and "
                f"{len(self.spread)}. Give both of every channel."
            )
        numbers = np.array([self.mean, self.spread], dtype=np.float64)
        if not np.isfinite(numbers).all() or numbers[1].min() < 0:
            raise ValueError(
                f"scaling: expected finite means and spreads of 0 or more, got {numbers.tolist()}. "
                "Measure them again."
            )
        check_missing(self.missing)

    def __call__(self, x: Float[Tensor, "*rest input"]) -> Float[Tensor, "*rest input"]:
        """The scaled values, of the dtype and on the device of x; NaN becomes 0 where it may be."""
        mean = torch.tensor(self.mean, dtype=x.dtype, device=x.device)
        factor = [1 / spread if spread else 0.0 for spread in self.spread]
        scaled = (x - mean) * torch.tensor(factor, dtype=x.dtype, device=x.device)
        return torch.nan_to_num(scaled, nan=0.0) if self.missing == "fill" else scaled

    def undone(self, scaled: Float[Tensor, "*rest input"]) -> Float[Tensor, "*rest input"]:
        """The values, in the units of the data, of which these are the scaled ones; of a channel
        that never changed, its value."""
        mean = torch.tensor(self.mean, dtype=scaled.dtype, device=scaled.device)
        return scaled * torch.tensor(self.spread, dtype=scaled.dtype, device=scaled.device) + mean

    def prepared(self, series: Any, where: str = "series") -> np.ndarray:
        """[T, I] float32, not yet scaled: a series that a user gives, checked, its gaps filled.

        Args:
            series: [T, I] numbers, or [T] where I is 1.
            where: what an error calls it.
        Raises:
            DataError: when it has no step, other channels than those trained on, or, with
                missing="fail", a missing value.
        """
        values = as_series(series, where)
        if values.shape[1] != len(self.mean):
            raise wrong_channels(where, len(self.mean), values)
        return without_gaps(values, self.missing, where)

    def to_config(self) -> dict[str, Any]:
        """Everything that makes it again, as JSON types."""
        return {"mean": [*self.mean], "spread": [*self.spread], "missing": self.missing}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Scaling":
        """The inverse of `to_config`.

        Raises:
            DataError: when it is not what `to_config` gives.
        """
        try:
            mean, spread = (tuple(map(float, config[name])) for name in ("mean", "spread"))
            return cls(mean=mean, spread=spread, missing=config["missing"])
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"scaling: expected a mean, a spread and what to do with missing values, got "
                f"{error!r:.200}. Use the config.json as the run wrote it."
            ) from error


def wrong_channels(where: str, channels: int, values: np.ndarray) -> DataError:
    """The error of a series [T, I] that has other channels than the model reads."""
    return DataError(
        f"{where}: expected {channels} channels, as in training, got {values.shape[1]}. Give it "
        f"one row for each step, one column for each channel."
    )


def as_array(given: Any) -> np.ndarray:
    """What a user gives as an array: a tensor wherever it is, and whether or not gradients are kept
    of it; a masked array with NaN where it is masked.

    Raises:
        TypeError, ValueError, RuntimeError: when there is no array of it.
    """
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        return (given.float() if given.dtype == torch.bfloat16 else given).numpy(force=True)
    if isinstance(given, np.ma.MaskedArray) and given.dtype.kind in "fiub":
        kept = given.dtype if given.dtype.kind == "f" else np.float64
        return np.ma.filled(given.astype(kept), np.nan)
    return np.asarray(given)


def as_series(series: Any, where: str, *, double: bool = False) -> np.ndarray:
    """[T, I] float32 of what a user gives: an array, a tensor, lists of numbers; may have NaN.

    Args:
        series: of the user's.
        where: what an error calls it.
        double: whether it becomes float64, for what is scaled before it becomes float32.
    Raises:
        DataError: when it is no table of real numbers with a step and a channel, or has one too
            large for float32.
    """
    try:
        values = as_array(series)
        if values.dtype == object:  # None is how JSON and Parquet write what is missing
            values = values.astype(np.float64)
        if values.dtype.kind not in "fiub":
            raise ValueError(f"values of {values.dtype}")
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{where}: expected numbers, a row for each step, got {error}. "
            "Give an array [T, I] of real numbers."
        ) from None
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(
            f"{where}: expected an array [T, I] with T and I of 1 or more, got shape "
            f"{list(values.shape)}. Give it one row for each step, one column for each channel."
        )
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    infinite = np.argwhere(np.isinf(single))
    if len(infinite):
        step, channel = infinite[0].tolist()
        raise DataError(
            f"{where}: expected numbers up to 3e38, got {values[step, channel]} at step {step}, "
            f"channel {channel}, {len(infinite)} such in all. Leave it out, or use other units."
        )
    return values.astype(np.float64) if double else single


def without_gaps(values: np.ndarray, missing: Missing, where: str) -> np.ndarray:
    """The series with its missing values filled from the step before; NaN stays where none is.

    Args:
        values: [T, I], NaN where a value is missing.
        missing: "fail" raises where there is any.
        where: what an error calls it.
    Raises:
        DataError: with missing="fail", counting the missing values and naming the first.
    """
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    if missing == "fail":
        step, channel = np.argwhere(gaps)[0].tolist()
        raise DataError(
            f"{where}: expected a number at every step, got {gaps.sum()} missing, the first at "
            f"step {step}, channel {channel}. Fill them in, or use {argument('missing=fill')}."
        )
    steps = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(gaps, 0, steps), axis=0)
    return np.take_along_axis(values, last, axis=0)


def check_missing(missing: str) -> None:
    """Raise ValueError unless this is a way to treat missing values."""
    ways: Sequence[str] = get_args(Missing)
    if missing not in ways:
        raise ValueError(
            f"{argument('missing=')}: expected one of {', '.join(ways)}, got {missing!r}. "
            "Use fill to carry the last value forward."
        )
