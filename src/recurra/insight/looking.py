"""Where words look on a picture, as maps: what captions and alignments share that are drawn.

Letters: Y rows and X columns of pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recurra.vision import Preprocessing, open_picture

_MOST = 12  # pictures whose maps are drawn
_COLUMNS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """A picture, words, and where on it each of them looks.

    Attributes:
        pixels: [Y, X, 3] uint8.
        words: a text each.
        weights: of each word, [rows, columns], 0 or more: the larger, the more it looks there.
    """

    pixels: np.ndarray
    words: Sequence[str]
    weights: Sequence[np.ndarray]


def as_seen(picture: Any, preprocessing: Preprocessing | None) -> np.ndarray:
    """[Y, X, 3] uint8: a picture as a model saw it; whole without preprocessing.

    Args:
        picture: a path, an image of Pillow or an array.
        preprocessing: of the model.
    """
    opened = open_picture(picture) if isinstance(picture, str | Path) else picture
    if preprocessing is None:
        pixels = np.asarray(opened)
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        return pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    values = preprocessing.undone(preprocessing(opened)).clamp(0, 1)
    pixels = (values * 255).round().byte().permute(1, 2, 0).numpy()
    return pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels


def maps_on(figure: Any, shown: Sequence[Maps]) -> None:
    """Draw on a figure, which takes the size that it needs, some rows for each picture: it, and
    behind it where each word looks."""
    shown = shown[:_MOST]
    columns = min(_COLUMNS, max(len(each.words) for each in shown) + 1)
    heights = [math.ceil((len(each.words) + 1) / columns) for each in shown]
    figure.set_size_inches(1.15 * columns, 1.35 * sum(heights))
    axes = figure.subplots(sum(heights), columns, squeeze=False)
    for ax in axes.flatten():
        ax.set_axis_off()
    first = 0
    for each, height in zip(shown, heights, strict=True):
        own = axes[first : first + height].flatten()
        own[0].imshow(each.pixels)
        for ax, word, weights in zip(own[1:], each.words, each.weights, strict=False):
            _draw(ax, each.pixels, weights)
            ax.set_title(without_formulas(word), fontsize=8, pad=2, loc="center")
        first += height


def _draw(ax: Any, pixels: np.ndarray, weights: np.ndarray) -> None:
    grey = pixels.mean(axis=2) * 0.45 + 0.4 * 255
    ax.imshow(grey, cmap="gray", vmin=0, vmax=255)
    extent = (-0.5, pixels.shape[1] - 0.5, pixels.shape[0] - 0.5, -0.5)
    alpha = weights / max(float(weights.max()), 1e-9)
    ax.imshow(weights, extent=extent, alpha=0.75 * alpha, cmap="autumn_r", interpolation="bilinear")


def without_formulas(text: str) -> str:
    """A text that matplotlib draws as it is."""
    return text.replace("$", r"\$")
