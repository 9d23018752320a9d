"""A forecaster: what it says of the next steps, whatever it reads and however it is decoded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import recurra as rc
from recurra.errors import DataError
from recurra.models import Forecaster, Scaling, Series, SeriesScaling
from recurra.models.forecaster_options import DECODINGS
from recurra.nn.densities import Gaussian, Mixture, Quantiles

T, F, B, C = 11, 5, 3, 2
LENGTHS = torch.tensor([11, 1, 6])
KINDS = ("point", "quantiles", "gaussian", "student", "mixture")
HOURS = np.arange("2020-01-01T00", "2020-02-01T00", dtype="M8[h]").astype("M8[s]")


def small(decoding: str = "direct", **options: Any) -> Forecaster:
    made = Forecaster(C, F, T, decoding=decoding, **{"hidden_size": 8, **options}).eval()
    made.decoder.reset_parameters()  # a new one says the last value, whatever it reads
    return made


def with_covariates(decoding: str, **options: Any) -> Forecaster:
    covariates = {"past_size": 1, "known_size": 2, "num_series": 2, "missing": "mask"}
    return small(decoding, **covariates, **options)


def covariates() -> dict[str, Any]:
    return {
        "past": torch.randn(T, B, 1),
        "known": torch.randn(T, B, 2),
        "ahead": torch.randn(F, B, 2),
        "series": torch.tensor([0, 1, 0]),
    }


def only(b: int, length: int, beside: dict[str, Any]) -> dict[str, Any]:
    """The covariates of one series of a batch."""
    own = {name: beside[name][:length, b : b + 1] for name in ("past", "known")}
    return {**own, "ahead": beside["ahead"][:, b : b + 1], "series": beside["series"][b : b + 1]}


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_each_series_is_forecast_as_it_is_alone(decoding: str, shared: bool, cell: str) -> None:
    model = with_covariates(decoding, shared_channels=shared, cell=cell, num_layers=2)
    x, beside = torch.randn(T, B, C), covariates()
    x[0, 0, 0] = torch.nan
    values, _ = model.forecast(x, LENGTHS, **beside)
    assert values.shape == (F, B, C)
    for b, length in enumerate(LENGTHS.tolist()):
        alone, _ = model.forecast(x[:length, b : b + 1], **only(b, length, beside))
        torch.testing.assert_close(values[:, b : b + 1], alone)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_what_lies_past_the_lengths_is_not_looked_at(decoding: str) -> None:
    model = with_covariates(decoding)
    x, beside = torch.randn(T, B, C), covariates()
    past = (torch.arange(T)[:, None] >= LENGTHS)[..., None]
    values, _ = model.forecast(x, LENGTHS, **beside)
    other = dict(beside)
    for name in ("past", "known"):
        other[name] = beside[name].masked_fill(past, 7.0)
    found, _ = model.forecast(x.masked_fill(past, torch.nan), LENGTHS, **other)
    torch.testing.assert_close(found, values)


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("density", KINDS)
def test_a_level_goes_through_where_the_last_value_is_taken_away(
    decoding: str, density: str
) -> None:
    model = small(decoding, density=density, subtract_last=True)
    x = torch.randn(T, B, C)
    options: dict[str, Any] = {"levels": () if density == "point" else (0.2, 0.5)}

    def said(x: Tensor) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        found = model.forecast(x, num_samples=4, generator=generator, **options)
        return [each for each in found if each is not None]

    for at_x, above in zip(said(x), said(x + 50), strict=True):
        torch.testing.assert_close(above, at_x + 50, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_channels_that_share_weights_know_nothing_of_one_another(shared: bool) -> None:
    model = small(shared_channels=shared)
    x = torch.randn(T, B, C)
    other = x.clone()
    other[..., 1] += torch.randn(T, B)
    first, second = (model.forecast(each)[0][..., 0] for each in (x, other))
    assert torch.equal(first, second) is shared


@pytest.mark.parametrize("decoding", DECODINGS)
def test_steps_to_come_follow_the_covariates_that_are_known(decoding: str) -> None:
    model = with_covariates(decoding)
    x, beside = torch.randn(T, B, C), covariates()
    changed = {**beside, "ahead": beside["ahead"] + 1}
    before, after = (model.forecast(x, **each)[0] for each in (beside, changed))
    assert ((before - after).abs().amax(-1) > 0).all()


@pytest.mark.parametrize("residual", [False, True])
def test_teacher_forcing_in_one_call_is_that_step_by_step(residual: bool) -> None:
    model = with_covariates("recursive", residual=residual)
    x, target, beside = torch.randn(T, B, C), torch.randn(F, B, C), covariates()
    whole = model(x, LENGTHS, target=target, truth=1.0, **beside)
    # at a probability just below one no draw of float32 is above it
    steps = model(x, LENGTHS, target=target, truth=1 - 2**-40, **beside)
    torch.testing.assert_close(whole.raw, steps.raw)
    torch.testing.assert_close(whole.base, steps.base)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("density", KINDS)
def test_the_values_of_a_way_on_are_those_that_were_fed_back(
    density: str, shared: bool, residual: bool
) -> None:
    model = small("recursive", density=density, residual=residual, shared_channels=shared)
    x = torch.randn(T, B, C)
    said = model(x, generator=torch.Generator().manual_seed(0))
    values = model.together(said.values)
    assert values.shape == (F, B, C)
    told = model(x, target=values, truth=1.0)
    torch.testing.assert_close(told.raw, said.raw)
    torch.testing.assert_close(told.base, said.base)
    assert told.values is None


@pytest.mark.parametrize("decoding", DECODINGS)
def test_before_training_points_are_the_last_value(decoding: str) -> None:
    x = torch.randn(T, B, C)
    for options in ({}, {"residual": True, "subtract_last": False}):
        if options and decoding != "recursive":
            continue
        model = Forecaster(C, F, T, decoding=decoding, hidden_size=8, **options).eval()
        assert model.repeats_last
        values, _ = model.forecast(x)
        torch.testing.assert_close(values, x[-1:].expand(F, B, C))
        model(x).raw.sum().backward()
        assert model.decoder.weight.grad.abs().sum() > 0  # and learns
    for options in ({"subtract_last": False}, {"density": "mixture"}):
        assert not Forecaster(C, F, T, decoding=decoding, hidden_size=8, **options).repeats_last


def test_a_residual_is_added_to_the_step_before() -> None:
    model = small("recursive", residual=True, subtract_last=False)
    with torch.no_grad():
        model.decoder.weight.zero_()
        model.decoder.bias.fill_(0.5)
    x = torch.randn(T, B, C)
    values, _ = model.forecast(x)
    torch.testing.assert_close(values, x[-1] + 0.5 * torch.arange(1, F + 1)[:, None, None])


def test_a_recursive_model_goes_beyond_its_horizon() -> None:
    model = small("recursive")
    x = torch.randn(T, B, C)
    longer, _ = model.forecast(x, horizon=2 * F)
    torch.testing.assert_close(longer[:F], model.forecast(x)[0])
    with pytest.raises(ValueError, match=r"horizon=: expected at most 5.*got 6.*recursive"):
        small().forecast(x, horizon=F + 1)


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("density", KINDS)
@pytest.mark.parametrize("shared", [False, True])
def test_missing_targets_do_not_count(decoding: str, density: str, shared: bool) -> None:
    torch.manual_seed(0)
    model = small(decoding, density=density, shared_channels=shared)
    x, target = torch.randn(T, B, C), torch.randn(F, B, C)
    target[2, 1, 0] = torch.nan
    said = model(x)
    total, count = model.total_loss(said, target)
    assert int(count) == F * B * C - 1
    total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    if density == "point" and decoding != "recursive":
        values, _ = model.read_out(said)
        torch.testing.assert_close(total, (values - target).square().nansum())


@pytest.mark.parametrize("truth", [0.0, 0.5, 1.0])
def test_gradients_flow_with_missing_values_fed(truth: float) -> None:
    model = small("recursive", missing="mask").train()
    x, target = torch.randn(T, B, C), torch.randn(F, B, C)
    x[3], target[1] = torch.nan, torch.nan
    model.loss(x, target, truth=truth).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_segments_that_do_not_fill_the_past_begin_with_zeros() -> None:
    """T = 11 in segments of 4: as 12 steps, the first of which is the last value, that is zero."""
    model = small("segments", segment_length=4)
    x = torch.randn(T, B, C)
    longer = torch.cat([x[-1:], x])
    torch.testing.assert_close(model.forecast(x)[0], model.forecast(longer)[0])


@pytest.mark.parametrize("density", ["gaussian", Quantiles((0.05, 0.5, 0.95)), Mixture(3)])
@pytest.mark.parametrize("decoding", DECODINGS)
def test_quantiles_are_in_order_and_in_the_units_of_the_data(density: Any, decoding: str) -> None:
    scaling = Scaling(mean=(100.0, -5.0), spread=(10.0, 0.5))
    model = small(decoding, density=density, channels=["a", "b"])
    model.scaling = SeriesScaling(names=("",), each=(scaling,))
    series = np.array([100.0, -5.0]) + np.random.default_rng(0).normal(size=(30, C))
    said = model.predict([series], levels=(0.1, 0.5, 0.9), seed=3)[0]
    assert said.channels == ("a", "b")
    assert (np.diff(said.quantiles, axis=0) >= 0).all()  # type: ignore[arg-type]
    np.testing.assert_array_equal(said.quantile(0.5), said.quantiles[1])  # type: ignore[index]
    # far from 0 in the units of the data, as an untrained model's numbers are not
    assert np.abs(said.values[:, 0] - 100).max() < 100
    assert np.abs(said.values[:, 1] + 5).max() < 5
    again = model.predict([series], levels=(0.1, 0.5, 0.9), seed=3)[0]
    np.testing.assert_array_equal(again.values, said.values)
    with pytest.raises(ValueError, match=r"levels 0.1, 0.5, 0.9, got 0.3"):
        said.quantile(0.3)


def test_ways_on_of_a_recursive_model_spread_as_its_distribution_does() -> None:
    """A random walk: the deviation of step k is sigma times the root of k."""
    model = Forecaster(
        1, 9, T, decoding="recursive", density=Gaussian(), residual=True, hidden_size=4
    ).eval()
    with torch.no_grad():
        model.decoder.weight.zero_()
        model.decoder.bias.copy_(torch.tensor([0.0, 0.5413]))  # softplus of it is 1
    levels = (0.1587, 0.8413)
    _, quantiles = model.forecast(
        torch.zeros(T, 2, 1),
        levels=levels,
        num_samples=4000,
        generator=torch.Generator().manual_seed(0),
    )
    assert quantiles is not None
    spread = (quantiles[1] - quantiles[0]).mean(1).flatten() / 2
    torch.testing.assert_close(spread, torch.arange(1.0, 10.0).sqrt(), rtol=0.06, atol=0.0)


def series_of(length: int, name: str = "a", **options: Any) -> Series:
    rng = np.random.default_rng(length)
    made = {
        "values": rng.normal(size=(length, C)),
        "past": rng.normal(size=(length, 1)),
        "known": rng.normal(size=(length + F, 2)),
        "dates": HOURS[:length],
        "name": name,
    }
    return Series(**{**made, **options})


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("density", ["point", "gaussian"])
def test_what_is_saved_forecasts_the_same(decoding: str, density: str, tmp_path: Path) -> None:
    scaling = Scaling(mean=(1.0, 2.0), spread=(3.0, 4.0))
    own = SeriesScaling(
        names=("a", "b"),
        each=(scaling, Scaling(mean=(0.0, 0.0), spread=(1.0, 0.0))),
        covariates=Scaling(mean=(0.0, 1.0, 2.0), spread=(1.0, 2.0, 0.0)),
    )
    options: dict[str, Any] = {"series": ["a", "b"], "calendar": ("hour", "weekday")}
    model = with_covariates(decoding, density=density, scaling=own, **options)
    model.save(tmp_path)
    loaded = rc.load(tmp_path)
    assert isinstance(loaded, rc.Forecaster)
    assert loaded.config == model.config
    some = [series_of(40), series_of(7, "b"), series_of(T)]
    before, after = (each.predict(some) for each in (model, loaded))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert (one.quantiles is None) is (density == "point")
    np.testing.assert_array_equal(before[1].dates, HOURS[7 : 7 + F])  # type: ignore[arg-type]
    # b's second channel never changed: it is forecast as it was
    np.testing.assert_array_equal(before[1].values[:, 1], 0)
    assert [len(each) for each in model.predict(some, horizon=2)] == [2, 2, 2]


def test_what_does_not_go_together_is_refused_in_a_line() -> None:
    x = torch.randn(T, B, C)
    with pytest.raises(ValueError, match="residual=: expected decoding=recursive"):
        small("direct", residual=True)
    with pytest.raises(ValueError, match="segment_length=: expected decoding=segments"):
        small("direct", segment_length=2)
    with pytest.raises(ValueError, match="decoding=: expected one of direct, recursive, segments"):
        small("transformer")
    with pytest.raises(ValueError, match=r"density: expected one of .*gaussian"):
        small(density="poisson")
    with pytest.raises(ValueError, match="expected known with 0 covariates, got 2"):
        small()(x, known=torch.randn(T, B, 2))
    with pytest.raises(ValueError, match=r"expected series \[time, batch, 2\]"):
        small()(x[..., :1])
    with pytest.raises(ValueError, match="expected numbers of series, got none"):
        small(num_series=2)(x)
    with pytest.raises(ValueError, match="expected channels of 2 names"):
        small(channels=["a"])


@pytest.mark.parametrize(
    ("series", "said"),
    [
        (series_of(9, values=np.zeros((9, 3))), "series 0: expected 2 channels, .*got 3"),
        (
            series_of(9, known=np.zeros((9, 2))),
            "expected known covariates of 5 steps to come, got those of 0. Add a row for each",
        ),
        (series_of(9, past=None), "past covariates: expected 1 over 9 steps.*got none"),
        (series_of(9, dates=None), "expected dates, for the calendar"),
        (series_of(9, dates=HOURS[8::-1]), "expected dates that grow"),
        (
            series_of(9, "c"),
            "expected the name of a series that .*, got 'c'",
        ),
        (
            series_of(9, values=[[1.0, np.nan]] * 9),
            "a number at every step, got 9 missing",
        ),
    ],
)
def test_series_that_a_model_cannot_read_are_named(series: Series, said: str) -> None:
    model = with_covariates("direct", series=["a", "b"], calendar=("hour",))
    model.missing = "fail"
    with pytest.raises(DataError, match=said):
        model.predict([series])
    with pytest.raises(ValueError, match="expected a list of series"):
        model.predict("series")


@pytest.mark.medium
@pytest.mark.parametrize(
    ("decoding", "options"),
    [
        *((each, {}) for each in DECODINGS if each != "recursive"),
        *((each, {"density": "gaussian"}) for each in DECODINGS if each != "recursive"),
        ("recursive", {"residual": True}),
        pytest.param("recursive", {}, marks=pytest.mark.slow),
        pytest.param("recursive", {"density": "gaussian"}, marks=pytest.mark.slow),
    ],
)
def test_learns_a_wave(decoding: str, options: dict[str, Any]) -> None:
    """Sines of a period of 8, of any phase and level: what comes next is known."""
    torch.manual_seed(0)
    model = Forecaster(1, 8, 16, decoding=decoding, shared_channels=True, hidden_size=32, **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    steps = torch.arange(24)[:, None, None]

    def waves() -> tuple[Tensor, Tensor]:
        level = torch.randn(1, 32, 1)
        wave = torch.sin(torch.pi / 4 * (steps + 8 * torch.rand(1, 32, 1))) + level
        return wave[:16], wave[16:]

    for _ in range(300):
        optimizer.zero_grad()
        model.loss(*waves()).backward()
        optimizer.step()
    x, target = waves()
    said, _ = model.eval().forecast(x, generator=torch.Generator().manual_seed(0))
    assert (said - target).square().mean() < 0.05  # of waves whose variance is 0.5


@pytest.mark.medium
@pytest.mark.parametrize("options", [{}, {"shared_channels": True}])
@pytest.mark.parametrize("density", ["gaussian", "mixture"])
def test_a_forecast_does_not_depend_on_the_others_of_its_batch(
    options: dict[str, Any], density: str
) -> None:
    model = Forecaster(2, 3, 6, hidden_size=6, decoding="recursive", density=density, **options)
    series = [np.random.default_rng(n).normal(size=(4 + n % 3, 2)) for n in range(5)]
    together = model.predict(series, seed=4)
    apart = model.predict(series, seed=4, batch_size=2)
    alone = [model.predict([each], seed=4)[0] for each in series]
    for found in (apart, alone):
        for one, same in zip(found, together, strict=True):
            np.testing.assert_allclose(one.values, same.values, rtol=1e-4, atol=1e-5)
            assert one.quantiles is not None
            assert same.quantiles is not None
            np.testing.assert_allclose(one.quantiles, same.quantiles, rtol=1e-4, atol=1e-5)
    assert np.abs(model.predict(series, seed=5)[0].values - together[0].values).max() > 1e-3


@pytest.mark.parametrize("levels", [[0.0], [1.0], [1.5], [float("nan")]])
@pytest.mark.parametrize("decoding", ["direct", "recursive"])
def test_levels_are_probabilities_of_every_kind(decoding: str, levels: list[float]) -> None:
    model = Forecaster(1, 2, 4, hidden_size=4, decoding=decoding, density="gaussian")
    with pytest.raises(ValueError, match="above 0 and below 1"):
        model.predict([np.arange(4.0)], levels=levels)


@pytest.mark.parametrize("options", [{}, {"shared_channels": True}])
@pytest.mark.parametrize("decoding", ["direct", "recursive", "segments"])
def test_a_batch_of_none_has_a_graph(decoding: str, options: dict[str, Any]) -> None:
    model = Forecaster(2, 4, 6, hidden_size=6, decoding=decoding, **options)
    said = model(torch.zeros(6, 0, 2))
    said.raw.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_values_far_from_zero_are_read_by_their_differences() -> None:
    """Seconds of a clock, or kilobytes of a disk: what is between them is more than float32 has."""
    model = Forecaster(1, 2, 4, hidden_size=4)
    model.scaling = SeriesScaling(names=("a",), each=(Scaling(mean=(0.0,), spread=(2.0,)),))
    series = [0.0, 2.0, 1.0, 3.0]
    near = model.predict([series])[0].values
    model.scaling = SeriesScaling(names=("a",), each=(Scaling(mean=(1e9,), spread=(2.0,)),))
    far = model.predict([[1e9 + value for value in series]])[0].values
    np.testing.assert_allclose(far - 1e9, near, rtol=0, atol=1e-5)
