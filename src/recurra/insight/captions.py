"""Pictures with their captions: a sheet, a page, and where each word of a caption looks."""

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from recurra.files import write_atomically
from recurra.models import Caption
from recurra.vision import Preprocessing, open_picture

_COLUMNS = 4
_LINE = 34  # characters of a caption's line under a picture
_SIDE = 320  # pixels of a picture on a page
_MOST_MAPS = 12  # pictures whose maps are drawn

Pictured = tuple[Any, Caption]  # a path, an image of Pillow or an array, and what is said of it


def draw_captions(
    shown: Sequence[Pictured], path: Path, preprocessing: Preprocessing | None = None
) -> Path:
    """Draw pictures with their captions, as the format that the suffix names.

    Where captions have their attention, each picture is a row: beside it stands what each word
    looked at, the brighter the more.

    Args:
        shown: pictures and their captions.
        path: .svg, .png or .pdf.
        preprocessing: cuts the pictures as the model saw them; None draws them whole.
    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    has_maps = any(said.attention is not None for _, said in shown)
    figure = (_maps if has_maps else _sheet)(shown, preprocessing)
    write_atomically(path, lambda part: figure.savefig(part, format=path.suffix[1:], dpi=110))
    return path


def captions_png(shown: Sequence[Pictured], preprocessing: Preprocessing | None = None) -> bytes:
    """The same picture as the bytes of a PNG file."""
    has_maps = any(said.attention is not None for _, said in shown)
    figure = (_maps if has_maps else _sheet)(shown, preprocessing)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def write_page(
    shown: Sequence[Pictured], path: Path, preprocessing: Preprocessing | None = None
) -> Path:
    """Write a page of HTML with pictures and their captions, which needs no other file.

    Args:
        shown: pictures and their captions.
        path: of the page.
        preprocessing: cuts the pictures as the model saw them; None shows them whole.
    """
    each = "\n".join(_figure(picture, said, preprocessing) for picture, said in shown)
    page = (
        "<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>Captions</title>\n"
        "<style>body{font-family:sans-serif;display:flex;flex-wrap:wrap;gap:1.2em;margin:1.5em}"
        f"figure{{margin:0;width:{_SIDE}px}}img{{width:100%;image-rendering:auto}}"
        "figcaption{line-height:1.35}small{color:#666}</style>\n"
        f"{each}\n</html>\n"
    )
    write_atomically(path, lambda part: part.write_text(page, "utf-8", "xmlcharrefreplace"))
    return path


def _figure(picture: Any, said: Caption, preprocessing: Preprocessing | None) -> str:
    from PIL import Image

    image = Image.fromarray(_pixels(picture, preprocessing))
    if max(image.size) > 2 * _SIDE:
        image.thumbnail((2 * _SIDE, 2 * _SIDE))
    file = io.BytesIO()
    image.save(file, format="PNG")
    if said.attention is not None:
        file = io.BytesIO(captions_png([(picture, said)], preprocessing))
    data = base64.b64encode(file.getvalue()).decode("ascii")
    name = escape(str(picture)) if isinstance(picture, str | Path) else ""
    lines = [f"{escape(said.text)} <small>{said.log_probability:.2f}</small>"]
    lines += [f"<small>{escape(text)} {log_p:.2f}</small>" for text, log_p in said.others]
    lines += [f"<small>{name}</small>"] if name else []
    wide = " style='width:100%'" if said.attention is not None else ""
    return (
        f"<figure{wide}><img alt='{escape(said.text, quote=True)}' "
        f"src='data:image/png;base64,{data}'><figcaption>{'<br>'.join(lines)}</figcaption></figure>"
    )


def _pixels(picture: Any, preprocessing: Preprocessing | None) -> np.ndarray:
    """[Y, X, 3] uint8, as the model saw it."""
    opened = open_picture(picture) if isinstance(picture, str | Path) else picture
    if preprocessing is None:
        return np.asarray(opened)
    values = preprocessing.undone(preprocessing(opened)).clamp(0, 1)
    pixels = (values * 255).round().byte().permute(1, 2, 0).numpy()
    return pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels


def _sheet(shown: Sequence[Pictured], preprocessing: Preprocessing | None) -> Any:
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    lines = [wrap(said.text, _LINE) for _, said in shown]
    tallest = max(map(len, lines), default=1)
    figure = Figure(figsize=(2.6 * columns, (2.6 + 0.17 * tallest) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for ax in axes:
        ax.set_axis_off()
    for ax, (picture, _), text in zip(axes, shown, lines, strict=False):
        ax.imshow(_pixels(picture, preprocessing))
        ax.set_title("\n".join(map(_plain, text)), fontsize=8, y=-0.02, va="top")
    return figure


def _maps(shown: Sequence[Pictured], preprocessing: Preprocessing | None) -> Any:
    from matplotlib.figure import Figure

    shown = [each for each in shown if each[1].attention is not None][:_MOST_MAPS]
    words = [[*said.tokens, "(end)"] for _, said in shown]
    columns = min(12, max(map(len, words)) + 1)
    heights = [math.ceil((len(each) + 1) / columns) for each in words]
    figure = Figure(figsize=(1.15 * columns, 1.35 * sum(heights)), layout="constrained")
    axes = figure.subplots(sum(heights), columns, squeeze=False)
    for ax in axes.flatten():
        ax.set_axis_off()
    first = 0
    for (picture, said), each, height in zip(shown, words, heights, strict=True):
        pixels = _pixels(picture, preprocessing)
        own = axes[first : first + height].flatten()
        own[0].imshow(pixels)
        assert said.attention is not None
        for ax, word, weights in zip(own[1:], each, said.attention.numpy(), strict=False):
            grey = pixels.mean(axis=2) * 0.45 + 0.4 * 255
            ax.imshow(grey, cmap="gray", vmin=0, vmax=255)
            extent = (-0.5, pixels.shape[1] - 0.5, pixels.shape[0] - 0.5, -0.5)
            alpha = weights / max(float(weights.max()), 1e-9)
            ax.imshow(
                weights,
                extent=extent,
                alpha=0.75 * alpha,
                cmap="autumn_r",
                interpolation="bilinear",
            )
            ax.set_title(_plain(word), fontsize=8, pad=2)
        first += height
    return figure


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
