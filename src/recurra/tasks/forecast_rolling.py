"""Windows of series as a forecaster reads them, and what is said of those of a whole part.

Letters: S steps of all series, N series, F steps to come, B windows, C channels, Q levels.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.data.windows import PARTS, Stored, WindowBatch, Windows, check_long_enough
from recurra.errors import DataError, argument
from recurra.models import Forecaster, Scaling, SeriesScaling
from recurra.models.calendar import calendar_features
from recurra.models.forecaster_rows import at_end, carried
from recurra.models.forecasting import filled
from recurra.models.series import scaled
from recurra.tasks.forecast_files import ShownWindow
from recurra.tasks.forecast_measures import naive_scale
from recurra.tasks.forecast_scores import Scores, naive_forecasts

LEVELS = tuple(round(0.05 * n, 2) for n in range(1, 20))  # of distributions that are evaluated
_BATCH = 256  # windows that are read side by side where nothing is learned
_NUM_SAMPLES = 100


class Rolling:
    """All windows of the parts of series, scaled for a model and in the units of the data.

    Args:
        stored: the series, and where their parts begin.
        scaling: of each series, and of the covariates.
        look_back: steps of the past that are read.
        horizon: F.
        calendar: features of dates that are read as known covariates.
        season: that is repeated for comparison, in steps; 1 where there is none.
    """

    def __init__(
        self,
        stored: Stored,
        scaling: SeriesScaling,
        *,
        look_back: int,
        horizon: int,
        calendar: Sequence[str] = (),
        season: int = 1,
    ) -> None:
        self.stored, self.scaling = stored, scaling
        self.look_back, self.horizon = look_back, horizon
        self.calendar, self.season = tuple(calendar), season
        self._windows: dict[str, Windows] = {}
        self._naive: dict[tuple[str, int | None], dict[str, Scores]] = {}

    def windows(self, part: str) -> Windows:
        """The windows of a part.

        Raises:
            DataError: when it has none.
            ValueError: when there is no such part.
        """
        if part not in PARTS:
            raise ValueError(
                f"split: expected one of {', '.join(PARTS)}, got {part!r}. Choose one."
            )
        if part not in self._windows:
            made = Windows(
                *(part, self.stored, *self._scaled),
                look_back=self.look_back,
                horizon=self.horizon,
            )
            check_long_enough(part, made, self.stored)
            self._windows[part] = made
        return self._windows[part]

    @cached_property
    def _scaled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, covariates of the past and known ones, all series end to end, scaled."""
        stored = self.stored
        values = np.empty(stored.values.shape, dtype=np.float32)
        spans = _spans(stored)
        for number, span in enumerate(spans):
            values[span] = scaled(stored.values[span], self.own_scaling(number))
        beside = np.concatenate([stored.past, stored.known], axis=1)
        if self.scaling.covariates is not None:
            beside = scaled(beside, self.scaling.covariates)
        beside = np.concatenate([filled(beside[span]) for span in spans]).astype(np.float32)
        past, known = np.split(beside, [stored.past.shape[1]], axis=1)
        if self.calendar:
            assert stored.dates is not None
            dates = stored.dates.astype("M8[s]")
            known = np.concatenate([known, calendar_features(dates, self.calendar)], axis=1)
        return values, np.ascontiguousarray(past), np.ascontiguousarray(known)

    def own_scaling(self, number: int) -> Scaling:
        """That of a series by its number. One that has no part in training, and none of its name
        has, is measured on what comes before its first window."""
        start = int(self.stored.offsets[number])
        head = self.stored.values[start : start + self.look_back]
        return self.scaling.of(self.stored.names[number], head)

    def batches(self, split: str, most: int | None = None) -> Iterator[WindowBatch]:
        """The windows of a part in their order, or an even sample of them."""
        windows, chosen = self.windows(split), self._chosen(split, most)
        for start in range(0, len(chosen), _BATCH):
            yield windows.gather(chosen[start : start + _BATCH])

    def _chosen(self, split: str, most: int | None) -> np.ndarray:
        """The numbers of the windows of a part, or of an even sample of them."""
        count = len(self.windows(split))
        if most is None or count <= most:
            return np.arange(count)
        return np.linspace(0, count - 1, most).astype(np.int64)

    def blocks(self, split: str, most: int | None = None) -> np.ndarray:
        """[B], the block of each window of a part or of a sample: those of a series that begin
        within the length of a window, look-back and horizon, so that windows share steps with those
        of their own block and the next ones alone."""
        windows, chosen = self.windows(split), self._chosen(split, most)
        series, starts = windows.series[chosen], windows.starts[chosen]
        of_series = (starts - self.stored.offsets[series]) // (self.look_back + self.horizon)
        return series * (int(of_series.max()) + 1) + of_series

    def arguments(self, model: Forecaster, batch: WindowBatch) -> dict[str, Any]:
        """What the model is called with for a batch, where the model is."""
        like = next(model.parameters())
        found: dict[str, Any] = {"x": batch.x.to(like)}
        if batch.lengths is not None:
            found["lengths"] = batch.lengths.to(like.device)
        if model.past_size:
            found["past"] = batch.past.to(like)
        if model.known_size or model.calendar:
            found |= {"known": batch.known.to(like), "ahead": batch.ahead.to(like)}
        if model.vectors is not None:
            found["series"] = self._vector_of(model)[batch.series].to(like.device)
        return found

    def _vector_of(self, model: Forecaster) -> Tensor:
        """[N], the number of each series' vector."""
        names = list(model.needed("series", "Forecaster"))
        strange = [name for name in self.stored.names if name not in names]
        if strange:
            raise DataError(
                f"series: expected those of the training part, each of which has a vector, got "
                f"{strange[0]!r} too. Leave {argument('series_size=')} out."
            )
        numbers = [names.index(name) for name in self.stored.names]
        return torch.tensor(numbers, dtype=torch.int64, device="cpu")

    def scores(
        self,
        model: Forecaster,
        split: str,
        most: int | None = None,
        *,
        apart: dict[str, Scores] | None = None,
    ) -> Scores:
        """The errors of a model over every window of a part, free-running, or over an even sample
        of `most`.

        Args:
            apart: takes those of each series, by its name.
        """
        scores = Scores(levels_of(model))
        spread, scale, _ = self.units
        generator = seeded(model)
        for batch in self.batches(split, most):
            said, quantiles = self.said(model, batch, scores.levels, generator)
            own = batch.series.numpy()
            true = self.true(batch)
            scores.add(said, true, spread[own], scale[own], quantiles)
            for number in () if apart is None else np.unique(own).tolist():
                some, name = own == number, self.stored.names[number]
                one = apart.setdefault(name, Scores())  # type: ignore[union-attr]
                one.add(said[:, some], true[:, some], spread[own][some], scale[own][some])
        return scores

    def said(
        self,
        model: Forecaster,
        batch: WindowBatch,
        levels: Sequence[float],
        generator: torch.Generator,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """What a model says of windows: values [F, B, C] and quantiles [Q, F, B, C], in the units
        of the data."""
        values, quantiles = model.forecast(
            **self.arguments(model, batch),
            levels=levels,
            num_samples=_NUM_SAMPLES,
            generator=generator,
        )
        spread, _, means = self.units
        own = batch.series.numpy()
        width, mean = np.nan_to_num(spread[own]), means[own]
        in_units = values.double().cpu().numpy() * width + mean
        if quantiles is None:
            return in_units, None
        return in_units, quantiles.double().cpu().numpy() * width + mean

    def true(self, batch: WindowBatch) -> np.ndarray:
        """[F, B, C] in the units of the data."""
        return self.stored.values[batch.starts + np.arange(self.horizon)[:, None]]

    @cached_property
    def units(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each series [N, C], the deviation that it is scaled by, NaN where there is none; what
        a scaled error is divided by; and the mean."""
        each = [self.own_scaling(number) for number in range(len(self.stored.names))]
        spread = np.array([scaling.spread for scaling in each])
        mean = np.array([scaling.mean for scaling in each])
        season = self.season
        scale = np.array(
            [
                naive_scale([values], season)
                if len(values) > season
                else np.full(values.shape[1], np.nan)
                for values in self.stored.of_part("train")
            ]
        )
        return np.where(spread > 0, spread, np.nan), scale, mean

    def naive(self, split: str, most: int | None = None) -> dict[str, dict[str, Any]]:
        """The figures of forecasts that learn nothing, over every window of a part, or over an even
        sample of `most`."""
        return {name: one.figures() for name, one in self.naive_scores(split, most).items()}

    def naive_scores(self, split: str, most: int | None = None) -> dict[str, Scores]:
        """Their errors, likewise."""
        if (split, most) not in self._naive:
            scores: dict[str, Scores] = {}
            spread, scale, _ = self.units
            whole = np.concatenate([filled(self.stored.values[s]) for s in _spans(self.stored)])
            for batch in self.batches(split, most):
                own = batch.series.numpy()
                begins = self.stored.offsets[own]
                found = naive_forecasts(whole, begins, batch.starts, self.horizon, self.season)
                for name, said in found.items():
                    one = scores.setdefault(name, Scores())
                    one.add(said, self.true(batch), spread[own], scale[own])
            self._naive[split, most] = scores
        return self._naive[split, most]

    def shown(self, model: Forecaster, count: int, seed: int) -> list[ShownWindow]:
        """Some windows of the validation part, and what the model says of them."""
        windows = self.windows("val")
        drawn = np.random.default_rng(seed).permutation(len(windows))[:count]
        batch = windows.gather(np.sort(drawn))
        values, quantiles = self.said(model, batch, interval_of(model), seeded(model))
        true, stored = self.true(batch), self.stored
        firsts = stored.offsets[batch.series.numpy()]
        return [
            ShownWindow(
                past=stored.values[max(start - self.look_back, first) : start],
                true=true[:, b],
                values=values[:, b],
                quantiles=None if quantiles is None else quantiles[:, :, b],
            )
            for b, (start, first) in enumerate(
                zip(batch.starts.tolist(), firsts.tolist(), strict=True)
            )
        ]


def flipped(x: Tensor, target: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Windows of which about half, drawn by torch's generator, are turned upside down at their last
    value, in all channels.

    Args:
        x: [T, B, C]; past the lengths zeros stay whatever they become.
        target: [F, B, C].
        lengths: [B], or None.
    """
    last = at_end(carried(x)[0], lengths)
    sign = torch.randint(2, (x.shape[1], 1), dtype=torch.int64, device=x.device) * 2 - 1
    return last + sign * (x - last), last + sign * (target - last)


def seeded(model: Forecaster) -> torch.Generator:
    """What evaluation draws from, the same each time."""
    return torch.Generator(next(model.parameters()).device).manual_seed(0)


def levels_of(model: Forecaster) -> tuple[float, ...]:
    """The quantiles that a model is evaluated by."""
    if not model.density.has_spread:
        return ()
    return getattr(model.density, "levels", LEVELS)


def interval_of(model: Forecaster) -> tuple[float, ...]:
    """The levels of the interval that is drawn, and whose coverage is measured; none of points."""
    return Scores(levels_of(model)).interval if model.density.has_spread else ()


def _spans(stored: Stored) -> list[slice]:
    """Where each series lies among all steps."""
    edges = stored.offsets.tolist()
    return [slice(first, last) for first, last in itertools.pairwise(edges)]
