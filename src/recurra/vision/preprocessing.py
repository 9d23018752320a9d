"""From a picture to the numbers that an encoder reads: a part of a model, saved with it.

Letters: C channels, Y rows, X columns.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recurra.errors import DataError
from recurra.vision.pictures import as_rgb, require_pillow

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = ("rgb", "grey", "none")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_SIDE = 16384
_ALGORITHM = 1  # raised when the same settings come to give other numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Scaled to a size, its middle cut out, as numbers of 0..1, minus the mean, over the spread.

    Attributes:
        size: (rows, columns) of what comes out; a number is both; None: what each picture has.
        shorter: the side to which the shorter one is scaled before the middle is cut out, as in
            Krizhevsky et al. (2012); None: the smallest that covers the size.
        crop: whether the middle is cut out; else the picture is stretched to the size.
        mean, std: of each channel, of values in 0..1; one number is for all.
        colours: "rgb"; "grey", one channel; or "none": arrays [C, Y, X] of numbers that are no
            picture, such as maps of a radar, which must have the size.
        channels: C, where colours are "none".

    Raises:
        ValueError: when values do not go together.
    """

    size: int | tuple[int, int] | None = None
    shorter: int | None = None
    crop: bool = True
    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 0.5
    colours: str = "rgb"
    channels: int = 3

    def __post_init__(self) -> None:
        if self.colours not in COLOURS:
            raise ValueError(
                f"preprocessing: expected colours to be one of {', '.join(COLOURS)}, got "
                f"{self.colours!r:.40}. Choose one."
            )
        if isinstance(self.size, int) and not isinstance(self.size, bool):
            self._set("size", (self.size, self.size))
        if self.colours != "none":
            self._set("channels", 1 if self.colours == "grey" else 3)
        self._check_sizes()
        for name in ("mean", "std"):
            self._set(name, self._numbers(name))
        if any(value <= 0 for value in self.std):  # pyright: ignore[reportGeneralTypeIssues]
            raise ValueError(
                f"preprocessing: expected std above 0, got {self.std}. 1 leaves values as they are."
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_sizes(self) -> None:
        sides = [self.channels, *([] if self.shorter is None else [self.shorter])]
        if self.size is not None:
            if not isinstance(self.size, tuple | list) or len(self.size) != 2:
                raise ValueError(
                    f"preprocessing: expected size to be rows and columns, got {self.size!r:.60}. "
                    f"As in size=(224, 224)."
                )
            self._set("size", tuple(self.size))
            sides += self.size
        if any(type(side) is not int or not 1 <= side <= MAX_SIDE for side in sides):
            raise ValueError(
                f"preprocessing: expected sizes in 1..{MAX_SIDE}, got size={self.size!r:.40}, "
                f"shorter={self.shorter!r:.40}, channels={self.channels!r:.40}. Change them."
            )
        if self.shorter is not None and isinstance(self.size, tuple):
            if not self.crop:
                raise ValueError(
                    "preprocessing: expected no shorter= where crop=False stretches the picture, "
                    f"got {self.shorter}. Leave it out."
                )
            if self.shorter < max(self.size):
                raise ValueError(
                    f"preprocessing: expected shorter of at least {max(self.size)}, the size that "
                    f"is cut out, got {self.shorter}. Raise it."
                )

    def _numbers(self, name: str) -> tuple[float, ...]:
        given = getattr(self, name)
        try:
            values = tuple(float(v) for v in given) if np.ndim(given) else (float(given),)
        except (TypeError, ValueError):
            values = ()
        if len(values) == 1:
            values *= self.channels
        if len(values) != self.channels or not np.isfinite(values).all():
            raise ValueError(
                f"preprocessing: expected {name} to be {self.channels} numbers, one a channel, got "
                f"{given!r:.60}. Give as many, or one for all."
            )
        return values

    @property
    def sides(self) -> tuple[int, int] | None:
        """Rows and columns of what comes out; None: what each picture has."""
        return self.size if isinstance(self.size, tuple) else None

    def __call__(self, picture: "Image | np.ndarray | Tensor") -> Float[Tensor, "c rows columns"]:
        """The numbers of a picture.

        Args:
            picture: an image of Pillow; uint8 [Y, X, 3] or [Y, X]; or, where colours are "none",
                numbers [C, Y, X].
        Returns:
            [C, Y, X] float32 on the CPU.
        Raises:
            DataError: when an array is of another kind or shape.
        """
        values = self._array(picture) if self.colours == "none" else self._picture(picture)
        values = values - np.array(self.mean, dtype=np.float32)[:, None, None]
        values /= np.array(self.std, dtype=np.float32)[:, None, None]
        return torch.from_numpy(np.ascontiguousarray(values))

    def undone(self, values: Tensor) -> Tensor:
        """[..., C, Y, X] in 0..1 as in the picture, of what `__call__` gave: to be looked at."""
        shape = (self.channels, 1, 1)
        std = torch.tensor(self.std, dtype=values.dtype, device=values.device).view(shape)
        mean = torch.tensor(self.mean, dtype=values.dtype, device=values.device).view(shape)
        return values * std + mean

    def _array(self, given: Any) -> np.ndarray:
        values = np.asarray(given)
        size = values.shape[1:] if self.sides is None else self.sides
        if values.dtype.kind not in "uif" or values.shape != (self.channels, *size):
            wanted = [self.channels, *(self.sides or ("rows", "columns"))]
            raise DataError(
                f"picture: expected numbers of shape {wanted}, got {values.dtype} "
                f"{list(values.shape)}. Put channels first; frames of numbers are not scaled."
            )
        return values.astype(np.float32)

    def _picture(self, given: Any) -> np.ndarray:
        """[C, Y, X] in 0..1."""
        if isinstance(given, np.ndarray | Tensor):
            pixels = np.asarray(given)
            if pixels.dtype != np.uint8 or not (
                pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
            ):
                raise DataError(
                    f"picture: expected uint8 [rows, columns, 3] or [rows, columns], got "
                    f"{pixels.dtype} {list(pixels.shape)}. Put channels last, 0 to 255."
                )
            if (self.size is None or pixels.shape[:2] == self.size) and not self.shorter:
                return self._channels(pixels)  # Pillow is not needed
            require_pillow()
            from PIL import Image

            given = Image.fromarray(pixels)
        return self._channels(np.asarray(self._sized(as_rgb(given))))

    def _channels(self, pixels: np.ndarray) -> np.ndarray:
        values = pixels.astype(np.float32) / 255
        if values.ndim == 2:
            values = values[:, :, None].repeat(3, axis=2)
        values = np.moveaxis(values, 2, 0)
        if self.colours == "grey":  # ITU-R BT.601, as Pillow has it
            weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
            values = np.tensordot(weights, values, axes=1)[None]
        return values

    def _sized(self, image: "Image") -> "Image":
        """The picture scaled, and its middle cut out."""
        from PIL.Image import Resampling

        sides = self.sides
        (rows, columns), (top, left) = self._scaled(image.height, image.width)
        if (columns, rows) != image.size:
            image = image.resize((columns, rows), Resampling.BILINEAR)
        if sides is None or sides == (rows, columns):
            return image
        return image.crop((left, top, left + sides[1], top + sides[0]))

    def _scaled(self, rows: int, columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns that a picture of so many is scaled to, and where of that what is cut
        out begins: top and left."""
        sides = self.sides
        if not self.crop and sides is not None:
            return sides, (0, 0)
        if self.shorter is not None:
            by = self.shorter / min(rows, columns)
        elif sides is not None:
            by = max(sides[0] / rows, sides[1] / columns)
        else:
            return (rows, columns), (0, 0)
        rows, columns = max(1, round(rows * by)), max(1, round(columns * by))
        if sides is None:
            return (rows, columns), (0, 0)
        return (rows, columns), (round((rows - sides[0]) / 2), round((columns - sides[1]) / 2))

    def placed(self, boxes: np.ndarray, rows: int, columns: int) -> np.ndarray:
        """Where boxes of a picture are in what comes out of it.

        Args:
            boxes: [K, 4], left, top, right and bottom of each, in pixels of the picture.
            rows, columns: of the picture.
        Returns:
            [K, 4] float32 in shares of what comes out, 0 to 1; less than K where boxes lie outside
            of what is cut out.
        """
        scaled, (top, left) = self._scaled(rows, columns)
        sides = self.sides or scaled
        by = np.array([scaled[1] / columns, scaled[0] / rows] * 2)
        values = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * by - [left, top, left, top]
        values = (values / [sides[1], sides[0], sides[1], sides[0]]).clip(0, 1)
        inside = (values[:, 0] < values[:, 2]) & (values[:, 1] < values[:, 3])
        return values[inside].astype(np.float32)

    # ---- a part of a model -----------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """A hash that two of them share only if they make the same numbers of any picture."""
        text = json.dumps([_ALGORITHM, self._settings()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _settings(self) -> dict[str, Any]:
        listed = {name: getattr(self, name) for name in self.__slots__}
        return {k: [*v] if isinstance(v, tuple) else v for k, v in listed.items()}

    def to_config(self) -> dict[str, Any]:
        """Everything that makes it again, as JSON types, and its digest."""
        return {**self._settings(), "digest": self.digest}

    @classmethod
    def from_config(cls, config: Any) -> "Preprocessing":
        """The inverse of `to_config`.

        Raises:
            DataError: when it is not what `to_config` gives, or was changed since.
        """
        try:
            given = {name: value for name, value in config.items() if name != "digest"}
            listed: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in given.items()
            }
            made = cls(**listed)
            digest = config["digest"]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"preprocessing: expected what makes one, got {error!s:.200} Use the "
                f"config.json as the run wrote it."
            ) from error
        if digest != made.digest:
            raise DataError(
                f"preprocessing: expected settings of the digest {digest!r:.40}, got some of "
                f"{made.digest!r}. Pictures would not be those that were trained on; use the "
                f"config.json as the run wrote it, by the version of recurra that did."
            )
        return made


def imagenet(size: int = 224, shorter: int | None = 256) -> Preprocessing:
    """What torchvision's published weights were trained and are tested on."""
    return Preprocessing(size=size, shorter=shorter, mean=IMAGENET_MEAN, std=IMAGENET_STD)
