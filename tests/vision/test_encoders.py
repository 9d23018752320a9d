"""Rules of every encoder, run over the registry, and what each has of its own."""

import math

import pytest
import torch

from recurra import vision
from recurra.vision import ConvNet, Encoder
from recurra.vision.convnet import Points

SMALL = {
    "convnet": {"name": "convnet"},
    "convnet of strides": {"name": "convnet", "downsample": "stride", "depth": 2},
    "convnet of points": {"name": "convnet", "vector": "points"},
    "convnet of places as they are": {"name": "convnet", "size": 0, "pool": 3},
    "convnet of points as they are": {"name": "convnet", "size": 0, "vector": "points"},
    "resnet": {"name": "resnet", "depth": 2},
}


@pytest.fixture(params=sorted(SMALL))
def small(request: pytest.FixtureRequest) -> Encoder:
    options = {"channels": 4, "widths": (4, 8), "size": 6, **SMALL[request.param]}
    network = vision.encoder(**options).eval()
    torch.manual_seed(0)
    network.reset_parameters()
    return network


def test_shapes(small: Encoder) -> None:
    images = torch.randn(3, small.channels, 20, 32)
    vectors, grid = small(images), small.grid(images)
    rows, columns = small.grid_shape(20, 32)
    assert vectors.shape == (3, small.size)
    assert grid.shape == (3, rows * columns, small.grid_size)
    both = small.both(images)
    assert torch.equal(both[0], vectors)
    assert torch.equal(both[1], grid)


def test_places_as_they_are_are_the_grid() -> None:
    network = ConvNet(widths=(4, 8), size=0, pool=5).eval()
    images = torch.randn(2, 3, 20, 20)
    vectors, grid = network.both(images)
    assert network.size == 5 * 5 * 8
    assert torch.equal(vectors, grid.transpose(1, 2).flatten(1))


def test_the_grid_is_row_by_row(small: Encoder) -> None:
    images = torch.randn(2, small.channels, 20, 32)
    maps = small.maps(images)
    columns = small.grid_shape(20, 32)[1]
    assert torch.equal(small.grid(images)[1, columns + 2], maps[1, :, 1, 2])


def test_config_makes_it_again(small: Encoder) -> None:
    import json

    other = vision.encoder(**json.loads(json.dumps(small.config))).eval()
    assert type(other) is type(small)
    other.load_state_dict(small.state_dict())
    images = torch.randn(2, small.channels, 16, 16)
    assert torch.equal(other(images), small(images))


def test_all_parameters_get_gradients(small: Encoder) -> None:
    small.train()(torch.randn(4, small.channels, 16, 16)).sum().backward()
    for name, parameter in small.named_parameters():
        assert parameter.grad is not None, name


def test_other_dtypes(small: Encoder) -> None:
    double = vision.encoder(**small.config, dtype=torch.float64)
    images = torch.randn(1, small.channels, 16, 16, dtype=torch.float64)
    assert double(images).dtype is torch.float64
    with pytest.raises(ValueError, match=r"expected pictures of torch\.float64"):
        double(images.float())


def test_wrong_pictures_are_told(small: Encoder) -> None:
    with pytest.raises(ValueError, match=r"expected pictures \[N, \d, rows, columns\]"):
        small(torch.randn(2, small.channels + 1, 16, 16))
    with pytest.raises(ValueError, match="expected pictures of at least"):
        small(torch.randn(2, small.channels, 0, 16))


def test_reset_draws_anew(small: Encoder) -> None:
    before = {name: value.clone() for name, value in small.state_dict().items()}
    torch.manual_seed(1)
    small.reset_parameters()
    assert any(not torch.equal(before[name], v) for name, v in small.state_dict().items())
    torch.manual_seed(0)
    small.reset_parameters()
    for name, value in small.state_dict().items():
        assert torch.equal(before[name], value), name


# ---- frozen, at a rate of its own, staged --------------------------------------------------------


