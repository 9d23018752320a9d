"""The registry of cells: every cell that a family module defines, by name."""

from difflib import get_close_matches
from types import ModuleType

from recurra.cells import continuous, gated, light, linear, memory, odyssey, simple, torch_notation
from recurra.lang import Cell


def _collect(*families: ModuleType) -> dict[str, Cell]:
    """The cells of the modules by name, sorted."""
    cells = [
        value for family in families for value in vars(family).values() if isinstance(value, Cell)
    ]
    by_name = {cell.name: cell for cell in sorted(cells, key=lambda cell: cell.name)}
    assert len(by_name) == len(cells), "two cells of one name"
    return by_name


_CELLS = _collect(simple, gated, light, memory, odyssey, continuous, linear, torch_notation)


def names() -> tuple[str, ...]:
    """The names of all cells, sorted."""
    return tuple(_CELLS)


def get(name: str) -> Cell:
    """The cell of that name.

    Raises:
        ValueError: when no cell has it; the message lists the names nearest to it.
    """
    if name in _CELLS:
        return _CELLS[name]
    nearest = get_close_matches(name, _CELLS, n=3) if isinstance(name, str) else []
    hint = f"Did you mean {', '.join(nearest)}?" if nearest else "See all: recurra.cells.names()."
    raise ValueError(f"cells.get: expected a cell name, got {name!r}. {hint}")
