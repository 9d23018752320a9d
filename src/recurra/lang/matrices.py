"""Matrices that each sequence has of its own: outer products, rows, and what is made of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from recurra.ir import Dim, Shape, blocks_of, has_own_rows, shape_text
from recurra.lang.on_tensors import also_on_tensors
from recurra.lang.symbols import (
    FUNCTIONS,
    NUMPY_FUNCTIONS,
    OPERATORS,
    TORCH_FUNCTIONS,
    Symbol,
    as_matrix,
    as_vector,
    decided_shape,
    last_size,
    lift,
    row_count,
    trace_of,
)


def _language(function: Callable[..., Any]) -> Callable[..., Any]:
    FUNCTIONS[function.__name__] = also_on_tensors(function)
    return FUNCTIONS[function.__name__]


@_language
def outer(a: Any, b: Any, heads: int = 1) -> Symbol:
    """The outer product of two vectors, [P] and [Q]: a matrix [P, Q] for each sequence.

    With 1 in place of one of them the other stands in each column, outer(a, 1), or in each row,
    outer(1, b), beside another matrix. With n heads it is n matrices one below the other,
    [P, Q / n], each of the parts of both vectors that belong to it.
    """
    trace = trace_of((a, b), "outer")
    left, right = lift(a, trace), lift(b, trace)
    if type(heads) is not int or heads < 1:
        trace.fail(f"outer: expected a number of heads >= 1, got {heads!r}. Give a whole number.")
    if _is_one(left) and not _is_one(right):
        as_vector(right, "outer")
        return right
    rows = (as_vector(left, "outer").in_blocks(heads),)
    if _is_one(right):
        return Symbol(trace, "column", (left,), {"blocks": heads}, rows)
    shape = (*rows, as_vector(right, "outer") / heads)
    return Symbol(trace, "outer_vectors", (left, right), {"blocks": heads}, shape)


def _is_one(symbol: Symbol) -> bool:
    return symbol.op == "const" and symbol.attrs["value"] == 1.0


@_language
def rows(v: Any, parts: int) -> Symbol:
    """A vector cut into equal parts, which are the rows of a matrix: what is for each head."""
    trace = trace_of((v,), "rows")
    symbol = lift(v, trace)
    size = as_vector(symbol, "rows")
    if type(parts) is not int or parts < 1:
        trace.fail(f"rows: expected a number of rows >= 1, got {parts!r}. Give a whole number.")
    shape = (Dim.of(parts).in_blocks(1), size / parts)
    return Symbol(trace, "rows", (symbol,), {"parts": parts}, shape)


@_language
def flatten(r: Any) -> Symbol:
    """The rows of a matrix one behind the other, as a vector: the way back from rows(v, n)."""
    trace = trace_of((r,), "flatten")
    symbol = lift(r, trace)
    shape = trace.resolve_shape(symbol.shape or ())
    if len(shape) != 2 or not has_own_rows(shape) or shape[0].names:
        trace.fail(
            f"flatten: expected rows of which there is a number, as rows(v, n) gives, got "
            f"{symbol.text} of shape {shape_text(shape)}. Multiply a matrix by a vector instead."
        )
    return Symbol(trace, "flatten", (symbol,), {}, (shape[1] * shape[0].constant,))


def repeated(v: Symbol, size: Dim) -> Symbol:
    """Each of the n numbers of a vector as many times as makes a vector of that size."""
    count = v.trace.resolve(as_vector(v, "expand"))
    if count.names:
        v.trace.fail(
            f"expand: expected a scalar, or a vector of a number of parts, got {v.text} of size "
            f"{count}. " + _HINTS[bool(count.unknowns)]
        )
    return Symbol(v.trace, "repeat", (v,), {"shape": (size,)}, (size,))


_HINTS = {
    True: "Say of how many parts: sizes={'b': 4}.",
    False: "A vector has its size already.",
}


def transposed(symbol: Symbol) -> Symbol:
    """S.T, which stands beside @ alone."""
    matrix_shape, trace = trace_shape(symbol), symbol.trace
    if len(matrix_shape) != 2:
        trace.fail(f"expected a matrix, got {symbol.text}, one column. Use outer(1, v) for a row.")
    turned = (matrix_shape[1], matrix_shape[0].in_blocks(0))
    return Symbol(trace, "transpose", (symbol,), {}, turned)


def trace_shape(symbol: Symbol) -> Shape:
    """The shape of a symbol with the sizes that are known."""
    return symbol.trace.resolve_shape(symbol.shape or ())


def as_vector_of_rows(numbers: Symbol) -> Symbol:
    """A number for each row, as the vector that it is for all else."""
    size = row_count(numbers).in_blocks(0)
    return Symbol(numbers.trace, "vector", (numbers,), {}, (size,))


# ---- products ------------------------------------------------------------------------------------


def is_of_rows(symbol: Symbol) -> bool:
    """Whether it is a matrix that each sequence has of its own, as it is or transposed."""
    own = symbol.inputs[0] if symbol.op == "transpose" else symbol
    return has_own_rows(own.shape or ())


def matrix_product(left: Symbol, right: Symbol) -> Symbol:
    """S @ q and S.T @ q, q @ S and q @ S.T, and S @ W with a matrix of parameters."""
    trace = left.trace
    own, other = (left, right) if is_of_rows(left) else (right, left)
    turned = own.op == "transpose"
    matrix = own.inputs[0] if turned else own
    shape = trace_shape(matrix)
    if len(shape) != 2:
        trace.fail(
            f"@: expected a matrix or a vector, got {matrix.text}, which stands beside matrices "
            f"alone. Multiply by it with *."
        )
    if own is right and other.shape is None and other.label in trace.parameters:
        trace.made_vectors.add(other.label)
    if is_of_rows(other) or (len(other.shape or ()) == 2 and (own is right or turned)):
        hint = f"Multiply a vector, once by each: {left.text} @ ({right.text} @ v)."
        trace.fail(
            f"@: expected a vector beside the matrix {matrix.text}, of which each sequence has its "
            f"own, got the matrix {other.text}. {hint}"
        )
    if len(decided_shape(other, 1)) == 2:
        return _times_matrix(matrix, other)
    columns, blocks = shape[1] * blocks_of(shape), blocks_of(shape)
    reads_columns = (own is right) != turned
    wanted = shape[0].in_blocks(0) if reads_columns else columns
    size = as_vector(other, "@")
    if not trace.unify(size, wanted):
        trace.fail(
            f"@: expected a vector of size {trace.resolve(wanted)} in {left.text} @ {right.text}, "
            f"got {other.text} of size {trace.resolve(size)}"
            + (f", and {matrix.text} has {blocks} blocks" * (blocks > 1))
            + ". Use another vector, or set sizes={...} of the cell."
        )
    if reads_columns:
        return Symbol(trace, "columns_read", (other, matrix), {}, (columns,))
    numbers = Symbol(trace, "rows_dot", (matrix, other), {}, (matrix.shape or ())[:1])
    return as_vector_of_rows(numbers)


def _times_matrix(left: Symbol, right: Symbol) -> Symbol:
    trace, size = left.trace, last_size(left)
    rows_of_right, columns = as_matrix(right)
    if not trace.unify(rows_of_right, size):
        trace.fail(
            f"@: expected {right.text} with {trace.resolve(size)} rows, right of {left.text}, got "
            f"{trace.resolve(rows_of_right)}. Use another matrix, or set sizes={{...}} of the cell."
        )
    return Symbol(trace, "times_matrix", (left, right), {}, (row_count(left), columns))


# ---- sums ----------------------------------------------------------------------------------------


def over_matrix(op: str, symbol: Symbol, dim: int) -> Symbol:
    """Over the columns of each row (-1), a number for each, or over the rows (0)."""
    trace, shape = symbol.trace, symbol.shape or ()
    if dim not in (0, -1):
        trace.fail(f"{op}: expected dim=0 (over rows) or -1 (over columns), got {dim}.")
    if len(shape) == 1:
        return Symbol(trace, op, (symbol,), {}, shape if op == "softmax" else ())
    if dim == -1:
        if op == "softmax":
            return Symbol(trace, op, (symbol,), {}, shape)
        return as_vector_of_rows(Symbol(trace, op, (symbol,), {}, shape[:1]))
    if op in ("var", "softmax"):
        trace.fail(
            f"{op}: expected dim=-1, over the columns of each row of {symbol.text}, got dim=0. "
            f"Write it out with sum and max."
        )
    columns = (last_size(symbol) * blocks_of(shape),)
    return Symbol(trace, f"{op}_rows", (symbol,), {}, columns)


OPERATORS[".T"] = transposed
TORCH_FUNCTIONS.update(
    {torch.outer: outer, torch.Tensor.outer: outer, torch.flatten: flatten}
    | {torch.Tensor.flatten: flatten, torch.ger: outer}
)
NUMPY_FUNCTIONS[np.outer] = outer
