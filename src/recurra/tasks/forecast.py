"""`recurra train forecast`: the next steps of series of numbers.

Letters: S steps of all series, N series, F steps to come, B windows, C channels, Q levels.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from recurra.data import Buckets, Source
from recurra.data.panels import Panel, Reading, check_apart, read_panel
from recurra.data.records import Records, named
from recurra.data.seasons import found_season
from recurra.data.windows import PARTS, Stored, WindowBatch
from recurra.errors import DataError, argument
from recurra.insight.forecasts import figure_of_forecasts
from recurra.models import Categories, Forecast, Forecaster, Names, SeriesScaling
from recurra.models.series import measured
from recurra.tasks.cells import with_cell
from recurra.tasks.encoding import FOLDER, check_files
from recurra.tasks.forecast_files import SeriesRecords, rows_of
from recurra.tasks.forecast_measures import standard_error
from recurra.tasks.forecast_rolling import Rolling, flipped, interval_of
from recurra.tasks.forecast_scores import Scores
from recurra.tasks.options import ForecasterSettings, ForecastTraining, SeriesSettings
from recurra.tasks.options.forecast import shares_of
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.training.task import Carried, Description, Figure, Loss, Moment, Task

FILE = "series.safetensors"
_MAX_VALIDATED = 4000  # windows of a validation, an even sample of more
_NUM_CHANNELS, _NUM_STEPS = 3, 12  # of a preview
_NUM_DRAWN = 3  # windows of the picture
_NUM_WORST = 7  # channels or series that are named
_SAME = 1e-5  # relative, of figures of one forecast in single and in double precision
_NEAR = 0.01  # of what learns nothing: a model that is less than this better is no better


class ForecastTask(Task[Forecaster, WindowBatch]):
    """Series, divided by position, and the windows in them.

    Args:
        stored: the series, and where their parts begin.
        data: how they are read: the horizon, the look-back, the calendar, what is missing.
        channels: the names of what is forecast.
        scaling: of each series, and of the covariates.
        season: in steps; 1 where there is none.
        description: of the data as they were read, as JSON has it.
    """

    name: ClassVar[str] = "forecast"
    title: ClassVar[str] = "forecaster"
    counted: ClassVar[str] = "numbers"
    beginning: ClassVar[str] = "persistence"  # what repeating the last value is called
    loss_name: ClassVar[str] = "loss"
    predicted: ClassVar[tuple[str, ...]] = ("step",)
    input_column: ClassVar[str] = "target"
    data_settings = SeriesSettings
    model_settings = ForecasterSettings
    training_settings: ClassVar[type[TrainingSettings]] = ForecastTraining

    def __init__(
        self,
        stored: Stored,
        data: SeriesSettings,
        *,
        channels: Sequence[str],
        scaling: SeriesScaling,
        season: int,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        self.stored, self.data, self.scaling = stored, data, scaling
        self.rolling = Rolling(
            stored,
            scaling,
            look_back=data.look_back,
            horizon=data.horizon,
            calendar=several(data.calendar),
            season=season,
        )
        self.channels, self.season = Names(list(channels)), season
        self.description = dict(description or {})
        self._kind = "point", "mse"  # of the model, see `build` and `adopt`
        self._surpasses = True

    # ---- data ------------------------------------------------------------------------------------

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """The settings with the cell that they name; DataError when a file is not there."""
        check_files(settings.data)
        return with_cell(settings)

    @classmethod
    def prepare(cls, folder: Path, data: SeriesSettings) -> "ForecastTask":
        """Read the series into the folder."""
        if data.data is None:
            raise DataError(
                f"{argument('data=')}: expected a file or folder of series, got none. Name a "
                "table with a row a step, .csv or .parquet, or an array, .npy."
            )
        how = reading_of(data)
        panels = {"train": read_panel(data.data, how)}
        how = replace(how, learned=panels["train"].categories)
        for part, own in (("val", data.val_data), ("test", data.test_data)):
            if own is not None:
                check_apart(data.data, own, part)
                panels[part] = read_panel(own, how)
        task = cls.of(panels, data)
        for part, share in zip(PARTS, shares_of(data.parts), strict=True):
            if share or part in panels:
                task.rolling.windows(part)  # raises where there is none
        if not any(spread for each in task.scaling.each for spread in each.spread):
            raise DataError(
                f"{data.data}: expected a channel that changes in the training part, got "
                f"{named(task.channels)}, which never do. Name others, {argument('target=')}."
            )
        task.stored.write(folder / FOLDER / FILE)
        return task

    @classmethod
    def of(cls, panels: Mapping[str, Panel], data: SeriesSettings) -> "ForecastTask":
        """The task of series that were read.

        Args:
            panels: by part, "train" at least; a part without one is taken from it by position.
            data: how they are divided and scaled.
        """
        first = panels["train"]
        _check_panels(panels, data)
        stored = Stored.of(panels, shares_of(data.parts))
        train = stored.of_part("train")
        season, how = data.season, "as asked for"
        if season is None and first.frequency is not None and first.frequency.season:
            season, how = first.frequency.season, f"of steps of {first.frequency}"
        elif season is None:
            season, how = found_season(train), "found in the training part"
        description = {
            "notes": list(first.notes),
            "past": list(first.past),
            "known": list(first.known),
            "categories": first.categories.to_config(),
            "season": season,
            "season_from": how,
            "frequency": str(first.frequency or ""),
        }
        return cls(
            stored,
            data,
            channels=first.channels,
            scaling=_measured(stored, data),
            season=season,
            description=description,
        )

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> "ForecastTask":
        """The series in a run's folder, and how they are scaled."""
        data = config["data"]
        described = data["described"]
        return cls(
            Stored.read(folder / FOLDER / FILE),
            SeriesSettings.pick(data),
            channels=Names.from_config(config["channels"]),
            scaling=SeriesScaling.from_config(config["scaling"]),
            season=int(described["season"]),
            description=described,
        )

    @classmethod
    def has_entries(cls, config: Mapping[str, Any]) -> bool:
        """Whether it says how series are scaled, and what their channels are."""
        return "scaling" in config and "channels" in config

    def entries(self) -> dict[str, Any]:
        """How series are scaled, their channels, and what was read."""
        return {
            "channels": self.channels.to_config(),
            "scaling": self.scaling.to_config(),
            "data": {"described": self.description},
        }

    def describe(self) -> Description:
        """How many series and windows, of which channels, and what never changes."""
        lines = [("read", note) for note in self.description.get("notes", ())]
        stored, facts = self.stored, {}
        for part in PARTS:
            steps = [len(each) for each in stored.of_part(part)]
            there = [each for each in steps if each]
            windows = len(self.rolling.windows(part)) if there else 0
            each = f" in {len(there):,} series" if len(steps) > 1 else ""
            lines.append((part, f"{sum(there):,} steps{each}, {windows:,} windows"))
            facts[part] = windows
        lines.append(("channels", f"{len(self.channels)}: {named(self.channels)}"))
        if constant := self._constant():
            said = "never changes in the training part, and is forecast as it was there"
            lines.append(("constant", f"{named(constant)}: {said}"))
        season = self.season if self.season > 1 else "none"
        lines.append(("season", f"{season}, {self.description.get('season_from', '')}"))
        return Description(lines=lines, facts={**facts, "channels": list(self.channels)})

    def _constant(self) -> list[str]:
        """The channels that never change in the training part, and in which series, if not all."""
        found = []
        for c, channel in enumerate(self.channels):
            pairs = zip(self.scaling.names, self.scaling.each, strict=True)
            still = [name for name, scaling in pairs if scaling.spread[c] == 0]
            if still:
                is_all = len(still) == len(self.scaling.each)
                found.append(channel if is_all else f"{channel} of {', '.join(still):.60}")
        return found

    @property
    def categories(self) -> Categories | None:
        """Those of covariates; None where there are none."""
        return Categories(self.description.get("categories", {})) or None

    @property
    def calendar(self) -> tuple[str, ...]:
        """Which features of dates are read."""
        return several(self.data.calendar)

    # ---- model -----------------------------------------------------------------------------------

    @property
    def figures(self) -> Sequence[Figure]:
        """Of points, what they are learned by first; of others the CRPS, which has a like of its
        own in the MAE of a point."""
        errors = [Figure(name="mse"), Figure(name="mae")]
        density, point_loss = self._kind
        if density == "point":
            return errors if point_loss != "mae" else errors[::-1]
        return [Figure(name="crps"), *errors, Figure(name="coverage")]

    def build(self, model: ForecasterSettings, *, backend: str = "auto") -> Forecaster:
        """A forecaster for the data."""
        options = model.arguments()
        density: dict[str, Any] = {"kind": options.pop("density")}
        loss, components = options.pop("point_loss"), options.pop("components")
        if density["kind"] == "point":
            density["loss"] = loss
        if density["kind"] in ("mixture", "pen"):
            density["components"] = components
        size = options.pop("series_size")
        if size:
            names = self.scaled_names()
            options |= {"num_series": len(names), "series_size": size, "series": names}
        made = Forecaster(
            len(self.channels),
            self.data.horizon,
            self.data.look_back,
            density=density,
            past_size=self.stored.past.shape[1],
            known_size=self.stored.known.shape[1],
            calendar=self.calendar,
            missing=self.data.missing,
            channels=self.channels,
            scaling=self.scaling,
            categories=self.categories,
            **options,
            backend=backend,
        )
        self._of_model(made)
        return made

    def scaled_names(self) -> list[str]:
        """The names of the series that are trained on."""
        train = self.stored.of_part("train")
        named_in = zip(self.stored.names, train, strict=True)
        return [name for name, values in named_in if len(values)]

    def adopt(self, model: Forecaster) -> None:
        """Give the model the names of channels and series, and their scaling."""
        model.channels, model.scaling = self.channels, self.scaling
        model.categories = self.categories
        if model.vectors is not None:
            model.series = self.scaled_names()
        self._of_model(model)

    def _of_model(self, model: Forecaster) -> None:
        """What is reported follows from what the model says."""
        self._kind = model.density.kind, getattr(model.density, "loss", "mse")

    # ---- training --------------------------------------------------------------------------------

    def source(self, split: str, training: ForecastTraining) -> Source[WindowBatch]:
        """Batches of windows, in another order each pass."""
        return Buckets(self.rolling.windows(split), training.batch_size, seed=training.seed)

    def loss(self, model: nn.Module, batch: WindowBatch, state: Carried, moment: Moment) -> Loss:
        """The mean over all numbers to come, scaled, as the density has it."""
        of: Any = getattr(model, "module", model)  # it may be wrapped for other processes
        arguments = self.rolling.arguments(of, batch)
        target = batch.target.to(arguments["x"])
        if self.data.flip and model.training:
            lengths = arguments.get("lengths")
            arguments["x"], target = flipped(arguments["x"], target, lengths)
        if of.decoding == "recursive":
            training = self.training
            feeding = training.feeding if isinstance(training, ForecastTraining) else "own"
            truth = {"own": 0.0, "teacher": 1.0, "scheduled": 1.0 - moment.fraction}[feeding]
            arguments |= {"target": target, "truth": truth}
        total, count = of.total_loss(model(**arguments), target)
        if not batch.weight:
            total, count = total * 0, count * 0
        return Loss(mean=total / count.clamp(min=1), count=int(count))

    @property
    def baseline(self) -> float | None:
        """The first figure of the best forecast that learns nothing, on the validation part."""
        return min(self.naive_figures("val").values())

    def naive_figures(self, split: str) -> dict[str, float]:
        """The first figure of each forecast that learns nothing, over the windows that a model is
        validated on or tested on; the CRPS of a point is its MAE."""
        first = self.figures[0].name
        like = "mae" if first == "crps" else first
        found = self.rolling.naive(split, _MAX_VALIDATED if split == "val" else None)
        return {name: figures[like] for name, figures in found.items()}

    def remark(self, figures: Mapping[str, float]) -> str | None:
        """One line where the best model is no better on the validation part than what learns
        nothing."""
        first = self.figures[0].name
        if first not in figures:
            return None
        naive = self.naive_figures("val")
        best = min(naive, key=naive.__getitem__)
        value = naive[best]
        if best == self.beginning and math.isclose(figures[first], value, rel_tol=_SAME):
            return (
                f"no step of training made the model better than {best}, which learns nothing, by "
                f"more than a standard error; what is kept is {best}: validation {first} "
                f"{value:.4f}"
            )
        if figures[first] < (1 - _NEAR) * value:
            return None
        how = "no better than" if figures[first] <= (1 + _NEAR) * value else "worse than"
        return (
            f"the model is {how} {best}, which learns nothing: validation {first} "
            f"{figures[first]:.4f}, {best} {value:.4f}"
        )

    # ---- figures ---------------------------------------------------------------------------------

    def validate(self, model: Forecaster, device: torch.device) -> dict[str, float]:
        """The figures on the validation part, or on an even sample of a long one."""
        scores = self.rolling.scores(model, "val", _MAX_VALIDATED)
        found = scores.figures()
        if model.adds_to_last:
            first = self.figures[0].name
            naive = self.rolling.naive_scores("val", _MAX_VALIDATED)["persistence"]
            (own, weight), (theirs, _) = scores.by_window(first), naive.by_window(first)
            there = weight > 0
            self._judge(
                (theirs - own)[there] / weight[there],
                weight[there],
                self.rolling.blocks("val", _MAX_VALIDATED)[there],
            )
        return {figure.name: found[figure.name] for figure in self.figures}

    def _judge(self, gain: np.ndarray, weight: np.ndarray, block: np.ndarray) -> None:
        """Whether a model is better than the last value by more than the standard error of the
        difference; where that cannot be told, whether it is better.

        Args:
            gain: [B], the error of the last value less the model's, of each window.
            weight: [B], of each window in the figure.
            block: [B], which windows may go together.
        """
        error = standard_error(gain, weight, block) or 0.0
        self._surpasses = float((weight * gain).sum() / weight.sum()) > error

    def counts_untrained(self, model: Forecaster) -> bool:
        """One that repeats the last value does: it is kept unless a trained one is better by more
        than a standard error.

        Source: the rule of one standard error, Breiman, Friedman, Olshen, Stone (1984),
        "Classification and regression trees", section 3.4.3: of models whose errors are within it
        the simplest is taken.
        """
        return model.repeats_last

    @property
    def surpasses(self) -> bool:
        """Whether the model validated last is better than the last value by more than the standard
        error of the difference, over windows that share steps with few others."""
        return self._surpasses

    def validation_cost(self, training: ForecastTraining) -> tuple[float, float]:
        """In windows; reading alone costs about a third of learning."""
        return min(len(self.rolling.windows("val")), _MAX_VALIDATED) / 3, float(training.batch_size)

    def evaluate(self, model: Forecaster, split: str) -> dict[str, Any]:
        """The figures over every window of a part, free-running: `mse` and `mae` scaled and
        unscaled, `mase`, `mse_by_step`, `by_channel`, of several series `by_series`, of a model
        with a spread `crps`, `pinball`, `coverage` of the `interval`; the same of `baselines` by
        name; `season`, `windows`, `seconds`."""
        started = time.perf_counter()
        apart: dict[str, Scores] | None = {} if len(self.stored.names) > 1 else None
        scores = self.rolling.scores(model, split, apart=apart)
        of_each = {name: own.figures() for name, own in (apart or {}).items()}
        return {
            **scores.figures(),
            "by_channel": scores.by_channel(self.channels),
            **({} if apart is None else {"by_series": _without_steps(of_each)}),
            "baselines": self.rolling.naive(split),
            "season": self.season,
            "windows": len(self.rolling.windows(split)),
            "seconds": time.perf_counter() - started,
        }

    # ---- other files -----------------------------------------------------------------------------

    @classmethod
    def evaluate_file(
        cls, model: Forecaster, data: Any, split: str | None, how: SeriesSettings
    ) -> dict[str, Any]:
        """The same of the series of other files: over all of their windows, or over a part of
        them, divided as the run's own are."""
        panel = read_panel(data, reading_of(how, model))
        stored = Stored.of({"test" if split is None else "train": panel}, shares_of(how.parts))
        _check_panels({"train": panel}, how)
        season = how.season or (panel.frequency and panel.frequency.season)
        scaling = model.needed("scaling", "ForecastTask.evaluate_file")
        task = cls(
            stored,
            how,
            channels=panel.channels,
            scaling=scaling,
            season=season or found_season(stored.of_part("test" if split is None else "train")),
        )
        return task.evaluate(model, split or "test")

    @classmethod
    def say(cls, figures: Mapping[str, Any]) -> str:
        """How many windows, then the figures, and those of each forecast that learns nothing."""
        lines = {"the model": figures, **figures["baselines"]}
        width = max(map(len, lines))
        said = [f"{name:{width}}  {_said(found)}" for name, found in lines.items()]
        season = f", season {figures['season']}" if figures["season"] > 1 else ""
        head = f"{figures['windows']:,} windows{season}, {figures['seconds']:.1f} s"
        for name in ("channel", "series"):
            each = figures.get(f"by_{name}", {})
            if len(each) > 1:
                said.append(_worst(name, each))
        return "\n".join([f"{head}; mse, mae and crps are of scaled values", *said])

    @classmethod
    def inputs(cls, model: Forecaster, path: Path, how: SeriesSettings) -> Records:
        """The series of a file, up to the present, with what is known beside them."""
        return SeriesRecords(path, reading_of(how, model))

    @classmethod
    def reads_texts(cls, model: Forecaster) -> bool:
        """It reads series alone."""
        return False

    @classmethod
    def rows(cls, prediction: Forecast) -> list[dict[str, Any]]:
        """A row a step: its number, its date, the value of each channel, and its quantiles."""
        return rows_of(prediction)

    @classmethod
    def lines(cls, prediction: Forecast) -> list[list[Any]]:
        """The values of each row."""
        return [list(row.values()) for row in rows_of(prediction)]

    # ---- to look at ------------------------------------------------------------------------------

    def preview(
        self, model: Forecaster, moment: Moment, training: ForecastTraining
    ) -> tuple[str, str] | None:
        """What the model says of a window of the validation part, beside what came, of a few
        channels; the same window each time."""
        some = self.rolling.shown(model, 1, training.seed)[0]
        assert some.true is not None
        lines = []
        for c, channel in list(enumerate(self.channels))[:_NUM_CHANNELS]:
            for what, values in (("came", some.true), ("said", some.values)):
                numbers = " ".join(f"{value:.4g}" for value in values[:_NUM_STEPS, c])
                more = " ..." if len(values) > _NUM_STEPS else ""
                lines.append(f"{channel} {what}: {numbers}{more}")
        return "\n".join(lines), "a window of the validation part"

    def insights(self, model: Forecaster, *, brief: bool = False) -> list[Any]:
        """What the model says of a few windows of the validation part, beside what came."""
        seed = self.training.seed if self.training is not None else 0
        shown = self.rolling.shown(model, _NUM_DRAWN, seed)
        low, high = interval_of(model) or (0.0, 0.0)
        return [figure_of_forecasts(shown, channels=self.channels, interval=high - low or None)]


