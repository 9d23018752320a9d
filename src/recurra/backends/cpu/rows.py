"""A group over rows as C++: one pass over the rows of a sequence, and in each over its features.

Rows may be the positions of a memory, of which each call has as many as it likes, or of a size of
the cell. What is between rows and their results, such as the layer that scores the positions, is in
registers and never in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from recurra.backends.cpu.schedule import (
    Place,
    Schedule,
    apart_in_vector,
    divides_by_number,
    resolve,
)
from recurra.backends.cpu.spelling import dim, spelled
from recurra.ir import Node, blocks_of, is_rows
from recurra.ir.dims import Shape

# results of all features, as their accumulator begins, goes on and ends
OVER_FEATURES = {
    "rows_dot": ("vf{}", "{0} + {1}", "lane_sum"),
    "sum": ("vf{}", "{0} + {1}", "lane_sum"),
    "max": ("lowest()", "v_maximum({0}, {1})", "lane_max"),
}
# results of all rows, likewise
_OVER_ROWS = {
    "weighted_sum": ("vf{}", "{0} + {1}"),
    "sum_rows": ("vf{}", "{0} + {1}"),
    "max_rows": ("lowest()", "v_maximum({0}, {1})"),
}


@dataclass(slots=True)
class _Text:
    """The parts of a group's text: before everything, before each row, what vectors are read, what
    each row does at a vector of its features, and after each row."""

    head: list[str] = field(default_factory=list)
    row_head: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    row_end: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    totals: dict[str, tuple[str, str]] = field(default_factory=dict)  # over rows: begin, target

    def named(self, lines: list[str], prefix: str, declaration: str, text: str) -> str:
        """A name for `text`, which is declared once."""
        if text not in self.names:
            self.names[text] = f"{prefix}{len(self.names)}"
            lines.append(f"{declaration} {self.names[text]} = {text};")
        return self.names[text]


class RowGroup:
    """Nodes that have or read rows of one shape, in the order in which they are computed.

    Where there are results of all features of a row, rows are gone through one after the other.
    Else vectors of features are, and in each all rows: then sums of rows are in registers.

    Args:
        row: where what a sequence has at a place begins, in C++.
        apart: how far apart the rows are that it has there.
        number_of: a number that is known when printing, or None.
    """

    def __init__(
        self,
        shape: Shape,
        nodes: list[Node],
        plan: Schedule,
        *,
        row: Callable[[Place], str],
        apart: Callable[[Place], str],
        number_of: Callable[[Node], str | None],
    ) -> None:
        self._count, self._size = (dim(size) for size in shape)
        self._blocks = blocks_of(shape)
        self._shape, self._plan, self._given = shape, plan, set(plan.graph.inputs)
        self._row, self._apart, self._number_of = row, apart, number_of
        self._by_row = any(node.op in OVER_FEATURES for node in nodes)
        self._inside: dict[Node, str] = {}
        self._text = _Text()
        for i, node in enumerate(nodes):
            self._add(node, f"v{i}")

    def lines(self) -> list[str]:
        """The statements that compute the group for sequence r."""
        text = self._text
        begin = [f"vf {name} = {value};" for name, (value, _) in text.totals.items()]
        end = [f"put<TAIL>({to} + j, {name}, n - j);" for name, (_, to) in text.totals.items()]
        rows, each = "for (long s = 0; s < N; ++s) {", [*text.row_head, *text.body]
        if self._blocks > 1:
            first, last = (f"N / {self._blocks} * {b}" for b in ("b", "(b + 1)"))
            rows = f"for (long s = {first}; s < {last}; ++s) {{"
        inner = [*text.loads, *begin, rows, *_indented(each), "}", *end]
        if self._by_row:
            inner = [*text.loads, *text.body]
        features = [
            "auto body = [&](auto tail, long j) __attribute__((always_inline)) {",
            "    constexpr bool TAIL = decltype(tail)::value;",
            *_indented(inner),
            "};",
            "long j = 0;",
            "for (; j + VL <= n; j += VL) body(std::false_type{}, j);",
            "if (j < n) body(std::true_type{}, j);",
        ]
        if self._by_row:
            features = [rows, *_indented([*text.row_head, *features, *text.row_end]), "}"]
        head = f"const long N = {self._count}, n = {self._size};"
        if self._blocks == 1:
            return ["{", *_indented([head, *text.head, *features]), "}"]
        blocks = f"for (long b = 0; b < {self._blocks}; ++b) {{"
        return [
            "{",
            f"    {head}",
            f"    {blocks}",
            *_indented(_indented([*text.head, *features])),
            "    }",
            "}",
        ]

    def _add(self, node: Node, name: str) -> None:
        text = self._text
        if node.op in OVER_FEATURES:
            begin, more, end = OVER_FEATURES[node.op]
            text.row_head.append(f"vf {name} = {begin};")
            kept = f"kept<TAIL>({self._value(node)}, n - j, {begin})"
            text.body.append(f"{name} = {more.format(name, kept)};")
            target = self._row(self._plan.places[node])
            text.row_end.append(f"({target})[s] = {end}({name});")
        elif node.op in _OVER_ROWS:
            begin, more = _OVER_ROWS[node.op]
            target = self._vector(self._plan.places[node])
            if self._by_row:
                text.head.append(f"fill({target}, {begin}, n);")
                self._add_up(target, more, self._value(node))
            else:
                text.totals[name] = (begin, target)
                text.body.append(f"{name} = {more.format(name, self._value(node))};")
        elif node.op == "total_time":
            i = len(self._plan.sums) + self._plan.totals.index(node)
            start = self._pointer(f"c.sums[{i}] + r * N * n")
            target = text.named(text.row_head, "q", "float *const", f"{start} + s * n")
            self._add_up(target, "{0} + {1}", self._value(node))
        else:
            if divides_by_number(node):
                divided, number = map(self._operand, node.inputs)
                reciprocal = self._number(node.inputs[1], "1.0f / ")
                value = f"divided({divided}, {number}, {reciprocal})"
            else:
                value = spelled(node, [self._operand(child) for child in node.inputs])
            text.body.append(f"const vf {name} = {value};")
            self._inside[node] = name
            for place in self._plan.stores.get(node, ()):
                text.body.append(f"put<TAIL>({self._row_pointer(place)} + j, {name}, n - j);")

    def _value(self, node: Node) -> str:
        """What a result takes from a vector of a row's features."""
        operands = [self._operand(child) for child in node.inputs]
        return " * ".join(operands)

    def _add_up(self, target: str, more: str, value: str) -> None:
        sum_now = more.format(f"get<TAIL>({target} + j, n - j)", value)
        self._text.body.append(f"put<TAIL>({target} + j, {sum_now}, n - j);")

    def _vector(self, place: Place) -> str:
        """Where the part of a vector begins that goes with the rows of a block."""
        part = f" + b * {self._size}" if self._blocks > 1 else ""
        return self._pointer(f"{self._row(place)}{part}")

    def _pointer(self, start: str) -> str:
        return self._text.named(self._text.head, "p", "float *const", start)

    def _row_pointer(self, place: Place) -> str:
        """Where the row s begins at a place that has rows."""
        start = f"{self._pointer(self._row(place))} + s * {self._apart(place)}"
        return self._text.named(self._text.row_head, "q", "float *const", start)

    def _number(self, child: Node, of: str = "") -> str:
        """A number or row s's of numbers of rows in all lanes, after what is written before it."""
        base, start = resolve(child, self._given)
        if base.op == "expand" and base not in self._plan.places:
            (base,) = base.inputs
        row, text = self._row(self._plan.places[base].shifted(start)), self._text
        if not child.shape:
            return text.named(text.head, "c", "const vf", f"splat({of}*({row}))")
        return text.named(text.row_head, "c", "const vf", f"splat({of}{self._pointer(row)}[s])")

    def _operand(self, child: Node) -> str:
        """A vector of features of row s, of rows, numbers, a vector or a number."""
        if child in self._inside:
            return self._inside[child]
        apart = apart_in_vector(child, self._given)
        base, start = resolve(child, self._given)
        if base.op == "expand" and base not in self._plan.places:
            (base,) = base.inputs
        number = self._number_of(base)
        if number is not None:
            return f"splat({number})"
        place, text = self._plan.places[base].shifted(start), self._text
        if apart is not None:
            place = replace(place, apart=apart)
        if is_rows(child.shape):
            pointer = self._row_pointer(place)
        elif child.shape in ((), self._shape[:1]):
            return self._number(child)
        else:
            vector = self._vector(place)
            return text.named(text.loads, "m", "const vf", f"get<TAIL>({vector} + j, n - j)")
        return text.named(text.body, "m", "const vf", f"get<TAIL>({pointer} + j, n - j)")


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
