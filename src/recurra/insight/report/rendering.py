"""Drawings as SVG in the colours of whatever page shows them, and as PNG.

In an SVG each colour of the style is a variable of CSS, so that one drawing serves a light page and
a dark one. One that stands in a file of its own brings both schemes and follows the reader's.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recurra.insight.style import DARK, GROUND, LIGHT, WIDE, styled

_DPI = 160  # of PNG files
_MAP_DPI = 144  # to which pictures within an SVG are drawn
_POINTS = 72  # of SVG, an inch
_FONTS = "ui-sans-serif, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_ROLE_OF = {value: role for role, value in LIGHT.items()}
_COLOUR = re.compile("|".join(_ROLE_OF), re.IGNORECASE)
_FONT = re.compile(r"(?:'DejaVu Sans'|DejaVu Sans)(?:, [^;\"]*)?")
_OF_FILES = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>", re.DOTALL)
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # in tokens of bytes
_NAMED = re.compile(r'(\bid="|xlink:href="#|href="#|url\(#)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A drawing as SVG.

    Attributes:
        svg: the element, without a prolog; its colours are variables of CSS.
        width: in inches, and so is `height`.
    """

    svg: str
    width: float
    height: float


def drawn(draw: Callable[[Any], object], name: str, width: float = WIDE) -> Drawing:
    """Draw as SVG for a page.

    Args:
        draw: see `Figure.draw`.
        name: of the drawing, unlike those of all others in the page: names within it start so.
        width: in inches.
    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    from matplotlib import rc_context

    file = io.StringIO()
    with styled(), _any_letters(), rc_context({"svg.hashsalt": name}):
        figure = _made(draw, width)
        figure.savefig(file, format="svg", dpi=_MAP_DPI, metadata={"Date": None}, transparent=True)
    svg = _OF_FILES.sub("", file.getvalue()).strip()
    svg = _NO_XML.sub("\ufffd", svg)
    svg = _NAMED.sub(rf"\g<1>{name}-", svg)
    svg = _FONT.sub("var(--font)", svg)
    svg = _COLOUR.sub(lambda found: f"var(--{_ROLE_OF[found[0].lower()]})", svg)
    return Drawing(svg=svg, width=figure.get_figwidth(), height=figure.get_figheight())


def svg_file(draw: Callable[[Any], object], name: str, width: float = WIDE) -> str:
    """An SVG that stands by itself, light or dark as whoever reads it has set."""
    svg = drawn(draw, name, width).svg
    head, gap, rest = svg.partition(">")
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n{head}{gap}<style>{variables()}</style>{rest}\n'
    )


def png(draw: Callable[[Any], object], width: float = WIDE) -> bytes:
    """The bytes of a PNG file, on light ground."""
    file = io.BytesIO()
    with styled(), _any_letters():
        _made(draw, width).savefig(file, format="png", dpi=_DPI, facecolor=GROUND)
    return file.getvalue()


@contextmanager
def _any_letters() -> Iterator[None]:
    """Nothing is said of letters that matplotlib's font lacks: a page has its reader's fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        yield


def _made(draw: Callable[[Any], object], width: float) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 0.4 * width), layout="constrained")
    draw(figure)
    return figure


def variables(root: str = ":root") -> str:
    """The colours of both schemes as CSS: the light ones, and the dark ones for whoever likes dark.

    An attribute `data-theme` of the root, light or dark, is stronger than what the system says.
    """
    light, dark = (
        ";".join(f"--{role}:{value}" for role, value in scheme.items()) for scheme in (LIGHT, DARK)
    )
    return (
        f"{root}{{--font:{_FONTS};color-scheme:light;{light}}}"
        f"@media (prefers-color-scheme:dark){{{root}:not([data-theme=light])"
        f"{{color-scheme:dark;{dark}}}}}"
        f"{root}[data-theme=dark]{{color-scheme:dark;{dark}}}"
    )
