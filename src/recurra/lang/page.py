"""A cell as a notebook shows it: docstring, equations typeset, and a table of what they read."""

from html import escape
from typing import TYPE_CHECKING

from recurra import show
from recurra.lang.document import rules_in_words

if TYPE_CHECKING:
    from recurra.lang.cell import Cell

_CELL = '<td style="text-align: left">'


def math(cell: "Cell") -> str:
    """The equations in dollars, for what typesets LaTeX in text."""
    equations = cell.latex().partition("\n")[2]  # after the comment with the name
    return f"$$\n{equations}\n$$"


def html(cell: "Cell") -> str:
    """The page; Jupyter typesets the mathematics in it.

    What is no mathematics of ours stands in elements that are not searched for any: a docstring, as
    that of a model from elsewhere, must not bring its own.
    """
    rows = ("".join(f"{_CELL}{text}</td>" for text in row) for row in _rows(cell))
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    doc = f'<pre style="white-space: pre-wrap">{escape(cell.doc)}</pre>' if cell.doc else ""
    return (
        f"<div><b><code>{escape(cell.name)}</code></b>{doc}"
        f"<div>{escape(math(cell), quote=False)}</div><table>{table}</table></div>"
    )


def _rows(cell: "Cell") -> list[tuple[str, str, str, str]]:
    """Kind, names, size, and how they start, of all that the equations read; then the constants."""
    words = rules_in_words(cell.init)
    rows = []
    for kind, size, names in show.inputs_by_kind(cell.equations):
        starts = [f"{name} = {words.get(name, '...')}" for name in names if name in cell.init]
        said = f"starts at {_code(', '.join(starts))}" if starts else ""
        rows.append((kind, _code(", ".join(names)), escape(size), said))
    for name, value in cell.constants.items():
        rows.append(("constant", _code(name), _code(f"{value!r:.80}"), ""))
    for name, size in cell.default_sizes.items():
        rows.append(("size", _code(name), escape(f"{size} if not given"), ""))
    return rows


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
