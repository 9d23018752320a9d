"""The forecaster: the next steps of a series of numbers, as points, quantiles or a distribution.

    scaled series -> [last value taken away] -> recurrent layers -> F steps [-> last value put back]

Letters: T steps of the past, F steps to come, B batch, C channels, P covariates of the past, K
known covariates with the calendar's features, L steps of a segment, M segments to come, S raw
numbers a step, Q levels, R rows that the recurrence reads: B, or B C where channels share weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recurra.compose.spelling import resolved
from recurra.lang import Cell
from recurra.models.calendar import check_calendar
from recurra.models.cell_entries import cell_config
from recurra.models.checks import (
    check_numbers,
    check_reduction,
    check_shape,
    check_share,
    counts_of,
)
from recurra.models.forecaster_options import (
    check_asked,
    check_call,
    check_kinds,
    columns_of,
    density_of,
    horizon_of,
    levels_of,
    segment_length_of,
)
from recurra.models.forecaster_rows import Rows, at_end, carried, cut
from recurra.models.forecasting import GivenSeries, forecasts_of
from recurra.models.parts import Names, Part
from recurra.models.saving import Model, layer_options
from recurra.models.series import Categories, Forecast, Series, SeriesScaling
from recurra.models.starting import Taken, take_weights
from recurra.nn import Recurrent
from recurra.nn.checks import check_dropout, check_flags, check_reads_x_alone, check_sizes
from recurra.nn.densities import Density
from recurra.nn.dropout import dropout
from recurra.nn.initial import Rule
from recurra.nn.plain import evaluating

Draws = torch.Generator | Sequence[torch.Generator] | None
_SMALL = 0.01  # of the usual weights, for the first forecasts to be near the value before


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What a forecaster says of the steps to come, in scaled numbers.

    Attributes:
        raw: [F, R, S], what a density reads.
        base: [F, R, C] or [F, R, 1], what its values are added to: the value before, or the last.
        values: [F, R, C] or [F, R, 1], what a recursive model took each step to be and fed back:
            of a distribution one way on, drawn step by step. None of others, and of teacher
            forcing.
    """

    raw: Tensor
    base: Tensor
    values: Tensor | None = None


