"""Error surfaces: the cliff and descent on it; the plane around a model."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from recurra.insight.surfaces import (
    CLIFF_LR,
    CLIFF_MAX_NORM,
    CLIFF_START,
    Plane,
    Surface,
    cliff_descents,
    cliff_loss,
    cliff_slope,
    cliff_surface,
    descend,
    draw_descents,
    draw_surface,
    filter_normalised,
)


def unrolled(w: Tensor, b: Tensor) -> Tensor:
    x = torch.tensor(0.5, dtype=torch.float64)
    for _ in range(50):
        x = w * torch.sigmoid(x) + b
    return (torch.sigmoid(x) - 0.7) ** 2


@pytest.mark.parametrize("point", [(5.5, -3.3), (3.9, -1.95), (-2.0, 0.5), (6.0, -3.235)])
def test_the_gradient_on_the_cliff_is_autograds(point: tuple[float, float]) -> None:
    w, b = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in point)
    loss = unrolled(w, b)
    expected = torch.autograd.grad(loss, (w, b))
    value, gradient = cliff_slope(np.array(point))
    assert value == pytest.approx(loss.item(), rel=1e-8)
    assert gradient == pytest.approx([float(g) for g in expected], rel=1e-6)


def test_without_clipping_the_path_is_thrown_out_and_with_it_it_converges() -> None:
    free, clipped = cliff_descents()
    thrown = int((free.loss[1:] / free.loss[:-1]).argmax())
    assert free.largest_rise > 10
    assert free.loss[thrown] > 0.01
    assert np.linalg.norm(free.points[thrown + 1] - free.points[thrown]) > 5
    assert free.loss[-1] > 0.4
    assert clipped.loss[-50:].max() < 5e-3
    assert clipped.loss[-1] < 1e-3
    assert 0.1 < clipped.clipped < 1


@pytest.mark.medium
def test_it_is_the_cliff_not_one_lucky_start() -> None:
    for shift in (1e-9, -1e-6, 1e-3):
        start = np.array(CLIFF_START) + shift
        free = descend(cliff_slope, start, lr=CLIFF_LR, steps=400)
        kept = descend(cliff_slope, start, lr=CLIFF_LR, steps=400, max_norm=CLIFF_MAX_NORM)
        assert free.largest_rise > 10
        assert kept.loss[-50:].max() < 5e-3


def test_the_wall_is_where_the_gradient_is_long() -> None:
    surface = cliff_surface(points=60)
    _, gradient = cliff_loss(surface.x[None, :], surface.y[:, None])
    norms = np.hypot(*gradient)
    assert surface.loss.shape == (60, 60)
    assert norms.max() > 100 * np.median(norms)


def test_a_clipped_step_keeps_its_direction_and_is_no_longer_than_the_threshold() -> None:
    def bowl(point: np.ndarray) -> tuple[float, np.ndarray]:
        return float(point @ point), 2 * point

    path = descend(bowl, (3.0, 4.0), lr=0.1, steps=3, max_norm=1.0)
    first = path.points[1] - path.points[0]
    assert first == pytest.approx([-0.06, -0.08])
    assert path.norms[0] == pytest.approx(10.0)
    assert path.clipped == 1.0
    assert descend(bowl, (3.0, 4.0), lr=0.1, steps=3).points[1] == pytest.approx([2.4, 3.2])


def test_a_path_ends_where_numbers_do() -> None:
    path = descend(lambda p: (float(p[0]), np.array([np.inf])), (1.0,), lr=1.0, steps=5)
    assert len(path.points) == 1


# ---- around a model


def small_model() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layer = rc.Recurrent("gru", 3, 4, dtype=torch.float64, backend="reference")
    return layer, torch.randn(5, 2, 3, dtype=torch.float64)


def test_each_filter_of_a_direction_is_as_long_as_that_of_the_weights() -> None:
    model, _ = small_model()
    parameters = dict(model.named_parameters())
    direction = filter_normalised(parameters, torch.Generator().manual_seed(1))
    for name, parameter in parameters.items():
        if parameter.ndim == 1:
            assert not direction[name].any()
        else:
            torch.testing.assert_close(direction[name].norm(dim=1), parameter.norm(dim=1))
            assert not torch.equal(direction[name], parameter)


def test_the_middle_is_the_model_and_the_weights_come_back_bit_by_bit() -> None:
    model, x = small_model()
    before = [p.detach().clone() for p in model.parameters()]
    plane = Plane(model, lambda m: m(x)[0].square().mean())
    surface = plane.surface(span=0.5, points=3)
    assert surface.loss[1, 1] == pytest.approx(model(x)[0].square().mean().item(), rel=1e-12)
    assert len(np.unique(surface.loss)) == 9
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_weights_come_back_where_the_loss_fails() -> None:
    model, _ = small_model()
    before = [p.detach().clone() for p in model.parameters()]

    def fails(_: nn.Module) -> Tensor:
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        Plane(model, fails).loss((1.0, 1.0))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_slope_is_that_of_the_surface() -> None:
    model, x = small_model()
    plane = Plane(model, lambda m: m(x)[0].square().mean())
    at, step = np.array([0.3, -0.2]), 1e-5
    _, gradient = plane.slope(at)
    ahead = [plane.loss(at + step * np.eye(2)[i]) for i in range(2)]
    behind = [plane.loss(at - step * np.eye(2)[i]) for i in range(2)]
    assert gradient == pytest.approx((np.array(ahead) - behind) / (2 * step), rel=1e-6)


def test_a_model_that_trains_nothing_has_no_plane() -> None:
    model, x = small_model()
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="expected parameters that train"):
        Plane(model, lambda m: m(x)[0].mean())


def test_surfaces_and_paths_are_drawn() -> None:
    figure_of = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    figure = figure_of.Figure()
    left, right = figure.subplots(1, 2)
    free, clipped = cliff_descents(50)
    paths = {"without clipping": free, "clipped at 0.1": clipped}
    surface = cliff_surface(points=20)
    draw_surface(surface, left, paths)
    draw_descents(paths, right)
    assert left.get_xlim() == (surface.x[0], surface.x[-1])
    assert [text.get_text() for text in left.get_legend().get_texts()] == list(paths)


@pytest.mark.parametrize(("low", "high"), [(1e-6, 1e-3), (3.0, 30.0)])
def test_colours_reach_from_the_least_loss_to_the_largest(low: float, high: float) -> None:
    figure_of = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    along = np.linspace(-1, 1, 4)
    loss = np.geomspace(low, high, 16).reshape(4, 4)
    drawn = draw_surface(
        Surface(x=along, y=along, loss=loss, names=("a", "b")), figure_of.Figure().subplots()
    )
    np.testing.assert_allclose(drawn.get_clim(), np.log10([low, high]))


@pytest.mark.parametrize("value", [2.0, 0.0, np.nan])
def test_a_loss_that_is_the_same_everywhere_is_drawn(value: float) -> None:
    figure_of = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    along = np.linspace(-1, 1, 3)
    surface = Surface(x=along, y=along, loss=np.full((3, 3), value), names=("a", "b"))
    drawn = draw_surface(surface, figure_of.Figure().subplots())
    low, high = drawn.get_clim()
    assert low < high
