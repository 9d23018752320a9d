"""VGG-16, as published, with torchvision's names of its weights.

Source: Simonyan, Zisserman (2015), "Very Deep Convolutional Networks for Large-Scale Image
Recognition", arXiv:1409.1556, configuration D.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.errors import argument
from recurra.vision.base import Encoder
from recurra.vision.convnet import draw

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
CLASSES = 1000
_HIDDEN = 4096
_FIELD = 7  # rows and columns of the maps that fc6 sees
GRIDS = {"conv5_3": 512, "fc7": _HIDDEN}


class Vgg16(Encoder):
    """13 convolutions of 3 x 3, 5 poolings, and fully connected layers as 7 x 7 and 1 x 1
    convolutions; the vector of a picture is what FC-1000 would read.

    At 224 x 224 it is the network as published. A larger picture is seen by its fully connected
    layers at each place where they fit, one step for 32 pixels, and its vector is the mean of what
    they give, as in section 3.2 of the paper.

    Args:
        head: whether FC-1000 is there, for `scores`.
        grid: what `grid` gives: "conv5_3", [Y/16 * X/16, 512], what attention looks at in Xu et al.
            (2015), or "fc7", [(Y/32 - 6) * (X/32 - 6), 4096].
        channels: of the pictures: 3.
        dtype, device: of the parameters.
    Raises:
        ValueError: when there is no such grid, or channels are not 3.
    """

    name: ClassVar[str] = "vgg16"
    optional: ClassVar[tuple[str, ...]] = ("classifier.6.",)
    size = _HIDDEN

    def __init__(
        self,
        *,
        head: bool = False,
        grid: str = "conv5_3",
        channels: int = 3,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if channels != 3:
            raise ValueError(f"Vgg16: expected channels=3, got {channels!r:.40}. It reads RGB.")
        if grid not in GRIDS:
            raise ValueError(
                f"Vgg16: expected grid to be one of {', '.join(GRIDS)}, got {grid!r:.40}. "
                f"Choose one."
            )
        self.channels, self.head, self.of_grid = channels, head, grid
        self.grid_size = GRIDS[grid]
        self.features = nn.Sequential(*_convolutions(WIDTHS, channels, dtype, device))
        fc6 = nn.Linear(WIDTHS[-1][-1] * _FIELD**2, _HIDDEN, dtype=dtype, device=device)
        fc7 = nn.Linear(_HIDDEN, _HIDDEN, dtype=dtype, device=device)
        layers = [fc6, nn.ReLU(), nn.Dropout(), fc7, nn.ReLU(), nn.Dropout()]
        if head:
            layers.append(nn.Linear(_HIDDEN, CLASSES, dtype=dtype, device=device))
        self.classifier = nn.Sequential(*layers)
        self.reset_parameters()

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make it again."""
        return {"name": self.name, "head": self.head, "grid": self.of_grid}

    def grid_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Of conv5_3 a sixteenth of both, of fc7 a thirty-second less 6; at least 224 pixels."""
        fits = rows // 32 - _FIELD + 1, columns // 32 - _FIELD + 1
        if min(fits) < 1:
            return 0, 0
        return fits if self.of_grid == "fc7" else (rows // 16, columns // 16)

    def maps(self, images: Tensor) -> Tensor:
        """[N, 512, Y/16, X/16] before the last pooling, or [N, 4096, Y/32 - 6, X/32 - 6]."""
        maps = self.features[:-1](images)
        return self._connected(self.features[-1](maps)) if self.of_grid == "fc7" else maps

    def pooled(self, maps: Tensor) -> Tensor:
        """[N, 4096]."""
        if self.of_grid != "fc7":
            maps = self._connected(self.features[-1](maps))
        return maps.mean((2, 3))

    def scores(self, images: Tensor) -> Tensor:
        """[N, 1000] of the classes, before the softmax.

        Raises:
            ValueError: when FC-1000 was cut off.
        """
        if not self.head:
            raise ValueError(
                f"Vgg16.scores: expected FC-1000, got a network without. Make it with "
                f"{argument('head=True')}."
            )
        return self.classifier[6](self(images))

    def reset_parameters(self) -> None:
        """Draw weights by He et al. (2015), arXiv:1502.01852."""
        draw(self)

    def layers(self) -> dict[str, nn.Module]:
        """The ReLU behind each convolution, by the name that the paper's readers know."""
        names = [
            f"conv{block}_{number}"
            for block, widths in enumerate(WIDTHS, start=1)
            for number in range(1, len(widths) + 1)
        ]
        rectified = [layer for layer in self.features if isinstance(layer, nn.ReLU)]
        return dict(zip(names, rectified, strict=True))

    def _connected(self, maps: Tensor) -> Tensor:
        """fc6 and fc7 at each place of the maps where they fit, [N, 4096, rows, columns]."""
        fc6, _, dropout, fc7, _, last_dropout = list(self.classifier)[:6]
        assert isinstance(fc6, nn.Linear)
        if maps.shape[2:] == (_FIELD, _FIELD):  # one place: torch lays 400 MB out anew for others
            maps = fc6(maps.flatten(1))[:, :, None, None]
        else:
            kernel = fc6.weight.view(_HIDDEN, maps.shape[1], _FIELD, _FIELD)
            maps = functional.conv2d(maps, kernel, fc6.bias)
        maps = dropout(functional.relu(maps)).movedim(1, 3)
        maps = fc7(maps).movedim(3, 1)  # a convolution of 1 x 1
        return last_dropout(functional.relu(maps))


def _convolutions(
    blocks: Sequence[Sequence[int]],
    channels: int,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for widths in blocks:
        for width in widths:
            conv = nn.Conv2d(channels, width, 3, padding=1, dtype=dtype, device=device)
            layers += [conv, nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return layers
