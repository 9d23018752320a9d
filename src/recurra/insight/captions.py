"""Pictures with their captions: a sheet, a page, and where each word of a caption looks."""

import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from recurra.files import write_atomically
from recurra.insight.looking import Maps, as_seen, maps_on, without_formulas
from recurra.insight.pages import SIDE, html_figure, write_figures
from recurra.insight.report.figure import Figure
from recurra.models import Caption
from recurra.vision import Preprocessing

_COLUMNS = 4
_LINE = 34  # characters of a caption's line under a picture

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


def figure_of_captions(
    shown: Sequence[Pictured],
    wanted: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
) -> Figure:
    """The figure of a report that shows what is said of pictures, and where each word looks.

    Args:
        shown: pictures and their captions, one at least.
        wanted: of each picture a caption that is true of it; without, none is shown.
        preprocessing: cuts the pictures as the model saw them; None draws them whole.
    """
    said = [caption.text for _, caption in shown]
    has_maps = any(caption.attention is not None for _, caption in shown)
    per_token = [c.log_probability / max(1, len(c.tokens) + 1) for _, c in shown]
    found = f"Of {len(shown)} pictures {len(set(said))} different captions are said"
    if wanted:
        same = np.mean([_overlap(a, b) for a, b in zip(said, wanted, strict=True)])
        found += f"; in the mean {same:.0%} of their words are in the caption that was wanted"
    found += f"; a token has a probability of {np.exp(np.mean(per_token)):.2f} in the mean"
    look = "Look whether what is named is there"
    return Figure(
        name="captions",
        title="What is said of pictures",
        lede=f"{look}, and whether a word looks at what it names." if has_maps else f"{look}.",
        found=f"{found}.",
        draw=lambda figure: (_maps_on if has_maps else _sheet_on)(figure, shown, preprocessing),
        table={
            "said": said,
            **({"wanted": list(wanted)} if wanted else {}),
            "log-probability": [caption.log_probability for _, caption in shown],
        },
    )


def _overlap(said: str, wanted: str) -> float:
    words = said.lower().split()
    return sum(word in wanted.lower().split() for word in words) / max(1, len(words))


def write_page(
    shown: Sequence[Pictured], path: Path, preprocessing: Preprocessing | None = None
) -> Path:
    """Write a page of HTML with pictures and their captions, which needs no other file.

    Args:
        shown: pictures and their captions.
        path: of the page.
        preprocessing: cuts the pictures as the model saw them; None shows them whole.
    """
    each = [_figure(picture, said, preprocessing) for picture, said in shown]
    return write_figures(each, path, "Captions")


def _figure(picture: Any, said: Caption, preprocessing: Preprocessing | None) -> str:
    from PIL import Image

    image = Image.fromarray(as_seen(picture, preprocessing))
    if max(image.size) > 2 * SIDE:
        image.thumbnail((2 * SIDE, 2 * SIDE))
    file = io.BytesIO()
    image.save(file, format="PNG")
    if said.attention is not None:
        file = io.BytesIO(captions_png([(picture, said)], preprocessing))
    name = escape(str(picture)) if isinstance(picture, str | Path) else ""
    lines = [f"{escape(said.text)} <small>{said.log_probability:.2f}</small>"]
    lines += [f"<small>{escape(text)} {log_p:.2f}</small>" for text, log_p in said.others]
    lines += [f"<small>{name}</small>"] if name else []
    return html_figure(file.getvalue(), said.text, lines, wide=said.attention is not None)


def _sheet(shown: Sequence[Pictured], preprocessing: Preprocessing | None) -> Any:
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(layout="constrained")
    _sheet_on(figure, shown, preprocessing)
    return figure


def _sheet_on(figure: Any, shown: Sequence[Pictured], preprocessing: Preprocessing | None) -> None:
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    lines = [wrap(said.text, _LINE) for _, said in shown]
    tallest = max(map(len, lines), default=1)
    figure.set_size_inches(2.6 * columns, (2.6 + 0.17 * tallest) * rows)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for ax in axes:
        ax.set_axis_off()
    for ax, (picture, _), text in zip(axes, shown, lines, strict=False):
        ax.imshow(as_seen(picture, preprocessing))
        text = "\n".join(map(without_formulas, text))
        ax.set_title(text, fontsize=8, y=-0.04, va="top", loc="center")


def _maps(shown: Sequence[Pictured], preprocessing: Preprocessing | None) -> Any:
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(layout="constrained")
    _maps_on(figure, shown, preprocessing)
    return figure


def _maps_on(figure: Any, shown: Sequence[Pictured], preprocessing: Preprocessing | None) -> None:
    maps = [
        Maps(
            pixels=as_seen(picture, preprocessing),
            words=[*said.tokens, "(end)"],
            weights=[each.numpy() for each in said.attention],
        )
        for picture, said in shown
        if said.attention is not None
    ]
    maps_on(figure, maps)
