"""A small residual network, to train from scratch.

Source: He, Zhang, Ren, Sun (2016), "Deep Residual Learning for Image Recognition",
arXiv:1512.03385, section 4.2 (the networks for small pictures), shortcuts of option B.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from recurra.vision.convnet import FromScratch, normalisation


class Block(nn.Module):
    """relu(shortcut(x) + norm(conv(relu(norm(conv(x))))))."""

    def __init__(self, before: int, width: int, stride: int, norm: str, **where: Any) -> None:
        super().__init__()
        bias = norm == "none"
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, padding=1, bias=bias, **where),
            *normalisation(norm, width, **where),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=bias, **where),
            *normalisation(norm, width, **where),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or before != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, width, 1, stride, bias=bias, **where),
                *normalisation(norm, width, **where),
            )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, width, Y / stride, X / stride], rounded up."""
        return self.relu(self.shortcut(x) + self.body(x))

    def begin_as_shortcut(self) -> None:
        """Let the body give zeros, as Goyal et al. (2017), arXiv:1706.02677, have it."""
        nn.init.zeros_(self.get_parameter(f"body.{len(self.body) - 1}.weight"))


class ResNet(FromScratch):
    """A convolution, stages of residual blocks, and a linear layer over a coarse grid of theirs.

    Args:
        channels: C of the pictures.
        widths: the maps of each stage; each but the first halves rows and columns.
        size: of the vector; 0: no linear layer, as for a `ConvNet`.
        depth: blocks in each stage: 2 * depth * stages + 2 layers in all.
        pool: rows and columns of the grid that the vector is made of, see `ConvNet`.
        norm: "group", "batch" or "none", see `ConvNet`.
        dtype, device: of the parameters.
    Raises:
        ValueError: when a size is too small, or the norm is none of these.
    """

    name: ClassVar[str] = "resnet"

    def __init__(
        self, channels: int = 3, widths: Sequence[int] = (16, 32, 64), size: int = 128, **more: Any
    ) -> None:
        super().__init__(channels, widths, size, **more)

    def _make_layers(self, **where: Any) -> None:
        norm, first = self.norm, self.widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(self.channels, first, 3, padding=1, bias=norm == "none", **where),
            *normalisation(norm, first, **where),
            nn.ReLU(),
        )
        blocks, before = [], first
        for stage, width in enumerate(self.widths):
            for number in range(self.depth):
                stride = 2 if stage and not number else 1
                blocks.append(Block(before, width, stride, norm, **where))
                before = width
        self.blocks = nn.Sequential(*blocks)

    def grid_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Each stage but the first halves both, rounding up."""
        by = 2 ** (len(self.widths) - 1)
        return -(-rows // by), -(-columns // by)

    def maps(self, images: Tensor) -> Tensor:
        """[N, last width, rows, columns], see `grid_shape`."""
        return self.blocks(self.stem(images))

    def reset_parameters(self) -> None:
        """Draw weights by He et al. (2015), arXiv:1502.01852; a block begins as its shortcut."""
        super().reset_parameters()
        for block in self.blocks:
            assert isinstance(block, Block)
            block.begin_as_shortcut()
