"""Cells that streams do not run compiled: in a step each value has one place, rows need more."""

from functools import lru_cache

from recurra.ir import has_own_rows
from recurra.lang import Cell

NO_MATRICES = "single steps with matrices of each sequence are not compiled yet"


@lru_cache(maxsize=512)  # asked at each step of a stream
def why_not_stepped(cell: Cell) -> str:
    """Why single steps of a cell are never compiled; empty where they are."""
    own = any(has_own_rows(node.shape) for node in cell.equations.nodes())
    return NO_MATRICES if own else ""
