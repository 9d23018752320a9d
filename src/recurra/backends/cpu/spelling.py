"""How sizes, numbers and elementwise operations are spelled in C++."""

import math
from collections.abc import Sequence

from recurra.ir import POSITIONS, Dim, Node

_SPELLING = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "detach": "{0}",
    "lt": "from_mask({0} < {1})",
    "le": "from_mask({0} <= {1})",
    "gt": "from_mask({0} > {1})",
    "ge": "from_mask({0} >= {1})",
    "eq": "from_mask({0} == {1})",
    "ne": "from_mask({0} != {1})",
    "where": "where({0}, {1}, {2})",
    "expand": "{0}",
    "clamp": "v_clamp({0}, {lo}, {hi})",
}
_BEYOND_FLOAT32 = 2.0**128 - 2.0**103  # what rounds to more than the largest float32
_FUNCTIONS = (
    *("abs", "exp", "expm1", "log", "log1p", "sqrt", "sigmoid", "tanh", "relu", "softplus", "erf"),
    *("sin", "cos", "sign", "floor", "pow", "minimum", "maximum"),
)
_SPELLING.update({name: f"v_{name}({{0}})" for name in _FUNCTIONS})
_SPELLING.update({name: f"v_{name}({{0}}, {{1}})" for name in ("pow", "minimum", "maximum")})


def spelled(node: Node, operands: Sequence[str]) -> str:
    """An elementwise operation on vectors of these names."""
    attrs = {key: number_text(value) for key, value in node.attrs if isinstance(value, float)}
    return _SPELLING[node.op].format(*operands, **attrs)


def size_text(name: str) -> str:
    """A size name as C++; the number of positions of a call's memory is S."""
    return "S" if name in POSITIONS.names else f"n_{name}"


def dim(size: Dim) -> str:
    """A symbolic size as a C++ expression."""
    parts = []
    for name, coefficient in size.terms:
        text = size_text(name)
        if coefficient.numerator != 1:
            text = f"{coefficient.numerator} * {text}"
        if coefficient.denominator != 1:
            text = f"{text} / {coefficient.denominator}"
        parts.append(text)
    if size.constant or not parts:
        parts.append(str(size.constant))
    return f"({' + '.join(parts)})"


def number_text(value: float) -> str:
    """A number as a float32 literal; what is beyond float32's range is infinite."""
    if math.isnan(value):
        return "std::numeric_limits<float>::quiet_NaN()"
    if abs(value) >= _BEYOND_FLOAT32:
        return f"{'-' if value < 0 else ''}std::numeric_limits<float>::infinity()"
    return f"{float(value)!r}f"
