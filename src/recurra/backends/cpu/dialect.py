"""How sizes, numbers, elementwise operations and vectors of features are spelled in C++.

In what is printed j is the first feature of a vector, n the number of features, and TAIL whether
the vector may have fewer than VL of them.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

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


class Reduction(NamedTuple):
    """What is made of many vectors: where it begins, how a vector is added to it, and, of the
    features of a vector, how its lanes become one number."""

    begin: str
    more: str
    end: str

    def with_one_more(self, so_far: str, value: str) -> str:
        """What there is after one vector more."""
        return self.more.format(so_far, value)


_SUM = Reduction("vf{}", "{0} + {1}", "lane_sum")
_MAX = Reduction("lowest()", "v_maximum({0}, {1})", "lane_max")
OVER_FEATURES = {"rows_dot": _SUM, "sum": _SUM, "max": _MAX}
OVER_ROWS = {"weighted_sum": _SUM, "sum_rows": _SUM, "max_rows": _MAX, "total_time": _SUM}


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


def number_of(node: Node) -> str | None:
    """A number that is known when the loop is printed, or None."""
    if node.op == "const":
        return number_text(node.attr("value"))
    return f"(float)({dim(node.attr('dim'))})" if node.op == "size" else None


# ---- vectors of features


def declared(name: str, value: str) -> str:
    """A name for a vector that does not change."""
    return f"const vf {name} = {value};"


def begun(name: str, value: str) -> str:
    """A name for a vector that does."""
    return f"vf {name} = {value};"


def pointer(name: str, start: str) -> str:
    """A name for where numbers begin."""
    return f"float *const {name} = {start};"


def loaded(start: str) -> str:
    """The vector at j of the numbers that begin there."""
    return f"get<TAIL>({start} + j, n - j)"


def stored(start: str, value: str) -> str:
    """A vector into the numbers that begin there."""
    return f"put<TAIL>({start} + j, {value}, n - j);"


def in_all_lanes(number: str) -> str:
    """A vector of one number."""
    return f"splat({number})"


def kept(value: str, instead: str) -> str:
    """A vector with something else in the lanes that have no feature."""
    return f"kept<TAIL>({value}, n - j, {instead})"


def for_each_vector(lines: Iterable[str], own: str = "") -> list[str]:
    """What is done for each vector of the n features, or of the range `own` of them."""
    first, last = (f"{own}.first", f"{own}.last") if own else ("0", "n")
    return [
        "auto body = [&](auto tail, long j) __attribute__((always_inline)) {",
        "    constexpr bool TAIL = decltype(tail)::value;",
        *indented(lines),
        "};",
        f"long j = {first};",
        f"for (; j + VL <= {last}; j += VL) body(std::false_type{{}}, j);",
        f"if (j < {last}) body(std::true_type{{}}, j);",
    ]


def indented(lines: Iterable[str]) -> list[str]:
    """Lines one step further in."""
    return [f"    {line}" for line in lines]
