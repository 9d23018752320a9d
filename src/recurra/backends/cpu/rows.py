"""A group over rows as C++: one pass over the rows of a sequence, and in each over its features.

Rows may be the positions of a memory, of which each call has as many as it likes, or of a size of
the cell. What is between rows and their results, such as the layer that scores the positions, is in
registers and never in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from recurra.backends.cpu import dialect
from recurra.backends.cpu.addresses import Addresses
from recurra.backends.cpu.dialect import dim, indented
from recurra.backends.cpu.schedule import Place, apart_in_vector, divides_by_number, resolve
from recurra.ir import Node, blocks_of, is_rows
from recurra.ir.dims import Shape


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

    def named(
        self, lines: list[str], prefix: str, declared: Callable[[str, str], str], text: str
    ) -> str:
        """A name for `text`, which is declared once."""
        if text not in self.names:
            self.names[text] = f"{prefix}{len(self.names)}"
            lines.append(declared(self.names[text], text))
        return self.names[text]


class RowGroup:
    """Nodes that have or read rows of one shape, in the order in which they are computed.

    Where there are results of all features of a row, rows are gone through one after the other.
    Else vectors of features are, and in each all rows: then sums of rows are in registers.

    Args:
        shape: of the rows: how many, and how many features each has.
        nodes: what is computed.
        addresses: where what they read and write lies.
    """

    def __init__(self, shape: Shape, nodes: list[Node], addresses: Addresses) -> None:
        self._count, self._size = (dim(size) for size in shape)
        self._blocks = blocks_of(shape)
        self._shape, self._addresses, self._plan = shape, addresses, addresses.plan
        self._by_row = any(node.op in dialect.OVER_FEATURES for node in nodes)
        self._inside: dict[Node, str] = {}
        self._text = _Text()
        for i, node in enumerate(nodes):
            self._add(node, f"v{i}")

    def lines(self) -> list[str]:
        """The statements that compute the group for sequence r."""
        text = self._text
        begin = [dialect.begun(name, value) for name, (value, _) in text.totals.items()]
        end = [dialect.stored(target, name) for name, (_, target) in text.totals.items()]
        rows, each = "for (long s = 0; s < N; ++s) {", [*text.row_head, *text.body]
        if self._blocks > 1:
            first, last = (f"N / {self._blocks} * {b}" for b in ("b", "(b + 1)"))
            rows = f"for (long s = {first}; s < {last}; ++s) {{"
        inner = [*text.loads, *begin, rows, *indented(each), "}", *end]
        if self._by_row:
            inner = [*text.loads, *text.body]
        features = dialect.for_each_vector(inner)
        if self._by_row:
            features = [rows, *indented([*text.row_head, *features, *text.row_end]), "}"]
        head = f"const long N = {self._count}, n = {self._size};"
        if self._blocks == 1:
            return ["{", *indented([head, *text.head, *features]), "}"]
        blocks = f"for (long b = 0; b < {self._blocks}; ++b) {{"
        return [
            "{",
            f"    {head}",
            f"    {blocks}",
            *indented(indented([*text.head, *features])),
            "    }",
            "}",
        ]

    def _add(self, node: Node, name: str) -> None:
        text = self._text
        if node.op in dialect.OVER_FEATURES:
            reduction = dialect.OVER_FEATURES[node.op]
            text.row_head.append(dialect.begun(name, reduction.begin))
            kept = dialect.kept(self._value(node), reduction.begin)
            text.body.append(f"{name} = {reduction.with_one_more(name, kept)};")
            target = self._addresses.row_of(node)
            text.row_end.append(f"({target})[s] = {reduction.end}({name});")
        elif node.op == "total_time":
            i = len(self._plan.sums) + self._plan.totals.index(node)
            start = self._pointer(f"c.sums[{i}] + r * N * n")
            self._add_up(node, text.named(text.row_head, "q", dialect.pointer, f"{start} + s * n"))
        elif node.op in dialect.OVER_ROWS:
            reduction, target = dialect.OVER_ROWS[node.op], self._vector(self._plan.places[node])
            if self._by_row:
                text.head.append(f"fill({target}, {reduction.begin}, n);")
                self._add_up(node, target)
            else:
                text.totals[name] = (reduction.begin, target)
                text.body.append(f"{name} = {reduction.with_one_more(name, self._value(node))};")
        else:
            text.body.append(dialect.declared(name, self._elementwise(node)))
            self._inside[node] = name
            for place in self._plan.stores.get(node, ()):
                text.body.append(dialect.stored(self._row_pointer(place), name))

    def _elementwise(self, node: Node) -> str:
        operands = [self._operand(child) for child in node.inputs]
        if not divides_by_number(node):
            return dialect.spelled(node, operands)
        reciprocal = self._number(node.inputs[1], "1.0f / ")
        return f"divided({', '.join(operands)}, {reciprocal})"

    def _value(self, node: Node) -> str:
        """What a result takes from a vector of a row's features."""
        operands = [self._operand(child) for child in node.inputs]
        return " * ".join(operands)

    def _add_up(self, node: Node, target: str) -> None:
        """What there is in memory already, with a row more."""
        reduction = dialect.OVER_ROWS[node.op]
        sum_now = reduction.with_one_more(dialect.loaded(target), self._value(node))
        self._text.body.append(dialect.stored(target, sum_now))

    def _vector(self, place: Place) -> str:
        """Where the part of a vector begins that goes with the rows of a block."""
        part = f" + b * {self._size}" if self._blocks > 1 else ""
        return self._pointer(f"{self._addresses.row(place)}{part}")

    def _pointer(self, start: str) -> str:
        return self._text.named(self._text.head, "p", dialect.pointer, start)

    def _row_pointer(self, place: Place) -> str:
        """Where the row s begins at a place that has rows."""
        first, apart = self._pointer(self._addresses.row(place)), self._addresses.apart(place)
        start = f"{first} + s * {apart}"
        return self._text.named(self._text.row_head, "q", dialect.pointer, start)

    def _number(self, child: Node, of: str = "") -> str:
        """A number or row s's of numbers of rows in all lanes, after what is written before it."""
        base, start = resolve(child, self._addresses.given)
        place = self._plan.places[self._addresses.behind(base)].shifted(start)
        row, text = self._addresses.row(place), self._text
        lines, number = text.head, f"*({row})"
        if child.shape:
            lines, number = text.row_head, f"{self._pointer(row)}[s]"
        return text.named(lines, "c", dialect.declared, dialect.in_all_lanes(f"{of}{number}"))

    def _operand(self, child: Node) -> str:
        """A vector of features of row s, of rows, numbers, a vector or a number."""
        if child in self._inside:
            return self._inside[child]
        apart = apart_in_vector(child, self._addresses.given)
        base, start = resolve(child, self._addresses.given)
        base = self._addresses.behind(base)
        number = dialect.number_of(base)
        if number is not None:
            return dialect.in_all_lanes(number)
        place, text = self._plan.places[base].shifted(start), self._text
        if apart is not None:
            place = replace(place, apart=apart)
        if is_rows(child.shape):
            loaded = dialect.loaded(self._row_pointer(place))
            return text.named(text.body, "m", dialect.declared, loaded)
        if child.shape in ((), self._shape[:1]):
            return self._number(child)
        return text.named(text.loads, "m", dialect.declared, dialect.loaded(self._vector(place)))
