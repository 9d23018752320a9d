"""Pages of pictures with lines below them, which need no other file."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from recurra.files import write_atomically

SIDE = 320  # pixels of a picture
GENERATOR = '<meta name="generator" content="recurra">'  # by which a page is known as ours


def html_figure(png: bytes, text: str, lines: Sequence[str], *, wide: bool = False) -> str:
    """A figure of HTML: a picture and lines of HTML below it.

    Args:
        png: the picture.
        text: what it shows, for those who do not see it.
        lines: of the caption.
        wide: whether it takes a row of the page.
    """
    data = base64.b64encode(png).decode("ascii")
    style = " style='width:100%'" if wide else ""
    return (
        f"<figure{style}><img alt='{escape(text, quote=True)}' "
        f"src='data:image/png;base64,{data}'><figcaption>{'<br>'.join(lines)}</figcaption></figure>"
    )


def write_figures(figures: Sequence[str], path: Path, title: str) -> Path:
    """Write a page with figures of `html_figure` side by side."""
    page = (
        f"<!doctype html>\n<html lang='en'><meta charset='utf-8'>"
        f"{GENERATOR}<title>{escape(title)}</title>\n"
        "<style>body{font-family:sans-serif;display:flex;flex-wrap:wrap;gap:1.2em;margin:1.5em}"
        f"figure{{margin:0;width:{SIDE}px}}img{{width:100%;image-rendering:auto}}"
        "figcaption{line-height:1.35}small{color:#666}</style>\n"
        + "\n".join(figures)
        + "\n</html>\n"
    )
    write_atomically(path, lambda part: part.write_text(page, "utf-8", "xmlcharrefreplace"))
    return path
