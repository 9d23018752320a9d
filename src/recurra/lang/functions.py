"""The functions that equations may use; torch's own functions of the same meaning work too.

`var` and `layer_norm` divide by n, as normalisation does. Comparisons give 0 or 1.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from recurra.ir import POSITIONS, Dim, blocks_of, shape_text
from recurra.lang.linalg import over_parameters
from recurra.lang.matrices import over_matrix, repeated
from recurra.lang.on_tensors import also_on_tensors
from recurra.lang.products import product
from recurra.lang.slicing import in_sizes
from recurra.lang.symbols import (
    FUNCTIONS,
    TORCH_FUNCTIONS,
    Symbol,
    as_matrix,
    as_vector,
    elementwise,
    has_rows,
    last_size,
    lift,
    over_positions,
    over_rows,
    row_count,
    trace_of,
)


def _language(*torch_functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function of the language, and the torch functions that mean the same."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        either = also_on_tensors(function)
        FUNCTIONS[function.__name__] = either
        TORCH_FUNCTIONS.update(dict.fromkeys(torch_functions, either))
        return either

    return register


def _unary(name: str, doc: str, *torch_functions: Any) -> Callable[[Any], Symbol]:
    def function(v: Any) -> Symbol:
        return elementwise(name, v)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return _language(*torch_functions)(function)


def _number(v: Any, function: str, value: Any) -> float:
    """A number that shapes `function` and is not computed with, such as a slope or a bound."""
    trace = trace_of((v, value), function)
    constant = lift(value, trace)
    if constant.op != "const":
        other = "maximum and minimum take" if function == "clamp" else "Write it out with where for"
        trace.fail(
            f"{function}: expected a number beside the value, got {constant.text}. {other} symbols."
        )
    return constant.attrs["value"]


_F = torch.nn.functional
_T = torch.Tensor

sigmoid = _unary("sigmoid", "1 / (1 + exp(-v)).", torch.sigmoid, _T.sigmoid)
tanh = _unary("tanh", "The hyperbolic tangent.", torch.tanh, _F.tanh, _T.tanh)
relu = _unary("relu", "max(v, 0).", torch.relu, _F.relu, _T.relu)
exp = _unary("exp", "e to the power v.", torch.exp, _T.exp)
expm1 = _unary("expm1", "exp(v) - 1, exact for small v.", torch.expm1, _T.expm1)
log = _unary("log", "The natural logarithm.", torch.log, _T.log)
log1p = _unary("log1p", "log(1 + v), exact for small v.", torch.log1p, _T.log1p)
sqrt = _unary("sqrt", "The square root.", torch.sqrt, _T.sqrt)
sin = _unary("sin", "The sine, v in radians.", torch.sin, _T.sin)
cos = _unary("cos", "The cosine, v in radians.", torch.cos, _T.cos)
sign = _unary("sign", "-1, 0 or 1; its derivative is 0.", torch.sign, _T.sign)
floor = _unary("floor", "The whole number below; its derivative is 0.", torch.floor, _T.floor)
abs = _unary("abs", "The absolute value.", torch.abs, _T.abs)
detach = _unary("detach", "v, through which nothing is differentiated.", torch.detach, _T.detach)
softplus = _unary("softplus", "log(1 + exp(v)).", _F.softplus)
silu = _unary("silu", "v * sigmoid(v).", _F.silu)
gelu = _unary("gelu", "v * Phi(v), Phi the normal distribution function.", _F.gelu)


@_language(_F.logsigmoid)
def log_sigmoid(v: Any) -> Symbol:
    """log(sigmoid(v)), also where the sigmoid is too small for a number."""
    return -softplus(-v)


@_language(_F.leaky_relu)
def leaky_relu(v: Any, negative_slope: Any = 0.01) -> Symbol:
    """v where it is positive, else negative_slope * v."""
    return elementwise("leaky_relu", v, slope=_number(v, "leaky_relu", negative_slope))


@_language(_F.elu)
def elu(v: Any, alpha: Any = 1.0) -> Symbol:
    """v where it is positive, else alpha * (exp(v) - 1)."""
    return elementwise("elu", v, alpha=_number(v, "elu", alpha))


@_language(torch.where)
def where(condition: Any, a: Any, b: Any) -> Symbol:
    """a where the condition is not 0, else b."""
    return elementwise("where", condition, a, b)


@_language(torch.minimum, _T.minimum)
def minimum(a: Any, b: Any) -> Symbol:
    """The smaller of two, element by element."""
    return elementwise("minimum", a, b)


@_language(torch.maximum, _T.maximum)
def maximum(a: Any, b: Any) -> Symbol:
    """The larger of two, element by element."""
    return elementwise("maximum", a, b)


@_language(torch.clamp, _T.clamp)
def clamp(v: Any, min: Any = None, max: Any = None) -> Symbol:
    """v kept within the numbers min and max; either may be None."""
    lo = float("-inf") if min is None else _number(v, "clamp", min)
    hi = float("inf") if max is None else _number(v, "clamp", max)
    return elementwise("clamp", v, lo=lo, hi=hi)


@_language(torch.remainder, _T.remainder)
def mod(a: Any, b: Any) -> Symbol:
    """a - b * floor(a / b): what is left of a after whole steps of b, as Python's % has it."""
    return a - b * floor(elementwise("div", a, b))


