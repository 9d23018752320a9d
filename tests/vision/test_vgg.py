"""VGG-16: as published, as torchvision stores it, and fully convolutional."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.vision import Vgg16

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def network() -> Vgg16:
    torch.manual_seed(0)
    return Vgg16(head=True).eval()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def plain(network: Vgg16) -> nn.Sequential:
    """Configuration D of the paper, written out, with the same weights."""
    layers: list[nn.Module] = []
    before = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if width == 0:
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        layers += [nn.Conv2d(before, width, kernel_size=3, padding=1, device="meta"), nn.ReLU()]
        before = width
    layers.append(nn.Flatten())
    for inputs, outputs in ((25088, 4096), (4096, 4096)):
        layers += [nn.Linear(inputs, outputs, device="meta"), nn.ReLU(), nn.Dropout()]
    layers.append(nn.Linear(4096, 1000, device="meta"))
    whole = nn.Sequential(*layers)
    ours = list(network.state_dict().values())
    state = dict(zip(whole.state_dict(), ours, strict=True))
    whole.load_state_dict(state, assign=True)
    return whole.eval()


def test_it_has_as_many_parameters_as_published(network: Vgg16) -> None:
    count = sum(p.numel() for p in network.parameters())
    assert count == 138_357_544
    assert count - sum(p.numel() for p in network.classifier[6].parameters()) == 134_260_544
    with torch.device("meta"):
        headless = Vgg16(device="meta")
    assert sum(p.numel() for p in headless.parameters()) == 134_260_544


def test_names_are_torchvisions(network: Vgg16) -> None:
    numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    want = [f"features.{n}.{what}" for n in numbers for what in ("weight", "bias")]
    want += [f"classifier.{n}.{what}" for n in (0, 3, 6) for what in ("weight", "bias")]
    assert list(network.state_dict()) == want


@torch.inference_mode()
def test_it_equals_a_plain_sequence_of_layers(network: Vgg16) -> None:
    images = torch.randn(2, 3, 224, 224)
    whole = plain(network)
    torch.testing.assert_close(network.scores(images), whole(images))
    # FC-1000 cut off: the vector is what it read
    torch.testing.assert_close(network(images), whole[:-1](images))


def conv(network: Vgg16, maps: Tensor) -> Tensor:
    """Fully connected layers as convolutions of 7 x 7 and 1 x 1."""
    fc6, fc7 = network.classifier[0], network.classifier[3]
    maps = functional.conv2d(maps, fc6.weight.view(4096, 512, 7, 7), fc6.bias).relu()
    return functional.conv2d(maps, fc7.weight.view(4096, 4096, 1, 1), fc7.bias).relu()


@torch.inference_mode()
def test_fully_convolutional(network: Vgg16) -> None:
    """Equal at 224 x 224; of a larger picture a grid, whose vectors are those of its parts.

    In float64: how a sum of 25,088 products is rounded depends on the processor's kernels.
    """
    state = {
        n: v.double() for n, v in network.state_dict().items() if not n.startswith("classifier.6")
    }
    exact, grids = Vgg16(device="meta").eval(), Vgg16(grid="fc7", device="meta").eval()
    for each in (exact, grids):
        each.load_state_dict(state, assign=True)
    small = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    torch.testing.assert_close(grids.grid(small)[:, 0], exact(small))
    assert grids.grid_shape(224, 224) == (1, 1)

    large = torch.randn(1, 3, 256, 320, dtype=torch.float64)
    rows, columns = grids.grid_shape(256, 320)
    assert (rows, columns) == (2, 4)
    vectors, grid = grids.both(large)
    want = conv(exact, exact.features(large))
    torch.testing.assert_close(grid, want.flatten(2).transpose(1, 2))
    torch.testing.assert_close(vectors, want.mean((2, 3)))
    torch.testing.assert_close(exact(large), vectors)


@torch.inference_mode()
def test_the_grid_is_conv5_3(network: Vgg16) -> None:
    images = torch.randn(1, 3, 224, 224)
    grid = network.grid(images)
    assert network.grid_shape(224, 224) == (14, 14)
    want = network.features[:30](images)
    assert torch.equal(grid, want.flatten(2).transpose(1, 2))
    assert list(network.layers())[-1] == "conv5_3"
    assert network.layers()["conv5_3"] is network.features[29]


def test_smaller_pictures_are_refused(network: Vgg16) -> None:
    with pytest.raises(ValueError, match="at least 224 rows and columns, got 223 x 300"):
        network(torch.randn(1, 3, 223, 300))


def test_dropout_is_where_it_was_published(network: Vgg16) -> None:
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        network.train()
        share = (network(images) == 0).float().mean().item()
        network.eval()
        kept = (network(images) == 0).float().mean().item()
    assert share == pytest.approx(0.5 + 0.5 * kept, abs=0.05)


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(ValueError, match="one of conv5_3, fc7"):
        Vgg16(grid="conv4", device="meta")
    with pytest.raises(ValueError, match="channels=3"):
        Vgg16(channels=1, device="meta")
    with pytest.raises(ValueError, match="head=True"):
        Vgg16(device="meta").scores(torch.zeros(1, 3, 224, 224))
