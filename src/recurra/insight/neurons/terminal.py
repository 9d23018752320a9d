"""A unit's values over a text, as the colours of a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recurra.terminal import printable

if TYPE_CHECKING:
    from rich.text import Text

_BELOW, _ABOVE = (199, 84, 48), (43, 108, 184)  # red and blue, as in figures
_SHADES = 8


def coloured(pieces: Sequence[str], values: np.ndarray) -> "Text":
    """The text of pieces, each on a ground as strong as its value: red below 0, blue above.

    Args:
        pieces: [N] in order.
        values: [N] in -1..1, see `scaled`.
    """
    from rich.text import Text

    found = Text()
    for piece, value in zip(pieces, values, strict=True):
        level = round(_SHADES * float(np.clip(value, -1.0, 1.0)))
        if level == 0:
            found.append(printable(piece))
            continue
        colour = _ABOVE if level > 0 else _BELOW
        share = abs(level) / _SHADES
        # from nearly black to the colour: letters are white on all of them
        ground = ",".join(str(round(20 + share * (part - 20))) for part in colour)
        # a line end is not seen, and its ground would fill the rest of the line
        found.append(printable(piece), style="" if piece == "\n" else f"#ffffff on rgb({ground})")
    return found


def scaled(values: np.ndarray) -> np.ndarray:
    """A unit's values [N] in -1..1: by the largest of all but the most extreme hundredth."""
    most = float(np.quantile(np.abs(values), 0.99)) if len(values) else 0.0
    return np.clip(values / max(most, 1e-12), -1.0, 1.0)
