"""Pictures from anywhere, opened safely: whole, of a size that makes sense, upright, in RGB.

Pillow decodes them; only formats that it decodes by itself are opened, so that no other program is
ever started.
"""

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recurra.errors import DataError
from recurra.files import read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
MAX_PIXELS = 50_000_000  # 150 MB in memory; cameras of phones make 12 to 48 million, rarely more
MAX_BYTES = 1 << 28
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
_SIXTEEN_BITS = 257  # 65535 / 255
_WHITE = (255, 255, 255, 255)


def open_picture(
    source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, where: str = ""
) -> "Image":
    """A picture in RGB, 8 bits a channel, turned as its EXIF says; of a moving one the first frame.

    Greyscale, palettes, CMYK and 16 bit become RGB; what is transparent is laid on white.

    Args:
        source: path of a file, or its bytes.
        max_pixels: a picture of more is refused before it is decoded.
        where: what messages call it; empty: its path.
    Raises:
        DataError: when it cannot be read, is no picture, is cut short or damaged, or too large.
        ModuleNotFoundError: without Pillow, which the extra `vision` brings.
    """
    where = where or ("picture" if isinstance(source, bytes) else str(source))
    return as_rgb(_decoded(source, max_pixels, where), where)


def check_picture(
    source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, where: str = ""
) -> tuple[int, int]:
    """Rows and columns of a picture, as its header says, before it is turned; nothing is decoded.

    Raises:
        DataError: when it cannot be read, is no picture, or is too large.
        ModuleNotFoundError: without Pillow, which the extra `vision` brings.
    """
    where = where or ("picture" if isinstance(source, bytes) else str(source))
    columns, rows = _opened(source, max_pixels, where).size
    return rows, columns


def as_rgb(image: "Image", where: str = "picture") -> "Image":
    """An image of Pillow, of any mode, in RGB and upright; see `open_picture`."""
    require_pillow()
    from PIL import Image, ImageOps

    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # EXIF that is damaged says nothing
        turned = image
    if turned.mode == "RGB" and "transparency" not in turned.info:
        return turned
    if turned.mode == "F" or turned.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(turned), where)).convert("RGB")
    try:
        if turned.mode in ("LA", "PA", "RGBA") or "transparency" in turned.info:
            above = turned.convert("RGBA")
            below = Image.new("RGBA", above.size, _WHITE)
            return Image.alpha_composite(below, above).convert("RGB")
        return turned.convert("RGB")
    except Exception as error:  # of colours that Pillow has no way to
        raise _damaged(where, error) from error


def _eight_bits(values: np.ndarray, where: str) -> np.ndarray:
    """[Y, X] of 16 bit numbers, or of fractions, as 8 bit ones."""
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all() or numbers.min() < 0 or numbers.max() > 65535:
        raise DataError(
            f"{where}: expected grey values in 0..65535, got "
            f"{numbers.min():g} to {numbers.max():g}. Scale them and save it again."
        )
    if values.dtype.kind == "f" and numbers.max() <= 1:
        scaled = numbers * 255
    elif values.dtype.kind == "f" and numbers.max() <= 255:
        scaled = numbers
    else:
        scaled = numbers / _SIXTEEN_BITS
    return np.round(scaled).astype(np.uint8)


def _decoded(source: str | os.PathLike[str] | bytes, max_pixels: int, where: str) -> "Image":
    image = _opened(source, max_pixels, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    except Exception as error:  # decoders raise anything at bytes that are none of theirs
        raise _damaged(where, error) from error
    return image


def _opened(source: str | os.PathLike[str] | bytes, max_pixels: int, where: str) -> "Image":
    """The picture with its header read, of as many pixels as it may have."""
    require_pillow()
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, bytes):
        content = source
    else:
        try:
            content = read_bytes(Path(source), MAX_BYTES)
        except OSError as error:
            raise DataError(
                f"{where}: expected a picture, got: {error.strerror or error}. Check its name."
            ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit is below that of Pillow's warning
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{where}: expected a picture ({', '.join(_FORMATS)}), got "
            f"{'an empty file' if not content else 'a file that begins as none of them does'}. "
            f"Leave it out, or save it again."
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{where}: expected a picture of at most {max_pixels:,} pixels, got one of far more "
            f"({len(content):,} bytes). Scale it down."
        ) from error
    except Exception as error:
        raise _damaged(where, error) from error
    columns, rows = image.size
    if columns * rows > max_pixels:
        raise DataError(
            f"{where}: expected a picture of at most {max_pixels:,} pixels, got {rows:,} rows of "
            f"{columns:,} ({len(content):,} bytes). Scale it down."
        )
    return image


def _damaged(where: str, error: Exception) -> DataError:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(
        f"{where}: expected a whole picture, got one that is cut short or damaged ({said:.100}). "
        f"Leave it out, or copy it again."
    )


def require_pillow() -> None:
    """Raise ModuleNotFoundError, in one line that says how to get it, where there is no Pillow."""
    try:
        import PIL  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures: expected Pillow, got none. Install it: pip install -e '.[vision]' in the "
            "clone of recurra.",
            name=error.name,
        ) from None
