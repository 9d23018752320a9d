"""The encoders of captioners and aligners, as settings say, and what pictures are to them.

Letters: N pictures, C channels, Y rows, X columns.
"""

from typing import Any

import torch
from torch import Tensor

from recurra.models.seeing import Seeing
from recurra.vision import Encoder, Preprocessing, encoder
from recurra.vision.preprocessing import IMAGENET_MEAN, IMAGENET_STD

SCALED = ("convnet", "resnet")  # encoders whose sizes settings say


def encoder_for(model: Any) -> Encoder:
    """The encoder that settings name, with the weights that they name.

    Args:
        model: settings; those that read no vector of a picture do not say how it is made.
    """
    if model.encoder not in SCALED:
        made = encoder(model.encoder)
    else:
        strides = {"downsample": model.encoder_downsample} if model.encoder == "convnet" else {}
        made = encoder(
            model.encoder,
            widths=[model.encoder_width * 2**stage for stage in range(model.encoder_stages)],
            size=getattr(model, "encoder_size", 1),
            depth=model.encoder_depth,
            pool=getattr(model, "encoder_pool", 1),
            norm=model.encoder_norm,
            **strides,
        )
    if model.encoder_weights is not None:
        made.load_weights(model.encoder_weights)
    return made


def preprocessing_for(name: str, size: tuple[int, int]) -> Preprocessing:
    """What makes numbers of pictures of this size for the encoder of this name."""
    if name in SCALED:
        return Preprocessing(size=size)
    return Preprocessing(size=size, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def pixels(model: Seeing, pictures: Tensor) -> Tensor:
    """[N, C, Y, X], what the model's preprocessing makes of pictures of its size.

    Args:
        pictures: [N, Y, X, 3] uint8.
    """
    make = model.preprocessing
    assert make is not None
    like = next(model.parameters())
    values = pictures.permute(0, 3, 1, 2).float() / 255
    mean, std = (
        torch.tensor(each, dtype=torch.float32, device="cpu").view(-1, 1, 1)
        for each in (make.mean, make.std)
    )
    return ((values - mean) / std).to(like)
