"""The entries of a config that name a model's cell, and the cell that they name.

    cell        the cell's name
    constants   those that were changed
    cell_init   rules for how parameters start that were changed, in words; none if it is missing
    composed    of a cell that was composed of registered ones: the composer and what it was given
    equations   of a cell of the user's own: as it prints itself, for the reader
    graph       of a cell of the user's own: its document, of which it is made again, constants and
                rules in it

No code of anybody's is in them, and none is run: neither a file nor a module is looked for, however
the cell was spelled when the model was made.
"""

from typing import Any

from recurra import cells, compose
from recurra.lang import Cell
from recurra.lang.cell import recipe_of
from recurra.lang.document import (
    cell_of_document,
    document_of,
    plain_values,
    rules_in_words,
    same_equations,
)

_MAX_COMPOSED = 8  # composers around one cell
_MAX_CONSTANT = 10_000  # of a cell: some unroll as many steps


def cell_config(cell: Cell) -> dict[str, Any]:
    """The entries of a config that name a cell, of which `cell_of` makes it again."""
    entries: dict[str, Any] = {"cell": cell.name, "constants": dict(cell.options.constants)}
    rules = rules_in_words(cell.options.rules)
    if rules:
        entries["cell_init"] = rules
    recipe = recipe_of(cell)
    if cell.name in cells.names() and cells.get(cell.name).function is cell.function:
        return {**entries, "equations": None}
    base = None if recipe is None else cell_config(recipe.base)
    if recipe is not None and base is not None and base["equations"] is None:
        composer, options = recipe.composer.__name__, dict(recipe.options)
        made = {"composer": composer, "options": options, "of": base}
        return {**entries, "equations": None, "composed": made}
    entries["constants"] = plain_values(cell.options.constants)
    return {**entries, "equations": str(cell), "graph": _graph(cell)}


def _graph(cell: Cell) -> dict[str, Any] | None:
    """The cell's document; None if it is too long for one, so that `load` needs the cell."""
    try:
        return document_of(cell)
    except ValueError:
        return None


def cell_of(arguments: dict[str, Any], given: Cell | None, depth: int = 0) -> Cell:
    """The cell that the config names; takes the entries of `cell_config` out of `arguments`.

    Args:
        arguments: of a config's model.
        given: the cell itself, where the user has given it; its equations must be the config's.
        depth: of cells in cells, for calls of its own.

    Raises:
        ValueError: when the entries name no cell, or another than was given.
    """
    if depth > _MAX_COMPOSED:
        raise ValueError(f"a cell composed of more than {_MAX_COMPOSED} composers.")
    name, made = arguments.pop("cell"), arguments.pop("composed", None)
    constants, equations = arguments.pop("constants", {}), arguments.pop("equations", None)
    rules, graph = arguments.pop("cell_init", {}), arguments.pop("graph", None)
    saved = None if graph is None else cell_of_document(graph)
    for other in (given, saved):
        if other is not None and other.name != name:
            raise ValueError(f"a model of cell {name!r}, not {other.name!r}. Pass the model's own.")
    for constant, value in dict(constants).items():
        if isinstance(value, int | float) and not abs(value) <= _MAX_CONSTANT:
            raise ValueError(f"constant {constant:.40} of at most {_MAX_CONSTANT}, not {value:.6g}")
    if given is None and saved is None and equations is not None:
        raise ValueError(
            f"a cell of the user's own, {name!r}. Pass it: load(folder, cell=...). "
            f"Its equations are\n{equations}"
        )
    if given is None and saved is not None:
        return saved
    if given is None and made is not None:
        if made["composer"] not in compose.__all__:
            raise ValueError(f"a composer of recurra.compose, not {made['composer']!r}.")
        cell = getattr(compose, made["composer"])(
            cell_of(dict(made["of"]), None, depth + 1), **made["options"]
        )
    else:
        cell = given or cells.get(name)
    # The registry's own object where nothing changed: its plans are made already.
    cell = cell.with_constants(**constants) if constants else cell
    cell = cell.with_init(**rules) if rules else cell
    if saved is not None and not same_equations(cell, saved):
        raise ValueError(
            f"a model of cell {name!r} with other equations than those of the cell that was given. "
            f"Leave cell= out to load what was saved, whose equations are\n{equations}"
        )
    return cell
