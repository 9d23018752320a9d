"""Expressions and numbers as text and as LaTeX.

The table of operations has the spelling of each; here is what it cannot say: where parentheses go.
`needed` is the precedence that an operand must have to stand without them: 1 sum, 2 product, 3 sign
and power, 4 a call or an atom.
"""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from recurra.ir import OPS, Dim, Node, Shape, const, is_transparent


class TextWriter:
    """Writes expressions as Python has them: its label for a node that has one, else the operation.

    What it writes means the same graph again: left operands associate, right ones get parentheses.
    """

    def __init__(self, labels: Mapping[Node, str]) -> None:
        self.labels = labels

    def operand(self, node: Node, needed: int = 0) -> str:
        """`node` where it is read, in parentheses if it binds less than `needed`."""
        if node in self.labels:
            return self.labels[node]
        if is_transparent(node):
            return self.operand(node.inputs[0], needed)
        written = self.value(node)
        return f"({written})" if self._precedence(node) < needed else written

    def value(self, node: Node) -> str:
        """The operation that gives `node`, also where it has a label."""
        if node.op == "const":
            return self._number(node.attr("value"))
        if node.op == "size":
            return str(node.attr("dim"))
        if is_transparent(node):
            return self.operand(node.inputs[0])
        if _is_identity(node):
            return self._identity(str(node.shape[0]))
        if self._is_number_of_vector(node):
            return self._number_of_vector(node.inputs[0])
        rest = self._remainder(node)
        if rest is not None:
            return self._modulo(self.operand(rest[0], 2), self.operand(rest[1], 3))
        template = self._template(node)
        operands = [self._placed(node, place, template) for place in range(len(node.inputs))]
        attrs = {key: self._attribute(value) for key, value in node.attrs}
        if node.op == "slice":
            return self._sliced(operands[0], bounds_text(node.inputs[0].shape, **dict(node.attrs)))
        if node.op in ("expand", "repeat"):
            sizes = [str(dim) for dim in node.attr("shape")]
            attrs["sizes"] = repr(tuple(sizes) if len(sizes) > 1 else sizes[0])
        return template.format(*operands, all=", ".join(self._all(node, operands)), **attrs)

    def _sliced(self, whole: str, bounds: str) -> str:
        return f"{whole}[{bounds}]"

    def _is_number_of_vector(self, node: Node) -> bool:
        """Whether it is v[3], or the only number of a vector, which is the sum of that part."""
        return node.op == "sum" and node.inputs[0].shape == (Dim.of(1),)

    def _number_of_vector(self, part: Node) -> str:
        if part in self.labels or part.op != "slice" or part.attr("axis") != 0:
            return self._only_number(self.operand(part, 4))
        start, length = part.attr("start"), part.inputs[0].shape[0]
        return self._sliced(self.operand(part.inputs[0], 4), index_text(length, start))

    def _only_number(self, vector: str) -> str:
        return f"{vector}[0]"

    def _remainder(self, node: Node) -> tuple[Node, Node] | None:
        """a and b of a % b, which is a - b * floor(a / b); None of what is no such difference."""
        if node.op != "sub" or node.inputs[1].op != "mul":
            return None
        a, product = node.inputs
        b, whole = product.inputs
        if whole.op != "floor" or whole.inputs[0].op != "div":
            return None
        own = {product, whole, whole.inputs[0]}
        return (a, b) if whole.inputs[0].inputs == (a, b) and own.isdisjoint(self.labels) else None

    def _modulo(self, a: str, b: str) -> str:
        return f"{a} % {b}"

    def _identity(self, size: str) -> str:
        return f"eye({size!r})"

    def _placed(self, node: Node, place: int, template: str) -> str:
        child = node.inputs[place]
        if child not in self.labels and _is_made_a_vector(node, child):
            child = child.inputs[0]
        if _is_delimited(template, place):
            return self.operand(child)
        written = self.operand(child, self._needed(node, place))
        follows_sign = written.startswith("-") and (place > 0 or node.op == "neg")
        return f"({written})" if follows_sign else written

    def _template(self, node: Node) -> str:
        if node.op == "clamp":
            return "clamp({all})"
        text = OPS[node.op].text
        # numbers for each position have one dimension alone, rows have two
        is_one = len(node.inputs) > 0 and len(node.inputs[0].shape) == 1
        return text.replace(", dim=0", "") if is_one else text

    def _precedence(self, node: Node) -> int:
        if self._is_number_of_vector(node):
            return 4
        if self._remainder(node) is not None:
            return 2
        if node.op == "const":
            return 3 if node.attr("value") < 0 else 4
        return 1 if node.op == "size" else OPS[node.op].precedence

    def _needed(self, node: Node, place: int) -> int:
        own = OPS[node.op].precedence
        if node.op == "pow":  # associates to the right
            return own + 1 - place
        return own + 1 if place > 0 or own == 0 else own

    def _number(self, value: float) -> str:
        if math.isinf(value):
            return f"float('{value}')"
        return str(int(value)) if value.is_integer() and abs(value) < 1e6 else repr(value)

    def _attribute(self, value: Any) -> str:
        return self._number(value) if isinstance(value, float) else str(value)

    def _all(self, node: Node, operands: list[str]) -> list[str]:
        """The arguments of a call: the operands, and what is not left at its default."""
        attrs = dict(node.attrs)
        if node.op == "clamp":
            bounds = {"min": attrs["lo"], "max": attrs["hi"]}
            return operands + [f"{key}={v!r}" for key, v in bounds.items() if math.isfinite(v)]
        if node.op in ("column", "outer_vectors"):
            operands = [*operands, "1"] if node.op == "column" else operands
            return [*operands, str(attrs["blocks"])] if attrs["blocks"] > 1 else operands
        if node.op == "layer_norm":
            only_bias = attrs["bias"] and not attrs["gain"]
            operands = [operands[0], f"bias={operands[1]}"] if only_bias else operands
            return operands if attrs["eps"] == 1e-5 else [*operands, f"eps={attrs['eps']!r}"]
        default = {"leaky_relu": ("slope", 0.01), "elu": ("alpha", 1.0)}.get(node.op)
        if default is None or attrs[default[0]] == default[1]:
            return operands
        return [*operands, repr(attrs[default[0]])]


