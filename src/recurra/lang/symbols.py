"""Symbols: what a cell's equations are run on, once, to learn what they say.

A symbol records one operation and where the user wrote it. Parameters start with an open shape:
the first use decides whether one is a matrix (left of @) or a vector (elementwise).
"""

import difflib
import inspect
import math
from typing import Any, NoReturn

from recurra.ir import Dim, Shape, shape_text
from recurra.lang.trace import ACTIVE, Trace
from recurra.lang.where import Where, here

_INNER_PRODUCT = "For an inner product of two vectors write sum(a * b)."


class Symbol:
    """A value in the equations of a cell: a scalar, a vector or a matrix of symbolic size."""

    __slots__ = ("attrs", "inputs", "label", "op", "shape", "trace", "where")

    __array_ufunc__ = None  # numpy operators give way to ours
    __hash__ = object.__hash__

    def __init__(
        self,
        trace: Trace,
        op: str,
        inputs: tuple["Symbol", ...],
        attrs: dict[str, Any],
        shape: Shape | None,
        label: str | None = None,
    ) -> None:
        self.trace = trace
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.shape = shape
        self.label = label
        self.where: Where = here(trace.cell)

    # -- what the user may write

    def __add__(self, other: object) -> "Symbol":
        return elementwise("add", self, other)

    def __radd__(self, other: object) -> "Symbol":
        return elementwise("add", other, self)

    def __sub__(self, other: object) -> "Symbol":
        return elementwise("sub", self, other)

    def __rsub__(self, other: object) -> "Symbol":
        return elementwise("sub", other, self)

    def __mul__(self, other: object) -> "Symbol":
        return elementwise("mul", self, other)

    def __rmul__(self, other: object) -> "Symbol":
        return elementwise("mul", other, self)

    def __truediv__(self, other: object) -> "Symbol":
        return elementwise("div", self, other)

    def __rtruediv__(self, other: object) -> "Symbol":
        return elementwise("div", other, self)

    def __pow__(self, other: object) -> "Symbol":
        return elementwise("pow", self, other)

    def __rpow__(self, other: object) -> "Symbol":
        return elementwise("pow", other, self)

    def __neg__(self) -> "Symbol":
        return elementwise("neg", self)

    def __pos__(self) -> "Symbol":
        return self

    def __abs__(self) -> "Symbol":
        return elementwise("abs", self)

    def __lt__(self, other: object) -> "Symbol":
        return elementwise("lt", self, other)

    def __le__(self, other: object) -> "Symbol":
        return elementwise("le", self, other)

    def __gt__(self, other: object) -> "Symbol":
        return elementwise("gt", self, other)

    def __ge__(self, other: object) -> "Symbol":
        return elementwise("ge", self, other)

    def __eq__(self, other: object) -> "Symbol":  # type: ignore[override]
        return elementwise("eq", self, other)

    def __ne__(self, other: object) -> "Symbol":  # type: ignore[override]
        return elementwise("ne", self, other)

    def __matmul__(self, other: object) -> "Symbol":
        return product(self, other)

    @property
    def T(self) -> "Symbol":  # noqa: N802 - the field's notation
        """The transpose of a matrix."""
        rows, columns = _whole_matrix(self)
        return Symbol(self.trace, "transpose", (self,), {}, (columns, rows))

    # -- what the user may not write, and what to write instead

    def __bool__(self) -> bool:
        self._refuse("a Python bool", "Use where(condition, a, b).")

    def __float__(self) -> float:
        self._refuse("a Python number", "Use the functions of recurra.lang instead of math's.")

    __int__ = __index__ = __float__  # type: ignore[assignment]

    def __iter__(self) -> NoReturn:
        self._refuse("a sequence", "Use split(v, n) to cut a vector into n equal parts.")

    def __len__(self) -> int:
        self._refuse("a sequence", "Sizes are symbolic while a cell is being defined.")

    def __getitem__(self, index: object) -> "Symbol":
        self._refuse("a sequence", "Use split(v, n) to cut a vector into n equal parts.")

    def _logic(self, *_other: object) -> NoReturn:
        self._refuse_operator("& | ^ ~", "Use a * b for and, maximum(a, b) for or, 1 - a for not.")

    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = _logic

    def _rounding(self, *_other: object) -> NoReturn:
        self._refuse_operator("// % round", "Use /: what rounds has no derivative.")

    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __round__ = _rounding

    def __rmatmul__(self, other: object) -> "Symbol":
        self._refuse(f"the right of {other!r} @", "The left of @ must be a parameter of the cell.")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # protocols probe for these
            raise AttributeError(name)
        from_language = difflib.get_close_matches(name, language_names(), n=1)
        hint = f"Did you mean {from_language[0]}({self.text})?" if from_language else _ONLY
        self.trace.fail(
            f"expected an operation of the language, got .{name} on {self.text}. {hint}"
        )

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return torch_function(function, args, kwargs or {})

    def _refuse(self, what: str, hint: str) -> NoReturn:
        self.trace.fail(f"expected {what}, got the symbol {self.text}. {hint}")

    def _refuse_operator(self, operators: str, hint: str) -> NoReturn:
        self.trace.fail(
            f"expected an operation of the language (+ - * / ** @ < <= > >= == !=), got one of "
            f"{operators} on {self.text}. {hint}"
        )

    @property
    def text(self) -> str:
        """How errors call this symbol."""
        return self.label or f"the result of {self.op}"

    def __repr__(self) -> str:
        shape = "open" if self.shape is None else shape_text(self.trace.resolve_shape(self.shape))
        return f"<symbol {self.text} {shape}>"


