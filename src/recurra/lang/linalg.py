"""Matrices made of parameters: inverses, exponentials, diagonals, sums over rows and columns.

They are computed once a call, outside the loop.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from recurra.ir import Dim
from recurra.lang.on_tensors import also_on_tensors
from recurra.lang.products import product
from recurra.lang.symbols import (
    FUNCTIONS,
    NUMPY_FUNCTIONS,
    TORCH_FUNCTIONS,
    Symbol,
    as_matrix,
    as_vector,
    decided_shape,
    last_size,
    lift,
    trace_of,
    whole_matrix,
)


def _language(function: Callable[..., Any]) -> Callable[..., Any]:
    FUNCTIONS[function.__name__] = also_on_tensors(function)
    return FUNCTIONS[function.__name__]


@_language
def inverse(A: Any) -> Symbol:
    """The inverse of a square matrix of parameters."""
    symbol = _square(A, "inverse")
    return Symbol(symbol.trace, "inverse", (symbol,), {}, symbol.shape)


@_language
def solve(A: Any, B: Any) -> Symbol:
    """The matrix or vector X of A @ X = B; A is a square matrix of parameters.

    B may be a matrix of parameters, or any vector.
    """
    symbol = _square(A, "solve", B)
    trace, right = symbol.trace, lift(B, symbol.trace)
    if len(decided_shape(right, 2)) != 2:
        return product(inverse(symbol), right)
    rows, columns = whole_matrix(right)
    if not trace.unify(as_matrix(symbol)[0], rows):
        trace.fail(
            f"solve: expected {right.text} with {trace.resolve(as_matrix(symbol)[0])} rows, as "
            f"{symbol.text} has, got {trace.resolve(rows)}. Use another matrix."
        )
    return Symbol(trace, "solve", (symbol, right), {}, (rows, columns))


@_language
def matrix_exp(A: Any) -> Symbol:
    """The exponential of a square matrix of parameters: orthogonal where A.T is -A."""
    symbol = _square(A, "matrix_exp")
    return Symbol(symbol.trace, "matrix_exp", (symbol,), {}, symbol.shape)


@_language
def diag(v: Any) -> Symbol:
    """A vector of parameters as a diagonal matrix; of a square matrix its diagonal, a vector."""
    trace = trace_of((v,), "diag")
    symbol = lift(v, trace)
    if symbol.shape is not None and len(symbol.shape) == 2:
        shape = (last_size(_square(symbol, "diag")),)
        return Symbol(trace, "diagonal", (symbol,), {}, shape)
    size = as_vector(symbol, "diag")
    return Symbol(trace, "diag", (symbol,), {}, (size, size))


@_language
def eye(size: str | int) -> Symbol:
    """The identity matrix of a size, "H" or 3."""
    return diag(FUNCTIONS["expand"](1.0, size))


def _square(value: Any, function: str, *others: Any) -> Symbol:
    trace = trace_of((value, *others), function)
    symbol = lift(value, trace)
    rows, columns = whole_matrix(symbol)
    if not trace.unify(rows, columns):
        trace.fail(
            f"{function}: expected a square matrix, got {symbol.text} of shape "
            f"[{trace.resolve(rows)}, {trace.resolve(columns)}]. Use another."
        )
    return symbol


def over_parameters(op: str, symbol: Symbol, dim: int) -> Symbol:
    """Of a matrix of parameters: over its columns, a number a row (1), or over its rows (0)."""
    trace = symbol.trace
    rows, columns = whole_matrix(symbol)
    if op == "softmax" and dim in (1, -1):
        return Symbol(trace, op, (symbol,), {}, symbol.shape)
    if op == "softmax" and dim == 0:
        return over_parameters(op, symbol.T, 1).T
    if op not in ("sum", "mean") or dim not in (0, 1):
        trace.fail(
            f"{op}: expected a vector, got the matrix {symbol.text} of shape "
            f"[{trace.resolve(rows)}, {trace.resolve(columns)}]. Multiply a matrix by a vector "
            f"first, or say sum(A, dim=1) for the sum of each row of parameters, dim=0 for that "
            f"of each column."
        )
    shape: tuple[Dim, ...] = (rows,) if dim == 1 else (columns,)
    return Symbol(trace, f"matrix_{op}", (symbol,), {"dim": dim}, shape)


TORCH_FUNCTIONS.update(
    dict.fromkeys((torch.inverse, torch.linalg.inv, torch.Tensor.inverse), inverse)
    | dict.fromkeys((torch.matrix_exp, torch.linalg.matrix_exp), matrix_exp)
    | dict.fromkeys((torch.diag, torch.Tensor.diag), diag)
    | {torch.linalg.solve: solve}
)
NUMPY_FUNCTIONS.update({np.linalg.inv: inverse, np.linalg.solve: solve, np.diag: diag})
