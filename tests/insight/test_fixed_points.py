"""Fixed and slow points: known ones are found, and what is said of them is true there."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

import recurra as rc
from recurra.insight.fixed_points import (
    FixedPoints,
    draw_eigenvalues,
    draw_fixed_points,
    draw_slow_line,
    find_fixed_points,
    principal_components,
    slow_line,
    states_seen,
    time_constants,
)
from recurra.insight.step import OneStep
from recurra.lang import tanh


@rc.cell(state="h", sizes={"w": "H"})
def drive(x, h, w, U):  # pyright: ignore
    """Units by themselves: h <- tanh(w h), two stable points each where w > 1."""
    return tanh(w * h + U @ x)


def two_units(gains: tuple[float, float]) -> OneStep:
    layer = rc.Recurrent(drive, 1, 2, dtype=torch.float64)
    with torch.no_grad():
        layer.w_l0.copy_(torch.tensor(gains))
        layer.U_l0.fill_(1.0)
    return OneStep(layer)


def grid(low: float, high: float, points: int = 9) -> Tensor:
    along = torch.linspace(low, high, points, dtype=torch.float64)
    return torch.cartesian_prod(along, along)


def fixed_of(gain: float) -> float:
    """The positive solution of h = tanh(gain h)."""
    h = 1.0
    for _ in range(500):
        h = np.tanh(gain * h)
    return float(h)


def test_all_nine_points_of_two_bistable_units_are_found_and_told_apart() -> None:
    found = find_fixed_points(two_units((2.0, 1.5)), grid(-1.0, 1.0))
    a, b = fixed_of(2.0), fixed_of(1.5)
    expected = {(i * a, j * b) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    got = {tuple(point.round(6) + 0.0) for point in found.points}
    assert got == {tuple(np.round(point, 6) + 0.0) for point in expected}
    assert found.is_fixed.all()
    assert found.is_stable.sum() == 4
    assert sorted(found.unstable) == [0] * 4 + [1] * 4 + [2]
    assert found.counts.sum() <= found.searches == 81


def test_eigenvalues_and_time_constants_are_those_of_the_map() -> None:
    found = find_fixed_points(two_units((2.0, 0.5)), grid(-1.0, 1.0))
    top = found.points[:, 0].argmax()
    slope = 2.0 * (1 - fixed_of(2.0) ** 2)
    assert sorted(found.eigenvalues[top].real) == pytest.approx(sorted([slope, 0.5]))
    assert found.time_constants[top] == pytest.approx(-1 / np.log([0.5, slope]))
    middle = np.abs(found.points[:, 0]).argmin()
    assert found.time_constants[middle][0] == pytest.approx(-1 / np.log(2.0))


def test_a_time_constant_of_what_stays_is_infinite_and_of_what_is_gone_none() -> None:
    found = time_constants(np.array([1.0, 0.0, np.exp(-0.5), 2j]))
    assert found[:3] == pytest.approx([np.inf, 0.0, 2.0])
    assert found[3] < 0


@pytest.mark.medium
def test_the_constant_input_moves_the_points() -> None:
    step = two_units((2.0, 0.5))
    found = find_fixed_points(step, grid(-1.0, 1.0), torch.tensor([0.8], dtype=torch.float64))
    assert len(found) == 1  # the push is too strong for the other two
    h = torch.as_tensor(found.points)
    torch.testing.assert_close(h, torch.tanh(torch.tensor([2.0, 0.5]) * h + 0.8))


def test_of_several_states_all_are_found() -> None:
    torch.manual_seed(0)
    layer = rc.Recurrent("lstm", 2, 3, dtype=torch.float64)
    step = OneStep(layer)
    states = states_seen(step, torch.randn(20, 4, 2, dtype=torch.float64))
    assert states.shape == (21, 4, 6)
    found = find_fixed_points(step, states)
    assert len(found) >= 1
    h, c = (torch.as_tensor(found.points[:1, i : i + 3])[None] for i in (0, 3))
    _, (h_next, c_next) = layer(torch.zeros(1, 1, 2, dtype=torch.float64), (h, c))
    torch.testing.assert_close(torch.cat([h_next, c_next]), torch.cat([h, c]), rtol=0, atol=1e-9)


def test_states_seen_are_those_of_the_layer() -> None:
    torch.manual_seed(0)
    layer = rc.Recurrent("gru", 2, 3, dtype=torch.float64)
    x = torch.randn(6, 2, 2, dtype=torch.float64)
    y, _ = layer(x)
    torch.testing.assert_close(states_seen(OneStep(layer), x)[1:], y)


def nearly_neutral() -> OneStep:
    """One unit that holds what it has, nearly, and one that forgets."""
    return two_units((1.0001, 0.3))


def test_a_large_tolerance_gives_slow_points_where_they_were_seen() -> None:
    along = torch.linspace(-0.1, 0.1, 21, dtype=torch.float64)
    starts = torch.stack([along, torch.zeros(21, dtype=torch.float64)], dim=1)
    found = find_fixed_points(nearly_neutral(), starts, tolerance=1e-6)
    assert len(found) > 10
    assert not found.is_fixed.all()
    assert np.ptp(found.points[:, 0]) == pytest.approx(0.2)
    line = slow_line(found, lambda points: 3.0 * points[:, 0])
    assert line.share > 0.99
    assert abs(line.correlation) > 0.999
    assert (np.diff(line.position) > 0).all()
    assert line.leading.min() >= 0.95


def test_a_line_wants_slow_points() -> None:
    found = find_fixed_points(two_units((0.5, 0.3)), grid(-1.0, 1.0))
    with pytest.raises(ValueError, match="expected three or more with an eigenvalue of at least"):
        slow_line(found, lambda points: points[:, 0])


@pytest.mark.parametrize(
    "starts", [torch.zeros(4, 3), torch.zeros(0, 2), torch.full((4, 2), 1e999)]
)
def test_starts_that_are_no_states_are_refused(starts: Tensor) -> None:
    with pytest.raises(ValueError, match=r"starts: expected finite states \[..., 2\]"):
        find_fixed_points(two_units((2.0, 2.0)), starts)


def test_principal_components_are_the_directions_of_largest_variance() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    states = rng.normal(size=(400, 2, 5)) * [5.0, 2.0, 0.1, 0.1, 0.1] @ basis.T + 3.0
    found = principal_components(states, 2)
    assert np.abs(found.components @ basis[:, :2]) == pytest.approx(np.eye(2), abs=0.08)
    assert found.shares.sum() > 0.99
    assert found(states).shape == (400, 2, 2)


@pytest.mark.medium
def test_points_are_drawn_with_trajectories() -> None:
    figure_of = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    step = two_units((2.0, 1.5))
    found: FixedPoints = find_fixed_points(step, grid(-1.0, 1.0))
    paths = states_seen(step, torch.zeros(5, 81, 1, dtype=torch.float64), grid(-1.0, 1.0)).numpy()
    figure = figure_of.Figure()
    left, middle, right = figure.subplots(1, 3)
    draw_fixed_points(found, paths, left)
    draw_eigenvalues(found, middle)
    slow = find_fixed_points(nearly_neutral(), torch.rand(30, 2) * 0.1, tolerance=1e-6)
    draw_slow_line(slow_line(slow, lambda points: points[:, 0]), right)
    assert {text.get_text() for text in left.get_legend().get_texts()} == {"stable", "saddle"}
    assert left.get_xlabel().startswith("component 1")


def test_three_bits_have_a_stable_point_for_each_of_their_eight_values() -> None:
    layer = rc.Recurrent(drive, 1, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.w_l0.fill_(2.0)
    along = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    found = find_fixed_points(OneStep(layer), torch.cartesian_prod(along, along, along))
    assert len(found) == 27
    stable = found.points[found.is_stable & found.is_fixed]
    assert {tuple(np.sign(point)) for point in stable} == set(product((-1.0, 1.0), repeat=3))
    assert len(stable) == 8


def test_what_rounding_makes_singular_is_searched_on() -> None:
    @rc.cell(state="h")
    def sums(x, h, W, U):  # pyright: ignore
        return h + W @ h + U @ x

    layer = rc.Recurrent(sums, 1, 2)
    with torch.no_grad():
        layer.W_l0.fill_(1000.0)  # of which W^T W + mu I is singular in float32
        layer.U_l0.zero_()
    starts = torch.tensor([[1.0, 2.0], [-3.0, 5.0]])
    found = find_fixed_points(OneStep(layer), starts, tolerance=1e-6, distance=0.0)
    assert len(found) == 2
    np.testing.assert_allclose(found.points.sum(1), 0.0, atol=1e-5)


def test_a_single_unit_is_drawn_along_a_line() -> None:
    figure_of = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    layer = rc.Recurrent(drive, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        layer.w_l0.fill_(2.0)
    step = OneStep(layer)
    seen = states_seen(step, torch.randn(6, 3, 1, dtype=torch.float64))
    points = find_fixed_points(step, torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None])
    on = draw_fixed_points(points, seen.numpy(), figure_of.Figure().subplots())
    assert on(points.points).shape == (len(points), 2)
    assert (on(points.points)[:, 1] == 0).all()
