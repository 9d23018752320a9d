"""From series as users have them to a forecaster's scaled batches, and back to forecasts.

Letters: T steps of the past, F steps to come, B batch, C channels, P covariates of the past, K
known covariates with the calendar's features, Q levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from recurra.errors import DataError, argument
from recurra.models.calendar import Frequency, calendar_features, checked_dates
from recurra.models.checks import check_said
from recurra.models.scaling import Scaling
from recurra.models.series import Forecast, Series, given_series, scaled, with_size

if TYPE_CHECKING:
    from recurra.models.forecaster import Forecaster


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenSeries:
    """A series as the model reads it: its last `look_back` steps, scaled.

    Attributes:
        values: [T, C] float32.
        past: [T, P].
        known: [T, K].
        ahead: [F, K].
        number: of the series' vector, 0 where there is none.
        scaling: of its channels.
        dates: [F], of the steps to come; None where it has none.
        name: of the series.
        offset: of the series, with which its dates are told.
    """

    values: np.ndarray
    past: np.ndarray
    known: np.ndarray
    ahead: np.ndarray
    number: int
    scaling: Scaling
    dates: np.ndarray | None
    name: str | None
    offset: int | None

    @classmethod
    def of(cls, model: "Forecaster", given: Any, horizon: int, where: str) -> "GivenSeries":
        """The series, checked.

        Raises:
            DataError: when it is not as the model reads it.
        """
        series = given_series(given, where)
        values, T = series.values, len(series.values)
        if values.shape[1] != model.num_channels:
            raise DataError(
                f"{where}: expected {model.num_channels} channels, as the model forecasts, got "
                f"{values.shape[1]}. Give it one row a step, one column a channel."
            )
        F = horizon if model.decoding == "recursive" else model.horizon
        dates, to_come = _dates(model, series, F, where)
        _check_ahead(model, series, F, where)
        known = with_size(series.known, T + F, model.known_size, f"{where}, known covariates")
        past = with_size(series.past, T, model.past_size, f"{where}, past covariates")
        scaling = own_scaling(model, series.name, values)
        past, known = _scaled_covariates(model, past, known)
        if to_come is not None and model.calendar:
            every = calendar_features(np.concatenate([dates, to_come]), model.calendar)
            known = np.concatenate([known, every], axis=1)
        start = max(0, T - model.look_back)
        read = {"values": values[start:], "past": past[start:T], "known": known[start:T]}
        ahead = known[T:]
        _check_gaps(model, read, ahead, where)
        return cls(
            values=scaled(read["values"], scaling),
            past=filled(read["past"]),
            known=filled(read["known"]),
            ahead=filled(ahead),
            number=number_of(model, series.name, where),
            scaling=scaling,
            dates=to_come[:horizon] if to_come is not None else None,
            name=series.name,
            offset=series.offset,
        )


def own_scaling(model: "Forecaster", name: str | None, values: np.ndarray) -> Scaling:
    """The scaling of a series' channels; of a model without, none."""
    if model.scaling is not None:
        return model.scaling.of(name, values)
    C = model.num_channels
    return Scaling(mean=(0.0,) * C, spread=(1.0,) * C, missing="fill")


def number_of(model: "Forecaster", name: str | None, where: str) -> int:
    """The number of a series' vector; 0 in a model without.

    Raises:
        DataError: when the model has vectors and none of this name.
    """
    if model.vectors is None:
        return 0
    names = model.needed("series", "Forecaster.predict")
    if name not in names:
        raise DataError(
            f"{where}: expected the name of a series that the model has a vector of, got {name!r}. "
            f"Name it, as in Series(values=..., name={names[0]!r}), or train without vectors."
        )
    return names.index(name)


def filled(covariates: np.ndarray) -> np.ndarray:
    """[T, K] with the last value in each gap, 0 where there is none."""
    gaps = np.isnan(covariates)
    if not gaps.any():
        return covariates
    last = np.maximum.accumulate(np.where(gaps, 0, np.arange(len(gaps))[:, None]), axis=0)
    return np.nan_to_num(np.take_along_axis(covariates, last, axis=0))


