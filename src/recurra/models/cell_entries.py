"""The entries of a config that name a model's cell, and the cell that they name."""

from typing import Any

from recurra import cells, compose
from recurra.lang import Cell
from recurra.lang.cell import recipe_of

_MAX_COMPOSED = 8  # composers around one cell
_MAX_CONSTANT = 10_000  # of a cell: some unroll as many steps


def cell_config(cell: Cell) -> dict[str, Any]:
    """The entries of a config that name a cell.

    A registered cell is its name and the constants that were changed, one that was composed also
    the composer and what it was given. A cell of the user's own has its equations written down
    beside the name, for the reader; `load` then needs the cell itself.
    """
    registered = cell.name in cells.names() and cells.get(cell.name).function is cell.function
    recipe = recipe_of(cell)
    base = None if registered or recipe is None else cell_config(recipe.base)
    if recipe is None or base is None or base["equations"] is not None:
        return {
            "cell": cell.name,
            "constants": dict(cell.options.constants),
            "equations": None if registered else str(cell),
        }
    composer, options = recipe.composer.__name__, dict(recipe.options)
    return {
        "cell": cell.name,
        "constants": dict(cell.options.constants),
        "equations": None,
        "composed": {"composer": composer, "options": options, "of": base},
    }


def cell_of(arguments: dict[str, Any], given: Cell | None, depth: int = 0) -> Cell:
    """The cell that the config names; takes the entries of `cell_config` out of `arguments`."""
    if depth > _MAX_COMPOSED:
        raise ValueError(f"a cell composed of more than {_MAX_COMPOSED} composers.")
    name, made = arguments.pop("cell"), arguments.pop("composed", None)
    constants, equations = arguments.pop("constants", {}), arguments.pop("equations", None)
    if given is not None and given.name != name:
        raise ValueError(f"a model of cell {name!r}, not {given.name!r}. Pass the model's own.")
    for constant, value in dict(constants).items():
        if isinstance(value, int | float) and not abs(value) <= _MAX_CONSTANT:
            raise ValueError(f"constant {constant:.40} of at most {_MAX_CONSTANT}, not {value:.6g}")
    if given is None and equations is not None:
        raise ValueError(
            f"a cell of the user's own, {name!r}. Pass it: load(folder, cell=...). "
            f"Its equations are\n{equations}"
        )
    if given is None and made is not None:
        if made["composer"] not in compose.__all__:
            raise ValueError(f"a composer of recurra.compose, not {made['composer']!r}.")
        cell = getattr(compose, made["composer"])(
            cell_of(dict(made["of"]), None, depth + 1), **made["options"]
        )
    else:
        cell = given or cells.get(name)
    # The registry's own object where nothing changed: its plans are made already.
    return cell.with_constants(**constants) if constants else cell
