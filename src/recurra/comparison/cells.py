"""Cells of a comparison: what each is called, how it reaches other processes, and what tells its
equations from others."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from recurra import cells
from recurra.compose.spelling import resolved
from recurra.lang import Cell
from recurra.lang.document import document_of, rules_in_words
from recurra.models.cell_entries import cell_config, cell_of

_DIGITS = 16


def entered(cell: Cell) -> tuple[str, dict[str, Any] | None]:
    """What a Cell object is called, and plain values of which `made` makes it again.

    It is called by its name, with what was changed of its constants and of how parameters start
    behind that. A registered cell needs no values: its name is its spelling.

    Raises:
        ValueError: when plain values do not have all of it.
    """
    rules, constants = rules_in_words(cell.options.rules), dict(cell.options.constants)
    changed = ", ".join(f"{name}={value!r}" for name, value in constants.items())
    name = f"{cell.name}({changed})" if changed else cell.name
    name = ":".join((name, *(f"{parameter}={rule}" for parameter, rule in rules.items())))
    if name in cells.names() and cells.get(name) is cell:
        return name, None
    values = cell_config(cell)
    if values["equations"] is not None and values["graph"] is None:
        raise ValueError(
            f"cell: expected equations short enough to be written down, got {name}. Keep it in a "
            f"file and name it, as in my_file.py:{cell.name}."
        )
    if lost := sorted(set(cell.init) - set(made(values).init)):
        raise ValueError(
            f"cell: expected rules of init in words where a cell is given itself, got a function "
            f"for {lost[0]} of {name}. Keep it in a file and name it, as in my_file.py:{cell.name}."
        )
    return name, values


def made(cell: "str | Cell | Mapping[str, Any]") -> Cell:
    """The cell that is spelled so, that plain values describe, or itself.

    Raises:
        ValueError: when there is none.
        CellError: when the equations of a file of the user's are wrong.
    """
    if isinstance(cell, Mapping):
        return cell_of(dict(cell), None)
    return resolved("cell", cell)


def digest_of(cell: Cell) -> str:
    """A hash of what a cell computes and how its parameters start, without its docstring.

    A rule of init that is a function of the user's own is not looked into.
    """
    try:
        document = document_of(cell)
        del document["doc"]
        text = json.dumps(document)
    except ValueError:  # longer than a document may be
        text = f"{cell}\n{rules_in_words(cell.init)}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
