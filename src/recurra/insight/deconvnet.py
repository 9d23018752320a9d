"""What the maps of an encoder look for, as one sheet: patches, and their projections to pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from recurra.files import write_atomically
from recurra.vision import Encoder, Preprocessing
from recurra.vision.deconvnet import View, deconvnet_views
from recurra.vision.pictures import require_pillow

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

_ACROSS = 3  # patches of a map beside one another, and maps of a sheet
_GAP, _HEADING, _MARGIN = 2, 18, 14
_LEAST, _MOST = 32, 64  # sides of a patch on the sheet


def draw_deconvnet(
    encoder: Encoder,
    layer: str,
    images: Float[Tensor, "n c y x"],
    path: Path,
    *,
    preprocessing: Preprocessing | None = None,
    num_channels: int = 9,
    top: int = 9,
) -> Path:
    """Draw what excites the maps of a layer most, as the format that the suffix names.

    Of each map, at the left the projections of its strongest patches to pixels, at the right the
    patches.

    Args:
        encoder: whose layer it is.
        layer: one of `encoder.layers()`.
        images: [N, C, Y, X] to look for patches in, as the encoder reads them.
        path: .png or another format of Pillow.
        preprocessing: that made the images, so that patches look as the pictures did.
        num_channels: how many maps: those that are excited most.
        top: patches of each.
    Raises:
        ValueError: when there is no such layer, or nothing excites it.
        ModuleNotFoundError: without Pillow, which the extra `vision` brings.
    """
    views = deconvnet_views(encoder, layer, images, num_channels=num_channels, top=top)
    if not views:
        raise ValueError(
            f"deconvnet: expected pictures that excite {layer}, got none. Give others."
        )
    sheet = deconvnet_sheet(views, preprocessing)
    kind = path.suffix[1:].replace("jpg", "jpeg") or "png"
    made = {"pnginfo": _made_here()} if kind == "png" else {}
    write_atomically(path, lambda part: sheet.save(part, format=kind, **made))
    return path


def _made_here() -> "PngInfo":
    """What says that a picture was drawn here, so that a later one may take its place."""
    from PIL.PngImagePlugin import PngInfo

    said = PngInfo()
    said.add_text("Software", "recurra")
    return said


def deconvnet_sheet(views: Sequence[View], preprocessing: Preprocessing | None = None) -> "Image":
    """The sheet of some views, as an image of Pillow; see `draw_deconvnet`."""
    require_pillow()
    from PIL import Image, ImageDraw, ImageFont

    most = max(max(patch.shape[1:]) for view in views for patch in view.patches)
    side = min(max(most, _LEAST), _MOST)
    rows = -(-max(len(view.patches) for view in views) // _ACROSS)
    block = _ACROSS * (side + _GAP) - _GAP
    width, height = 2 * block + 3 * _GAP, rows * (side + _GAP) - _GAP + _HEADING
    across = min(_ACROSS, len(views))
    down = -(-len(views) // across)
    size = (across * (width + _MARGIN) + _MARGIN, down * (height + _MARGIN) + _MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for number, view in enumerate(views):
        left = _MARGIN + number % across * (width + _MARGIN)
        top = _MARGIN + number // across * (height + _MARGIN)
        title = f"{view.layer}, map {view.channel}"
        draw.text((left, top), title, fill="#1d2330", font=font)
        for start, tiles in (
            (left, [_projection(each) for each in view.projections]),
            (left + block + 3 * _GAP, [_patch(each, preprocessing) for each in view.patches]),
        ):
            for at, tile in enumerate(tiles):
                place = (
                    start + at % _ACROSS * (side + _GAP),
                    top + _HEADING + at // _ACROSS * (side + _GAP),
                )
                image = Image.fromarray(tile)
                by = side / max(image.size)
                fitted = (max(1, round(image.width * by)), max(1, round(image.height * by)))
                sheet.paste(image.resize(fitted, Image.Resampling.NEAREST), place)
    return sheet


def _patch(values: Tensor, preprocessing: Preprocessing | None) -> np.ndarray:
    """[rows, columns, 3] uint8 of what the encoder read."""
    if preprocessing is not None and preprocessing.colours != "none":
        return _pixels(preprocessing.undone(values))
    low, high = values.min(), values.max()
    return _pixels((values - low) / (high - low).clamp(min=1e-12))


def _projection(values: Tensor) -> np.ndarray:
    """[rows, columns, 3] uint8: grey where nothing came back, each by its own largest."""
    return _pixels(0.5 + 0.5 * values / values.abs().max().clamp(min=1e-12))


def _pixels(values: Tensor) -> np.ndarray:
    """[C, rows, columns] of 0..1 as colours; of other than three channels their mean, in grey."""
    if len(values) != 3:
        values = values.mean(0, keepdim=True).expand(3, -1, -1)
    return (values.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
