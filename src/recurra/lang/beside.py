"""What may not stand beside rows, in messages."""

from typing import TYPE_CHECKING, NoReturn

from recurra.ir import blocks_of, shape_text
from recurra.lang.written import SIGNS

if TYPE_CHECKING:
    from recurra.lang.symbols import Symbol

# of a vector of another size: beside the rows of a memory, and of a matrix state
HINTS_BESIDE = {
    False: "Multiply one of them by a matrix, or set sizes={{...}} of the cell.",
    True: "outer({0}, 1) is a matrix with {0} in each column.",
}


def refuse_rows(op: str, rows: "Symbol", other: "Symbol") -> NoReturn:
    """Matrices of other sizes, or in other blocks; or a memory beside a matrix state."""
    resolved = [symbol.trace.resolve_shape(symbol.shape or ()) for symbol in (rows, other)]
    said = [
        f"{shape_text(shape)}{f' in {blocks_of(shape)} blocks' * (blocks_of(shape) > 1)}"
        for shape in resolved
    ]
    hint = "Multiply by a vector first."
    if len({blocks_of(shape) for shape in resolved}) > 1:
        hint = "outer(v, k, n) makes n blocks, as many as heads={...} gives a state."
    rows.trace.fail(
        f"{SIGNS.get(op, op)}: expected equal rows, got {said[0]} ({rows.text}) and {said[1]} "
        f"({other.text}). {hint}"
    )
