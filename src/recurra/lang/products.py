"""Products: of matrices with vectors, matrices and the rows of a memory, and of rows with both."""

from recurra.ir import POSITIONS, Dim, Shape
from recurra.lang.matrices import is_of_rows, matrix_product
from recurra.lang.symbols import (
    OPERATORS,
    Symbol,
    as_matrix,
    as_vector,
    decided_shape,
    has_rows,
    last_size,
    lift,
    over_positions,
    trace_of,
    whole_matrix,
)
from recurra.lang.written import SIGNS


def product(left: object, right: object) -> Symbol:
    """Matrix times vector, or matrix times matrix."""
    trace = trace_of((left, right), "@")
    matrix, operand = lift(left, trace), lift(right, trace)
    if is_of_rows(matrix) or is_of_rows(operand):
        return matrix_product(matrix, operand)
    if over_positions(matrix) or over_positions(operand):
        return _over_memory(matrix, operand)
    heads = trace.heads.get(matrix.label or "")
    if heads is not None:
        return blocks_product(matrix, operand, heads)
    rows, columns = as_matrix(matrix, _bracketed(matrix, operand))
    shape = decided_shape(operand, 1)
    if not shape and operand.op == "input":  # a state or an input of one number
        shape = (Dim.of(1),)
        operand = Symbol(trace, "expand", (operand,), {"shape": shape}, shape)
    if not shape:
        trace.fail(
            f"@: expected a vector or matrix on the right, got the scalar {operand.text}. Use *."
        )
    if len(shape) == 2:
        whole_matrix(operand)
    if not trace.unify(columns, shape[0]):
        trace.fail(
            f"@: expected {matrix.text} with {trace.resolve(shape[0])} columns, to multiply "
            f"{operand.text}, got {trace.resolve(columns)} columns. "
            f"Use another matrix, or set sizes={{...}} of the cell."
        )
    return Symbol(trace, "matvec", (matrix, operand), {}, (rows, *shape[1:]))


def _over_memory(left: Symbol, right: Symbol) -> Symbol:
    """A matrix times each row, each row times a vector, or the sum of rows weighted by numbers."""
    trace, text = left.trace, f"{left.text} @ {right.text}"
    if over_positions(left) and not has_rows(left):  # numbers
        if not has_rows(right):
            trace.fail(
                f"@: expected rows right of the numbers {left.text}, one for each position, got "
                f"{right.text}. Write sum({left.text} * {right.text}) for a product of numbers."
            )
        return Symbol(trace, "read", (left, right, trace.inside), {}, (right.shape or ())[1:])
    if has_rows(left):
        if len(right.shape or ()) == 2 and not over_positions(right):
            trace.fail(
                f"@: expected a vector right of the rows {left.text}, got the matrix {right.text}. "
                f"Write {right.text}.T @ {left.text}, which multiplies each row."
            )
        size, wanted = as_vector(right, "@"), last_size(left)
        made: tuple[str, Shape] = ("rows_dot", (POSITIONS,))
    else:
        if not has_rows(right) or left.label in trace.heads:
            got = f"the numbers {right.text}, of which a call has as many as its memory"
            got = f"{left.text}, which has heads" if has_rows(right) else got
            trace.fail(
                f"@: expected a matrix of parameters and rows of a memory, got {got}. "
                f"Use numbers @ rows, or matrix @ rows."
            )
        if left.shape is not None and len(left.shape) == 1:
            trace.fail(
                f"@: expected a matrix left of the rows {right.text}, got the vector {left.text}. "
                f"Write {right.text} @ {left.text}, a number for each row."
            )
        rows, size = as_matrix(left)
        wanted = last_size(right)
        made = ("rows_product", (POSITIONS, rows))
    if not trace.unify(size, wanted):
        trace.fail(
            f"@: expected equal sizes in {text}, got {trace.resolve(size)} and "
            f"{trace.resolve(wanted)}. Use another matrix, or set sizes={{...}} of the cell."
        )
    return Symbol(trace, made[0], (left, right), {}, made[1])


def _bracketed(left: Symbol, operand: Symbol) -> str:
    """What to write for x @ W, and where Python has read z * W @ x as (z * W) @ x."""
    is_vector = left.label and left.shape and len(left.shape) == 1
    if is_vector and (operand.shape is None or len(operand.shape) == 2):
        return f"Vectors are columns: write {operand.text} @ {left.text}."
    if left.op not in ("mul", "div") or left.shape is None or not left.inputs[1].label:
        return ""
    first, matrix = (symbol.text for symbol in left.inputs)
    sign = SIGNS[left.op]
    product = f"{matrix} @ {operand.text}"
    return (
        f"Python reads {first} {sign} {product} as ({first} {sign} {matrix}) @ {operand.text}: "
        f"write {first} {sign} ({product}) if {matrix} is a matrix."
    )


def blocks_product(matrix: Symbol, operand: Symbol, heads: int) -> Symbol:
    """Block-diagonal matrix times vector; of the matrix only its blocks are there, [rows, size]."""
    trace = matrix.trace
    rows, block = as_matrix(matrix)
    size = as_vector(operand, f"{matrix.text} @ (which has {heads} heads)")
    if not trace.unify(block * heads, size):
        trace.fail(
            f"@: expected {matrix.text} with {heads} blocks of {trace.resolve(size / heads)} "
            f"columns, to multiply {operand.text}, got blocks of {trace.resolve(block)}. "
            f"Use another matrix, or set sizes={{...}} of the cell."
        )
    return Symbol(trace, "blocks_product", (matrix, operand), {"heads": heads}, (rows,))


OPERATORS["@"] = product
