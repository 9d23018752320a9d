"""schedule: the order of work inside one step of a loop, for a target with vectors and threads.

A step is a list of phases. A phase runs its products, then for each sequence its elementwise
groups (all nodes of one size, fused in one pass over the features), what completes its
concatenations, its reductions, and copies to the outputs.
A value lives in registers unless something outside its group reads it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from recurra.ir import OPS, Dim, Graph, Group, Node


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row of a value lies: in a buffer ("scratch", "record", "next", "input", "previous")
    of some index, from an offset on."""

    kind: str
    index: int
    offset: Dim = field(default_factory=Dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """matrix @ operand into a scratch buffer."""

    node: Node
    matrix: int
    operand: Node


@dataclass(slots=True, kw_only=True)
class Phase:
    """What can run without waiting for anything but the phases before."""

    products: list[Product] = field(default_factory=list)
    groups: dict[Dim, list[Node]] = field(default_factory=dict)
    gathers: list[tuple[Node, Place]] = field(default_factory=list)
    reductions: list[Node] = field(default_factory=list)
    copies: list[tuple[Node, Place]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A loop body in phases.

    Attributes:
        inputs: vectors and scalars that are read, not carried.
        matrices: matrices of the products, inputs of the graph or transposes of them.
        places: where each value that is in memory lies; a value may be stored to several places.
        scratch: the size of each scratch buffer's rows.
    """

    graph: Graph
    carried: tuple[Node, ...]
    inputs: tuple[Node, ...]
    matrices: tuple[Node, ...]
    phases: tuple[Phase, ...]
    places: dict[Node, Place]
    stores: dict[Node, tuple[Place, ...]]
    scratch: tuple[Dim, ...]


def schedule(graph: Graph, carried: Sequence[Node], num_next: int) -> Schedule:
    """Schedule a loop body.

    Args:
        graph: the body; its first `num_next` outputs become `carried` in the next step, the others
            are recorded.
        carried: inputs of the graph that come from the step before.
    """
    return _Scheduler(graph, tuple(carried), num_next).result()


def resolve(node: Node, given: Collection[Node]) -> tuple[Node, Dim]:
    """The node that holds the value of `node`, and from where: slices are views, unless given."""
    start = Dim()
    while node.op == "slice" and node not in given:
        start = start + node.attr("start")
        (node,) = node.inputs
    return node, start


# views, numbers, and transposes, which are a way to read a matrix
_NOTHING_TO_DO = ("slice", "const", "size", "transpose")


class _Scheduler:
    def __init__(self, graph: Graph, carried: tuple[Node, ...], num_next: int) -> None:
        self.graph, self.carried = graph, carried
        self.nodes = [node for node in graph.nodes() if node.op not in _NOTHING_TO_DO]
        self.given = set(graph.inputs)
        self.phase: dict[Node, int] = {}
        self.scratch: list[Dim] = []
        self.places: dict[Node, Place] = {}
        self.stores: dict[Node, list[Place]] = {}
        self.matrices: list[Node] = []
        self.inputs = tuple(n for n in graph.inputs if n not in carried and len(n.shape) < 2)
        for i, node in enumerate(carried):
            self.places[node] = Place("previous", i)
        for i, node in enumerate(self.inputs):
            self.places[node] = Place("input", i)
        self.targets = [
            (node, Place("next", i) if i < num_next else Place("record", i - num_next))
            for i, node in enumerate(graph.output_nodes)
        ]

    def result(self) -> Schedule:
        for node in self.nodes:
            self.phase[node] = self._phase(node)
        self._place_outputs()
        self._place_operands()
        phases = [Phase() for _ in range(max(self.phase.values(), default=-1) + 1)] or [Phase()]
        for node in self.nodes:
            self._put(node, phases[self.phase[node]])
        self._put_copies(phases)
        return Schedule(
            graph=self.graph,
            carried=self.carried,
            inputs=self.inputs,
            matrices=tuple(self.matrices),
            phases=tuple(phases),
            places=self.places,
            stores={node: tuple(places) for node, places in self.stores.items()},
            scratch=tuple(self.scratch),
        )

    # ---- when

    def _phase(self, node: Node) -> int:
        if node.op == "matvec":
            return self._after(node.inputs[1], 1)
        if node.op in ("concat", "pad"):
            return max(self._after(child, 0) for child in node.inputs)
        if OPS[node.op].group is Group.REDUCTION:
            return max(self._after(node.inputs[0], 0), 0)
        return max((self._reading_phase(node, child) for child in node.inputs), default=0)

    def _after(self, child: Node, gap: int) -> int:
        """The phase from which `child` is complete in memory, plus `gap`."""
        base, _ = resolve(child, self.given)
        if base in self.phase:
            return self.phase[base] + gap
        return 0

    def _reading_phase(self, node: Node, child: Node) -> int:
        base, start = resolve(child, self.given)
        if base not in self.phase:
            return 0
        in_register = self._is_elementwise(base) and start.is_zero and base.shape == node.shape
        ready = in_register or base.op == "matvec"
        return self.phase[base] + (0 if ready else 1)

    def _is_elementwise(self, node: Node) -> bool:
        group = OPS[node.op].group
        return group is Group.ELEMENTWISE or node.op == "expand"

    # ---- where

    def _new_scratch(self, node: Node) -> Place:
        self.scratch.append(_width(node))
        return Place("scratch", len(self.scratch) - 1)

    def _store(self, node: Node, place: Place) -> None:
        self.stores.setdefault(node, []).append(place)
        self.places.setdefault(node, place)

    def _place_outputs(self) -> None:
        """Outputs that a group computes are stored where they are wanted."""
        for node, place in self.targets:
            base, start = resolve(node, self.given)
            whole = start.is_zero and base.shape == node.shape
            if base in self.phase and self._is_elementwise(base) and whole:
                self._store(base, place)

    def _place_operands(self) -> None:
        """Give scratch memory to what is read from outside its group."""
        for node in self.nodes:
            if node.op == "matvec" or OPS[node.op].group is Group.REDUCTION:
                self.places[node] = self._new_scratch(node)
        for node in reversed(self.nodes):  # a concatenation before its parts
            if node.op in ("concat", "pad"):
                self._place_concat(node)
        for node in self.nodes:
            for child in node.inputs:
                base, start = resolve(child, self.given)
                if base not in self.phase or base in self.places:
                    continue
                same = start.is_zero and base.shape == node.shape
                together = self._is_elementwise(node) and self.phase[base] == self.phase[node]
                if not (same and together):
                    self._store(base, self._new_scratch(base))
        for node, _ in self.targets:
            base, _ = resolve(node, self.given)
            if base in self.phase and base not in self.places:
                self._store(base, self._new_scratch(base))

    def _place_concat(self, node: Node) -> None:
        whole = self.places.get(node)
        if whole is None:
            record = next((p for n, p in self.targets if n is node and p.kind == "record"), None)
            whole = record or self._new_scratch(node)
            self.places[node] = whole
        at = whole.offset if node.op == "concat" else whole.offset + node.attr("before")
        for part in node.inputs:
            size = part.shape[0]
            if part in self.phase and self._is_elementwise(part):
                self._store(part, Place(whole.kind, whole.index, at))
            at = at + size

    # ---- what

    def _put(self, node: Node, phase: Phase) -> None:
        if node.op == "matvec":
            matrix = node.inputs[0]
            if matrix not in self.matrices:
                self.matrices.append(matrix)
            operand = node.inputs[1]
            phase.products.append(
                Product(node=node, matrix=self.matrices.index(matrix), operand=operand)
            )
        elif OPS[node.op].group is Group.REDUCTION:
            phase.reductions.append(node)
        elif node.op not in ("concat", "pad"):
            phase.groups.setdefault(_width(node), []).append(node)

    def _put_copies(self, phases: list[Phase]) -> None:
        """What lies elsewhere than it is wanted: inputs and products in a concatenation, outputs
        that no group stored."""
        for node in self.nodes:
            if node.op not in ("concat", "pad"):
                continue
            whole, at = self.places[node], self.places[node].offset
            phase = phases[self.phase[node]]
            zeros = [(Dim(), node.attr("before"))] if node.op == "pad" else []
            if node.op == "pad":
                at = at + node.attr("before")
                after = node.inputs[0].shape[0] + node.attr("before")
                zeros.append((after, node.attr("after")))
            for start, size in zeros:
                blank = _Zeros.of(size)
                if not size.is_zero:
                    phase.gathers.append(
                        (blank, Place(whole.kind, whole.index, whole.offset + start))
                    )
            for part in node.inputs:
                if not (part in self.phase and self._is_elementwise(part)):
                    phase.gathers.append((part, Place(whole.kind, whole.index, at)))
                at = at + part.shape[0]
        for node, place in self.targets:
            base, start = resolve(node, self.given)
            stored = place in self.stores.get(base, []) and start.is_zero
            if not stored and self.places.get(node) != place:
                phases[-1].copies.append((node, place))


class _Zeros:
    @staticmethod
    def of(size: Dim) -> Node:
        from recurra.ir import apply

        return apply("expand", 0.0, shape=(size,))


def _width(node: Node) -> Dim:
    return node.shape[0] if node.shape else Dim.of(1)
