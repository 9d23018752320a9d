"""A fused elementwise group as C++: one pass over the features of a sequence's vectors."""

from collections.abc import Iterable

from recurra.backends.cpu import dialect
from recurra.backends.cpu.addresses import Addresses
from recurra.backends.cpu.schedule import divides_by_number, resolve
from recurra.ir import Dim, Node


class VectorGroup:
    """Nodes of one size, in the order in which they are computed.

    Args:
        size: how many features they have.
        nodes: what is computed.
        addresses: where what they read and write lies.

    Attributes:
        pointers: names for where rows begin, which are found once and not for every vector.
        numbers: names for numbers in all lanes, which are read once.
    """

    def __init__(self, size: Dim, nodes: Iterable[Node], addresses: Addresses) -> None:
        self.pointers: dict[str, str] = {}
        self.numbers: dict[str, str] = {}
        self._size, self._addresses = size, addresses
        self._inside = {node: f"v{i}" for i, node in enumerate(nodes)}
        self._loads: dict[str, str] = {}
        self._begin: list[str] = []
        self._body: list[str] = []
        self._end: list[str] = []
        for node, name in self._inside.items():
            self._add(node, name)

    def lines(self) -> tuple[str, ...]:
        """What is done with the rows, for the features `own` of the n that there are."""
        each = dialect.for_each_vector((*self._loads.values(), *self._body), "own")
        return (*self._begin, *each, *self._end)

    def _add(self, node: Node, name: str) -> None:
        if node.op in dialect.OVER_FEATURES:
            self._reduce(node, name)
            return
        self._body.append(dialect.declared(name, self._value(node)))
        for place in self._addresses.plan.stores.get(node, ()):
            self._body.append(dialect.stored(self._pointer(self._addresses.row(place)), name))

    def _reduce(self, node: Node, name: str) -> None:
        """Sum the values of all features, or find the largest."""
        reduction, value = dialect.OVER_FEATURES[node.op], self._operand(node.inputs[0])
        kept = dialect.kept(value, reduction.begin)
        self._begin.append(dialect.begun(name, reduction.begin))
        self._body.append(f"{name} = {reduction.with_one_more(name, kept)};")
        target = self._pointer(self._addresses.row_of(node))
        self._end.append(f"*{target} = {reduction.end}({name});")

    def _value(self, node: Node) -> str:
        """What is computed for a vector of features."""
        operands = [self._operand(child) for child in node.inputs]
        if self._size == Dim.of(1) or not divides_by_number(node):
            return dialect.spelled(node, operands)
        divisor, _ = self._addresses.part_of(node.inputs[1])
        reciprocal = self._number(f"1.0f / *({self._addresses.row_of(divisor)})")
        return f"divided({', '.join(operands)}, {reciprocal})"

    def _operand(self, child: Node) -> str:
        """The name of a vector of what a node reads."""
        base, start = resolve(child, self._addresses.given)
        if start.is_zero and base in self._inside:
            return self._inside[base]
        known = dialect.number_of(child)
        if known is None and (behind := self._addresses.behind(base)) is not base:
            base, known = behind, dialect.number_of(behind)
        if known is not None:
            return dialect.in_all_lanes(known)
        row = self._addresses.row_of(base)
        if not base.shape and self._size != Dim.of(1):
            return self._number(f"*({row})")
        return self._load(row if start.is_zero else f"{row} + {dialect.dim(start)}")

    def _pointer(self, row: str) -> str:
        return self.pointers.setdefault(row, f"p{len(self.pointers)}")

    def _load(self, row: str) -> str:
        """A name for the vector at j of a row."""
        pointer = self._pointer(row)
        name = f"m{pointer[1:]}"
        self._loads.setdefault(pointer, dialect.declared(name, dialect.loaded(pointer)))
        return name

    def _number(self, text: str) -> str:
        return self.numbers.setdefault(dialect.in_all_lanes(text), f"s{len(self.numbers)}")