# torch's reductions take a dim; over the features of one vector -1 is the only one there is
def _reduction(op: str, v: Any, dim: int) -> Symbol:
    trace = trace_of((v,), op)
    symbol = lift(v, trace)
    if isinstance(dim, Symbol):
        larger = f" maximum({symbol.text}, {dim.text}) is the larger of two." * (op == "max")
        trace.fail(
            f"{op}: expected one value, got {dim.text} behind it.{larger or ' Leave it out.'}"
        )
    if over_positions(symbol):
        return over_memory(op, symbol, dim)
    if over_rows(symbol):
        return over_matrix(op, symbol, dim)
    if len(symbol.shape or ()) == 2 or (symbol.shape is None and dim in (0, 1)):
        return over_parameters(op, symbol, dim)
    if symbol.shape is None and op == "softmax":  # of the vector or the matrix that it is used as
        return Symbol(trace, op, (symbol,), {}, None)
    if dim != -1:
        trace.fail(f"{op}: expected dim=-1 (the features), got {dim}. Leave dim out.")
    size = as_vector(symbol, op)
    shape = (size,) if op == "softmax" else ()
    return Symbol(trace, op, (symbol,), {}, shape)


def over_memory(op: str, symbol: Symbol, dim: int) -> Symbol:
    """Of numbers over positions; of rows over the features of each (-1) or over positions (0)."""
    trace, shape = symbol.trace, symbol.shape or ()
    if dim not in (0, -1):
        trace.fail(f"{op}: expected dim=0 (the positions) or -1, got {dim}. Leave dim out.")
    if len(shape) == 2 and dim == -1:
        return Symbol(trace, op, (symbol,), {}, shape if op == "softmax" else shape[:1])
    if op == "var" or (op == "softmax" and len(shape) == 2):
        trace.fail(
            f"{op}: expected {'numbers' if op == 'softmax' else 'features'}, got {symbol.text} of "
            f"shape {shape_text(trace.resolve_shape(shape))} over positions. Write it out with "
            f"mean and sum."
        )
    over = shape if op == "softmax" else shape[1:]
    return Symbol(trace, f"positions_{op}", (symbol, trace.inside), {}, over)


@_language()
def windows(v: Any, width: Any) -> Symbol:
    """To each position of a memory the `width` numbers around it, as rows; 0 past both ends.

    `F @ windows(alpha, 201)` is a convolution over positions, with a filter in each row of F.
    """
    trace = trace_of((v,), "windows")
    symbol = lift(v, trace)
    if not over_positions(symbol) or len(symbol.shape or ()) != 1:
        trace.fail(
            f"windows: expected a number for each position of a memory, got {symbol.text}. Use "
            f"weights, scores or a state of size S."
        )
    if type(width) is not int or width < 1 or width % 2 == 0:
        trace.fail(f"windows: expected an odd whole number as width, got {width!r}. Use 2 r + 1.")
    shape = (POSITIONS, Dim.of(width))
    return Symbol(trace, "neighbours", (symbol, trace.inside), {"width": width}, shape)


def feature_size(symbol: Symbol, what: str) -> Dim:
    """The size of a vector that goes with one, or with each row of a block of rows."""
    if has_rows(symbol):
        return last_size(symbol) * blocks_of(symbol.shape or ())
    return as_vector(symbol, what)


@_language(torch.sum, _T.sum)
def sum(v: Any, dim: int = -1) -> Symbol:
    """The sum over features, a scalar."""
    return _reduction("sum", v, dim)


@_language(torch.mean, _T.mean)
def mean(v: Any, dim: int = -1) -> Symbol:
    """The mean over features, a scalar."""
    return _reduction("mean", v, dim)


@_language()
def var(v: Any, dim: int = -1) -> Symbol:
    """The variance over features, divided by n, a scalar."""
    return _reduction("var", v, dim)


