"""What every encoder of pictures is: a network from pictures to vectors and to grids of vectors.

Letters: N pictures, C channels, Y rows and X columns of pixels, P positions of a grid.
"""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recurra.vision.weights import load_weights


class Encoder(nn.Module, ABC):
    """A convolutional network that a recurrent one reads: a vector a picture, or a grid of them.

    A subclass computes `maps` and makes a vector of them; its `config` makes it again:
    `vision.encoder(**encoder.config)`.

    Attributes:
        channels: C of the pictures.
        size: of a picture's vector.
        grid_size: of the vector at each position of the grid.
    """

    name: ClassVar[str]  # by which `vision.encoder` makes it
    optional: ClassVar[tuple[str, ...]] = ()  # beginnings of the names of weights it may lack
    channels: int
    size: int
    grid_size: int

    def __init__(self) -> None:
        super().__init__()
        self.learning_rate_scale = 1.0
        self._after = 0.0
        self._share = 0.0
        self._asked = True  # for training mode, also while frozen

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The arguments that make it again, as JSON has them, its name among them."""

    @abstractmethod
    def grid_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of the grid of a picture of so many; 0 of one that is too small."""

    @abstractmethod
    def maps(self, images: Float[Tensor, "n channels rows columns"]) -> Tensor:
        """[N, grid_size, grid rows, grid columns]: the last maps of features."""

    @abstractmethod
    def pooled(self, maps: Tensor) -> Tensor:
        """[N, size]: the vectors of pictures that have these maps."""

    @abstractmethod
    def reset_parameters(self) -> None:
        """Draw all parameters anew."""

    def forward(self, images: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n size"]:
        """The vector of each picture.

        Args:
            images: [N, C, Y, X] of the dtype of the parameters, as `Preprocessing` makes them.
        Returns:
            [N, size].
        Raises:
            ValueError: when they have other channels, another dtype, or are too small.
        """
        return self.both(images)[0]

    def grid(self, images: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n p size"]:
        """[N, P, grid_size]: a vector at each position, row by row; see `grid_shape`."""
        self.check_images(images)
        with self._recorded():
            return _positions(self.maps(images))

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors [N, size] and grids [N, P, grid_size] at the cost of one."""
        self.check_images(images)
        with self._recorded():
            maps = self.maps(images)
            return self.pooled(maps), _positions(maps)

    def layers(self) -> dict[str, nn.Module]:
        """The layers of rectified maps that can be looked at, by name, from the picture on."""
        return {
            name: module
            for name, module in self.named_modules()
            if isinstance(module, nn.ReLU) and not name.startswith("project")
        }

    def check_images(self, images: Tensor) -> None:
        """Raise ValueError unless these are pictures that the network can read."""
        where = type(self).__name__
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise ValueError(
                f"{where}: expected pictures [N, {self.channels}, rows, columns], got "
                f"{list(images.shape)}. Make them with a Preprocessing, channels before rows."
            )
        dtype = next(self.parameters()).dtype
        if images.dtype != dtype and not torch.is_autocast_enabled(images.device.type):
            raise ValueError(
                f"{where}: expected pictures of {dtype}, as its parameters are, got "
                f"{images.dtype}. Make them with a Preprocessing, or images.to({dtype})."
            )
        rows, columns = images.shape[2:]
        if min(self.grid_shape(rows, columns)) < 1:
            raise ValueError(
                f"{where}: expected pictures of at least {self._least()} rows and columns, got "
                f"{rows} x {columns}. Scale them up, or take an encoder of fewer stages."
            )

    def _least(self) -> int:
        return next(side for side in range(1, 4096) if min(self.grid_shape(side, side)) > 0)

    def load_weights(self, path: str | os.PathLike[str], *, sha256: str | None = None) -> None:
        """Take the weights of a file; nothing in it is run. See `vision.weights.load_weights`."""
        load_weights(self, path, sha256=sha256, optional=self.optional)

    @property
    def digest(self) -> str:
        """A hash that two of them share only if they make the same vectors of any picture."""
        content = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, value in sorted(self.state_dict().items()):
            content.update(f"{name} {value.dtype}".encode())
            own = value.detach().cpu().contiguous().flatten()
            content.update(memoryview(own.view(torch.uint8).numpy()))
        return content.hexdigest()[:16]

    # ---- how it learns ---------------------------------------------------------------------------

    def tune(self, rate: float = 1.0, *, after: float = 0.0) -> None:
        """Say how it learns beside the rest of a model.

        Args:
            rate: times the learning rate of the rest; 0: it is frozen, parameters and averages.
            after: the share of a run, in 0..1, for which it is frozen before that, see `advance`.
        Raises:
            ValueError: when a number is out of its range.
        """
        if not rate >= 0 or rate == float("inf"):
            raise ValueError(f"tune: expected a rate of 0 or more, got {rate!r}. 0 freezes it.")
        if not 0 <= after <= 1:
            raise ValueError(f"tune: expected after= in 0..1, got {after!r}. It is a share.")
        self.learning_rate_scale, self._after = float(rate), float(after)
        for parameter in self.parameters():
            parameter.requires_grad_(rate > 0)
        self.train(self._asked)

    def advance(self, share: float) -> None:
        """Take note that this share of a run is done: tuned `after` it, it begins to learn."""
        self._share = share
        self.train(self._asked)

    @property
    def frozen(self) -> bool:
        """Whether it does not learn at present."""
        return self.learning_rate_scale == 0 or self._share < self._after

    def train(self, mode: bool = True) -> "Encoder":
        """As every module's, but that a frozen encoder stays as it is in use."""
        self._asked = mode
        super().train(mode and not self.frozen)
        return self

    def _recorded(self) -> Any:
        """The context in which gradients are recorded, or not where it is frozen."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and not (self._share < self._after))


def _positions(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)
