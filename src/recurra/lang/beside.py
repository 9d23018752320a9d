"""What may not stand beside rows, in messages."""

from typing import TYPE_CHECKING, NoReturn

from recurra.ir import blocks_of, has_own_rows, shape_text
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


def refuse_product(op: str, rows: "Symbol", other: "Symbol") -> None:
    """U @ S beside a matrix: a vector, where nothing but this product says that U is one."""
    product = other
    while product.op in ("neg", "mul", "div"):  # by numbers
        wide = [child for child in product.inputs if child.shape != ()]
        if len(wide) != 1:
            return
        product = wide[0]
    if product.op != "columns_read" or product.inputs[0].label not in rows.trace.made_vectors:
        return
    vector = product.inputs[0].label
    rows.trace.fail(
        f"{SIGNS.get(op, op)}: expected a matrix beside {rows.text}, got {other.text}, a vector. "
        f"{hint_left_of_rows(product)} sizes={{{vector!r}: ...}} says that a vector is meant."
    )


def hint_left_of_rows(symbol: "Symbol") -> str:
    """What to write for U @ S, which is a vector, where a matrix was meant."""
    if symbol.op != "columns_read":
        return ""
    vector, matrix = (child.text for child in symbol.inputs)
    return (
        f"Left of {matrix}, of which each sequence has its own, {vector} is a vector: write "
        f"{vector} @ ({matrix} @ v) for both matrices times v, or {matrix} @ {vector}."
    )


def hint_shared(symbol: "Symbol") -> str:
    """What to write for an outer product, or a state, where a matrix of parameters must be."""
    trace, shape = symbol.trace, symbol.trace.resolve_shape(symbol.shape or ())
    if len(shape) != 2 or not has_own_rows(shape):
        return ""
    a, b = symbol.inputs if symbol.op == "outer_vectors" else (symbol, symbol)
    if a.label in trace.parameters and b.label in trace.parameters:
        sizes = f"{{{a.label!r}: ('H', 1), {b.label!r}: ('H', 1)}}"
        return (
            f"An outer product is a matrix of each sequence: of parameters write {a.label} @ "
            f"{b.label}.T, with sizes={sizes}."
        )
    return "Each sequence has its own: only a matrix made of parameters alone can stand here."