@_language(torch.amax, _T.amax)
def max(v: Any, dim: int = -1) -> Symbol:
    """The largest feature, a scalar; ties share the gradient."""
    return _reduction("max", v, dim)


@_language(torch.softmax, _F.softmax, _T.softmax)
def softmax(v: Any, dim: int = -1) -> Symbol:
    """exp(v) / sum(exp(v)) over features."""
    return _reduction("softmax", v, dim)


@_language()
def layer_norm(v: Any, gain: Any = None, bias: Any = None, eps: Any = 1e-5) -> Symbol:
    """(v - mean(v)) / sqrt(var(v) + eps), times `gain`, plus `bias`.

    Source: Ba, Kiros, Hinton (2016), "Layer Normalization", arXiv:1607.06450, eq. 4.
    """
    trace = trace_of((v, gain, bias), "layer_norm")
    symbol = lift(v, trace)
    size = feature_size(symbol, "layer_norm")
    affine = tuple(lift(part, trace) for part in (gain, bias) if part is not None)
    for part in affine:
        if not trace.unify(as_vector(part, "layer_norm"), size):
            trace.fail(
                f"layer_norm: expected {part.text} of size {trace.resolve(size)}, got "
                f"{trace.resolve(as_vector(part, 'layer_norm'))}. Use another parameter."
            )
    attrs = {
        "eps": _number(v, "layer_norm", eps),
        "gain": gain is not None,
        "bias": bias is not None,
    }
    return Symbol(trace, "layer_norm", (symbol, *affine), attrs, symbol.shape)


@_language(torch.cat, torch.concat)
def concat(*vectors: Any, dim: int = -1) -> Symbol:
    """The vectors one behind the other, numbers as vectors of one; also takes one list of them, as
    torch.cat does."""
    if len(vectors) >= 1 and isinstance(vectors[0], list | tuple):
        dim = vectors[1] if len(vectors) == 2 else dim  # torch.cat([a, b], 0)
        vectors = tuple(vectors[0])
    trace = trace_of(vectors, "concat")
    if dim not in (0, -1):
        trace.fail(f"concat: expected dim=-1 (the features), got {dim!r}. Leave dim out.")
    symbols = tuple(lift(vector, trace) for vector in vectors)
    total = Dim()
    one = (Dim.of(1),)
    symbols = tuple(
        s if s.shape != () else Symbol(trace, "expand", (s,), {"shape": one}, one) for s in symbols
    )
    for symbol in symbols:
        total = total + as_vector(symbol, "concat")
    return Symbol(trace, "concat", symbols, {"axis": 0}, (total,))


@_language()
def expand(s: Any, size: str | int | tuple[str | int, ...]) -> Symbol:
    """A scalar as a vector of a size, "H" or 1, or as a matrix of two, ("H", "I"); in a cell with a
    memory "S" is the number of its positions.

    Of a vector of n numbers, n being a number, each stands H / n times in a vector of size H.
    """
    trace = trace_of((s,), "expand")
    symbol = lift(s, trace)
    try:
        shape = tuple(map(Dim.parse, map(str, size if isinstance(size, tuple) else (size,))))
    except ValueError as error:
        trace.fail(f"expand: {error} Name a size of the cell.")
    if trace.inside is not None:
        shape = tuple(dim.substitute({"S": POSITIONS}) for dim in shape)
    if symbol.shape != ():
        if len(shape) != 1:
            trace.fail(f"expand: expected a scalar, got {symbol.text}. Give one size for a vector.")
        return repeated(symbol, shape[0])
    return Symbol(trace, "expand", (symbol,), {"shape": shape}, shape)


@_language(torch.chunk, _T.chunk)
def split(v: Any, parts: int | Sequence[int | str], dim: int = -1) -> tuple[Symbol, ...]:
    """A vector cut into `parts` equal vectors; a matrix, with dim=0, into equal blocks of rows.

    With a list, into parts of those sizes: `split(v, [3, "H"])`.
    """
    trace = trace_of((v,), "split")
    symbol = lift(v, trace)
    if has_rows(symbol):
        if dim != -1:
            trace.fail(
                f"split: expected dim=-1 (the columns) for {symbol.text}, of which each sequence "
                f"has its own rows, got {dim!r}. Leave dim out."
            )
        if isinstance(parts, list | tuple):
            return in_sizes(symbol, parts, 1)
        return _split_rows(symbol, parts)
    is_matrix = symbol.shape is not None and len(symbol.shape) == 2
    if dim not in ((0,) if is_matrix else (0, -1)):
        expected = "dim=0 (the rows of a matrix)" if is_matrix else "dim=-1 (the features)"
        trace.fail(f"split: expected {expected}, got {dim!r}. Multiply a matrix by a vector first.")
    whole, *columns = as_matrix(symbol) if is_matrix else (as_vector(symbol, "split"),)
    if isinstance(parts, list | tuple):
        return in_sizes(symbol, parts, 0)
    assert isinstance(parts, int)
    size = _part_of(symbol, whole, parts)
    shape = (size, *columns)
    return tuple(
        Symbol(trace, "slice", (symbol,), {"axis": 0, "start": size * i, "size": size}, shape)
        for i in range(parts)
    )