class Forecaster(Model):
    """Recurrent layers over what was, and what they say of the next steps.

    Args:
        num_channels: C, numbers a step that are forecast.
        horizon: F, the steps to come.
        look_back: T, the most steps of the past that are read.
        density: what is said of each number: "point", "quantiles", "gaussian", "student",
            "mixture", or one of `recurra.nn.densities`.
        decoding: "direct" makes all steps of the last state at once; "recursive" feeds what it says
            of a step back to say the next; "segments" reads segment by segment and makes all
            segments to come side by side, each from the last state and its own place.
        segment_length: L, of segments; None takes the horizon's largest divisor up to its half.
        subtract_last: the last value is taken away from what is read, and added to what is said.
        residual: what is said of a step is its difference to the one before; of "recursive".
        shared_channels: each channel is a series by itself, all read with the same weights.
        past_size: P.
        known_size: without the calendar's.
        calendar: features of dates, of "minute", "hour", "weekday", "day", "yearday".
        num_series: how many series have a learned vector; None: none has one.
        series_size: of this vector.
        missing: "fail" refuses missing values; "fill" takes the last one before; "mask" does too,
            and reads a channel beside each that says which are missing.
        channels, series, scaling, categories: names of channels, names of series, their scaling,
            and what the categories of covariates are called, by covariate; saved with the model.
            They may be given later: `model.scaling = scaling`.
        hidden_size, num_layers, cell, sizes, init, learned_state, memory, backend: of the
            recurrent layers; see `Recurrent`.
        dropout: probability of dropping a feature of a layer's output, in training.

    Raises:
        ValueError: when arguments do not go together, or one is wrong.

    Source: "recursive" with `residual` as Martinez, Black, Romero (2017), "On human motion
    prediction using recurrent neural networks", arXiv:1705.02445, with a distribution as Salinas et
    al. (2017), "DeepAR", arXiv:1704.04110; "segments" as Lin et al. (2023), "SegRNN",
    arXiv:2308.11200, with any cell, and with covariates, which that model has none of.
    """

    channels = Part(Names, convert=Names)
    series = Part(Names, convert=Names)
    scaling = Part(SeriesScaling)
    categories = Part(Categories, convert=Categories)

    def __init__(
        self,
        num_channels: int,
        horizon: int,
        look_back: int,
        *,
        density: Density | Mapping[str, Any] | str = "point",
        decoding: str = "direct",
        segment_length: int | None = None,
        subtract_last: bool = True,
        residual: bool = False,
        shared_channels: bool = False,
        past_size: int = 0,
        known_size: int = 0,
        calendar: Sequence[str] = (),
        num_series: int | None = None,
        series_size: int = 8,
        missing: str = "fail",
        channels: Sequence[str] | None = None,
        series: Sequence[str] | None = None,
        scaling: SeriesScaling | None = None,
        categories: Mapping[str, Sequence[str]] | None = None,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: Cell | str = "gru",
        sizes: Mapping[str, int | str] | None = None,
        dropout: float = 0.0,
        init: Mapping[str, Rule] | None = None,
        learned_state: bool = False,
        memory: str = "normal",
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_sizes("Forecaster", num_channels=num_channels, horizon=horizon, look_back=look_back)
        check_sizes("Forecaster", least=0, past_size=past_size, known_size=known_size)
        check_flags(
            "Forecaster",
            subtract_last=subtract_last,
            residual=residual,
            shared_channels=shared_channels,
        )
        check_dropout("Forecaster", "dropout", dropout)
        check_calendar(calendar)
        check_kinds(decoding, residual, missing)
        self.num_channels, self.horizon, self.look_back = num_channels, horizon, look_back
        self.density = density_of(density)
        self.decoding = decoding
        self.subtract_last, self.residual = subtract_last, residual
        self.shared_channels, self.missing = shared_channels, missing
        self.past_size, self.known_size, self.calendar = past_size, known_size, tuple(calendar)
        self.dropout = dropout
        self.segment_length = segment_length_of(decoding, segment_length, horizon, look_back)
        self.vectors: nn.Embedding | None = None
        if num_series is not None:
            check_sizes("Forecaster", num_series=num_series, series_size=series_size)
            self.vectors = nn.Embedding(num_series, series_size, dtype=dtype, device=device)
        cell = resolved("Forecaster", cell)
        check_reads_x_alone("Forecaster", cell)
        step_size = self._step_size
        segments = decoding == "segments"
        if segments:
            self.reading = nn.Linear(
                self.segment_length * step_size, hidden_size, dtype=dtype, device=device
            )
        self.recurrent = Recurrent(
            cell,
            hidden_size if segments else step_size,
            hidden_size,
            num_layers,
            sizes=sizes,
            dropout=dropout if num_layers > 1 else 0.0,
            init=init,
            learned_state=learned_state,
            memory=memory,
            backend=backend,
            dtype=dtype,
            device=device,
        )
        self._make_decoder(hidden_size, dtype, device)
        self.channels, self.series, self.scaling = channels, series, scaling
        self.categories = categories
        self._reset_own_parameters()

    def _make_decoder(
        self, hidden_size: int, dtype: torch.dtype | None, device: torch.device | str | None
    ) -> None:
        """The layers behind the recurrence, and what it starts the steps to come from."""
        width, size = self.recurrent.output_size, self.density.size(self._width)
        if self.decoding == "direct":
            ahead = self.horizon * self.known_width
            self.decoder = nn.Linear(width + ahead, self.horizon * size, dtype=dtype, device=device)
        elif self.decoding == "recursive":
            self.decoder = nn.Linear(width, size, dtype=dtype, device=device)
        else:
            length = self.segment_length
            self.decoder = nn.Linear(width, length * size, dtype=dtype, device=device)
            # a place is half that of its segment, half that of its channel, where they share
            own = hidden_size // 2 if self.shared_channels else 0
            places = torch.empty(self._num_segments, hidden_size - own, dtype=dtype, device=device)
            self.places = nn.Parameter(places)
            of_channels = torch.empty(self.num_channels, own, dtype=dtype, device=device)
            self.channel_places = nn.Parameter(of_channels) if own else None
            self.ahead = None
            if self.known_width:
                self.ahead = nn.Linear(
                    length * self.known_width, hidden_size, dtype=dtype, device=device
                )

    def reset_parameters(self) -> None:
        """Draw all parameters anew; the first forecasts are the last value, or close to it."""
        self.recurrent.reset_parameters()
        self._reset_own_parameters()

    def _reset_own_parameters(self) -> None:
        for name in ("vectors", "reading", "decoder", "ahead"):
            part = getattr(self, name, None)
            if part is not None:
                part.reset_parameters()
        for name in ("places", "channel_places"):
            place = getattr(self, name, None)
            if place is not None:
                nn.init.normal_(place)
        if self.residual or self.subtract_last:  # what is added begins at zero, or small
            nn.init.zeros_(self.decoder.bias)
            with torch.no_grad():  # components of a mixture that begin alike would stay so
                self.decoder.weight.mul_(0.0 if self.adds_to_last else _SMALL)

    @property
    def adds_to_last(self) -> bool:
        """Whether it says points that are added to the last value, or to the one before."""
        return self.density.kind == "point" and (self.residual or self.subtract_last)

    @property
    def repeats_last(self) -> bool:
        """Whether all it says is the last value, whatever it reads, as before training where it
        adds to that."""
        return self.adds_to_last and not any(bool(w.any()) for w in self.decoder.parameters())

    # ---- sizes

    @property
    def _width(self) -> int:
        """Channels of a row that the recurrence reads."""
        return 1 if self.shared_channels else self.num_channels

    @property
    def known_width(self) -> int:
        """K."""
        return self.known_size + 2 * len(self.calendar)

    @property
    def _step_size(self) -> int:
        values = self._width * (2 if self.missing == "mask" else 1)
        own = 0 if self.vectors is None else self.vectors.embedding_dim
        return values + self.past_size + self.known_width + own

    @property
    def _num_segments(self) -> int:
        return -(-self.horizon // self.segment_length)

    def check_part(self, name: str, part: Any) -> None:
        """Parts have the sizes that the model was made with."""
        num_series = None if self.vectors is None else self.vectors.num_embeddings
        found, wanted, what = {
            "channels": lambda: (len(part), self.num_channels, "names, the model's num_channels"),
            "scaling": lambda: (part.num_channels, self.num_channels, "channels, num_channels"),
            "series": lambda: (len(part), num_series, "names, the model's num_series"),
            "categories": lambda: columns_of(part, self.past_size + self.known_size),
        }[name]()
        if found != wanted:
            raise ValueError(
                f"Forecaster: expected {name} of {wanted} {what}, got {found}. Make the model for "
                f"it: Forecaster(..., {name}={name})."
            )

    # ---- what is computed

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        past: Tensor | None = None,
        known: Tensor | None = None,
        ahead: Tensor | None = None,
        series: Tensor | None = None,
        horizon: int | None = None,
        target: Tensor | None = None,
        truth: float = 0.0,
        generator: Draws = None,
    ) -> Steps:
        """What is said of the next steps of scaled series.

        Args:
            x: [T, B, C] scaled values; NaN where one is missing, unless missing="fail".
            lengths: [B] integers in 1..T, true steps of each; None means all T. What lies past
                them is not looked at.
            past: [T, B, P].
            known: [T, B, K].
            ahead: [F, B, K], known covariates of the steps to come.
            series: [B] int64, the number of each one's vector.
            horizon: F; None takes the model's. Only a recursive model goes beyond it.
            target: [F, B, C] scaled values that a recursive model may be fed.
            truth: the probability that it is fed the target in place of what it said; 1 is teacher
                forcing, and takes one call of the recurrence.
            generator: of what a recursive model with a spread draws to feed back; or several, each
                of as many series, which then do not depend on the others.
        Raises:
            ValueError: when a shape or a size is wrong.
        """
        check_call(self, x, past=past, known=known, ahead=ahead, series=series)
        horizon = horizon_of(self, horizon)
        check_share("Forecaster", truth=truth)
        if target is not None:
            check_shape("Forecaster", target, (horizon, *x.shape[1:]))
        rows = Rows.of(self, x, lengths, past, known, ahead, series)
        made = {"direct": self._direct, "segments": self._in_segments}.get(self.decoding)
        if made is not None:
            raw, base = made(rows)[:horizon], rows.last.repeat(horizon, 1, 1)
            return Steps(raw=raw, base=base)
        if target is not None:
            target = self.apart(target) - rows.last
        return self._recursive(rows, horizon, target, truth, generator)

    def _direct(self, rows: Rows) -> Tensor:
        state = self._dropped(self._last_output(rows.steps(), rows.lengths))
        ahead = rows.ahead.transpose(0, 1).flatten(1)
        raw = self.decoder(torch.cat([state, ahead], dim=-1))
        return raw.unflatten(-1, (self.horizon, -1)).transpose(0, 1)

    def _in_segments(self, rows: Rows) -> Tensor:
        M, L = self._num_segments, self.segment_length
        segments, lengths = cut(rows.steps(), rows.lengths, L)
        _, state = self.recurrent(torch.relu(self.reading(segments)), lengths=lengths)
        R = segments.shape[1]
        places = self.places.unsqueeze(1).expand(-1, R, -1)  # [M, R, H]
        if self.channel_places is not None:
            B = R // self.num_channels
            places = torch.cat([places, self.channel_places.repeat(B, 1).expand(M, -1, -1)], -1)
        if self.ahead is not None:
            more = M * L - self.horizon
            known = nn.functional.pad(rows.ahead, (0, 0, 0, 0, 0, more))
            known = known.unflatten(0, (M, L)).transpose(1, 2).flatten(2)
            places = places + self.ahead(known)
        states = state if isinstance(state, tuple) else (state,)
        states = tuple(each.repeat_interleave(M, dim=1) for each in states)
        start = states if isinstance(state, tuple) else states[0]
        # one step for all segments to come, row by row: segment m of row r is r M + m
        y, _ = self.recurrent(places.transpose(0, 1).flatten(0, 1).unsqueeze(0), start)
        raw = self.decoder(self._dropped(y[0]))
        raw = raw.view(R, M * L, raw.shape[-1] // L)
        return raw.transpose(0, 1)[: self.horizon]

    def _recursive(
        self,
        rows: Rows,
        horizon: int,
        target: Tensor | None,
        truth: float,
        generator: Draws,
    ) -> Steps:
        """Step by step; a target is fed where it is to be, and is there."""
        y, state = self.recurrent(rows.steps(shifted=True), lengths=rows.lengths)
        output = at_end(y, rows.lengths)
        value = rows.last_read
        if target is not None and truth >= 1:
            fed = carried(torch.cat([value.unsqueeze(0), target[: horizon - 1]]))[0]
            outputs = output.unsqueeze(0)
            if horizon > 1:
                more, _ = self.recurrent(rows.fed(fed[1:], target[: horizon - 1].isnan()), state)
                outputs = torch.cat([outputs, more])
            base = fed if self.residual else torch.zeros_like(fed)
            return Steps(raw=self.decoder(self._dropped(outputs)), base=base + rows.last)
        raws, bases, values = [], [], []
        for step in range(horizon):
            raw = self.decoder(self._dropped(output))
            base = value if self.residual else torch.zeros_like(value)
            raws.append(raw)
            bases.append(base)
            value = base + self._fed_back(raw, generator)
            if target is not None and truth > 0:
                chosen = torch.rand(value.shape[:1], dtype=value.dtype, device=value.device) < truth
                is_fed = chosen.unsqueeze(-1) & ~target[step].isnan()
                value = torch.where(is_fed, target[step], value)
            values.append(value)
            if step == horizon - 1:
                break
            y, state = self.recurrent(rows.fed(value.unsqueeze(0), None, step), state)
            output = y[0]
        return Steps(
            raw=torch.stack(raws),
            base=torch.stack(bases) + rows.last,
            values=torch.stack(values) + rows.last,
        )

    def _fed_back(self, raw: Tensor, generator: Draws) -> Tensor:
        """What a step is taken to be: the point, with its gradient; of a distribution a draw."""
        if not self.density.has_spread:
            return self.density.mean(raw)
        raw = raw.detach()
        if not isinstance(generator, Sequence):
            return self.density.sample(raw, generator)
        parts = zip(raw.chunk(len(generator)), generator, strict=True)
        return torch.cat([self.density.sample(part, each) for part, each in parts])

    def _last_output(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        y, _ = self.recurrent(steps, lengths=lengths)
        return at_end(y, lengths)

    def _dropped(self, y: Tensor) -> Tensor:
        return dropout(y, self.dropout) if self.training and self.dropout > 0 else y

    def apart(self, x: Tensor) -> Tensor:
        """[..., B, C] as rows: [..., B C, 1] where channels share weights."""
        return x.flatten(-2).unsqueeze(-1) if self.shared_channels else x

    def together(self, rows: Tensor) -> Tensor:
        """The inverse of `apart`."""
        return (
            rows.squeeze(-1).unflatten(-1, (-1, self.num_channels))
            if self.shared_channels
            else rows
        )

    # ---- what is learned

    def loss(
        self,
        x: Tensor,
        target: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        reduction: str = "mean",
        **options: Any,
    ) -> Tensor:
        """The loss of all numbers of the target that are there, by the density.

        Args:
            x, lengths: as for a call.
            target: [F, B, C] scaled; NaN where a value is missing.
            reduction: "mean" over what counts, or "sum".
            options: of a call.
        """
        check_reduction("Forecaster", reduction)
        total, count = self.total_loss(self(x, lengths, target=target, **options), target)
        return total / count.clamp(min=1) if reduction == "mean" else total

    def total_loss(self, said: Steps, target: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the losses of all numbers that are there, and how many they are; of a mixture
        over several channels, how many steps.

        Args:
            said: of a call.
            target: [F, B, C] scaled.
        """
        F, R = said.raw.shape[:2]
        B = R // self.num_channels if self.shared_channels else R
        check_numbers("Forecaster", target, (F, B, self.num_channels))
        wanted = self.apart(target) - said.base
        return self.density.nll(said.raw, wanted).sum(), self.density.counted(wanted).sum()

    # ---- what users get

    def read_out(self, said: Steps, levels: Sequence[float] = ()) -> tuple[Tensor, Tensor | None]:
        """Of what a call said, the values [F, B, C], and the quantiles [Q, F, B, C], scaled."""
        values = self.together(self.density.mean(said.raw) + said.base)
        if not levels:
            return values, None
        return values, self.together(self.density.quantiles(said.raw, levels) + said.base)

    def forecast(
        self,
        x: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        levels: Sequence[float] = (),
        num_samples: int = 100,
        generator: Draws = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Scaled values [F, B, C] and quantiles [Q, F, B, C] of a batch, free-running.

        A recursive model with a spread draws `num_samples` ways on for each series, and the values
        are their mean, the quantiles theirs.

        Args:
            x, lengths, options: of a call.
            levels: Q probabilities; none: no quantiles.
            generator: as for a call; one for each of B makes no series depend on the others.
        """
        check_sizes("Forecaster.forecast", num_samples=num_samples)
        levels = levels_of(levels)
        with evaluating(self), torch.no_grad():
            if self.decoding != "recursive" or not self.density.has_spread:
                return self.read_out(self(x, lengths, **options), levels)
            again = {
                name: value.repeat_interleave(num_samples, dim=0 if name == "series" else 1)
                if isinstance(value, Tensor)
                else value
                for name, value in options.items()
            }
            if lengths is not None:
                T, B = x.shape[:2]
                lengths = counts_of("Forecaster", "lengths of series", lengths, T, B, x.device)
                lengths = lengths.repeat_interleave(num_samples)
            many = x.repeat_interleave(num_samples, dim=1)
            said = self(many, lengths, generator=generator, **again)
            assert said.values is not None
            drawn = self.together(said.values).unflatten(1, (-1, num_samples))
            if not levels:
                return drawn.mean(dim=2), None
            if not drawn.numel():  # of no series
                return drawn.mean(dim=2), drawn.mean(dim=2).repeat(len(levels), 1, 1, 1)
            share = torch.tensor(levels, dtype=drawn.dtype, device=drawn.device)
            return drawn.mean(dim=2), torch.quantile(drawn, share, dim=2)

    def predict(
        self,
        inputs: Sequence[Series | Any] | np.ndarray | Tensor,
        *,
        horizon: int | None = None,
        levels: Sequence[float] | None = None,
        num_samples: int = 100,
        seed: int = 0,
        batch_size: int = 64,
    ) -> list[Forecast]:
        """The next steps of each series.

        Args:
            inputs: each a `Series`, or its values alone: [T, C] numbers ([T] where C is 1), in the
                units of the data. Of long ones the last `look_back` steps are read.
            horizon: F; None takes the model's.
            levels: of the quantiles; None takes 0.1, 0.5 and 0.9, or none of points.
            num_samples: ways on that a recursive model with a spread draws.
            seed: of these draws.
            batch_size: series that are read at a time.
        Raises:
            DataError: when a series is not as the model reads it, or a value is missing and
                `missing` is "fail".
            ValueError: when the horizon is longer than the model's, or a level is out of range.
        """
        where = "Forecaster.predict"
        check_asked(where, inputs, seed, batch_size=batch_size, num_samples=num_samples)
        if levels is None:
            levels = self.default_levels
        levels = levels_of(levels)
        horizon = horizon_of(self, horizon)
        given = [
            GivenSeries.of(self, series, horizon, f"{where}: series {i}")
            for i, series in enumerate(inputs)
        ]
        draws = {"levels": levels, "num_samples": num_samples, "seed": seed}
        return forecasts_of(self, given, horizon, batch_size, **draws)

    @property
    def default_levels(self) -> tuple[float, ...]:
        """Of the quantiles that `predict` gives: 0.1, 0.5 and 0.9; of points none."""
        return (0.1, 0.5, 0.9) if self.density.has_spread else ()

    def init_from(self, source: Model) -> Taken:
        """Start from the weights of another model, where names and shapes agree; see `Taken`."""
        return take_weights(self, source)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this model, the cell as `cell_config` writes it."""
        own = self.vectors
        vectors = {} if own is None else {"num_series": own.num_embeddings}
        vectors |= {} if own is None else {"series_size": own.embedding_dim}
        return {
            "num_channels": self.num_channels,
            "horizon": self.horizon,
            "look_back": self.look_back,
            "density": self.density.to_config(),
            "decoding": self.decoding,
            "segment_length": self.segment_length if self.decoding == "segments" else None,
            "subtract_last": self.subtract_last,
            "residual": self.residual,
            "shared_channels": self.shared_channels,
            "past_size": self.past_size,
            "known_size": self.known_size,
            "calendar": list(self.calendar),
            **vectors,
            "missing": self.missing,
            "hidden_size": self.recurrent.hidden_size,
            "num_layers": self.recurrent.num_layers,
            **cell_config(self.recurrent.cell),
            "sizes": dict(self.recurrent.sizes),
            "dropout": self.dropout,
            **layer_options(self.recurrent),
            "dtype": str(self.decoder.weight.dtype).removeprefix("torch."),
        }
