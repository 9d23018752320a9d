"""A small convolutional network, to train from scratch.

Letters: N pictures, K maps, Y rows and X columns.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recurra.vision.base import Encoder

NORMS = ("group", "batch", "none")
VECTORS = ("places", "points")
DOWNSAMPLING = ("pool", "stride")
_GROUPS = 8


class FromScratch(Encoder):
    """What encoders have in common that are small enough to be trained from nothing.

    Their vector is made of the last maps: of pool x pool places, or of a point for each map.
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
        vector: str = "places",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        check_sizes(where, channels=channels, depth=depth, pool=pool)
        check_sizes(where, least=0, size=size)
        check_widths(where, widths)
        check_choice(where, NORMS, norm=norm)
        check_choice(where, VECTORS, vector=vector)
        self.channels, self.widths, self._asked_size = channels, tuple(widths), size
        self.depth, self.pool, self.norm, self.vector = depth, pool, norm, vector
        self.grid_size = self.widths[-1]
        self._make_layers(dtype=dtype, device=device)
        if vector == "points":
            self.project = Points(self.grid_size, size, dtype=dtype, device=device)
        else:
            self.project = Places(self.grid_size, pool, size, dtype=dtype, device=device)
        self.size = self.project.size
        self.reset_parameters()

    @abstractmethod
    def _make_layers(self, **where: Any) -> None:
        """Make what computes `maps`, with parameters of this dtype on this device."""

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make it again."""
        own = ("name", "channels", "depth", "pool", "norm", "vector")
        found = {each: getattr(self, each) for each in own}
        return {**found, "size": self._asked_size, "widths": [*self.widths]}

    def pooled(self, maps: Tensor) -> Tensor:
        """[N, size]."""
        return self.project(maps)

    def reset_parameters(self) -> None:
        """Draw weights by He et al. (2015), arXiv:1502.01852, so that ReLUs keep the scale."""
        draw(self)


class ConvNet(FromScratch):
    """Stages of convolutions that halve rows and columns, and a vector made of what they give.

        stage: [conv 3 x 3 -> norm -> ReLU] x depth -> max pooling 2 x 2
        places: average pooling to pool x pool -> linear -> ReLU
        points: conv 1 x 1 -> where each map is bright, and how bright -> linear -> ReLU

    A vector of pool x pool places can say where something is; with pool=1 it says only that it is
    there. Points say it more finely than the grid is.

    Args:
        channels: C of the pictures.
        widths: the maps of each stage; each halves rows and columns.
        size: of the vector; 0: no linear layer, the places or points themselves are the vector.
        depth: convolutions in each stage.
        pool: rows and columns of the grid that the vector is made of.
        norm: "group" (Wu & He), the same in training and in use and of each picture by itself;
            "batch" (Ioffe & Szegedy); or "none".
        vector: what it is made of, "places" or "points".
        downsample: how a stage halves rows and columns: "pool", by max pooling at its end, or
            "stride", by its first convolution, 4 x 4 at every second place (Springenberg et al.
            (2015), arXiv:1412.6806), which computes less than half as much.
        dtype, device: of the parameters.
    Raises:
        ValueError: when a size is too small, or another argument is none of these.
    """

    name: ClassVar[str] = "convnet"

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (32, 64, 128),
        size: int = 128,
        *,
        downsample: str = "pool",
        **more: Any,
    ) -> None:
        check_choice(type(self).__name__, DOWNSAMPLING, downsample=downsample)
        self.downsample = downsample  # the layers are made by it
        super().__init__(channels, widths, size, **more)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make it again."""
        return {**super().config, "downsample": self.downsample}

    def _make_layers(self, **where: Any) -> None:
        layers: list[nn.Module] = []
        before = self.channels
        strides = self.downsample == "stride"
        for width in self.widths:
            for number in range(self.depth):
                bias = self.norm == "none"
                # 4 x 4 at every second place sees each as often as any other, as 3 x 3 would not
                size, stride = (4, 2) if strides and not number else (3, 1)
                layers.append(nn.Conv2d(before, width, size, stride, padding=1, bias=bias, **where))
                layers += [*normalisation(self.norm, width, **where), nn.ReLU()]
                before = width
            if not strides:
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
    """A vector made of maps: averages over pool x pool places -> linear -> ReLU.

    Args:
        size: of the vector; 0: the averages themselves.
    """

    def __init__(self, width: int, pool: int, size: int, **where: Any) -> None:
        places = width * pool * pool
        layers = [_linear(places, size, **where), nn.ReLU()] if size else []
        super().__init__(nn.AdaptiveAvgPool2d(pool), nn.Flatten(), *layers)
        self.size = size or places


class Points(nn.Module):
    """A vector made of maps: where each of as many others is bright, and how bright -> linear ->
    ReLU.

    A map's point is the mean of its places, each weighed by a softmax over the map.
    Source: Levine, Finn, Darrell, Abbeel (2016), "End-to-End Training of Deep Visuomotor Policies",
    arXiv:1504.00702, section 5.2. Difference: how bright a map is stands beside its point.

    Args:
        size: of the vector; 0: points and brightness themselves.
    """

    def __init__(self, width: int, size: int, **where: Any) -> None:
        super().__init__()
        self.maps = nn.Conv2d(width, width, 1, **where)
        self.linear = _linear(3 * width, size, **where) if size else None
        self.size = size or 3 * width

    def forward(self, maps: Tensor) -> Tensor:
        """[N, size] of maps [N, K, Y, X]."""
        scores = self.maps(maps)
        Y, X = scores.shape[2:]
        bright = scores.flatten(2).logsumexp(2)  # [N, K]
        share = scores.flatten(2).softmax(2).view_as(scores)
        across = (share.sum(2) * _ticks(X, share)).sum(2)
        down = (share.sum(3) * _ticks(Y, share)).sum(2)
        bright = bright - math.log(Y * X)
        found = torch.cat([across, down, bright], dim=1)
        return found if self.linear is None else torch.relu(self.linear(found))


def _linear(
    read: int,
    size: int,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> nn.Linear:
    return nn.Linear(read, size, dtype=dtype, device=device)


def _ticks(count: int, like: Tensor) -> Tensor:
    """Where the middles of so many places are, between -1 and 1."""
    places = torch.arange(count, dtype=like.dtype, device=like.device)
    return (2 * places + 1) / count - 1


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


def check_sizes(where: str, *, least: int = 1, **sizes: object) -> None:
    """Raise ValueError unless each is a whole number of at least so much."""
    for name, value in sizes.items():
        if type(value) is not int or value < least:
            raise ValueError(
                f"{where}: expected {name} of {least} or more, got {value!r:.40}. Raise it."
            )


def check_widths(where: str, widths: Sequence[int]) -> None:
    """Raise ValueError unless these are whole numbers, at least one of them."""
    if not widths or any(type(width) is not int or width < 1 for width in widths):
        raise ValueError(
            f"{where}: expected widths to be the maps of each stage, got {widths!r:.60}. "
            f"As in widths=(32, 64, 128)."
        )


def check_choice(where: str, choices: Sequence[str], **given: str) -> None:
    """Raise ValueError unless each is one of the choices."""
    for name, value in given.items():
        if value not in choices:
            raise ValueError(
                f"{where}: expected {name} to be one of {', '.join(choices)}, got {value!r:.40}. "
                "Choose one."
            )