class LatexWriter(TextWriter):
    """Writes expressions as a paper has them: sums and chains of one product stand bare."""

    def value(self, node: Node) -> str:
        """As text has it; a comparison is an indicator, 1 where it holds and else 0."""
        written = super().value(node)
        return rf"\mathbf{{1}}[{written}]" if node.op in _COMPARISONS else written

    def _placed(self, node: Node, place: int, template: str) -> str:
        child = node.inputs[place]
        is_condition = node.op == "where" and place == 0 and child.op in _COMPARISONS
        if is_condition and child not in self.labels:  # a condition stands bare
            return super().value(child)
        return super()._placed(node, place, template)

    def _identity(self, size: str) -> str:
        return r"\mathbf{I}"

    def _sliced(self, whole: str, bounds: str) -> str:
        bounds = bounds.replace('"', "").replace(" ", "")
        return f"{{{whole}}}_{{[{bounds}]}}"  # the whole may have an index of its own

    def _only_number(self, vector: str) -> str:
        return vector

    def _modulo(self, a: str, b: str) -> str:
        return rf"{a} \bmod {b}"

    def _template(self, node: Node) -> str:
        over_rows = _over_rows(node)
        if over_rows:
            return _LATEX_OVER_ROWS[over_rows]
        if node.op != "mul" or all(child.shape for child in node.inputs):
            return OPS[node.op].latex
        first, second = (child.op == "const" for child in node.inputs)
        if second:  # numbers come first
            return r"{0} \cdot {1}" if first else r"{1}\,{0}"
        return r"{0}\,{1}"

    def _precedence(self, node: Node) -> int:
        # a fraction holds together by itself; what a sum sign reaches over is unclear
        special = {"div": 4, "sum": 0, "column": 2, "outer_vectors": 2, "repeat": 2}
        special |= dict.fromkeys(_COMPARISONS, 4)
        if _over_rows(node) == "sum":
            return 0
        if node.op in special and not self._is_number_of_vector(node):
            return special[node.op]
        return super()._precedence(node)

    def _needed(self, node: Node, place: int) -> int:
        child = node.inputs[place]
        own = OPS[node.op].precedence
        if child.op == "neg" or node.op in ("pow", "sub"):
            return super()._needed(node, place)
        if own == 2 == self._precedence(child):
            return 2 if child.op == node.op else 3
        return min(own, 4) if own in (1, 2) else super()._needed(node, place)

    def _number(self, value: float) -> str:
        value = float(f"{value:.12g}")  # 1 - 0.95 is 0.05 to a reader
        if abs(value) == float("inf"):
            return r"\infty" if value > 0 else r"-\infty"
        mantissa, _, exponent = super()._number(value).partition("e")
        if not exponent:
            return mantissa
        power = f"10^{{{int(exponent)}}}"
        return power if mantissa == "1" else rf"{mantissa} \cdot {power}"


_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")

_LATEX_OVER_ROWS = {
    "sum": r"\textstyle\sum_{{\mathrm{{dim}}\,0}} {0}",
    "max": r"\max_{{\mathrm{{dim}}\,0}}({0})",
    "mean": r"\operatorname{{mean}}_{{\mathrm{{dim}}\,0}}({0})",
}


def _over_rows(node: Node) -> str:
    """What it takes of each column: sum(S, dim=0) and its like; empty of anything else."""
    name = node.op
    if name in ("sum_rows", "max_rows", "mean_rows"):
        return name.removesuffix("_rows")
    if name in ("positions_sum", "positions_max", "positions_mean"):
        return name.removeprefix("positions_") if len(node.inputs[0].shape) == 2 else ""
    return ""


def _is_made_a_vector(reader: Node, node: Node) -> bool:
    """Whether it is a number as a vector of one, as the language makes one for this reader."""
    if node.op != "expand" or node.shape != (Dim.of(1),):
        return False
    return reader.op == "concat" or (reader.op == "matvec" and node.inputs[0].op == "input")


def _is_identity(node: Node) -> bool:
    return node.op == "diag" and any(
        v.op == "expand" and v.inputs[0] is const(1.0) for v in node.inputs
    )


def bounds_text(whole: Shape, axis: int, start: Dim, size: Dim) -> str:
    """What stands in the brackets of a slice: `:3`, `"H/2":`, `-2:`, of columns `:, :3`."""
    first = "" if start.is_zero else index_text(whole[axis], start)
    last = "" if start + size == whole[axis] else index_text(whole[axis], start + size)
    colon = " : " if first.startswith('"') and last else ":"
    own = f"{first}{colon}{last}"
    if axis == 1:
        return f":, {own}"
    return f"{own}, :" if len(whole) == 2 else own


def index_text(whole: Dim, dim: Dim) -> str:
    """A place in brackets: `3`, `-1` where it is that far from the end, `"H/2"`."""
    behind = whole - dim
    if not dim.terms:
        return str(dim)
    return f'"{dim}"' if behind.terms or behind.is_zero else f"-{behind}"


@lru_cache
def _is_delimited(template: str, place: int) -> bool:
    """Whether the operand stands between brackets, braces, bars or commas in the template."""
    if "{all}" in template:
        return True
    return re.search(rf"[(\[{{|,] ?\{{{place}\}} ?[)\]}}|,]", template) is not None
