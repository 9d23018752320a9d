"""Values of the equations as their author has written them, for messages."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recurra.ir import Dim, Node, intern, is_rows, leaf
from recurra.show.spelling import TextWriter, bounds_text, index_text

if TYPE_CHECKING:
    from recurra.lang.symbols import Symbol

_LONGEST = 72
_DEPTHS = (8, 5, 4, 3, 2, 1)
SIGNS = {
    **{"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "matvec": "@"},
    **{"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="},
}


def written(symbol: "Symbol", names: "Mapping[Symbol, str]") -> str:
    """`symbol` by its name, or as the expression that made it, of values with names.

    What is nested too deep to be read in one line is left out as "...".
    """
    text = "..."
    for depth in _DEPTHS:
        text = _Expression(names).text(symbol, depth)
        if len(text) <= _LONGEST:
            break
    return text


class _Expression:
    """A symbol as nodes, of which those that have a name, or lie too deep, are labels."""

    def __init__(self, names: "Mapping[Symbol, str]") -> None:
        self._names = names
        self._labels: dict[Node, str] = {}

    def text(self, symbol: "Symbol", depth: int) -> str:
        node = self._node(symbol, depth)
        return TextWriter(self._labels).operand(node)

    def _node(self, symbol: "Symbol", depth: int) -> Node:
        own = symbol.label or self._names.get(symbol)
        if own is None and depth == 0 and symbol.inputs:
            own = "..."
        if own is None and symbol.op == "slice":
            own = self._part(symbol, depth)
        if own is None and symbol.op == "sum":
            own = self._number(symbol.inputs[0], depth)
        if own is not None:
            node = leaf("written", own, ())
            self._labels[node] = own
            return node
        inputs = tuple(self._node(child, depth - 1) for child in symbol.inputs)
        return intern(symbol.op, inputs, tuple(symbol.attrs.items()), symbol.shape or ())

    def _number(self, part: "Symbol", depth: int) -> str | None:
        """v[3], which is the sum of a part of one number; None of other sums."""
        if part.op != "slice" or part in self._names or len(part.shape or ()) != 1:
            return None
        resolve, (whole,) = part.trace.resolve, part.inputs
        if resolve(part.attrs["size"]) != Dim.of(1) or not whole.shape:
            return None
        index = index_text(resolve(whole.shape[0]), resolve(part.attrs["start"]))
        return f"{TextWriter(self._labels).operand(self._node(whole, depth - 1), 4)}[{index}]"

    def _part(self, symbol: "Symbol", depth: int) -> str:
        """A slice, as one of the equal parts of a split where it is one."""
        resolve, (whole,) = symbol.trace.resolve, symbol.inputs
        start, size = resolve(symbol.attrs["start"]), resolve(symbol.attrs["size"])
        shape, axis = symbol.trace.resolve_shape(whole.shape or (size,)), symbol.attrs["axis"]
        parts, part = shape[axis].times(size), start.times(size)
        written = self._node(whole, depth - 1)
        if parts is not None and part is not None and axis == is_rows(shape):
            return f"split({TextWriter(self._labels).operand(written)}, {parts})[{part}]"
        bounds = bounds_text(shape, axis, start, size)
        return f"{TextWriter(self._labels).operand(written, 4)}[{bounds}]"