def test_frozen(small: Encoder) -> None:
    small.train().tune(0.0)
    assert small.frozen
    assert not small.training
    assert not small(torch.randn(2, small.channels, 16, 16)).requires_grad
    small.tune(0.1)
    assert small.training
    assert small(torch.randn(2, small.channels, 16, 16)).requires_grad


def test_a_frozen_network_lets_gradients_through_to_the_picture(small: Encoder) -> None:
    small.tune(0.0)
    images = torch.randn(2, small.channels, 16, 16, requires_grad=True)
    small(images).sum().backward()
    assert images.grad is not None


@pytest.mark.medium
def test_staged(small: Encoder) -> None:
    small.train().tune(0.5, after=0.3)
    images = torch.randn(2, small.channels, 16, 16)
    small.advance(0.29)
    assert not small.training
    assert not small(images).requires_grad
    small.advance(0.3)
    assert small.training
    assert small(images).requires_grad
    small.eval().advance(0.4)
    assert not small.training


@pytest.mark.parametrize("wrong", [{"rate": -1.0}, {"rate": float("nan")}, {"after": 2.0}])
def test_wrong_rates_are_told(small: Encoder, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="tune: expected"):
        small.tune(**wrong)


# ---- by name -------------------------------------------------------------------------------------


def test_names() -> None:
    assert {*(each["name"] for each in SMALL.values()), "vgg16"} == set(
        vision.names()
    )  # which has a file of its own
    with pytest.raises(ValueError, match="Did you mean 'convnet'"):
        vision.encoder("convnets")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"channels": 0}, "channels of 1 or more"),
        ({"widths": ()}, "widths to be the maps of each stage"),
        ({"size": -1}, "size of 0 or more"),
        ({"norm": "layer"}, "norm to be one of group, batch, none"),
        ({"vector": "lines"}, "vector to be one of places, points"),
        ({"downsample": "drop"}, "downsample to be one of pool, stride"),
    ],
)
def test_wrong_arguments_are_told(changed: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ConvNet(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["group", "batch", "none"])
def test_convnet_norms(norm: str) -> None:
    network = ConvNet(1, (4, 8), 5, norm=norm, depth=2)
    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 5)


def test_a_convnets_vector_says_where_something_is() -> None:
    """Not of one place alone, which a mean over all places would be."""
    torch.manual_seed(0)
    network = ConvNet(1, (8, 8), 16, pool=4).eval()
    left, right = torch.zeros(2, 1, 1, 32, 32)
    left[:, :, 12:20, 4:12], right[:, :, 12:20, 20:28] = 1, 1
    assert (network(left) - network(right)).abs().max() > 0.1


def test_strides_halve_as_often_as_pooling() -> None:
    for rows, columns in ((20, 32), (5, 11)):
        for downsample in ("pool", "stride"):
            network = ConvNet(1, (4, 4), 5, depth=2, downsample=downsample)
            maps = network.maps(torch.randn(1, 1, rows, columns))
            assert maps.shape[2:] == network.grid_shape(rows, columns) == (rows // 4, columns // 4)


def test_points_are_where_maps_are_bright() -> None:
    """A spot's point is its place, between -1 and 1, finer than the grid of places."""
    points = Points(2, 6)
    with torch.no_grad():
        points.maps.weight.copy_(50 * torch.eye(2)[:, :, None, None])
        points.maps.bias.zero_()
        points.linear.weight.copy_(torch.eye(6))
        points.linear.bias.fill_(1.0)  # which lifts all above 0, where ReLU would cut
    maps = torch.zeros(1, 2, 4, 8)
    maps[0, 0, 3, 0] = 1.0
    maps[0, 1, 1, 5:7] = 1.0
    across, down, bright = (points(maps) - 1).view(3, 2)
    torch.testing.assert_close(across, torch.tensor([-7 / 8, 4 / 8]), atol=1e-5, rtol=0)
    torch.testing.assert_close(down, torch.tensor([3 / 4, -1 / 4]), atol=1e-5, rtol=0)
    wanted = torch.tensor([50.0, 50 + math.log(2)]) - math.log(32)
    torch.testing.assert_close(bright, wanted, atol=1e-3, rtol=0)
