"""What no loop is compiled for, whatever it is called with."""

from functools import lru_cache

from recurra.ir import has_own_rows
from recurra.lang import Cell

NO_MATRICES = "loops with matrices that each sequence has of its own are not compiled yet"


@lru_cache(maxsize=512)  # asked at each step of a stream
def why_never(cell: Cell) -> str:
    """Why the loops of a cell are never compiled; empty where they are."""
    own = any(has_own_rows(node.shape) for node in cell.equations.nodes())
    return NO_MATRICES if own else ""
