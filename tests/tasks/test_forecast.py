"""A forecaster from files to forecasts, beside what learns nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recurra as rc
from recurra.data.panels import Panel
from recurra.errors import DataError
from recurra.models import Forecaster, Series
from recurra.tasks.forecast import ForecastTask
from recurra.tasks.options import ForecasterSettings, ForecastTraining, SeriesSettings
from recurra.training.task import Moment

SMALL: dict[str, Any] = {
    "horizon": 4,
    "look_back": 12,
    "hidden_size": 16,
    "batch_size": 32,
    "lr": 0.01,
    "view": None,
    "threads": 1,
}


def wave(steps: int, *, seed: int = 0, period: int = 8, noise: float = 0.1) -> np.ndarray:
    """Two channels of a season on a level that strays."""
    rng = np.random.default_rng(seed)
    at = 2 * np.pi * np.arange(steps)[:, None] / period + np.array([0.0, 1.0])
    level = np.cumsum(0.1 * rng.normal(size=(steps, 2)), axis=0)
    return np.sin(at) + level + noise * rng.normal(size=(steps, 2)) + np.array([100.0, -5.0])


def csv_of(path: Path, values: np.ndarray, *, start: str = "2020-01-01T00") -> Path:
    dates = np.datetime64(start, "h") + np.arange(len(values))
    rows = [f"{date},{','.join(map(str, row))}" for date, row in zip(dates, values, strict=True)]
    path.write_text("\n".join(["date,a,b", *rows]))
    return path


def task_of(
    values: np.ndarray, *, horizon: int = 4, look_back: int = 12, **options: Any
) -> ForecastTask:
    panel = Panel(
        series=(Series(values=values),),
        channels=("a", "b")[: values.shape[1]],
        past=(),
        known=(),
        frequency=None,
        notes=(),
    )
    settings = SeriesSettings(horizon=horizon, look_back=look_back, **{"season": 8, **options})
    return ForecastTask.of({"train": panel}, settings)


class Fixed(Forecaster):
    """Says the last value, or the same step of the season before, whatever was trained."""

    season = 1

    def forecast(self, x: Any, lengths: Any = None, **options: Any) -> tuple[Any, Any]:
        horizon = self.horizon
        last = x[-self.season :]
        return last[torch.arange(horizon) % self.season], None


def fixed(task: ForecastTask, season: int) -> Fixed:
    made = Fixed(2, task.data.horizon, task.data.look_back, hidden_size=4)
    made.season = season
    task.adopt(made)
    return made


# ---- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("season", "name"), [(1, "persistence"), (8, "seasonal naive")])
def test_what_learns_nothing_is_scored_as_a_model_that_says_the_same(
    season: int, name: str
) -> None:
    task = task_of(wave(300))
    found = task.evaluate(fixed(task, season), "test")
    for figure, value in found["baselines"][name].items():
        assert found[figure] == pytest.approx(value, rel=1e-4), figure
    assert found["windows"] == 60 - 4 + 1


def test_figures_are_those_of_the_definitions() -> None:
    """Over every window of the test part, by loops."""
    values = wave(200)
    task = task_of(values, parts="120,40,40", season=8)
    found = task.evaluate(fixed(task, 1), "test")
    mean, spread = values[:120].mean(0), values[:120].std(0)
    scaled = (values - mean) / spread
    scale = np.abs(values[8:120] - values[:112]).mean(0)
    errors, raw = [], []
    for start in range(160, 200 - 4 + 1):
        errors.append(scaled[start : start + 4] - scaled[start - 1])
        raw.append(values[start : start + 4] - values[start - 1])
    assert found["mse"] == pytest.approx(np.square(errors).mean(), rel=1e-5)
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    assert found["mse_unscaled"] == pytest.approx(np.square(raw).mean(), rel=1e-5)
    assert found["mase"] == pytest.approx((np.abs(raw) / scale).mean(), rel=1e-5)
    by_step = np.square(errors).mean(axis=(0, 2))
    np.testing.assert_allclose(found["mse_by_step"], by_step, rtol=1e-4)


def test_the_scaling_is_that_of_the_training_part_alone() -> None:
    values = wave(300)
    changed = values.copy()
    changed[210:] += 1000.0
    scaling, other = (task_of(each).scaling for each in (values, changed))
    assert scaling == other
    np.testing.assert_allclose(scaling.each[0].mean, values[:210].mean(0))


def test_missing_values_count_in_no_figure() -> None:
    values = wave(300, noise=0.0)
    values[250:255, 0] = np.nan
    task = task_of(values, missing="mask")
    found = task.evaluate(fixed(task, 8), "test")
    assert all(np.isfinite(each) for each in found["mse_by_step"])
    assert np.isfinite(found["baselines"]["seasonal naive"]["mae_unscaled"])


def test_a_constant_channel_is_forecast_as_it_was_and_counts_in_no_scaled_figure() -> None:
    values = wave(300)
    values[:, 1] = 7.0
    task = task_of(values)
    assert dict(task.describe().lines)["constant"].startswith("b: never changes")
    model = task.build(ForecasterSettings(hidden_size=8)).eval()
    found = task.evaluate(model, "test")
    assert np.isfinite([found["mse"], found["mase"], found["mae_unscaled"]]).all()
    alone = task_of(values[:, :1])
    assert found["mse"] == pytest.approx(
        task_of_first_channel(alone, model, values).pop("mse"), rel=1e-4
    )
    [said] = model.predict([values[:100]])
    np.testing.assert_array_equal(said.values[:, 1], 7.0)


def task_of_first_channel(
    task: ForecastTask, model: Forecaster, values: np.ndarray
) -> dict[str, Any]:
    """The figures of the first channel alone, whose weights are those of both."""
    first = task.build(ForecasterSettings(hidden_size=8)).eval()
    weights = model.state_dict()
    weights["channel_places"] = weights["channel_places"][:1]
    first.load_state_dict(weights)
    return task.evaluate(first, "test")


def test_intervals_of_a_known_distribution_cover_what_they_say() -> None:
    """Independent numbers: their quantiles are those of all of them."""
    values = np.random.default_rng(0).normal(size=(3000, 1))
    task = task_of(values, horizon=2, look_back=4, season=1)
    model = Forecaster(
        1, 2, 4, density="gaussian", decoding="direct", subtract_last=False, hidden_size=4
    ).eval()
    with torch.no_grad():
        model.decoder.weight.zero_()
        model.decoder.bias.copy_(torch.tensor([0.0, 0.5413] * 2))  # softplus of it is 1
    task.adopt(model)
    found = task.evaluate(model, "test")
    assert found["interval"] == pytest.approx(0.8)
    assert found["coverage"] == pytest.approx(0.8, abs=0.03)
    # E|X - y| less half of E|X - X'|, all of them standard normal
    assert found["crps"] == pytest.approx(1 / np.sqrt(np.pi), abs=0.03)
    assert [figure.name for figure in task.figures] == ["crps", "mse", "mae", "coverage"]


def test_a_model_that_is_no_better_than_what_learns_nothing_is_told_so() -> None:
    task = task_of(wave(300))
    best = task.baseline
    assert best == min(task.naive_figures("val").values())
    assert task.remark({"mse": 0.5 * best}) is None  # type: ignore[operator]
    said = task.remark({"mse": 2 * best})  # type: ignore[operator]
    assert said is not None
    assert said.startswith("the model is worse than seasonal naive, which learns nothing")
    assert "\n" not in said
    said = task.remark({"mse": best})  # type: ignore[dict-item]
    assert said is not None
    assert "no better than" in said


def walk(steps: int) -> np.ndarray:
    """Of which nothing can be known but its last value."""
    return np.cumsum(np.random.default_rng(3).normal(size=(steps, 2)), axis=0)


def test_what_surpasses_the_last_value_is_better_by_more_than_the_standard_error() -> None:
    """Over blocks of windows, each as long as a window: their means are judged."""
    values = wave(400, noise=1.0)
    task = task_of(values, parts="200,150,50", look_back=12, horizon=4)
    model = task.build(ForecasterSettings(hidden_size=8)).eval()
    assert model.repeats_last
    assert task.counts_untrained(model)
    task.validate(model, torch.device("cpu"))
    assert not task.surpasses  # it is the last value
    scaled = (values - values[:200].mean(0)) / values[:200].std(0)
    starts = np.arange(200, 350 - 4 + 1)
    blocks = starts // 16
    for shift in (0.001, 0.3, -0.3):
        with torch.no_grad():
            model.decoder.bias.fill_(shift)
        assert not model.repeats_last
        task.validate(model, torch.device("cpu"))
        error = np.stack([scaled[s : s + 4] - scaled[s - 1] for s in starts])
        gain = (error**2 - (error - shift) ** 2).mean(axis=(1, 2))
        off = [(gain - gain.mean())[blocks == block].sum() / len(gain) for block in set(blocks)]
        k = len(off)
        standard = np.sqrt(k / (k - 1) * np.sum(np.square(off)))
        assert task.surpasses == (gain.mean() > standard), shift


@pytest.mark.medium
def test_a_model_that_does_not_surpass_the_last_value_stays_it(tmp_path: Path) -> None:
    """And says so; what is kept, and goes on, is true of the weights that are there."""
    data = str(csv_of(tmp_path / "walk.csv", walk(300)))
    for name, steps in (("whole", 12), ("part", 6)):
        run = rc.train(
            *("forecast",), data=data, out=tmp_path / name, max_steps=steps, eval_every=3, **SMALL
        )
    rc.train("forecast", out=tmp_path / "part", resume=True, max_steps=12, view=None)
    for name in ("whole", "part"):
        model = rc.load(tmp_path / name)
        assert model.repeats_last
        found = rc.Run.open(tmp_path / name).evaluate("val")
        assert found["mse"] == pytest.approx(found["baselines"]["persistence"]["mse"], rel=1e-6)
        progress = json.loads((tmp_path / name / "training.json").read_text())["progress"]
        assert progress["best_step"] == 0
        assert progress["best"] == pytest.approx(found["mse"], rel=1e-6)
        rows = (tmp_path / name / "metrics.csv").read_text().splitlines()
        assert rows[1].startswith("0,")  # the validation before the first step
    said = run.task.remark({"mse": progress["best"]})
    assert said is not None
    assert "no step of training made the model better than persistence" in said
    assert "what is kept is persistence" in said


# ---- training ------------------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("feeding", ["own", "teacher", "scheduled"])
def test_what_a_recursive_model_is_fed(feeding: str) -> None:
    task = task_of(wave(300))
    settings = ForecasterSettings(decoding="recursive", hidden_size=8, shared_channels=False)
    model = task.build(settings)
    task.training = ForecastTraining(feeding=feeding)
    batch = task.source("train", task.training).batch(0, 0)
    target = batch.target
    x = task.rolling.arguments(model, batch)
    for fraction, truth in ((0.0, 0.0 if feeding == "own" else 1.0), (1.0, 0.0)):
        truth = 1.0 if feeding == "teacher" else truth
        loss = task.loss(model, batch, None, Moment(fraction=fraction))
        expected = model.loss(**x, target=target, truth=truth)
        torch.testing.assert_close(loss.mean, expected)
    assert loss.count == target.numel()


def test_flipped_windows_are_turned_at_their_last_value() -> None:
    """Half of them, the whole window; nothing is turned where nothing is learned."""
    from recurra.tasks.forecast_rolling import flipped

    torch.manual_seed(0)
    x, target = torch.randn(6, 200, 2), torch.randn(3, 200, 2)
    x[1, 0, 0] = torch.nan
    lengths = torch.full((200,), 6)
    lengths[::2] = 4
    turned, wanted = flipped(x, target, lengths)
    last = x[lengths - 1, torch.arange(200)]
    is_turned = (wanted - target).abs().sum((0, 2)) > 1e-4
    assert 60 < int(is_turned.sum()) < 140
    expected = torch.where(is_turned[:, None], 2 * last - target, target)
    torch.testing.assert_close(wanted, expected)
    expected = torch.where(is_turned[:, None], 2 * last - x, x)
    torch.testing.assert_close(turned, expected, equal_nan=True)
    task = task_of(wave(300), flip=True)
    model = task.build(ForecasterSettings(hidden_size=8)).eval()
    batch = task.rolling.windows("train").gather(np.arange(3))
    plain = model.loss(batch.x, batch.target)
    torch.testing.assert_close(task.loss(model, batch, None, Moment()).mean, plain)


def test_a_batch_that_keeps_a_process_in_step_counts_nothing() -> None:
    task = task_of(wave(300))
    model = task.build(ForecasterSettings(hidden_size=8))
    batch = task.rolling.windows("train").gather(np.arange(3), 0.0)
    loss = task.loss(model, batch, None, Moment())
    assert loss.count == 0
    loss.mean.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("calendar", [None, ("hour", "weekday")])
def test_a_calendar_needs_dates(calendar: Any) -> None:
    if calendar is None:
        assert task_of(wave(300)).calendar == ()
        return
    with pytest.raises(DataError, match="calendar=: expected series with dates, got none"):
        task_of(wave(300), calendar=calendar)


def test_a_horizon_longer_than_a_part_is_named() -> None:
    with pytest.raises(DataError, match=r"val: expected a series of 24 steps or more.*got 20"):
        task_of(wave(200), horizon=24).describe()


@pytest.mark.medium
def test_trains_evaluates_and_forecasts(tmp_path: Path) -> None:
    values = wave(600)
    data = csv_of(tmp_path / "wave.csv", values)
    run = rc.train("forecast", data=str(data), out=tmp_path / "run", epochs=30, season=8, **SMALL)
    found = run.evaluate()
    naive = found["baselines"]
    assert found["mse"] < 0.8 * min(each["mse"] for each in naive.values())
    model = rc.load(tmp_path / "run")
    assert isinstance(model, rc.Forecaster)
    [said] = model.predict([values[:500]])
    assert said.channels == ("a", "b")
    assert np.abs(said.values - values[500:504]).max() < 1
    # the same files give the same figures, from the model alone
    again = run.evaluate(data=str(data))
    assert again["windows"] == 600 - 12 - 4 + 1
    part = run.evaluate("test", data=str(data))
    assert part["mse"] == pytest.approx(found["mse"], rel=1e-6)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["channels"] == ["a", "b"]
    assert config["described"]["train"] == 420 - 12 - 4 + 1


def test_a_channel_that_stands_still_in_some_series_is_named_with_them() -> None:
    still = wave(60)
    still[:, 1] = 3.0
    series = (Series(values=wave(60), name="east"), Series(values=still, name="west"))
    panel = Panel(series=series, channels=("a", "b"), past=(), known=(), frequency=None, notes=())
    settings = SeriesSettings(horizon=4, look_back=12, season=8)
    lines = dict(ForecastTask.of({"train": panel}, settings).describe().lines)
    assert lines["constant"].startswith("b of west: never changes in the training part")
    panel = replace(panel, series=series[1:])
    lines = dict(ForecastTask.of({"train": panel}, settings).describe().lines)
    assert lines["constant"].startswith("b: never changes in the training part")


def test_figures_of_each_channel_and_series_are_those_of_the_whole_apart() -> None:
    channels = ("a", "b")
    series = tuple(Series(values=wave(60 + 20 * n, seed=n), name=f"s{n}") for n in range(2))
    panel = Panel(series=series, channels=channels, past=(), known=(), frequency=None, notes=())
    settings = SeriesSettings(horizon=4, look_back=12, season=8)
    task = ForecastTask.of({"train": panel}, settings)
    model = Forecaster(2, 4, 12, hidden_size=4, scaling=task.scaling, channels=channels)
    found = task.evaluate(model, "test")
    assert set(found["by_channel"]) == {"a", "b"}
    assert found["mse"] == pytest.approx(np.mean([e["mse"] for e in found["by_channel"].values()]))
    windows = [len(own) - 4 + 1 for own in task.stored.of_part("test")]
    for name in ("mse", "mae", "mase"):
        each = [found["by_series"][f"s{n}"][name] for n in range(2)]
        assert found[name] == pytest.approx(np.average(each, weights=windows))
    said = task.say(found)
    assert "mse by channel, the largest of 2: " in said
    assert "mse by series, the largest of 2: " in said


@pytest.mark.medium
@pytest.mark.parametrize("density", ["gaussian", "quantiles"])
@pytest.mark.parametrize("decoding", ["direct", "recursive", "segments"])
def test_every_way_trains_on_everything(density: str, decoding: str, tmp_path: Path) -> None:
    """Several series of different lengths, covariates, a calendar and gaps in one model."""
    rows = ["day,shop,sold,visitors,price"]
    for shop, length in (("a", 80), ("b", 50)):
        values = wave(length, seed=length)
        for n, (sold, visitors) in enumerate(values):
            missing = "" if n % 17 == 5 else f"{sold}"
            date = np.datetime64("2020-01-01") + n
            rows.append(f"{date},{shop},{missing},{visitors},{n % 3}")
    (tmp_path / "shops.csv").write_text("\n".join(rows))
    run = rc.train(
        *("forecast",),
        data=str(tmp_path / "shops.csv"),
        out=tmp_path / "run",
        group_column="shop",
        past_covariates="visitors",
        known_covariates="price",
        calendar=("weekday",),
        missing="mask",
        series_size=3,
        density=density,
        decoding=decoding,
        max_steps=4,
        parts="0.6,0.2,0.2",
        **SMALL,
    )
    found = run.evaluate()
    assert np.isfinite([found["crps"], found["coverage"], found["mase"]]).all()
    reopened = rc.Run.open(tmp_path / "run").evaluate()
    assert reopened["mse"] == found["mse"]
    known = np.arange(54)[:, None] % 3
    dates = np.datetime64("2020-01-01", "s") + np.arange(50) * np.timedelta64(1, "D")
    values = wave(50, seed=50)
    series = Series(values=values[:, :1], past=values[:, 1:], known=known, dates=dates, name="b")
    [said] = rc.load(tmp_path / "run").predict([series])  # type: ignore[attr-defined]
    assert said.quantiles.shape == (3, 4, 1)
    assert str(said.dates[0]) == "2020-02-20T00:00:00"


@pytest.mark.medium
def test_a_run_goes_on_exactly(tmp_path: Path) -> None:
    data = str(csv_of(tmp_path / "wave.csv", wave(200)))
    for name, steps in (("whole", 8), ("part", 4)):
        rc.train(
            *("forecast",),
            data=data,
            out=tmp_path / name,
            max_steps=steps,
            schedule="constant",
            dropout=0.3,
            **SMALL,
        )
    rc.train("forecast", out=tmp_path / "part", resume=True, max_steps=8, view=None)
    whole, part = (rc.load(tmp_path / name).state_dict() for name in ("whole", "part"))
    assert all((whole[name] == part[name]).all() for name in whole)


@pytest.mark.medium
def test_files_of_their_own_to_validate_and_to_test_on(tmp_path: Path) -> None:
    paths = [str(csv_of(tmp_path / f"{n}.csv", wave(100, seed=n))) for n in range(3)]
    options: dict[str, Any] = {"data": paths[0], "val_data": paths[1], "test_data": paths[2]}
    run = rc.train(
        "forecast", out=tmp_path / "run", max_steps=2, scaling="shared", **options, **SMALL
    )
    # a window has its whole look-back where the series is long enough for one
    assert run.evaluate()["windows"] == 100 - 12 - 4 + 1
    with pytest.raises(DataError, match="expected other series for test than to train on"):
        rc.train("forecast", data=paths[0], test_data=paths[0], out=tmp_path / "two", **SMALL)


@pytest.mark.medium
def test_parts_of_other_columns_or_steps_are_refused(tmp_path: Path) -> None:
    data = csv_of(tmp_path / "wave.csv", wave(200))
    other = tmp_path / "other.csv"
    other.write_text("\n".join(["c", *map(str, range(100))]))
    with pytest.raises(DataError, match="test: expected the columns a, b, as are trained on"):
        rc.train("forecast", data=str(data), test_data=str(other), out=tmp_path / "one", **SMALL)
    other.write_text("\n".join(["a,b", *(f"{n},{n}" for n in range(100))]))
    with pytest.raises(DataError, match=r"val: expected a step of 1 hour, .* got no dates"):
        rc.train("forecast", data=str(data), val_data=str(other), out=tmp_path / "two", **SMALL)


def test_the_calendar_s_features_are_those_of_the_model() -> None:
    """Settings do not wait for the model, and name them once more."""
    from recurra.models.calendar import CALENDAR as OF_MODEL
    from recurra.tasks.options.forecast import CALENDAR as OF_SETTINGS

    assert OF_MODEL == OF_SETTINGS


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        (
            [3.0] * 90,
            {},
            "expected a channel that changes in the training part, got x, which never",
        ),
        (
            list(range(90)),
            {"parts": "40,40,40", "horizon": 20},
            "test: expected a series of 20 steps or more, which is the horizon, got 10",
        ),
    ],
)
def test_what_cannot_be_forecast_is_told_before_training(
    tmp_path: Path, values: list[float], settings: dict[str, Any], message: str
) -> None:
    path = tmp_path / "series.csv"
    path.write_text("x\n" + "".join(f"{value}\n" for value in values))
    given = {"look_back": 8, "horizon": 4, **settings}
    with pytest.raises(DataError, match=message):
        rc.train("forecast", data=path, out=tmp_path / "run", view=None, max_steps=1, **given)
    assert not (tmp_path / "run").exists()
