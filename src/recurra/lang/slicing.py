"""Parts of vectors and matrices: between known bounds, one number, or parts of given sizes.

A bound is a whole number, which counts from the end where it is below 0, or a size by its name,
"H" or "H/2". Whether it lies within a vector may be known for the layer's sizes only, which checks
it then.
"""

from typing import Any

from recurra.ir import Dim
from recurra.lang.symbols import (
    OPERATORS,
    Symbol,
    as_vector,
    decided_shape,
    has_rows,
    over_positions,
    over_rows,
    whole_matrix,
)

_FORMS = "Write v[:3], v[3:], v[-2:] or v['H/2':], and v[0] for one number of a vector."


def sliced(symbol: Symbol, index: object) -> Symbol:
    """`symbol[index]`: features of a vector or of each row of a memory, rows or columns of a
    matrix."""
    indices = index if isinstance(index, tuple) else (index,)
    shape = decided_shape(symbol, len(indices))
    wanted = "one index of a vector, one or two of a matrix"
    if not 1 <= len(indices) <= len(shape) or (over_rows(symbol) and len(indices) == 1):
        where = " over the positions of a memory" if over_positions(symbol) else ""
        rows = f"Write {symbol.text}[:, :3] for features of each row."
        hint = rows if has_rows(symbol) else _FORMS
        symbol.trace.fail(
            f"[ ]: expected {wanted}, got {len(indices)} of {symbol.text}, which is "
            f"{'a vector' if len(shape) == 1 else 'a matrix' if shape else 'a scalar'}{where}. "
            f"{hint}"
        )
    if has_rows(symbol) and not _is_whole(indices[0]):
        of_memory = over_positions(symbol)
        why = "How many there are each call says anew" if of_memory else "Rows stay together"
        symbol.trace.fail(
            f"[ ]: expected all {'positions' if of_memory else 'rows'} of {symbol.text}, got "
            f"{_written(indices[0])}. {why}: write {symbol.text}[:, ...] for features of each."
        )
    found = symbol
    for axis, each in enumerate(indices):
        if not _is_whole(each):
            found = _along(found, axis, each)
    return found


def _is_whole(index: object) -> bool:
    is_slice = isinstance(index, slice)
    return is_slice and index.start is None and index.stop is None and index.step is None


def _along(symbol: Symbol, axis: int, index: object) -> Symbol:
    whole = _whole(symbol, axis)
    if isinstance(index, slice):
        if not (index.step is None or (type(index.step) is int and index.step == 1)):
            symbol.trace.fail(
                f"[ ]: expected neighbouring features, got a step of {_written(index.step)}. "
                f"A constant matrix of 0 and 1 picks others: M @ v."
            )
        start = Dim() if index.start is None else _bound(symbol, whole, index.start)
        stop = whole if index.stop is None else _bound(symbol, whole, index.stop)
        return cut(symbol, axis, start, stop - start)
    if len(symbol.shape or ()) != 1:
        symbol.trace.fail(
            f"[ ]: expected a slice of the matrix {symbol.text}, got {_written(index)}. "
            f"Write {symbol.text}[2:3] for one row of it, {symbol.text}[:, 2:3] for one column."
        )
    one = cut(symbol, 0, _bound(symbol, whole, index), Dim.of(1))
    return Symbol(symbol.trace, "sum", (one,), {}, ())


def _whole(symbol: Symbol, axis: int) -> Dim:
    if len(symbol.shape or ()) == 2 and not over_rows(symbol):
        return whole_matrix(symbol)[axis]
    return (symbol.shape or ())[axis]


def cut(symbol: Symbol, axis: int, start: Dim, size: Dim) -> Symbol:
    """`size` features, rows (axis 0) or columns (axis 1), from `start`."""
    trace = symbol.trace
    whole, start, size = map(trace.resolve, (_whole(symbol, axis), start, size))
    after = whole - start - size
    if not all(dim.is_zero or dim.may_be_positive or dim.unknowns for dim in (start, after)):
        trace.fail(
            f"[ ]: expected a part of {symbol.text}, which has {whole}, got {size} from {start}. "
            f"Take fewer."
        )
    if not (size.may_be_positive or size.unknowns):
        trace.fail(
            f"[ ]: expected at least one feature of {symbol.text}, got {size} from {start}. "
            f"Choose other bounds."
        )
    if start.is_zero and after.is_zero:
        return symbol
    shape = tuple(size if i == axis else dim for i, dim in enumerate(symbol.shape or ()))
    return Symbol(trace, "slice", (symbol,), {"axis": axis, "start": start, "size": size}, shape)


def _bound(symbol: Symbol, whole: Dim, given: object) -> Dim:
    if isinstance(given, int) and not isinstance(given, bool):
        return Dim.of(given) if given >= 0 else whole - Dim.of(-given)
    return size_of(symbol, given, "[ ]", _FORMS)


def size_of(symbol: Symbol, given: object, what: str, hint: str) -> Dim:
    """A size as it is written: 3, "H", "H/2"."""
    try:
        if isinstance(given, Dim):
            return given
        if not isinstance(given, int | str) or isinstance(given, bool):
            raise ValueError(f"expected whole numbers or names of sizes, got {_written(given)}.")
        return Dim.parse(str(given))
    except ValueError as error:
        symbol.trace.fail(f"{what}: {error} {hint}")


def _written(index: object) -> str:
    if isinstance(index, Symbol):
        return f"the value {index.text}"
    if isinstance(index, slice):
        parts = ["" if part is None else _written(part) for part in (index.start, index.stop)]
        return ":".join(parts)
    return repr(index)


def in_sizes(symbol: Symbol, sizes: Any, axis: int) -> tuple[Symbol, ...]:
    """Parts of the given sizes, one behind the other, which make up the whole."""
    if not len(sizes):
        symbol.trace.fail("split: expected the size of each part, got none. Give [3, 'H'].")
    hint = "Write split(v, [3, 'H'])."
    dims = [size_of(symbol, size, "split", hint) for size in sizes]
    total = sum(dims, Dim())
    if axis == 0 and len(symbol.shape or (total,)) == 1:
        as_vector(symbol, "split")
    if not symbol.trace.unify(_whole(symbol, axis), total):
        symbol.trace.fail(
            f"split: expected parts that make up {symbol.text}, which has "
            f"{symbol.trace.resolve(_whole(symbol, axis))}, got "
            f"{' + '.join(map(str, dims))} = {total}. Change the sizes."
        )
    starts = [sum(dims[:i], Dim()) for i in range(len(dims))]
    pairs = zip(starts, dims, strict=True)
    return tuple(cut(symbol, axis, start, size) for start, size in pairs)


OPERATORS["[]"] = sliced
