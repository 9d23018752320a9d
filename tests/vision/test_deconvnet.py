"""Deconvnet views: a blob comes back as the blob, by the rules of Zeiler and Fergus."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import vision
from recurra.vision import ConvNet, Encoder
from recurra.vision.deconvnet import deconvnet_views, projected, receptive_field
from recurra.vision.pooling import max_pool, unpool

ENCODERS = {
    "convnet": {"channels": 1, "widths": (4, 6), "size": 4},
    "plain": {"channels": 1, "widths": (4, 6), "size": 4, "norm": "none"},
    "batch": {"channels": 1, "widths": (4, 6), "size": 4, "norm": "batch", "depth": 2},
    "resnet": {"channels": 1, "widths": (4, 6), "size": 4},
}


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(1)
    name = "resnet" if request.param == "resnet" else "convnet"
    return vision.encoder(name, **ENCODERS[request.param]).eval()


def blob(row: int, column: int, side: int = 32) -> Tensor:
    """[1, side, side]: a bright spot on black."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.exp(-((y - row) ** 2 + (x - column) ** 2) / 6.0)[None]


def finder() -> ConvNet:
    """A network one of whose maps is excited by bright spots."""
    network = ConvNet(1, (2, 2), 2, norm="none").eval()
    around = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
    with torch.no_grad():
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                layer.weight.zero_()
                layer.bias.zero_()
                layer.weight[0, 0] = around
                layer.weight[1, 0] = -around
    return network