_ONLY = "A cell may use what recurra.lang exports."


def language_names() -> list[str]:
    """The names of the functions of the language (filled by `functions`)."""
    return sorted(FUNCTIONS)


FUNCTIONS: dict[str, Any] = {}
TORCH_FUNCTIONS: dict[Any, Any] = {}

# what torch's wrappers pass along though it was not asked for, and what changes nothing here
_NEUTRAL = {"inplace": False, "_stacklevel": 3, "dtype": None, "approximate": "none"}


def torch_function(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Answer a torch function called on symbols with the function of the language it means."""
    symbol = next(arg for arg in _flatten((*args, *kwargs.values())) if isinstance(arg, Symbol))
    called = getattr(function, "__name__", str(function))
    meant = TORCH_FUNCTIONS.get(function)
    if meant is None:
        near = difflib.get_close_matches(called.strip("_"), language_names(), n=1)
        hint = f"Did you mean {near[0]}?" if near else _ONLY
        symbol.trace.fail(f"expected an operation of the language, got torch's {called}. {hint}")
    kwargs = {k: v for k, v in kwargs.items() if k not in _NEUTRAL or v != _NEUTRAL[k]}
    try:
        inspect.signature(meant).bind(*args, **kwargs)
    except TypeError as error:
        symbol.trace.fail(
            f"expected arguments that the language's {meant.__name__} takes too, got torch's "
            f"{called} with others ({error}). Leave them out."
        )
    return meant(*args, **kwargs)


def _flatten(values: Any) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat.extend(_flatten(value) if isinstance(value, list | tuple) else [value])
    return flat


# ---- shapes ------------------------------------------------------------------------------------


def _set_shape(symbol: Symbol, rank: int) -> Shape:
    """The shape of `symbol`, decided now as a matrix or vector if it is still open."""
    if symbol.shape is None:
        if rank == 2:
            parts = (f"the rows of {symbol.text}", f"the columns of {symbol.text}")
        else:
            parts = (f"the size of {symbol.text}",)
        symbol.shape = tuple(symbol.trace.unknown(part) for part in parts)
        symbol.where = here(symbol.trace.cell)
    return symbol.shape


def as_matrix(symbol: Symbol) -> tuple[Dim, Dim]:
    """The rows and columns of a symbol that is used as a matrix."""
    shape = _set_shape(symbol, 2)
    if len(shape) != 2:
        used = f"; {symbol.text} was used as a vector at {symbol.where}" if symbol.label else ""
        symbol.trace.fail(
            f"expected a matrix, got {symbol.text} of shape "
            f"{shape_text(symbol.trace.resolve_shape(shape))}{used}. "
            f"The left of @ must be a parameter that is used nowhere as a vector. {_INNER_PRODUCT}"
        )
    return shape[0], shape[1]


def as_vector(symbol: Symbol, what: str) -> Dim:
    """The size of a symbol that is used as a vector by `what`."""
    shape = _set_shape(symbol, 1)
    if len(shape) != 1:
        symbol.trace.fail(
            f"{what}: expected a vector, got {symbol.text} of shape "
            f"{shape_text(symbol.trace.resolve_shape(shape))}. Multiply a matrix by a vector first."
        )
    return shape[0]


def lift(value: object, trace: Trace) -> Symbol:
    """`value` as a symbol: Python numbers become constants."""
    if isinstance(value, Symbol):
        if value.trace is not trace:
            trace.fail(
                f"expected a value of this cell, got {value.text} of the cell "
                f"{value.trace.cell!r}. Pass it as an argument."
            )
        return value
    if isinstance(value, bool | int | float):
        if math.isnan(value):
            trace.fail("expected a number, got nan. Equations cannot hold nan.")
        return Symbol(trace, "const", (), {"value": float(value)}, ())
    return trace.fail(
        f"expected a symbol or a number, got {type(value).__name__} {value!r:.60}. "
        f"Make it an argument of the cell, or a plain number."
    )


def trace_of(values: tuple[object, ...], function: str) -> Trace:
    """The trace that `values` belong to: numbers alone belong to the cell being defined."""
    for value in values:
        if isinstance(value, Symbol):
            return value.trace
    active = ACTIVE.get()
    if active is not None:
        return active
    raise TypeError(
        f"{function}: expected a symbol of a cell's equations, got "
        f"{', '.join(type(value).__name__ for value in values)}. "
        f"recurra.lang works inside a @cell; for tensors use torch's own functions."
    )


# ---- operations --------------------------------------------------------------------------------


_NEUTRAL_NUMBERS = {"mul": 1.0, "add": 0.0}


def elementwise(op: str, *values: object, **attrs: Any) -> Symbol:
    """An operation applied element by element; scalars broadcast."""
    trace = trace_of(values, op)
    symbols = tuple(lift(value, trace) for value in values)
    shape = _common_shape(op, symbols)
    neutral = _NEUTRAL_NUMBERS.get(op)
    for number, other in (symbols, symbols[::-1]) if neutral is not None else ():
        if number.op == "const" and number.attrs["value"] == neutral:
            return other  # a constant that a cell leaves at 1 or 0 is not worth a line
    return Symbol(trace, op, symbols, attrs, shape)


def _common_shape(op: str, symbols: tuple[Symbol, ...]) -> Shape:
    rank = max((len(s.shape) for s in symbols if s.shape is not None), default=1)
    for symbol in symbols:
        _set_shape(symbol, max(rank, 1))
    wide = [symbol for symbol in symbols if symbol.shape]
    for symbol in wide[1:]:
        _unify_shapes(op, wide[0], symbol)
    return wide[0].shape or () if wide else ()


def _unify_shapes(op: str, a: Symbol, b: Symbol) -> None:
    shape_a, shape_b = a.shape or (), b.shape or ()
    same_rank = len(shape_a) == len(shape_b)
    if same_rank and all(a.trace.unify(x, y) for x, y in zip(shape_a, shape_b, strict=True)):
        return
    text_a, text_b = (shape_text(a.trace.resolve_shape(shape)) for shape in (shape_a, shape_b))
    a.trace.fail(
        f"{op}: expected equal sizes, got {text_a} ({_described(a)}) and {text_b} "
        f"({_described(b)}). Multiply one of them by a matrix, or set sizes={{...}} of the cell."
    )


def _described(symbol: Symbol) -> str:
    """A symbol by its name, or as `name = ...`-like text of the leaves it is made of."""
    if symbol.label:
        return symbol.label
    leaves: dict[str, None] = {}
    stack = [symbol]
    while stack:
        top = stack.pop()
        if top.label:
            leaves[top.label] = None
        stack.extend(reversed(top.inputs))
    return f"{symbol.op} of {', '.join(leaves)}" if leaves else symbol.text


def product(left: object, right: object) -> Symbol:
    """Matrix times vector, or matrix times matrix."""
    trace = trace_of((left, right), "@")
    matrix, operand = lift(left, trace), lift(right, trace)
    heads = trace.heads.get(matrix.label or "")
    if heads is not None:
        return _blocks_product(matrix, operand, heads)
    rows, columns = as_matrix(matrix)
    shape = _set_shape(operand, 1)
    if not shape:
        trace.fail(
            f"@: expected a vector or matrix on the right, got the scalar {operand.text}. Use *."
        )
    if len(shape) == 2:
        _whole_matrix(operand)
    if not trace.unify(columns, shape[0]):
        trace.fail(
            f"@: expected {matrix.text} with {trace.resolve(shape[0])} columns, to multiply "
            f"{_described(operand)}, got {trace.resolve(columns)} columns. "
            f"Use another matrix, or set sizes={{...}} of the cell."
        )
    return Symbol(trace, "matvec", (matrix, operand), {}, (rows, *shape[1:]))


def _blocks_product(matrix: Symbol, operand: Symbol, heads: int) -> Symbol:
    """Block-diagonal matrix times vector; of the matrix only its blocks are there, [rows, size]."""
    trace = matrix.trace
    rows, block = as_matrix(matrix)
    size = as_vector(operand, f"{matrix.text} @ (which has {heads} heads)")
    if not trace.unify(block * heads, size):
        trace.fail(
            f"@: expected {matrix.text} with {heads} blocks of {trace.resolve(size / heads)} "
            f"columns, to multiply {_described(operand)}, got blocks of {trace.resolve(block)}. "
            f"Use another matrix, or set sizes={{...}} of the cell."
        )
    return Symbol(trace, "blocks_product", (matrix, operand), {"heads": heads}, (rows,))


def _whole_matrix(symbol: Symbol) -> tuple[Dim, Dim]:
    """The rows and columns of a matrix that is not block-diagonal."""
    if symbol.label in symbol.trace.heads:
        symbol.trace.fail(
            f"expected the block-diagonal matrix {symbol.text} left of @, with a vector on the "
            f"right. Take it out of heads={{...}} to use it in another way."
        )
    return as_matrix(symbol)