def forecasts_of(
    model: "Forecaster",
    given: Sequence[GivenSeries],
    horizon: int,
    batch_size: int,
    *,
    levels: tuple[float, ...],
    num_samples: int,
    seed: int,
) -> list[Forecast]:
    """The forecasts of series, in their order, those of like length read side by side."""
    like = next(model.parameters())
    order = np.argsort([len(each.values) for each in given], kind="stable")
    found: dict[int, Forecast] = {}
    for start in range(0, len(given), batch_size):
        places = order[start : start + batch_size].tolist()
        some = [given[place] for place in places]
        values, quantiles = model.forecast(
            **batch_of(model, some, like),
            horizon=horizon,
            levels=levels,
            num_samples=num_samples,
            # each from the same seed: none depends on which others there are
            generator=[torch.Generator(like.device).manual_seed(seed) for _ in some],
        )
        check_said("Forecaster.predict", values)
        for b, (place, each) in enumerate(zip(places, some, strict=True)):
            own = None if quantiles is None else _undone(quantiles[:, :, b], each.scaling)
            found[place] = Forecast(
                values=_undone(values[:, b], each.scaling),
                levels=levels,
                quantiles=own,
                dates=each.dates,
                channels=tuple(model.channels or ()),
                name=each.name,
                offset=each.offset,
            )
    return [found[place] for place in range(len(given))]


def batch_of(model: "Forecaster", some: Sequence[GivenSeries], like: Tensor) -> dict[str, Any]:
    """The arguments of a call for these series, where the model is and of its dtype."""

    def together(arrays: Sequence[np.ndarray]) -> Tensor:
        tensors = [torch.from_numpy(np.ascontiguousarray(each)) for each in arrays]
        return nn.utils.rnn.pad_sequence(tensors).to(like)

    lengths = torch.tensor([len(each.values) for each in some], dtype=torch.int64, device="cpu")
    made: dict[str, Any] = {"x": together([each.values for each in some])}
    if lengths.min() < lengths.max():
        made["lengths"] = lengths.to(like.device)
    if model.past_size:
        made["past"] = together([each.past for each in some])
    if model.known_size or model.calendar:
        made["known"] = together([each.known for each in some])
        made["ahead"] = together([each.ahead for each in some])
    if model.vectors is not None:
        numbers = [each.number for each in some]
        made["series"] = torch.tensor(numbers, dtype=torch.int64, device=like.device)
    return made


def _dates(
    model: "Forecaster", series: Series, steps: int, where: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """The dates of the past, and of the steps to come."""
    T = len(series.values)
    if series.dates is None:
        if model.calendar:
            raise DataError(
                f"{where}: expected dates, for the calendar that the model reads, got none. Give "
                "them, as in Series(values=..., dates=...)."
            )
        return np.zeros(0, dtype="M8[s]"), None
    dates = checked_dates(series.dates, T, where)
    if T < 2:
        raise DataError(
            f"{where}: expected two dates at least, to know those to come, got {T}. Give more "
            "steps, or leave the dates out."
        )
    return dates, Frequency.of(dates).following(dates[-1], steps)


def _check_ahead(model: "Forecaster", series: Series, steps: int, where: str) -> None:
    """Raise DataError where known covariates end before the steps to come do."""
    known, T = series.known, len(series.values)
    if known is None or known.shape[1] != model.known_size or not T <= len(known) < T + steps:
        return
    raise DataError(
        f"{where}: expected known covariates of {steps} steps to come, got those of "
        f"{len(known) - T}. Add a row for each, with its covariates and without values."
    )


def _scaled_covariates(
    model: "Forecaster", past: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both by the scaling of the covariates, which has those of the past first."""
    beside = None if model.scaling is None else model.scaling.covariates
    if beside is None:
        return past, known
    P = model.past_size
    first = Scaling(mean=beside.mean[:P], spread=beside.spread[:P]) if P else None
    rest = Scaling(mean=beside.mean[P:], spread=beside.spread[P:]) if beside.mean[P:] else None
    return (
        past if first is None else scaled(past, first),
        known if rest is None else scaled(known, rest),
    )


def _check_gaps(
    model: "Forecaster", read: dict[str, np.ndarray], ahead: np.ndarray, where: str
) -> None:
    if model.missing != "fail":
        return
    for name, values in (*read.items(), ("known covariates to come", ahead)):
        gaps = np.argwhere(np.isnan(values))
        if len(gaps):
            step, column = gaps[0].tolist()
            raise DataError(
                f"{where}: expected a number at every step, got {len(gaps)} missing in the {name}, "
                f"the first at step {step} of those read, column {column}. Fill them in, or train "
                f"with {argument('missing=mask')}."
            )


def _undone(values: Tensor, scaling: Scaling) -> np.ndarray:
    """[..., C] float64 in the units of the data."""
    return scaling.undone(values.detach().double().cpu()).numpy()