@pytest.mark.parametrize("centre", [(9, 21), (16, 16), (22, 6)])
def test_a_blob_comes_back_as_the_blob(centre: tuple[int, int]) -> None:
    network, spot = finder(), blob(*centre)
    images = torch.stack([torch.zeros(1, 32, 32), spot, 0.3 * spot])
    [view] = deconvnet_views(network, "features.4", images, num_channels=1)
    assert view.channel == 0
    assert view.images == (1, 2)
    top, left, bottom, right = view.boxes[0]
    assert top <= centre[0] < bottom
    assert left <= centre[1] < right
    assert torch.equal(view.patches[0], spot[:, top:bottom, left:right])
    patch, back = view.patches[0].flatten(), view.projections[0].flatten()
    assert torch.corrcoef(torch.stack([patch, back]))[0, 1] > 0.9
    whole = projected(network, "features.4", images[1:2], 0, [_strongest(network, spot)])[0, 0]
    assert (whole.argmax() // 32, whole.argmax() % 32) == centre
    assert whole[spot[0] > 0.1].sum() > 0.8 * whole.sum()
    assert whole.min() >= 0


def _strongest(network: ConvNet, image: Tensor) -> tuple[int, int]:
    maps = network.features[:5](image[None])[0, 0]
    return divmod(int(maps.argmax()), maps.shape[1])


def test_it_is_unpooling_rectifying_and_filtering() -> None:
    """Written out for two layers, as the paper has it."""
    torch.manual_seed(0)
    network = ConvNet(1, (3, 4), 4, norm="none").eval()
    first, second = (each for each in network.features if isinstance(each, nn.Conv2d))
    with torch.no_grad():
        for conv in (first, second):
            conv.bias.normal_(std=0.1)
        image = torch.randn(1, 1, 16, 16)
        rectified = functional.conv2d(image, first.weight, first.bias, padding=1).relu()
        pooled, switches = max_pool(rectified)
        maps = functional.conv2d(pooled, second.weight, second.bias, padding=1).relu()
        channel = int(maps.amax((0, 2, 3)).argmax())
        place = divmod(int(maps[0, channel].argmax()), 8)
        back = torch.zeros_like(maps)
        back[0, channel, place[0], place[1]] = maps[0, channel, place[0], place[1]]
        back = functional.conv_transpose2d(back.relu(), second.weight, padding=1)
        back = unpool(back, switches, 16, 16)
        back = functional.conv_transpose2d(back.relu(), first.weight, padding=1)
    found = projected(network, "features.4", image, channel, [place])
    torch.testing.assert_close(found, back)


@pytest.mark.medium
def test_views_of_every_encoder(encoder: Encoder) -> None:
    images = torch.randn(12, 1, 24, 28)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    want = encoder(images)
    for layer in encoder.layers():
        views = deconvnet_views(encoder, layer, images, num_channels=2, top=9, batch_size=5)
        assert len(views) == 2
        for view in views:
            assert len(view.patches) == len(view.projections) == len(set(view.images)) == 9
            assert list(view.activations) == sorted(view.activations, reverse=True)
            assert all(
                p.shape == q.shape for p, q in zip(view.patches, view.projections, strict=True)
            )
            assert all(torch.isfinite(p).all() and p.abs().max() > 0 for p in view.projections)
    # and nothing is left behind
    assert torch.equal(encoder(images), want)
    assert all(torch.equal(before[n], v) for n, v in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())


def test_the_strongest_are_found_whatever_the_batches(encoder: Encoder) -> None:
    images = torch.randn(11, 1, 24, 24)
    layer = list(encoder.layers())[-1]
    kept: list[Tensor] = []
    hook = encoder.layers()[layer].register_forward_hook(lambda _, __, maps: kept.append(maps))
    with torch.no_grad():
        encoder.maps(images)
    hook.remove()
    most = kept[0].amax((2, 3))
    channel = int(most.amax(0).argmax())
    for batch_size in (4, 11):
        views = deconvnet_views(
            encoder, layer, images, num_channels=1, top=3, batch_size=batch_size
        )
        assert views[0].channel == channel
        assert list(views[0].images) == most[:, channel].argsort(descending=True)[:3].tolist()


@pytest.mark.medium
def test_nothing_comes_back_from_outside_the_field(encoder: Encoder) -> None:
    image = torch.randn(1, 1, 40, 44)
    for layer in encoder.layers():
        field = receptive_field(encoder, layer, image)
        [view] = deconvnet_views(encoder, layer, image, num_channels=1)
        top, left, bottom, right = view.boxes[0]
        outside = torch.ones(40, 44, dtype=torch.bool)
        outside[top:bottom, left:right] = False
        assert outside.any()
        assert bottom - top == field.size[0]
        whole = _whole(encoder, layer, image, view.channel)[0, 0]
        assert whole[outside].abs().max() == 0
        torch.testing.assert_close(view.projections[0][0], whole[top:bottom, left:right])


def _whole(encoder: Encoder, layer: str, image: Tensor, channel: int) -> Tensor:
    kept: list[Tensor] = []
    hook = encoder.layers()[layer].register_forward_hook(lambda _, __, maps: kept.append(maps))
    with torch.no_grad():
        encoder.maps(image)
    hook.remove()
    maps = kept[0][0, channel]
    return projected(encoder, layer, image, channel, [divmod(int(maps.argmax()), maps.shape[1])])


def test_fields_of_vgg() -> None:
    """As everyone computes them: 3, 5 pixels, then 6 and more behind each pooling."""
    network = vision.Vgg16(device="meta")
    image = torch.zeros(1, 3, 224, 224, device="meta")
    fields = {name: receptive_field(network, name, image) for name in network.layers()}
    sizes = [fields[name].size[0] for name in ("conv1_1", "conv1_2", "conv2_1", "conv5_3")]
    assert sizes == [3, 5, 10, 196]
    assert fields["conv5_3"].step == (16, 16)
    assert fields["conv1_2"].start == (-2, -2)


def test_wrong_names_are_told() -> None:
    network, images = finder(), torch.zeros(1, 1, 16, 16)
    with pytest.raises(ValueError, match=r"a layer of features\.1, features\.4, got 'conv9'"):
        deconvnet_views(network, "conv9", images)
    with pytest.raises(ValueError, match=r"expected maps in 0\.\.1"):
        deconvnet_views(network, "features.4", images, channels=[2])
    with pytest.raises(ValueError, match="expected pictures"):
        deconvnet_views(network, "features.4", images[:, :, :1])
    assert deconvnet_views(network, "features.4", images) == []  # nothing excites it