def several(given: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """What a setting names once, several times or not at all, as a tuple."""
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)


def reading_of(data: SeriesSettings, model: Forecaster | None = None) -> Reading:
    """How tables are read by the settings; where a model is there, with its channels."""
    target = several(data.target)
    if model is not None and model.channels is not None:
        target = tuple(model.channels)
    return Reading(
        target=target,
        past_covariates=several(data.past_covariates),
        known_covariates=several(data.known_covariates),
        categories=several(data.categories),
        learned=None if model is None else Categories(model.categories or {}),
        date_column=data.date_column,
        group_column=data.group_column,
        date_format=data.date_format,
        missing=data.missing,
        encoding=data.encoding,
    )


def _said(found: Mapping[str, Any]) -> str:
    names = ("mse", "mae", "mase", "crps", "mse_unscaled", "mae_unscaled")
    said = [f"{name.replace('_', ' ')} {found[name]:.4g}" for name in names if name in found]
    if "coverage" in found:
        said.append(f"{found['interval']:.0%} intervals cover {found['coverage']:.1%}")
    return ", ".join(said)


def _worst(what: str, each: Mapping[str, Mapping[str, float]]) -> str:
    """The channels or the series that are forecast worst, on a line."""
    there = {name: own["mse"] for name, own in each.items() if "mse" in own}
    order = sorted(there, key=there.__getitem__, reverse=True)[:_NUM_WORST]
    shown = ", ".join(f"{name} {there[name]:.4g}" for name in order)
    return f"mse by {what}, the largest of {len(each):,}: {shown}"


