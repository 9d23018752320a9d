"""Symbols: what a cell's equations are run on, once, to learn what they say.

A symbol records one operation and where the user wrote it. Parameters start with an open shape, and
so does what is made of them and numbers alone: the first use that needs one decides whether it is a
matrix (left of @) or a vector (beside a vector).
"""

import difflib
from numbers import Real
from typing import Any, NoReturn

import numpy as np
import torch

from recurra.ir import POSITIONS, Dim, Shape, blocks_of, has_own_rows, shape_text
from recurra.lang.arrays import constant_of, is_array, kind_of, numbers_of
from recurra.lang.beside import (
    HINTS_BESIDE,
    hint_left_of_rows,
    hint_shared,
    refuse_product,
    refuse_rows,
)
from recurra.lang.instead import INSTEAD
from recurra.lang.trace import ACTIVE, Trace
from recurra.lang.where import Where, here
from recurra.lang.written import SIGNS, written

_INNER_PRODUCT = "For an inner product of two vectors write sum(a * b)."


class Symbol:
    """A value in the equations of a cell: a scalar, a vector or a matrix of symbolic size."""

    __slots__ = ("attrs", "inputs", "label", "op", "shape", "trace", "where")

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
        trace.frames.note()

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
        return OPERATORS["@"](self, other)

    @property
    def T(self) -> "Symbol":  # noqa: N802 - the field's notation
        """The transpose of a matrix."""
        if has_own_rows(self.shape or ()):
            return OPERATORS[".T"](self)
        if has_rows(self):
            self._refuse("a matrix", f"The sum of its rows, weighted by a, is a @ {self.text}.")
        rows, columns = whole_matrix(self)
        return Symbol(self.trace, "transpose", (self,), {}, (columns, rows))

    # -- what the user may not write, and what to write instead

    def __bool__(self) -> bool:
        self._refuse(
            "a condition that is known when the cell is defined",
            "Use where(condition, a, b) for if; a * b for and, maximum(a, b) for or, 1 - a for "
            "not, (a < b) * (b < c) for a < b < c; maximum(a, b) and minimum(a, b) for the larger "
            "and the smaller of two.",
        )

    def __float__(self) -> float:
        self._refuse("a Python number", "Use the functions of recurra.lang instead of math's.")

    __int__ = __index__ = __float__  # type: ignore[assignment]

    def __iter__(self) -> NoReturn:
        self._refuse(
            "a sequence",
            "Use split(v, n) to cut a vector into n equal parts, v[:3] for some of it, and sum(v), "
            "max(v) of recurra.lang over its features.",
        )

    def __len__(self) -> int:
        self._refuse("a sequence", "Sizes are symbolic while a cell is being defined.")

    def __getitem__(self, index: object) -> "Symbol":
        return OPERATORS["[]"](self, index)

    def __setitem__(self, index: object, value: object) -> NoReturn:
        self._refuse(
            "values that stay what they are",
            "Join parts of it instead, concat(v[:2], new, v[3:]), or write where(condition, a, b).",
        )

    def _logic(self, *_other: object) -> NoReturn:
        self._refuse_operator("& | ^ ~", "Use a * b for and, maximum(a, b) for or, 1 - a for not.")

    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = _logic

    def __floordiv__(self, other: object) -> "Symbol":
        return elementwise("floor", elementwise("div", self, other))

    def __rfloordiv__(self, other: object) -> "Symbol":
        return elementwise("floor", elementwise("div", other, self))

    def __mod__(self, other: object) -> "Symbol":
        return FUNCTIONS["mod"](self, other)

    def __rmod__(self, other: object) -> "Symbol":
        return FUNCTIONS["mod"](other, self)

    def __round__(self, *_digits: object) -> "Symbol":
        self._refuse_operator("round", "Use floor(v + 0.5), whose derivative is 0.")

    def __rmatmul__(self, other: object) -> "Symbol":
        if not is_array(other):
            self._refuse(
                f"a parameter left of @, got {kind_of(other)} there, and on its right",
                "Make the matrix an argument of the cell.",
            )
        return OPERATORS["@"](other, self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # protocols probe for these
            raise AttributeError(name)
        near = difflib.get_close_matches(name, language_names(), n=1)
        hint = f"Did you mean {near[0]}({self.text})?" if near else _ONLY
        if name in INSTEAD:
            hint = hint_for(name)
        self.trace.fail(
            f"expected an operation of the language, got .{name} on {self.text}. {hint}"
        )

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return OPERATORS["library"]("torch", function, args, kwargs or {})

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            called = f"{ufunc.__name__}.{method}"
            self.trace.fail(f"expected an operation of the language, got numpy's {called}. {_ONLY}")
        return OPERATORS["library"]("numpy", ufunc, inputs, kwargs)

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return OPERATORS["library"]("numpy", function, args, kwargs)

    def _refuse(self, what: str, hint: str) -> NoReturn:
        self.trace.fail(f"expected {what}, got {self.text}. {hint}")

    def _refuse_operator(self, operators: str, hint: str) -> NoReturn:
        self.trace.fail(
            f"expected an operation of the language (+ - * / // % ** @ < <= > >= == !=), got one "
            f"of {operators} on {self.text}. {hint}"
        )

    @property
    def text(self) -> str:
        """How errors call this symbol: by its name, or as it was written."""
        return self.label or written(self, self.trace.value_names(Symbol))

    def __repr__(self) -> str:
        shape = "open" if self.shape is None else shape_text(self.trace.resolve_shape(self.shape))
        return f"<symbol {self.text} {shape}>"


_ONLY = "A cell may use what recurra.lang exports."


def language_names() -> list[str]:
    """The names of the functions of the language (filled by `functions`)."""
    return sorted(FUNCTIONS)


FUNCTIONS: dict[str, Any] = {}
OPERATORS: dict[str, Any] = {}  # "@", "[]", ".T" and "library", filled by modules of their own
TORCH_FUNCTIONS: dict[Any, Any] = {}
NUMPY_FUNCTIONS: dict[Any, Any] = {}


def hint_for(called: str) -> str:
    """What to write instead of a function that the language does not have."""
    name = called.strip("_")
    if name in INSTEAD:
        return f"Write {INSTEAD[name]}."
    near = difflib.get_close_matches(name, language_names(), n=1)
    if near == [name]:  # the same name, of another meaning: no slip of the keyboard
        return f"Use recurra.lang.{name}, over the features of one vector."
    return f"Did you mean {near[0]}?" if near else _ONLY


# ---- shapes ------------------------------------------------------------------------------------


def decided_shape(symbol: Symbol, rank: int) -> Shape:
    """The shape of `symbol`, decided now as a matrix or vector if it is still open.

    What it was made of is decided with it, the other way round than it was written.
    """
    pending = [symbol]
    while pending:
        top = pending[-1]
        still_open = [child for child in top.inputs if child.shape is None]
        if top.shape is None and still_open:
            pending.extend(still_open)
            continue
        pending.pop()
        if top.shape is None and top.inputs:
            top.shape = _shared_shape(top.op, top.inputs)
        elif top.shape is None:
            parts = ("rows", "columns") if rank == 2 else ("size",)
            top.shape = tuple(top.trace.unknown(f"the {part} of {top.label}") for part in parts)
            top.where = here(top.trace.cell)
    assert symbol.shape is not None
    return symbol.shape


def over_positions(symbol: Symbol) -> bool:
    """Whether it is a number or a row for each position of a memory."""
    return bool(symbol.shape) and symbol.trace.resolve(symbol.shape[0]) == POSITIONS


def over_rows(symbol: Symbol) -> bool:
    """Whether it is rows, of a memory or of a matrix state, or a number for each."""
    return has_own_rows(symbol.shape or ()) or over_positions(symbol)


def has_rows(symbol: Symbol) -> bool:
    """Whether it is a row for each position of a memory, or those of a matrix state."""
    return over_rows(symbol) and len(symbol.shape or ()) == 2


def last_size(symbol: Symbol) -> Dim:
    """The size of a vector, or of each row."""
    return (symbol.shape or (POSITIONS,))[-1]


def row_count(symbol: Symbol) -> Dim:
    """How many rows it has, or numbers of them."""
    return (symbol.shape or (POSITIONS,))[0]


def _is_vector(symbol: Symbol) -> bool:
    """Whether it has a size of its own, which is not open."""
    shape = symbol.trace.resolve_shape(symbol.shape or ())
    return len(shape) == 1 and not shape[0].unknowns


def as_matrix(symbol: Symbol, hint: str = "") -> tuple[Dim, Dim]:
    """The rows and columns of a symbol that is used as a matrix."""
    shape = decided_shape(symbol, 2)
    if len(shape) != 2 or has_rows(symbol):
        is_vector = symbol.label and not has_rows(symbol)
        used = f"; {symbol.text} was used as a vector at {symbol.where}" if is_vector else ""
        right = symbol.inputs[1].label if symbol.op == "matvec" else None
        if right in symbol.trace.parameters:
            hint = f"If {right} is a matrix, name its sizes: sizes={{{right!r}: ('H', 'H')}}."
        hint = hint_left_of_rows(symbol) or hint_shared(symbol) or hint
        hint = hint or (
            f"The left of @ must be a parameter that is used nowhere as a vector. {_INNER_PRODUCT}"
        )
        symbol.trace.fail(
            f"expected a matrix, got {symbol.text} of shape "
            f"{shape_text(symbol.trace.resolve_shape(shape))}{used}. {hint}"
        )
    return shape[0], shape[1]


def as_vector(symbol: Symbol, what: str) -> Dim:
    """The size of a symbol that is used as a vector by `what`."""
    shape = decided_shape(symbol, 1)
    if has_own_rows(shape):
        symbol.trace.fail(
            f"{what}: expected a vector, got {symbol.text} of shape "
            f"{shape_text(symbol.trace.resolve_shape(shape))}, of rows that each sequence has of "
            f"its own. Multiply it by a vector, or sum it over rows or columns."
        )
    if over_positions(symbol):
        symbol.trace.fail(
            f"{what}: expected a vector of features, got {symbol.text} of shape "
            f"{shape_text(symbol.trace.resolve_shape(shape))}, over the positions of a memory. "
            f"Numbers @ rows is their weighted sum, a vector; sum, mean, max and softmax are over "
            f"positions too."
        )
    if len(shape) != 1:
        symbol.trace.fail(
            f"{what}: expected a vector, got {symbol.text} of shape "
            f"{shape_text(symbol.trace.resolve_shape(shape))}. "
            + (
                "Multiply a matrix by a vector first."
                if shape
                else "expand(s, 1) makes a vector of a scalar s."
            )
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
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # type: ignore[attr-defined] - a number of numpy's or of torch's
    if is_array(value):
        return _array_symbol(value, trace)
    if isinstance(value, Real):
        return Symbol(trace, "const", (), {"value": constant_of(value, trace)}, ())
    hint = "Make it an argument of the cell, or a plain number."
    if isinstance(value, list | tuple):
        hint = "Add up what is in it, a + b, or join it, concat(a, b)."
        return trace.fail(f"expected a symbol, a number or an array, got a list. {hint}")
    return trace.fail(f"expected a symbol, a number or an array, got {kind_of(value)}. {hint}")


def _array_symbol(value: np.ndarray | torch.Tensor, trace: Trace) -> Symbol:
    """A constant array: a vector or a matrix that is not learned."""
    if isinstance(value, torch.Tensor) and value.requires_grad:
        trace.fail(
            f"expected an array that is not learned, got a {kind_of(value)} that requires a "
            f"gradient. Make it an argument of the cell, or take value.detach()."
        )
    array = numbers_of(value)
    if array is None or array.ndim > 2 or not array.size:
        trace.fail(
            f"expected an array of real numbers, a vector or a matrix, got {kind_of(value)} of "
            f"{value.dtype}. Use another."
        )
    if not np.isfinite(array).all():
        trace.fail(f"expected an array of finite numbers, got nan or inf in {kind_of(value)}.")
    shape = tuple(map(Dim.of, array.shape))
    return trace.named_array(
        value, array, lambda name: Symbol(trace, "input", (), {}, shape, label=name)
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
        f"recurra.lang works inside a @cell, and on tensors and numbers. Make a tensor of it."
    )


# ---- operations --------------------------------------------------------------------------------


_NEUTRAL_NUMBERS = {"mul": 1.0, "add": 0.0}


def elementwise(op: str, *values: object, **attrs: Any) -> Symbol:
    """An operation applied element by element; scalars broadcast."""
    trace = trace_of(values, op)
    symbols = _beside_own_rows(tuple(lift(value, trace) for value in values))
    if any(s.shape for s in symbols):
        symbols = _spread(op, symbols)
    is_open = any(s.shape is None for s in symbols) and all(
        not s.shape or (len(s.shape) == 1 and is_fixed(s)) for s in symbols
    )
    shape = None if is_open else _common_shape(op, symbols)
    neutral = _NEUTRAL_NUMBERS.get(op)
    for number, other in (symbols, symbols[::-1]) if neutral is not None else ():
        if number.op == "const" and number.attrs["value"] == neutral:
            return other  # a constant that a cell leaves at 1 or 0 is not worth a line
    return Symbol(trace, op, symbols, attrs, shape)


def is_fixed(symbol: Symbol) -> bool:
    """Whether it is made of parameters and constant arrays alone: the same at every step."""
    trace = symbol.trace
    stack, seen = [symbol], set()
    while stack:
        top = stack.pop()
        if top.op == "input" and top.label not in trace.parameters + tuple(trace.arrays):
            return False
        new = [child for child in top.inputs if id(child) not in seen]
        seen.update(map(id, new))
        stack.extend(new)
    return True


def _spread(op: str, symbols: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
    """The symbols with vectors of one number as that number, unless all are.

    A size that is still open is not 1 for it, but that of a bias.
    """
    others = [s for s in symbols if s.shape != () and not _is_one(s)]
    if not any(map(_is_one, symbols)) or not others or any(map(over_rows, others)):
        return symbols  # to a number for each row a vector of one is a row
    sizes = [dim for s in others for dim in s.trace.resolve_shape(s.shape or ())]
    is_open = all(dim.unknowns for dim in sizes)
    if op in ("add", "sub") and is_open and all(s.op == "input" for s in others):
        return symbols
    return tuple(map(number_of, symbols))


def _is_one(symbol: Symbol) -> bool:
    shape = symbol.shape
    return bool(shape) and symbol.trace.resolve_shape(shape or ()) == (Dim.of(1),)


def number_of(symbol: Symbol) -> Symbol:
    """A vector of one number as that number; any other symbol as it is."""
    if _is_one(symbol):
        return Symbol(symbol.trace, "sum", (symbol,), {}, ())
    return symbol


def _beside_own_rows(symbols: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
    """A matrix of parameters beside a matrix state: the same for each sequence."""
    own = next((s for s in symbols if has_own_rows(s.shape or ())), None)
    if own is None:
        return symbols
    return tuple(as_rows(s, own) if len(s.shape or ()) == 2 else s for s in symbols)


def as_rows(symbol: Symbol, like: Symbol) -> Symbol:
    """A matrix that all sequences share, as the rows that each has of `like`."""
    if has_rows(symbol):
        return symbol
    return shared_rows(symbol, blocks_of(like.shape or ()))


def shared_rows(symbol: Symbol, blocks: int) -> Symbol:
    """A matrix that all sequences share, as rows in so many blocks."""
    rows, columns = whole_matrix(symbol)
    shape = (rows.in_blocks(blocks), columns)
    return Symbol(symbol.trace, "matrix_rows", (symbol,), {"blocks": blocks}, shape)


def _common_shape(op: str, symbols: tuple[Symbol, ...]) -> Shape:
    rank = max((len(s.shape) for s in symbols if s.shape is not None), default=1)
    rank = 1 if any(map(has_rows, symbols)) else rank  # what is added to each row
    for symbol in symbols:
        decided_shape(symbol, max(rank, 1))
    return _shared_shape(op, symbols)


def _shared_shape(op: str, symbols: tuple[Symbol, ...]) -> Shape:
    """That of the vectors or matrices among the symbols, made equal."""
    wide = [symbol for symbol in symbols if symbol.shape]
    rows = [symbol for symbol in wide if has_rows(symbol)]
    if rows:
        return _beside_rows(op, rows[0], wide)
    numbers = [symbol.shape[:1] for symbol in wide if symbol.shape and over_rows(symbol)]
    own = any(map(has_own_rows, numbers))  # what is no number of rows is a vector then
    vectors = [s for s in wide if not over_rows(s) and len(s.shape or ()) == 1]
    vectors = [symbol for symbol in vectors if own or _is_vector(symbol)]
    if op == "mul" and vectors and numbers:  # each number times the vector
        return (*numbers[0], last_size(vectors[0]) / blocks_of(numbers[0]))
    largest = max(wide, key=lambda symbol: len(symbol.shape or ()), default=None)
    for symbol in wide:
        if symbol is not largest and largest is not None:
            _unify_shapes(op, largest, symbol)
    return (largest.shape or ()) if largest is not None else ()


def _beside_rows(op: str, rows: Symbol, wide: list[Symbol]) -> Shape:
    """That of rows: a vector goes with each row, numbers for each row with all of it."""
    trace, whole = rows.trace, rows.shape or ()
    for symbol in wide:
        shape, size = symbol.shape or (), last_size(rows)
        if over_rows(symbol) and not trace.unify(row_count(symbol), row_count(rows)):
            refuse_rows(op, rows, symbol)
        if over_rows(symbol) and len(shape) == 1:
            continue
        if has_own_rows(whole):
            refuse_product(op, rows, symbol)
        if not over_rows(symbol):
            size = size * blocks_of(whole)
        if len(shape) == 2 and not has_rows(symbol):
            trace.fail(
                f"{SIGNS.get(op, op)}: expected a vector beside the rows {rows.text}, got the "
                f"matrix {symbol.text}. Write {symbol.text} @ {rows.text}, which multiplies each "
                f"row."
            )
        if not trace.unify(last_size(symbol), size):
            trace.fail(
                f"{SIGNS.get(op, op)}: expected vectors of size {trace.resolve(size)} beside the "
                f"rows {rows.text}, got {symbol.text} of size {trace.resolve(last_size(symbol))}. "
                + HINTS_BESIDE[has_own_rows(whole)].format(symbol.text)
            )
    return whole


def _unify_shapes(op: str, a: Symbol, b: Symbol) -> None:
    shape_a, shape_b = a.shape or (), b.shape or ()
    same_rank = len(shape_a) == len(shape_b)
    if same_rank and all(a.trace.unify(x, y) for x, y in zip(shape_a, shape_b, strict=True)):
        return
    # a vector of parameters goes with each row of a matrix of them
    if not same_rank and is_fixed(b) and a.trace.unify(last_size(a), last_size(b)):
        return
    resolved = [a.trace.resolve_shape(shape) for shape in (shape_a, shape_b)]
    text_a, text_b = map(shape_text, resolved)
    hint = "Multiply one of them by a matrix, or set sizes={...} of the cell."
    if not same_rank:
        matrix, vector = (a, b) if len(shape_a) == 2 else (b, a)
        hint = f"A matrix multiplies by @: {vector.text} * ({matrix.text} @ v)."
        if matrix.label in a.trace.parameters:
            hint += f" A vector has its size named: sizes={{{matrix.label!r}: ...}}."
        if is_fixed(vector):
            hint = (
                f"A vector of parameters beside a matrix has a number for each column; for each "
                f"row write ({matrix.text}.T * {vector.text}).T."
            )
    a.trace.fail(
        f"{SIGNS.get(op, op)}: expected equal sizes, got {text_a} ({a.text}) and {text_b} "
        f"({b.text}). {hint}"
    )


def whole_matrix(symbol: Symbol) -> tuple[Dim, Dim]:
    """The rows and columns of a matrix that is not block-diagonal."""
    if symbol.label in symbol.trace.heads:
        symbol.trace.fail(
            f"expected the block-diagonal matrix {symbol.text} left of @, with a vector on the "
            f"right. Take it out of heads={{...}} to use it in another way."
        )
    return as_matrix(symbol)
