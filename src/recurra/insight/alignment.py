"""Words on the regions of a picture that they look at: a sheet, a page, and a map of each word.

Letters: Y rows and X columns of pixels, R regions.
"""

import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from recurra.files import write_atomically
from recurra.insight.looking import Maps, as_seen, maps_on, without_formulas
from recurra.insight.pages import html_figure, write_figures
from recurra.insight.report.figure import Figure
from recurra.insight.style import colour
from recurra.models import Alignment
from recurra.vision import Preprocessing

_COLUMNS = 4
_SIDE = 2.6  # inches of a picture
_GAP = 0.16
_LINE = 34  # characters of a line below a picture
_HEIGHT = 0.165  # inches of a line
_ADVANCE = 0.602  # of a character of DejaVu Sans Mono, in its size
_CELLS = 48  # rows and columns of a map that boxes are painted on

Aligned = tuple[Any, Alignment]  # a path, an image of Pillow or an array, and what looks where


def draw_alignments(
    shown: Sequence[Aligned],
    path: Path,
    preprocessing: Preprocessing | None = None,
    *,
    maps: bool = False,
) -> Path:
    """Draw pictures with their sentences, as the format that the suffix names.

    A region that words look at has a frame, and these words have its colour. With `maps` each
    picture is a row in place of that: behind it stands where each word finds what is alike to it.

    Args:
        shown: pictures and what looks where.
        path: .svg, .png or .pdf.
        preprocessing: cuts the pictures as the model saw them; None draws them whole.
        maps: whether each word has a map.
    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    figure = alignments_figure(shown, preprocessing, maps=maps)
    write_atomically(path, lambda part: figure.savefig(part, format=path.suffix[1:], dpi=110))
    return path


def alignments_png(
    shown: Sequence[Aligned], preprocessing: Preprocessing | None = None, *, maps: bool = False
) -> bytes:
    """The same picture as the bytes of a PNG file."""
    file = io.BytesIO()
    alignments_figure(shown, preprocessing, maps=maps).savefig(file, format="png", dpi=110)
    return file.getvalue()


def write_alignments(
    shown: Sequence[Aligned],
    path: Path,
    preprocessing: Preprocessing | None = None,
    *,
    maps: bool = False,
) -> Path:
    """Write a page of HTML with the same pictures, which needs no other file."""
    figures = []
    for picture, said in shown:
        png = alignments_png([(picture, said)], preprocessing, maps=maps)
        name = str(picture) if isinstance(picture, str | Path) else ""
        lines = [f"<small>{said.score:.2f}</small> <small>{escape(name)}</small>"]
        figures.append(html_figure(png, " ".join(said.words), lines, wide=maps))
    return write_figures(figures, path, "Alignments")


def alignments_figure(
    shown: Sequence[Aligned], preprocessing: Preprocessing | None = None, *, maps: bool = False
) -> Any:
    """The figure of `draw_alignments`."""
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(layout="constrained" if maps else None, facecolor="white")
    alignments_on(figure, shown, preprocessing, maps=maps)
    return figure


def alignments_on(
    figure: Any,
    shown: Sequence[Aligned],
    preprocessing: Preprocessing | None = None,
    *,
    maps: bool = False,
) -> None:
    """The same on a figure of matplotlib, which takes the size that it needs."""
    seen = [(as_seen(picture, preprocessing), said) for picture, said in shown]
    if not maps:
        _sheet_on(figure, seen)
        return
    each = [
        Maps(
            pixels=pixels,
            words=said.words,
            weights=[_map(said, t) for t in range(len(said.words))],
        )
        for pixels, said in seen
    ]
    maps_on(figure, each)


def figure_of_alignments(
    shown: Sequence[Aligned], preprocessing: Preprocessing | None = None
) -> Figure:
    """The figure of a report that shows which region each word looks at.

    Args:
        shown: pictures and what looks where, one at least.
        preprocessing: cuts the pictures as the model saw them; None draws them whole.
    """
    phrases = [(n, *phrase) for n, (_, said) in enumerate(shown) for phrase in said.phrases()]
    words = sum(len(said.words) for _, said in shown)
    regions = sum(len({*said.regions}) for _, said in shown)
    boxes = [shown[n][1].boxes[region].tolist() for n, _, region in phrases]
    return Figure(
        name="alignments",
        title="Which word looks at which region",
        lede="Look whether words have the colour of the frame around what they name.",
        found=f"In {len(shown)} pictures {words} words make {len(phrases)} phrases that look at "
        f"{regions} regions.",
        draw=lambda figure: alignments_on(figure, shown, preprocessing),
        table={
            "picture": [n for n, _, _ in phrases],
            "words": [text for _, text, _ in phrases],
            **{
                side: [box[i] for box in boxes]
                for i, side in enumerate(("left", "top", "right", "bottom"))
            },
        },
    )


def colours_of(said: Alignment) -> dict[int, str]:
    """The colour of each region that a word looks at, in the order in which words first do."""
    regions = dict.fromkeys(said.regions)
    return {region: colour(n) for n, region in enumerate(regions)}


def lines_of(words: Sequence[str], width: int) -> list[list[tuple[int, int]]]:
    """Words in lines of so many characters: of each line the numbers of its words, and the column
    in which each begins."""
    lines: list[list[tuple[int, int]]] = [[]]
    column = 0
    for number, word in enumerate(words):
        if column and column + len(word) > width:
            lines.append([])
            column = 0
        lines[-1].append((number, column))
        column += len(word) + 1
    return lines


def _map(said: Alignment, word: int) -> np.ndarray:
    """Where on the picture a word finds what is alike to it, 0 where nothing is."""
    values = said.scores[word].clamp(min=0).numpy()
    if said.grid is not None:
        rows, columns = said.grid
        return values[: rows * columns].reshape(rows, columns)
    painted = np.zeros((_CELLS, _CELLS), dtype=np.float32)
    for box, value in zip(said.boxes.numpy() * _CELLS, values, strict=True):
        left, top = np.floor(box[:2]).astype(int)
        right, bottom = np.ceil(box[2:]).astype(int)
        own = painted[top:bottom, left:right]
        np.maximum(own, value, out=own)
    return painted


def _sheet_on(figure: Any, seen: Sequence[tuple[np.ndarray, Alignment]]) -> None:
    columns = min(_COLUMNS, len(seen))
    rows = math.ceil(len(seen) / columns)
    texts = [lines_of(said.words, _LINE) for _, said in seen]
    tallest = max(pixels.shape[0] / pixels.shape[1] for pixels, _ in seen) * _SIDE
    below = _HEIGHT * max(map(len, texts)) + 0.06
    width = columns * (_SIDE + _GAP) + _GAP
    cell = tallest + below + _GAP
    height = rows * cell + _GAP
    figure.set_layout_engine("none")
    figure.set_size_inches(width, height)
    for n, ((pixels, said), lines) in enumerate(zip(seen, texts, strict=True)):
        left = _GAP + n % columns * (_SIDE + _GAP)
        top = height - _GAP - n // columns * cell
        own = _SIDE * pixels.shape[0] / pixels.shape[1]
        ax = figure.add_axes((left / width, (top - own) / height, _SIDE / width, own / height))
        _draw_regions(ax, pixels, said)
        _draw_words(figure, said, lines, (left, top - own), (width, height))


def _draw_regions(ax: Any, pixels: np.ndarray, said: Alignment) -> None:
    from matplotlib.patches import Rectangle

    ax.set_axis_off()
    ax.imshow(pixels, interpolation="nearest")
    Y, X = pixels.shape[:2]
    for region, own in colours_of(said).items():
        left, top, right, bottom = said.boxes[region].tolist()
        corner, size = (left * X - 0.5, top * Y - 0.5), ((right - left) * X, (bottom - top) * Y)
        for line, ink in ((4.5, "white"), (2.2, own)):
            ax.add_patch(
                Rectangle(corner, *size, fill=False, lw=line, edgecolor=ink, clip_on=False)
            )


def _draw_words(
    figure: Any,
    said: Alignment,
    lines: Sequence[Sequence[tuple[int, int]]],
    corner: tuple[float, float],
    size: tuple[float, float],
) -> None:
    """Write words below a picture, each in the colour of its region.

    Args:
        lines: of `lines_of`.
        corner: left and bottom of the picture, in inches.
        size: of the figure.
    """
    advance = _SIDE / _LINE
    points = advance / _ADVANCE * 72
    colours = colours_of(said)
    for row, line in enumerate(lines):
        y = corner[1] - 0.06 - (row + 0.5) * _HEIGHT
        for number, column in line:
            figure.text(
                (corner[0] + column * advance) / size[0],
                y / size[1],
                without_formulas(said.words[number]),
                fontsize=points,
                family="monospace",
                weight="bold",
                color=colours[said.regions[number]],
                va="center",
                ha="left",
            )
