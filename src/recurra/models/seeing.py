"""What models share that see: an encoder of pictures, and what makes numbers of them for it.

Letters: N pictures, C channels, Y rows, X columns of pixels, P positions of a grid.
"""

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from recurra.models.checks import check_tensor
from recurra.models.parts import Part
from recurra.models.saving import Model
from recurra.text import Vocabulary
from recurra.vision import Encoder, Preprocessing, open_picture
from recurra.vision import encoder as encoder_named


class Seeing(Model):
    """A model that may have an encoder of pictures; without one it is given what one made.

    Attributes:
        encoder: of pictures; None where vectors are given.
        preprocessing: what makes numbers of pictures for it.
    """

    preprocessing = Part(Preprocessing)
    encoder: Encoder | None

    def check_part(self, name: str, part: Any) -> None:
        """Pictures come out as the encoder reads them."""
        if name != "preprocessing":
            return
        where = type(self).__name__
        if self.encoder is None:
            raise ValueError(
                f"{where}: expected an encoder beside preprocessing, got none. Give one, or leave "
                f"it out: vectors are taken as they are."
            )
        if part.size is None or part.channels != self.encoder.channels:
            raise ValueError(
                f"{where}: expected preprocessing to one size, of {self.encoder.channels} "
                f"channels, got size={part.size} and {part.channels}. Give such."
            )

    def pixels(self, pictures: Sequence[Any]) -> Tensor:
        """The numbers of pictures for the encoder: [N, C, Y, X].

        Args:
            pictures: each a path, an image of Pillow, or uint8 [Y, X, 3] or [Y, X].
        Raises:
            ValueError: when the model has no preprocessing.
            DataError: when a picture cannot be read.
        """
        make = self.needed("preprocessing", f"{type(self).__name__}.predict")
        opened = (open_picture(p) if isinstance(p, str | PathLike) else p for p in pictures)
        return torch.stack([make(each) for each in opened]).to(next(self.parameters()))

    def grid_shape(self, positions: int) -> tuple[int, int]:
        """Rows and columns of a grid of so many: as of the encoder, a square, or else one row."""
        size = None if self.preprocessing is None else self.preprocessing.size
        if self.encoder is not None and isinstance(size, tuple):
            rows, columns = self.encoder.grid_shape(*size)
            if rows * columns == positions:
                return rows, columns
        side = math.isqrt(positions)
        return (side, side) if side * side == positions else (1, positions)


class SeeingWords(Seeing):
    """A model of pictures and sentences.

    Attributes:
        vocabulary: of the sentences; as many tokens as `vocab_size`.
    """

    vocabulary = Part(Vocabulary)
    vocab_size: int

    def check_part(self, name: str, part: Any) -> None:
        """A vocabulary has as many tokens as the model; see `Seeing` for the preprocessing."""
        super().check_part(name, part)
        if name == "vocabulary" and len(part) != self.vocab_size:
            where = type(self).__name__
            raise ValueError(
                f"{where}: expected vocabulary of {self.vocab_size} tokens, got {len(part)}. Make "
                f"the model for it: {where}(vocabulary=...)."
            )


def made(encoder: Encoder | Mapping[str, Any] | str | None, **place: Any) -> Encoder | None:
    """The encoder that is given, by its name or its `config` too.

    Args:
        place: the dtype and device of one that is made.
    """
    if encoder is None or isinstance(encoder, Encoder):
        return encoder
    options = {"name": encoder} if isinstance(encoder, str) else dict(encoder)
    return encoder_named(**options, **place)


def size_of_images(where: str, encoder: Encoder | None, given: int | None, *, grid: bool) -> int:
    """The features of an image's vector, or of each vector of its grid.

    Raises:
        ValueError: when neither an encoder nor a number says, or they do not agree.
    """
    if encoder is None:
        if given is None:
            raise ValueError(
                f"{where}: expected an encoder, or image_size, the features of an image's vector, "
                f"got neither. Give one."
            )
        return given
    size = encoder.grid_size if grid else encoder.size
    if given not in (None, size):
        raise ValueError(
            f"{where}: expected image_size={size}, as of the encoder, got {given}. Leave it out."
        )
    return size


def as_read(where: str, images: Any, like: Tensor) -> Tensor:
    """Images as the encoder reads them, of the dtype and on the device of its numbers.

    Raises:
        TypeError: when they are no tensor of real floating-point numbers: bytes of pictures are not
            what the encoder reads.
    """
    check_tensor(where, "images", images)
    if not images.is_floating_point():
        raise TypeError(
            f"{where}: expected images of floating-point numbers, as the encoder reads them, got "
            f"{images.dtype}. Make them of pictures: {where}.pixels(pictures)."
        )
    return images.to(like)


WAVES = 3  # of each coordinate of a position
COORDINATES = 2 * (1 + 2 * WAVES)  # numbers that say where a position is


def coordinates(rows: int, columns: int, like: Tensor) -> Tensor:
    """[P, COORDINATES], where each position is: its row and column, u in -1 to 1, and of each
    sin(k pi u) and cos(k pi u), k = 1 to WAVES; of the dtype of `like`.

    The waves tell neighbours apart from the first step on, as weights of u alone would have to
    learn. Source: Tancik et al. (2020), "Fourier Features Let Networks Learn High Frequency
    Functions in Low Dimensional Domains", arXiv:2006.10739, eq. (5), with frequencies that are not
    drawn.
    """
    along = [
        torch.arange(n, dtype=like.dtype, device=like.device) * (2 / max(1, n - 1)) - float(n > 1)
        for n in (rows, columns)
    ]
    where = torch.stack(torch.meshgrid(*along, indexing="ij"), dim=2).flatten(0, 1)
    waves = [of(k * math.pi * where) for k in range(1, WAVES + 1) for of in (torch.sin, torch.cos)]
    return torch.cat([where, *waves], dim=1)