def _part_of(symbol: Symbol, whole: Dim, parts: Any) -> Dim:
    """The size of one of the equal parts of `whole`."""
    trace = symbol.trace
    if not isinstance(parts, int) or isinstance(parts, bool) or parts < 1:
        trace.fail(
            f"split: expected a number of parts >= 1, or a list of their sizes, got {parts!r}. "
            f"Give a whole number, or [3, 'H']."
        )
    size = trace.unknown(f"the parts of split({symbol.text}, {parts})")
    if not trace.unify(whole, size * parts):
        trace.fail(f"split: {trace.resolve(whole)} cannot be cut into {parts} equal parts.")
    return size


def _split_rows(symbol: Symbol, parts: Any) -> tuple[Symbol, ...]:
    """The features of each row cut into equal parts."""
    size = _part_of(symbol, last_size(symbol), parts)
    each = [{"axis": 1, "start": size * i, "size": size} for i in range(parts)]
    shape = (row_count(symbol), size)
    return tuple(Symbol(symbol.trace, "slice", (symbol,), attrs, shape) for attrs in each)


@_language()
def chunk(v: Any, chunks: int, dim: int = -1) -> tuple[Symbol, ...]:
    """The same as `split`, under torch's name for it."""
    return split(v, chunks, dim)


# ---- torch's names for the operators -----------------------------------------------------------


def _unary_operator(op: str, *torch_functions: Any) -> None:
    def operator(v: Any) -> Symbol:
        return elementwise(op, v)

    operator.__name__ = op
    TORCH_FUNCTIONS.update(dict.fromkeys(torch_functions, also_on_tensors(operator)))


def _binary_operator(op: str, *torch_functions: Any) -> None:
    def operator(a: Any, b: Any) -> Symbol:
        return elementwise(op, a, b)

    operator.__name__ = op
    TORCH_FUNCTIONS.update(dict.fromkeys(torch_functions, also_on_tensors(operator)))


def _square(v: Any) -> Symbol:
    return v * v


_binary_operator("add", torch.add, _T.add)
_binary_operator("sub", torch.sub, torch.subtract, _T.sub)
_binary_operator("mul", torch.mul, torch.multiply, _T.mul)
_binary_operator("div", torch.div, torch.divide, torch.true_divide, _T.div)
_binary_operator("pow", torch.pow, _T.pow)
_unary_operator("neg", torch.neg, torch.negative, _T.neg)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    _binary_operator(_name, getattr(torch, _name), getattr(_T, _name))
TORCH_FUNCTIONS.update(dict.fromkeys((torch.square, _T.square), _square))
TORCH_FUNCTIONS.update(
    dict.fromkeys(
        (torch.matmul, torch.mm, torch.mv, _T.matmul, _T.__matmul__), also_on_tensors(product)
    )
)


@also_on_tensors
def dot(a: Any, b: Any) -> Symbol:
    """As numpy has it: a matrix times what is right of it, or the inner product of two vectors."""
    trace = trace_of((a, b), "dot")
    left, right = lift(a, trace), lift(b, trace)
    if () in (left.shape, right.shape):
        return left * right
    if left.shape is None or len(left.shape) == 2:
        return product(left, right)
    if right.shape is None:
        trace.fail(
            f"dot: expected a vector or a matrix right of the vector {left.text}, got "
            f"{right.text}, which may be either. Write sum({left.text} * {right.text}) for a "
            f"vector, {right.text}.T @ {left.text} for a matrix."
        )
    return product(right.T, left) if len(right.shape) == 2 else sum(left * right)


def _linear(v: Any, weight: Any, bias: Any = None) -> Symbol:
    whole = weight @ v
    return whole if bias is None else whole + bias


def _inner(a: Any, b: Any) -> Symbol:
    return sum(a * b)


TORCH_FUNCTIONS.update({_F.linear: _linear, torch.dot: _inner, torch.inner: dot})
TORCH_FUNCTIONS.update(dict.fromkeys((torch.hstack, torch.concatenate), concat))
