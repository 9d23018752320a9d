"""Draws docs/figures/deconvnet.png: what a network that tells shapes apart looks for.

A ConvNet learns which coloured shapes are in a picture of `scenes`, for two minutes of one core;
then pictures that it has not seen are looked through: python -m benchmarks.draw_deconvnet
"""

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.data.worlds import scenes
from recurra.data.worlds.scene_facts import COLOURS, KINDS
from recurra.data.worlds.scenes import Scenes
from recurra.insight.deconvnet import deconvnet_sheet
from recurra.vision import ConvNet, Preprocessing
from recurra.vision.deconvnet import deconvnet_views

FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "deconvnet.png"
LAYERS = 2  # the last ones
MADE = Preprocessing(size=48)


def _numbers(part: Scenes) -> tuple[Tensor, Tensor]:
    """Pictures [N, 3, Y, X], and which pairs of colour and kind are in each [N, pairs]."""
    found = torch.zeros(len(part.scenes), len(COLOURS), len(KINDS))
    for number, scene in enumerate(part.scenes):
        for shape in scene:
            found[number, COLOURS.index(shape.colour), KINDS.index(shape.kind)] = 1.0
    return torch.stack([MADE(picture) for picture in part.pictures]), found.flatten(1)


def main(*, train: int = 6000, epochs: int = 12) -> None:
    """Train, report how well, and draw."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    world = scenes(train=train, val=1000, test=1000, unseen=1)
    images, wanted = _numbers(world["train"])
    encoder = ConvNet(3, (16, 32, 48), 96)
    decide = nn.Linear(96, wanted.shape[1])
    parameters = [*encoder.parameters(), *decide.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3)
    steps = epochs * (len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(images))[: len(images) // 64 * 64].split(64):
            scores = decide(encoder(images[rows]))
            loss = functional.binary_cross_entropy_with_logits(scores, wanted[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    encoder.eval()
    images, wanted = _numbers(world["test"])
    with torch.no_grad():
        right = ((decide(encoder(images)) > 0) == (wanted > 0)).all(1).float().mean()
    print(f"test pictures with every pair right: {100 * right:.1f} %")
    sheets = [
        np.asarray(deconvnet_sheet(deconvnet_views(encoder, layer, images), MADE))
        for layer in list(encoder.layers())[-LAYERS:]
    ]
    width = max(sheet.shape[1] for sheet in sheets)
    padded = [
        np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in sheets
    ]
    from PIL import Image

    file = io.BytesIO()
    whole = Image.fromarray(np.concatenate(padded)).quantize(colors=128)
    whole.save(file, format="PNG", optimize=True)
    FIGURE.write_bytes(file.getvalue())
    print(f"{FIGURE}: {len(file.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
