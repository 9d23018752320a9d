"""Densities against torch.distributions and scipy, and what is missing never counts."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributions

from recurra.errors import DataError
from recurra.nn.densities import (
    Density,
    Gaussian,
    Mixture,
    PenMixture,
    Point,
    Quantiles,
    StudentT,
    named,
)
from recurra.nn.densities.single import student_table

C = 3
LEVELS = (0.05, 0.25, 0.5, 0.9)
DRAWS = 20_000
EACH: list[Density] = [
    Point(),
    Point("mae"),
    Point("huber"),
    Quantiles((0.1, 0.5, 0.8)),
    Gaussian(),
    StudentT(),
    Mixture(4),
    PenMixture(3),
]
WITH_SPREAD = [density for density in EACH if density.has_spread]


def drawn(density: Density, *steps: int) -> tuple[Tensor, Tensor]:
    raw = torch.randn(*steps, density.size(C), dtype=torch.float64, requires_grad=True)
    target = torch.randn(*steps, C, dtype=torch.float64)
    if isinstance(density, PenMixture):
        target[..., 2] = (target[..., 2] > 0).to(target.dtype)
    return raw, target


def of_torch(density: Density, raw: Tensor) -> Any:
    """The same distribution by torch; of a pen that of its offsets."""
    if isinstance(density, Gaussian):
        return distributions.Normal(*density.parameters(raw))
    if isinstance(density, StudentT):
        loc, scale, df = density.parameters(raw)
        return distributions.StudentT(df, loc, scale)
    if isinstance(density, Mixture):
        log_weight, loc, scale = (p.transpose(-1, -2) for p in density.parameters(raw))
        components = distributions.Normal(loc, scale)
        return distributions.MixtureSameFamily(
            distributions.Categorical(logits=log_weight), components
        )
    assert isinstance(density, PenMixture)
    log_weight, loc, scale, rho, _ = density.parameters(raw)
    first, second = scale.unbind(-1)
    across = rho * first * second
    covariance = torch.stack([first**2, across, across, second**2], dim=-1).unflatten(-1, (2, 2))
    return distributions.MixtureSameFamily(
        distributions.Categorical(logits=log_weight),
        distributions.MultivariateNormal(loc, covariance),
    )


@pytest.mark.parametrize("density", [Gaussian(), StudentT(), Mixture(4)], ids=str)
def test_nll_and_mean_are_those_of_torch(density: Density) -> None:
    raw, target = drawn(density, 5, 2)
    wanted = of_torch(density, raw)
    torch.testing.assert_close(density.nll(raw, target), -wanted.log_prob(target))
    torch.testing.assert_close(density.mean(raw), wanted.mean)


def test_the_nll_of_a_pen_is_that_of_torch() -> None:
    density = PenMixture(3)
    raw, target = drawn(density, 5, 2)
    offset, end = density.nll(raw, target).unbind(-1)
    torch.testing.assert_close(offset, -of_torch(density, raw).log_prob(target[..., :2]))
    lifted = distributions.Bernoulli(logits=density.parameters(raw)[-1])
    torch.testing.assert_close(end, -lifted.log_prob(target[..., 2]))
    torch.testing.assert_close(density.mean(raw)[..., :2], of_torch(density, raw).mean)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("density", EACH, ids=str)
def test_raw_numbers_of_every_size_have_their_nll(density: Density, scale: float) -> None:
    """In float32, judged by float64: Student's with many degrees of freedom is the normal's."""
    given, target = drawn(density, 40)
    raw = (given.detach().float() * scale).requires_grad_()
    wide = raw.detach().double().requires_grad_()
    found = density.nll(raw, target.float())
    wanted = density.nll(wide, target.float().double())
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)
    found.sum().backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


@pytest.mark.medium
@pytest.mark.parametrize("density", WITH_SPREAD, ids=str)
def test_samples_have_the_mean_and_the_quantiles(density: Density) -> None:
    raw = drawn(density, 1)[0].detach()
    generator = torch.Generator().manual_seed(1)
    samples = density.sample(raw.expand(DRAWS, -1), generator)
    spread = samples.std(0)
    tolerance = 5 * spread / math.sqrt(DRAWS)
    far = (samples.mean(0) - density.mean(raw)[0]).abs()
    if not isinstance(density, Quantiles):  # past its outermost levels nothing is known
        assert (far < tolerance).all()
    levels = (0.1, 0.25, 0.5, 0.75)
    said = density.quantiles(raw, levels)[:, 0]
    channels = 2 if isinstance(density, PenMixture) else C  # the third of a pen is 0 or 1
    below = (samples[None, :, :channels] <= said[:, None, :channels]).double().mean(1)
    wanted = torch.tensor(levels, dtype=torch.float64)[:, None].expand_as(below)
    torch.testing.assert_close(below, wanted, atol=5 * 0.5 / math.sqrt(DRAWS), rtol=0)


@pytest.mark.parametrize("density", EACH, ids=str)
def test_a_generator_alone_decides_what_is_drawn(density: Density) -> None:
    raw = drawn(density, 4)[0].detach()
    first, second = (density.sample(raw, torch.Generator().manual_seed(7)) for _ in range(2))
    assert first.equal(second)


def test_a_pen_has_the_correlation_and_the_ends_of_its_components() -> None:
    density = PenMixture(1)
    raw = torch.tensor([[0.0, 1.0, -1.0, 0.3, 0.8, 1.5, -0.4]], dtype=torch.float64)
    samples = density.sample(raw.expand(DRAWS, -1), torch.Generator().manual_seed(1))
    found = torch.corrcoef(samples[:, :2].T)[0, 1]
    assert abs(found - 0.999 * math.tanh(1.5)) < 0.01
    assert abs(samples[:, 2].mean() - 1 / (1 + math.exp(0.4))) < 0.02
    calm = PenMixture(1, bias=2.0).sample(raw.expand(DRAWS, -1), torch.Generator().manual_seed(1))
    ratio = calm[:, :2].std(0) / samples[:, :2].std(0)
    torch.testing.assert_close(ratio, torch.full_like(ratio, math.exp(-2.0)), rtol=1e-6, atol=0)


def test_the_quantiles_of_the_end_of_a_stroke_are_0_or_1() -> None:
    density = PenMixture(1)
    raw = torch.zeros(1, 7)
    raw[..., -1] = math.log(0.3 / 0.7)  # lifted in 3 of 10 cases
    assert density.quantiles(raw, (0.1, 0.69, 0.71, 0.9))[:, 0, 2].tolist() == [0, 0, 1, 1]


@pytest.mark.medium
def test_quantiles_of_gaussian_and_student_are_exact() -> None:
    raw, _ = drawn(Gaussian(), 4)
    wanted = torch.stack([of_torch(Gaussian(), raw).icdf(torch.tensor(q)) for q in LEVELS])
    torch.testing.assert_close(Gaussian().quantiles(raw, LEVELS), wanted)
    stats = pytest.importorskip("scipy.stats", reason="scipy has the quantiles of Student's t")
    raw, _ = drawn(StudentT(), 40)
    raw = raw * 3
    loc, scale, df = (p.detach().numpy() for p in StudentT().parameters(raw))
    for level, said in zip(LEVELS, StudentT().quantiles(raw, LEVELS), strict=True):
        np.testing.assert_allclose(
            (said.detach().numpy() - loc) / scale, stats.t.ppf(level, df), rtol=1e-4, atol=1e-6
        )


def test_the_table_of_student_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy has the quantiles of Student's t")
    table = student_table((0.001, 0.3, 0.999))
    df = 1 / np.linspace(0, 0.5, table.shape[1])[1:]
    for level, row in zip((0.001, 0.3, 0.999), table, strict=True):
        np.testing.assert_allclose(row[1:], stats.t.ppf(level, df), rtol=1e-8)
        assert row[0] == pytest.approx(stats.norm.ppf(level))


def test_the_quantiles_of_a_mixture_are_where_its_distribution_function_is() -> None:
    density = Mixture(4)
    raw, _ = drawn(density, 6)
    for level, said in zip(LEVELS, density.quantiles(raw, LEVELS), strict=True):
        found = of_torch(density, raw).cdf(said)
        torch.testing.assert_close(found, torch.full_like(found, level))


def test_pinball_is_least_at_the_quantiles() -> None:
    """Those of an exponential distribution."""
    values = -torch.log1p(-torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64))[:, None]
    density = Quantiles((0.1, 0.5, 0.9))
    raw = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Rprop([raw], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        density.nll(raw.expand(1000, 3), values).mean().backward()
        optimizer.step()
    wanted = -torch.log1p(-torch.tensor(density.levels, dtype=torch.float64))
    torch.testing.assert_close(raw.detach(), wanted, atol=0.01, rtol=0)


def test_pinball_by_hand_and_quantiles_in_order() -> None:
    density = Quantiles((0.2, 0.6))
    raw = torch.tensor([[3.0, 1.0]])  # they cross
    # of 2: at 0.2 it is 1 under 3, at 0.6 it is 1 over 1
    assert density.nll(raw, torch.tensor([[2.0]])).item() == pytest.approx(0.8 + 0.6)
    assert density.quantiles(raw, (0.2, 0.4, 0.6)).flatten().tolist() == pytest.approx([1, 2, 3])
    assert density.mean(raw).item() == pytest.approx(0.4 * 1 + 0.6 * 3)


@pytest.mark.parametrize(
    ("loss", "wanted"), [("mse", [0.25, 9.0]), ("mae", [0.5, 3.0]), ("huber", [0.125, 2.5])]
)
def test_losses_of_a_point(loss: str, wanted: list[float]) -> None:
    found = Point(loss).nll(torch.tensor([1.0, 2.0]), torch.tensor([1.5, -1.0]))
    assert found.tolist() == wanted


@pytest.mark.parametrize("density", EACH, ids=str)
def test_what_is_missing_counts_nowhere(density: Density) -> None:
    raw, target = drawn(density, 6)
    whole = density.nll(raw, target)
    assert density.counted(target).all()
    assert density.counted(target).shape == whole.shape
    target[2] = math.nan
    target[4, 1] = math.nan
    found = density.nll(raw, target)
    counted = density.counted(target)
    assert not counted[2].any()
    assert not counted[4].all()
    torch.testing.assert_close(found, torch.where(counted, whole, 0))
    found.sum().backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    assert not raw.grad[2].any()
    assert raw.grad[0].any()


@pytest.mark.parametrize("density", EACH, ids=str)
@pytest.mark.parametrize("size", [60.0, -60.0])
def test_far_out_everything_is_finite(density: Density, size: float) -> None:
    raw = torch.full((2, density.size(C)), size, requires_grad=True)
    target = torch.tensor([[100.0, -100.0, 1.0], [0.0, 1e3, 0.0]])
    nll = density.nll(raw, target)
    nll.sum().backward()
    assert raw.grad is not None
    for found in (nll, raw.grad, density.mean(raw), density.sample(raw)):
        assert found.isfinite().all()
    if density.has_spread:
        assert density.quantiles(raw, (0.1, 0.5)).isfinite().all()


@pytest.mark.parametrize("density", EACH, ids=str)
def test_gradients_are_right(density: Density) -> None:
    raw, target = drawn(density, 2)
    assert torch.autograd.gradcheck(lambda raw: density.nll(raw, target), (raw,))


@pytest.mark.parametrize("density", EACH, ids=str)
def test_a_density_is_what_its_config_says(density: Density) -> None:
    assert Density.from_config(density.to_config()) == density
    assert type(Density.from_config(density.to_config())) is type(density)


def test_mistakes() -> None:
    with pytest.raises(ValueError, match=r"density: .*gaussian.*got 'normal'\. Use gaussian"):
        named("normal")
    with pytest.raises(DataError, match=r"density: expected a kind and its settings, got .*'x'"):
        Density.from_config({"kind": "point", "x": 1})
    with pytest.raises(ValueError, match=r"loss: expected one of mse, mae, huber, got 'l2'"):
        Point("l2")
    with pytest.raises(ValueError, match=r"quantiles: expected a density with a spread"):
        Point().quantiles(torch.zeros(1, 1), (0.5,))
    with pytest.raises(ValueError, match=r"levels: expected two or more, growing, got \(0.5, 0.1"):
        Quantiles((0.5, 0.1))
    with pytest.raises(ValueError, match=r"from 0.1 to 0.9.*learned, got 0.95\. Train it"):
        Quantiles().quantiles(torch.zeros(1, 9), (0.95,))
    with pytest.raises(ValueError, match=r"levels: .*above 0 and below 1, got 1\.0"):
        Gaussian().quantiles(torch.zeros(1, 2), (0.5, 1.0))
    with pytest.raises(ValueError, match=r"components: expected an integer of 1 or more, got 0"):
        Mixture(0)
    with pytest.raises(ValueError, match=r"bias: expected 0 or more, got -1"):
        PenMixture(2, bias=-1.0)
    with pytest.raises(ValueError, match=r"PenMixture: expected 3 channels, .*got 2\. Use mixture"):
        PenMixture(2).size(2)
