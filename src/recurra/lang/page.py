"""A cell as a notebook shows it: docstring, equations typeset, and a table of what they read."""

import re
from html import escape
from typing import TYPE_CHECKING

from recurra.ir import show
from recurra.lang.document import rules_in_words

if TYPE_CHECKING:
    from recurra.lang.cell import Cell

_CELL = '<td style="text-align: left">'


def math(cell: "Cell") -> str:
    """The equations in dollars, for what typesets LaTeX in text."""
    equations = cell.latex().partition("\n")[2]  # after the comment with the name
    return f"$$\n{equations}\n$$"


def html(cell: "Cell") -> str:
    """The page; Jupyter typesets the mathematics in it."""
    paragraphs = (escape(" ".join(part.split())) for part in re.split(r"\n\s*\n", cell.doc) if part)
    table = "".join(
        f"<tr>{''.join(_CELL + text + '</td>' for text in row)}</tr>" for row in _rows(cell)
    )
    return (
        f"<div><b>{escape(cell.name)}</b>"
        + "".join(f"<p>{text}</p>" for text in paragraphs)
        + f"<div>{escape(math(cell), quote=False)}</div><table>{table}</table></div>"
    )


def _rows(cell: "Cell") -> list[tuple[str, str, str, str]]:
    """Kind, names, size, and how they start, of all that the equations read; then the constants."""
    words = rules_in_words(cell.init)
    rules = {name: str(words.get(name, "a function")) for name in cell.init}
    rows = []
    for kind, size, names in show.inputs_by_kind(cell.equations):
        starts = [f"{name}: {rules[name]}" for name in names if name in rules]
        said = f"starts at {', '.join(starts)}" if starts else ""
        rows.append((kind, f"<code>{escape(', '.join(names))}</code>", escape(size), escape(said)))
    for name, value in cell.constants.items():
        rows.append(("constant", f"<code>{escape(name)}</code>", escape(f"{value!r:.80}"), ""))
    for name, size in cell.default_sizes.items():
        rows.append(("size", f"<code>{escape(name)}</code>", escape(f"{size} if not given"), ""))
    return rows
