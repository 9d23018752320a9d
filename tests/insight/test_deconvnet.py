"""The sheet of a deconvnet."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recurra.insight import draw_deconvnet
from recurra.vision import ConvNet, Preprocessing
from recurra.vision.deconvnet import View


def test_a_sheet_has_projections_beside_patches(tmp_path: Path) -> None:
    from recurra.insight.deconvnet import deconvnet_sheet

    red, green = torch.zeros(3, 32, 32), torch.zeros(3, 32, 32)
    red[0], green[1] = 1.0, 1.0
    view = View(
        layer="conv1",
        channel=3,
        activations=(2.0,),
        images=(0,),
        boxes=((0, 0, 32, 32),),
        patches=(2 * red - 1,),
        projections=(green,),
    )
    sheet = np.asarray(deconvnet_sheet([view], Preprocessing()))
    at_red = np.argwhere((sheet == (255, 0, 0)).all(2))
    at_green = np.argwhere((sheet == (128, 255, 128)).all(2))
    assert len(at_red) == len(at_green) == 32 * 32
    assert at_green[:, 1].max() < at_red[:, 1].min()
    assert at_green[:, 0].min() == at_red[:, 0].min()


@pytest.mark.medium
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_it_is_drawn_of_any_encoder(channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = ConvNet(channels, (4, 8), 4)
    images, layer = torch.randn(10, channels, 24, 24), list(encoder.layers())[-1]
    path = draw_deconvnet(encoder, layer, images, tmp_path / "sheet.png")
    image = Image.open(path)
    assert image.width > 300
    assert len(np.unique(np.asarray(image))) > 20


def test_without_anything_excited_it_says_so(tmp_path: Path) -> None:
    encoder = ConvNet(1, (2,), 2, norm="none")
    with pytest.raises(ValueError, match="expected pictures that excite"):
        draw_deconvnet(encoder, "features.1", torch.zeros(2, 1, 8, 8), tmp_path / "a.png")
