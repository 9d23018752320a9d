"""Cells by their spelling: what stands where a name goes, on command lines and in Python.

`syntax` has the language. A spelling is what a user has written in this very call: no spelling is
ever read from a saved folder, so that loading one runs no code of anybody's.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from recurra import cells
from recurra.cells import registry
from recurra.compose.kept import cell_of_file, cell_of_module
from recurra.compose.syntax import Called, Kept, Named, Spelled, parse, split
from recurra.errors import CellError
from recurra.lang import Cell
from recurra.lang.rules import rule_of

COMPOSERS: dict[str, Callable[..., Cell]] = {}  # filled by `recurra.compose.composers`


def resolved(where: str, cell: object) -> Cell:
    """The cell itself, or the one that is spelled so.

    Args:
        where: whose argument it is, in the message.

    Raises:
        TypeError: when it is neither a cell nor a spelling.
        ValueError: when no cell is spelled so.
        CellError: when the equations of a file of the user's are wrong, or do not suit a composer.
    """
    if isinstance(cell, Cell):
        return cell
    if isinstance(cell, str):
        return cell_of_spelling(cell)
    raise TypeError(
        f"{where}: expected a cell or the name of one, got {type(cell).__name__}. "
        f"Decorate the equations with @recurra.cell, or choose from recurra.cells.names()."
    )


def cell_of_spelling(text: str) -> Cell:
    """The cell that is spelled so, with the rules behind it as its own.

    Raises:
        ValueError: when none is; the message begins with "cell: expected".
        CellError: when the equations of a file of the user's are wrong, or do not suit a composer.
    """
    return _cell(parse(text))


def split_spellings(text: str) -> list[str]:
    """A comma-separated list of cells as the spelling of each, not looked up yet.

    Raises:
        ValueError: when there is none, one is empty or written twice, or a bracket is not closed.
    """
    try:
        found = [part.strip() for part in split(text)]
    except ValueError as error:
        raise ValueError(f"cells: {str(error).removeprefix('cell: ')}") from None
    if "" in found:
        got = "an empty one" if len(found) > 1 else "none"
        raise ValueError(f"cells: expected cells with commas between them, got {got}. Name some.")
    twice = next((part for part in found if found.count(part) > 1), None)
    if twice is not None:
        raise ValueError(f"cells: expected each cell once, got {twice} twice. Take one away.")
    return found


def _cell(spelled: Spelled) -> Cell:
    match spelled.cell:
        case Named(name=name):
            found = _registered(name)
        case Kept(origin=origin, name=name, is_file=True):
            found = cell_of_file(origin, name)
        case Kept(origin=origin, name=name):
            found = _of_module(origin, name, spelled)
        case Called() as called if called.name in COMPOSERS:
            found = _composed(called)
        case Called() as called:
            found = _with_constants(called)
    return _with_init(found, spelled.init) if spelled.init else found


def _registered(name: str) -> Cell:
    if name in COMPOSERS:
        raise ValueError(
            f"cell: expected a cell, got the composer {name}. Put it around one: {name}(lstm)."
        )
    return cells.get(name)


def _of_module(module: str, name: str, spelled: Spelled) -> Cell:
    if module in cells.names():
        raise ValueError(
            f"cell: expected settings PARAMETER=RULE behind {module}, got {name!r}. "
            f"Write one as in lstm:b_f=chrono400."
        )
    return cell_of_module(module, name)


def _composed(called: Called) -> Cell:
    composer, takes = COMPOSERS[called.name], _takes(called.name)
    if called.of is None:
        raise ValueError(
            f"cell: expected a cell in {called.name}(...), got none. "
            f"Put it first: {called.name}(lstm{', ' + takes if takes else ''})."
        )
    base = _cell(called.of)
    try:
        inspect.signature(composer).bind(base, *called.args, **called.options)
        return composer(base, *called.args, **called.options)
    except (TypeError, ValueError) as error:  # too many, unknown names, other kinds of values
        said = str(error).splitlines()[0]
        raise ValueError(
            f"cell: expected options that {called.name} takes ({takes or 'it takes none'}), got "
            f"others: {said}. Write them as in zoneout(lstm, 0.1)."
        ) from None


def _takes(name: str) -> str:
    """The options of a composer, as its signature has them."""
    _base, *options = inspect.signature(COMPOSERS[name]).parameters.values()
    return ", ".join(
        option.name if option.default is option.empty else f"{option.name}={option.default!r}"
        for option in options
    )


def _with_constants(called: Called) -> Cell:
    """A registered cell with other constants: taugru(delay=5)."""
    if called.name not in cells.names():
        near = difflib.get_close_matches(called.name, COMPOSERS, n=1)
        hint = f"Did you mean {near[0]}?" if near else registry.hint(called.name)
        raise ValueError(
            f"cell: expected one of {', '.join(COMPOSERS)} around a cell, got {called.name!r}. "
            f"{hint}"
        )
    base = cells.get(called.name)
    unknown = [name for name in called.options if name not in base.constants]
    if called.of is not None or called.args or unknown:
        known = ", ".join(f"{name}={value!r}" for name, value in base.constants.items())
        got = unknown[0] if unknown else "something without a name"
        raise ValueError(
            f"cell: expected constants of {called.name} by name ({known or 'it has none'}), got "
            f"{got}. Write them as in taugru(delay=5)."
        )
    try:
        return base.with_constants(**called.options)
    except (CellError, TypeError, ValueError) as error:
        said = re.sub(r"^File .*?, in \w+: ", "", str(error).splitlines()[0])  # a line of ours
        raise ValueError(
            f"cell: expected constants that suit {called.name}, got {dict(called.options)}: {said}"
        ) from None


def _with_init(base: Cell, words: Mapping[str, str]) -> Cell:
    rules: dict[str, Any] = {}
    for parameter, word in words.items():
        if parameter not in base.parameters:
            raise ValueError(
                f"cell: expected settings PARAMETER=RULE, where a parameter is one of "
                f"{', '.join(base.parameters)}, got '{parameter}={word}'. "
                f"Write one as in lstm:b_f=chrono400."
            )
        try:
            rules[parameter] = rule_of(word)
        except ValueError as error:
            said = str(error).removeprefix("init: ").removeprefix("chrono: ")
            raise ValueError(f"cell: {said}") from None
    return base.with_init(**rules)