def _without_steps(each: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Figures by name without those by step."""
    return {
        name: {figure: value for figure, value in own.items() if not isinstance(value, list)}
        for name, own in each.items()
    }


def _check_panels(panels: Mapping[str, Panel], data: SeriesSettings) -> None:
    """Raise DataError where parts do not have the same columns and steps, or lack dates."""
    first = panels["train"]
    if data.calendar and first.frequency is None:
        raise DataError(
            f"{argument('calendar=')}: expected series with dates, got none. Name their column by "
            f"{argument('date_column=')}, or leave the calendar out."
        )
    for part, panel in panels.items():
        if panel.channels != first.channels:
            raise DataError(
                f"{part}: expected the columns {named(first.channels)}, as are trained on, got "
                f"{named(panel.channels)}. Name those that are forecast, {argument('target=')}."
            )
        if str(panel.frequency) != str(first.frequency):
            raise DataError(
                f"{part}: expected a step of {first.frequency or 'no dates'}, as is trained on, "
                f"got {panel.frequency or 'no dates'}. Bring them to one."
            )


def _measured(stored: Stored, data: SeriesSettings) -> SeriesScaling:
    """The scaling of what is trained on: each series' own, or one for all."""
    train = stored.of_part("train")
    there = [(name, v) for name, v in zip(stored.names, train, strict=True) if len(v)]
    if not there:
        raise DataError(
            "train: expected steps to train on, got none. Give longer series, or divide otherwise, "
            f"{argument('parts=')}."
        )
    names = tuple(name for name, _ in there)
    each = tuple(measured(values) for _, values in there)
    if data.scaling == "shared":
        names, each = ("",), (measured(np.concatenate([values for _, values in there])),)
    beside = np.concatenate([stored.past, stored.known], axis=1)[stored.rows_of("train")]
    covariates = measured(beside) if beside.shape[1] else None
    return SeriesScaling(names=names, each=each, covariates=covariates)
