"""A small convolutional network, to train from scratch."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recurra.vision.base import Encoder

NORMS = ("group", "batch", "none")
_GROUPS = 8


class FromScratch(Encoder):
    """What encoders have in common that are small enough to be trained from nothing.

    Their vector is made of pool x pool places of the last maps.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (32, 64, 128),
        size: int = 128,
        *,
        depth: int = 1,
        pool: int = 4,
        norm: str = "group",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        check_sizes(where, channels=channels, size=size, depth=depth, pool=pool)
        check_widths(where, widths)
        check_norm(where, norm)
        self.channels, self.widths, self.size = channels, tuple(widths), size
        self.depth, self.pool, self.norm = depth, pool, norm
        self.grid_size = self.widths[-1]
        self._make_layers(dtype=dtype, device=device)
        self.project = Places(self.grid_size, pool, size, dtype=dtype, device=device)
        self.reset_parameters()

    @abstractmethod
    def _make_layers(self, **where: Any) -> None:
        """Make what computes `maps`, with parameters of this dtype on this device."""

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make it again."""
        own = ("name", "channels", "size", "depth", "pool", "norm")
        return {**{each: getattr(self, each) for each in own}, "widths": [*self.widths]}

    def pooled(self, maps: Tensor) -> Tensor:
        """[N, size]."""
        return self.project(maps)

    def reset_parameters(self) -> None:
        """Draw weights by He et al. (2015), arXiv:1502.01852, so that ReLUs keep the scale."""
        draw(self)


class ConvNet(FromScratch):
    """Stages of convolutions and max pooling, and a linear layer over a coarse grid of the result.

        stage: [conv 3 x 3 -> norm -> ReLU] x depth -> max pooling 2 x 2
        vector: average pooling to pool x pool -> linear -> ReLU

    The vector is made of pool x pool places, so that it can say where something is; with pool=1 it
    says only that it is there.

    Args:
        channels: C of the pictures.
        widths: the maps of each stage; each halves rows and columns.
        size: of the vector.
        depth: convolutions in each stage.
        pool: rows and columns of the grid that the vector is made of.
        norm: "group" (Wu & He), the same in training and in use and of each picture by itself;
            "batch" (Ioffe & Szegedy); or "none".
        dtype, device: of the parameters.
    Raises:
        ValueError: when a size is below 1, or the norm is none of these.
    """

    name: ClassVar[str] = "convnet"

    def _make_layers(self, **where: Any) -> None:
        layers: list[nn.Module] = []
        before = self.channels
        for width in self.widths:
            for _ in range(self.depth):
                bias = self.norm == "none"
                layers.append(nn.Conv2d(before, width, 3, padding=1, bias=bias, **where))
                layers += [*normalisation(self.norm, width, **where), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def grid_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Each stage halves both, rounding down."""
        by = 2 ** len(self.widths)
        return rows // by, columns // by

    def maps(self, images: Tensor) -> Tensor:
        """[N, last width, Y / 2^stages, X / 2^stages]."""
        return self.features(images)


class Places(nn.Sequential):
    """A vector made of maps: averages over pool x pool places -> linear -> ReLU."""

    def __init__(self, width: int, pool: int, size: int, **where: Any) -> None:
        linear = nn.Linear(
            width * pool * pool, size, dtype=where.get("dtype"), device=where.get("device")
        )
        super().__init__(nn.AdaptiveAvgPool2d(pool), nn.Flatten(), linear, nn.ReLU())


def normalisation(norm: str, width: int, **where: Any) -> list[nn.Module]:
    """The layer that normalises so many maps, or none."""
    if norm == "none":
        return []
    if norm == "batch":
        return [nn.BatchNorm2d(width, **where)]
    return [nn.GroupNorm(math.gcd(width, _GROUPS), width, **where)]


def draw(network: nn.Module) -> None:
    """Draw the parameters of convolutions, normalisations and linear layers behind ReLUs."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            module.reset_parameters()


def check_sizes(where: str, **sizes: object) -> None:
    """Raise ValueError unless each is a whole number of 1 or more."""
    for name, value in sizes.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{where}: expected {name} of 1 or more, got {value!r:.40}. Raise it.")


def check_widths(where: str, widths: Sequence[int]) -> None:
    """Raise ValueError unless these are whole numbers, at least one of them."""
    if not widths or any(type(width) is not int or width < 1 for width in widths):
        raise ValueError(
            f"{where}: expected widths to be the maps of each stage, got {widths!r:.60}. "
            f"As in widths=(32, 64, 128)."
        )


def check_norm(where: str, norm: str) -> None:
    """Raise ValueError unless there is such a normalisation."""
    if norm not in NORMS:
        raise ValueError(
            f"{where}: expected norm to be one of {', '.join(NORMS)}, got {norm!r:.40}. Choose one."
        )
