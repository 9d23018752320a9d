"""schedule: the order of work inside one step of a loop, for a target with vectors and threads.

A step is a list of phases. A phase runs its products, then for each sequence its elementwise
groups (all nodes of one size, fused in one pass over the features, with sums and maxima of what
they have there), its groups over rows, what completes its concatenations, its other reductions,
and copies to the outputs.
A value lives in registers unless something outside its group reads it.

Rows are a value of two sizes, [N, K]: a vector for each of N rows of a sequence, such as the
positions of its memory. A group over rows is all that has or reads rows of one shape, fused in one
pass over them, row by row; what leaves them (a number for each row, a sum of them) is complete
after it.

Steps run in chunks. Before the steps of a chunk come products for all of them at once, after them
products and sums over all of them (of what a chunk computes, only what somebody wants leaves it).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from recurra.ir import OPS, VIEWS, Dim, Graph, Group, Node, apply, is_matrix, is_rows
from recurra.ir.dims import Shape


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row of a value lies, from an offset on: in an "array" (one value at every step), in
    "scratch", or in what is carried from the "previous" step to the "next".

    Attributes:
        count: how many rows each sequence has there, one after the other, of a value that has rows;
            `offset` is then in each of them.
        apart: how far apart rows lie in a vector that they are parts of.
    """

    kind: str
    index: int
    offset: Dim = field(default_factory=Dim)
    count: Dim | None = None
    apart: Dim | None = None

    def shifted(self, by: Dim) -> "Place":
        """The place from `by` on."""
        return replace(self, offset=self.offset + by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """matrix @ operand, or @ each row of it, into a scratch buffer."""

    node: Node
    matrix: int
    operand: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """What is computed for all steps of a chunk at once, from values that are in memory.

    With a matrix: matrix @ operand + bias, into an array. Else a sum over all steps and sequences,
    and over the rows that they have, of operand right^T or, without `right`, of the operand.
    """

    node: Node
    operand: Node
    matrix: Node | None = None
    bias: Node | None = None
    right: Node | None = None

    @property
    def is_sum(self) -> bool:
        """Whether the result has no time, but is a sum over it."""
        return self.matrix is None


@dataclass(slots=True, kw_only=True)
class Phase:
    """What can run without waiting for anything but the phases before."""

    products: list[Product] = field(default_factory=list)
    groups: dict[Dim, list[Node]] = field(default_factory=dict)
    rows: dict[Shape, list[Node]] = field(default_factory=dict)
    gathers: list[tuple[Node, Place]] = field(default_factory=list)
    reductions: list[Node] = field(default_factory=list)
    copies: list[tuple[Node, Place]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A loop body in phases.

    Attributes:
        inputs: vectors and scalars that are read, not carried.
        arrays: what has a value at every step: the inputs, then what is computed before the steps
            of a chunk, what they record, and what is computed after them.
        matrices: matrices of the products, inputs of the graph or transposes of them.
        biases: vectors that products before the steps add.
        sums: what `after` adds up.
        records: what a step records, among the arrays.
        totals: sums over time of rows, which each step adds to.
        places: where each value that is in memory lies; a value may be stored to several places.
        scratch: of each scratch buffer how many rows a sequence has, and their size.
        passing: the scratch buffers that a sequence needs from products to the next products only,
            so that the next sequence can have the same memory.
        unit: the one size of all elementwise work, where every product is made of parts of that
            size that are read as such: then features can be shared out, each with all that
            is computed of it. None where they cannot.
    """

    graph: Graph
    carried: tuple[Node, ...]
    inputs: tuple[Node, ...]
    arrays: tuple[Node, ...]
    matrices: tuple[Node, ...]
    biases: tuple[Node, ...]
    before: tuple[Bulk, ...]
    phases: tuple[Phase, ...]
    after: tuple[Bulk, ...]
    records: tuple[Node, ...]
    totals: tuple[Node, ...]
    places: dict[Node, Place]
    stores: dict[Node, tuple[Place, ...]]
    scratch: tuple[tuple[Dim, Dim], ...]
    passing: frozenset[int]
    unit: Dim | None

    @property
    def stretches(self) -> tuple[tuple[Phase, ...], ...]:
        """The phases, with those that a sequence goes through one after the other: until the next
        products, unless features are shared out, of which the next phase may read others' ones."""
        return tuple(map(tuple, _stretches(self.phases, self.unit)))

    @property
    def sums(self) -> tuple[Node, ...]:
        """What is added up over all steps, in the order of `after`."""
        return tuple(bulk.node for bulk in self.after if bulk.is_sum)


def schedule(
    graph: Graph,
    carried: Sequence[Node],
    num_next: int,
    *,
    before: Sequence[Bulk] = (),
    after: Sequence[Bulk] = (),
) -> Schedule:
    """Schedule a loop body.

    Args:
        graph: the body; its first `num_next` outputs become `carried` in the next step, the others
            are recorded.
        carried: inputs of the graph that come from the step before.
        before: how to compute inputs of the graph for all steps of a chunk.
        after: what to compute from records and inputs of all steps of a chunk.
    """
    return _Scheduler(graph, tuple(carried), num_next, tuple(before), tuple(after)).result()


def bulk(node: Node, given: Collection[Node]) -> Bulk | None:
    """`node` as what a loop can compute for all steps at once from `given` values; None if not."""
    if node.op == "add" and node not in given:
        for product, bias in (node.inputs, node.inputs[::-1]):
            given_bias = bias in given and bias.shape == product.shape
            if product.op == "matvec" and product not in given and given_bias:
                found = bulk(product, given)
                return None if found is None else replace(found, node=node, bias=bias)
    if node.op == "matvec" and node not in given:
        matrix, operand = node.inputs
        base = matrix.inputs[0] if matrix.op == "transpose" and matrix not in given else matrix
        known = base in given and resolve(operand, given)[0] in given
        return Bulk(node=node, matrix=matrix, operand=operand) if known else None
    if node.op in ("outer", "total") and all(_is_summable(child, given) for child in node.inputs):
        operand, *right = node.inputs
        return Bulk(node=node, operand=operand, right=right[0] if right else None)
    return None


def _is_summable(node: Node, given: Collection[Node]) -> bool:
    is_vector = len(node.shape) == 1 or is_rows(node.shape)
    return is_vector and resolve(node, given)[0] in given


def resolve(node: Node, given: Collection[Node]) -> tuple[Node, Dim]:
    """The node that holds the value of `node`, and from where: views, unless given, hold none."""
    start = Dim()
    while node.op in VIEWS and node not in given:
        start = start + node.attr("start") if node.op == "slice" else start
        (node,) = node.inputs
    return node, start


def apart_in_vector(node: Node, given: Collection[Node]) -> Dim | None:
    """How far apart rows lie that are parts of a vector; None of other values."""
    while node.op in VIEWS and node not in given:
        if node.op == "rows":
            return node.shape[1]
        (node,) = node.inputs
    return None


def divides_by_number(node: Node) -> bool:
    """Whether it divides many features by one number, as a normalisation does: with the number's
    reciprocal, found once, a quotient takes a fifth of the time."""
    if node.op != "div" or not node.shape:
        return False
    divisor = node.inputs[1]
    return divisor.op not in ("const", "size") and divisor.shape in ((), node.shape[:-1])


# views, numbers, and transposes, which are a way to read a matrix
_NOTHING_TO_DO = (*VIEWS, "const", "size", "transpose")
_PRODUCTS = ("matvec", "rows_product")
_PUT_TOGETHER = ("concat", "pad", "windows", "flatten")


def rows_shape(node: Node) -> Shape | None:
    """The shape of the rows that a group over rows computes or reads for `node`; None without."""
    if OPS[node.op].group is Group.ELEMENTWISE or node.op == "expand":
        return node.shape if is_rows(node.shape) else None
    if node.op in ("rows_dot", "weighted_sum", "sum_rows", "max_rows", "sum", "max", "total_time"):
        return next((child.shape for child in node.inputs if is_rows(child.shape)), None)
    return None


def _is_reduction(node: Node) -> bool:
    """Whether it reads a vector whole and gives fewer numbers, outside of groups over rows."""
    return node.op == "overlaps" or (
        OPS[node.op].group is Group.REDUCTION and rows_shape(node) is None
    )


class _Scheduler:
    def __init__(
        self,
        graph: Graph,
        carried: tuple[Node, ...],
        num_next: int,
        before: tuple[Bulk, ...],
        after: tuple[Bulk, ...],
    ) -> None:
        self.graph, self.carried = graph, carried
        self.nodes = [node for node in graph.nodes() if node.op not in _NOTHING_TO_DO]
        self.given = set(graph.inputs)
        self.phase: dict[Node, int] = {}
        self.scratch: list[tuple[Dim, Dim]] = []
        self.places: dict[Node, Place] = {}
        self.stores: dict[Node, list[Place]] = {}
        self.matrices: list[Node] = []
        self.before, self.after = before, after
        made = tuple(item.node for item in before)
        steps = {*graph.nodes(), *made}
        read = [item.operand for item in (*before, *after)]
        read += [item.right for item in after if item.right is not None]
        given = {*graph.inputs, *(node for node in steps if node.op not in VIEWS)}
        bases = (resolve(node, given)[0] for node in read)
        inputs = (node for node in (*graph.inputs, *bases) if not is_matrix(node.shape))
        self.inputs = tuple(n for n in dict.fromkeys(inputs) if n not in steps and n not in carried)
        extra = graph.output_nodes[num_next:]
        self.records = tuple(node for node in extra if node.op != "total_time")
        self.totals = tuple(node for node in extra if node.op == "total_time")
        products = (item.node for item in after if not item.is_sum)
        self.arrays = (*self.inputs, *made, *self.records, *products)
        for item in (*before, *after):
            if item.matrix is not None:
                self._matrix(item.matrix)
        for i, node in enumerate(carried):
            self.places[node] = _placed("previous", i, node)
        for i, node in enumerate((*self.inputs, *made)):
            self.places[node] = _placed("array", i, node)
        nexts = enumerate(graph.output_nodes[:num_next])
        records = enumerate(self.records, start=len(self.inputs) + len(made))
        self.targets = [
            *((node, _placed("next", i, node)) for i, node in nexts),
            *((node, _placed("array", i, node)) for i, node in records),
        ]

    def result(self) -> Schedule:
        for node in self.nodes:
            self.phase[node] = self._phase(node)
        self._put_off()
        self._place_outputs()
        self._place_operands()
        phases = [Phase() for _ in range(max(self.phase.values(), default=-1) + 1)] or [Phase()]
        for node in self.nodes:
            self._put(node, phases[self.phase[node]])
        self._put_copies(phases)
        unit = self._unit(phases)
        return Schedule(
            graph=self.graph,
            carried=self.carried,
            inputs=self.inputs,
            arrays=self.arrays,
            biases=tuple(dict.fromkeys(b.bias for b in self.before if b.bias is not None)),
            before=self.before,
            after=self.after,
            matrices=tuple(self.matrices),
            phases=tuple(phases),
            records=self.records,
            totals=self.totals,
            places=self.places,
            stores={node: tuple(places) for node, places in self.stores.items()},
            scratch=tuple(self.scratch),
            passing=self._passing(_stretches(phases, unit)) if unit is None else frozenset(),
            unit=unit,
        )

    def _unit(self, phases: Sequence[Phase]) -> Dim | None:
        sizes = {size for phase in phases for size in phase.groups}
        whole_rows = any(p.rows or p.reductions or p.gathers or p.copies for p in phases)
        whole_rows |= any(map(_is_reduction, self.nodes))
        if len(sizes) != 1 or whole_rows:
            return None
        (unit,) = sizes
        products = {product.node for phase in phases for product in phase.products}
        if not all(_is_multiple(node.shape[0], unit) for node in products):
            return None
        for node in self.nodes:
            for child in node.inputs:
                base, start = resolve(child, self.given)
                if base in products and node.op != "matvec" and not _is_multiple(start, unit):
                    return None
        return unit

    # ---- when

    def _phase(self, node: Node) -> int:
        if node.op in _PRODUCTS:
            return self._after(node.inputs[1], 1)
        if node.op in _PUT_TOGETHER:
            return max(self._after(child, _is_reduction(child)) for child in node.inputs)
        if _is_reduction(node):
            return self._after(node.inputs[0], 0)
        return max((self._reading_phase(node, child) for child in node.inputs), default=0)

    def _put_off(self) -> None:
        """Rows are computed in the group that reads them first, and so need not be in memory; so is
        what takes no longer than to read it."""
        last: dict[Node, int] = {}
        for node in reversed(self.nodes):
            rows = self._is_elementwise(node) and rows_shape(node) is not None
            if rows or self._takes_one_load(node):
                self.phase[node] = max(self.phase[node], last.get(node, 0))
            for child in node.inputs:
                base, _ = resolve(child, self.given)
                together = self._is_in_group(node) and self._is_alike(node, child)
                together |= node.op in _PUT_TOGETHER or _is_reduction(node)
                latest = self.phase[node] - (not together)
                last[base] = min(latest, last.get(base, latest))

    def _takes_one_load(self, node: Node) -> bool:
        """Whether it is arithmetic on one vector, which is in memory."""
        vectors = {child for child in node.inputs if child.shape}
        bases = [resolve(vector, self.given)[0] for vector in vectors]
        there = all(base not in self.phase or base.op == "matvec" for base in bases)
        return node.op in ("add", "sub", "mul", "neg") and len(vectors) == 1 and there

    def _after(self, child: Node, gap: int) -> int:
        """The phase from which `child` is complete in memory, plus `gap`."""
        base, _ = resolve(child, self.given)
        if base in self.phase:
            return self.phase[base] + gap
        return 0

    def _reading_phase(self, node: Node, child: Node) -> int:
        base, _ = resolve(child, self.given)
        if base not in self.phase:
            return 0
        ready = self._is_alike(node, child) or base.op in _PRODUCTS
        if rows_shape(node) is not None:  # groups over rows come after the others
            ready |= self._is_elementwise(base) and rows_shape(base) is None
        return self.phase[base] + (0 if ready else 1)

    def _is_alike(self, node: Node, child: Node) -> bool:
        """Whether `node` can read `child` in a register, if both are in one group."""
        base, start = resolve(child, self.given)
        whole = node.inputs[0].shape if _is_reduction(node) else node.shape
        wanted = whole if rows_shape(node) is None else rows_shape(node)
        return self._is_elementwise(base) and start.is_zero and _is_same(base.shape, wanted)

    def _is_elementwise(self, node: Node) -> bool:
        group = OPS[node.op].group
        return group is Group.ELEMENTWISE or node.op == "expand"

    def _is_in_group(self, node: Node) -> bool:
        grouped = self._is_elementwise(node) or rows_shape(node) is not None
        return grouped or self._is_reduced_in_group(node)

    def _is_reduced_in_group(self, node: Node) -> bool:
        """Whether it is a sum or maximum that a group has found when it is through the features: of
        what the group computes, or what was there before."""
        if node.op not in ("sum", "max") or not _is_reduction(node):
            return False
        base, _ = resolve(node.inputs[0], self.given)
        before = base not in self.phase or base.op == "matvec"
        return self._is_alike(node, node.inputs[0]) or (before and len(base.shape) == 1)

    # ---- where

    def _new_scratch(self, node: Node) -> Place:
        count = node.shape[0] if is_rows(node.shape) else Dim.of(1)
        self.scratch.append((count, _width(node)))
        return _placed("scratch", len(self.scratch) - 1, node)

    def _store(self, node: Node, place: Place) -> None:
        self.stores.setdefault(node, []).append(place)
        self.places.setdefault(node, place)

    def _place_outputs(self) -> None:
        """Outputs that a group computes are stored where they are wanted."""
        for node, place in self.targets:
            base, start = resolve(node, self.given)
            whole = start.is_zero and _is_same(base.shape, node.shape)
            if base in self.phase and self._is_elementwise(base) and whole:
                self._store(base, place)

    def _place_operands(self) -> None:
        """Give scratch memory to what is read from outside its group."""
        following = {node: place for node, place in reversed(self.targets) if place.kind == "next"}
        for node in self.nodes:
            if node.op in _PRODUCTS:
                self.places[node] = following.get(node) or self._new_scratch(node)
            elif node.op not in (*_PUT_TOGETHER, "total_time") and not self._is_elementwise(node):
                self.places[node] = self._new_scratch(node)
        for node in reversed(self.nodes):  # a concatenation before its parts
            if node.op in _PUT_TOGETHER:
                self._place_concat(node)
        for node in self.nodes:
            for child in node.inputs:
                base, _ = resolve(child, self.given)
                if base not in self.phase or base in self.places:
                    continue
                together = self._is_in_group(node) and self.phase[base] == self.phase[node]
                if not (together and self._is_alike(node, child)):
                    self._store(base, self._new_scratch(base))
        for node, _ in self.targets:
            base, _ = resolve(node, self.given)
            if base in self.phase and base not in self.places:
                self._store(base, self._new_scratch(base))

    def _passing(self, stretches: Sequence[Sequence[Phase]]) -> frozenset[int]:
        stretch_of = [i for i, phases in enumerate(stretches) for _ in phases]
        touched: dict[int, set[int]] = {}

        def touch(node: Node, stretch: int) -> None:
            base, _ = resolve(node, self.given)
            places = (self.places.get(base), *self.stores.get(base, ()))
            for place in places:
                if place is not None and place.kind == "scratch":
                    touched.setdefault(place.index, set()).add(stretch)

        for node in self.nodes:
            stretch = -1 if node.op in _PRODUCTS else stretch_of[self.phase[node]]
            for each in (node, *node.inputs):
                touch(each, stretch)
        for node, _ in self.targets:
            touch(node, stretch_of[-1])
        return frozenset(
            index for index, found in touched.items() if len(found) == 1 and -1 not in found
        )

    def _place_concat(self, node: Node) -> None:
        whole = self.places.get(node)
        if whole is None:
            record = next((p for n, p in self.targets if n is node and p.kind == "array"), None)
            whole = record or self._new_scratch(node)
            self.places[node] = whole
        if node.op == "windows":
            return
        if node.op == "flatten":
            (part,) = node.inputs
            if part in self.phase and self._is_elementwise(part):
                self._store(part, replace(whole, apart=part.shape[1]))
            return
        at = Dim() if node.op == "concat" else node.attr("before")
        for part in node.inputs:
            if part in self.phase and self._is_elementwise(part):
                self._store(part, whole.shifted(at))
            at = at + _width(part)

    # ---- what

    def _matrix(self, matrix: Node) -> int:
        if matrix not in self.matrices:
            self.matrices.append(matrix)
        return self.matrices.index(matrix)

    def _put(self, node: Node, phase: Phase) -> None:
        shape = rows_shape(node)
        if node.op in _PRODUCTS:
            matrix, operand = node.inputs
            index = self._matrix(matrix)
            phase.products.append(Product(node=node, matrix=index, operand=operand))
        elif shape is not None:
            phase.rows.setdefault(shape, []).append(node)
        elif self._is_reduced_in_group(node):
            phase.groups.setdefault(_width(node.inputs[0]), []).append(node)
        elif _is_reduction(node):
            phase.reductions.append(node)
        elif node.op not in _PUT_TOGETHER:
            phase.groups.setdefault(_width(node), []).append(node)

    def _put_copies(self, phases: list[Phase]) -> None:
        """What lies elsewhere than it is wanted: inputs and products in a concatenation, outputs
        that no group stored."""
        for node in self.nodes:
            if node.op not in _PUT_TOGETHER:
                continue
            whole, at = self.places[node], Dim()
            phase = phases[self.phase[node]]
            if node.op == "flatten":
                (part,) = node.inputs
                if not (part in self.phase and self._is_elementwise(part)):
                    phase.gathers.append((node, whole))
                continue
            if node.op == "windows":
                phase.gathers.append((node, whole))
                continue
            zeros = [(Dim(), node.attr("before"))] if node.op == "pad" else []
            if node.op == "pad":
                at = node.attr("before")
                after = _width(node.inputs[0]) + node.attr("before")
                zeros.append((after, node.attr("after")))
            for start, size in zeros:
                blank = apply("expand", 0.0, shape=(*node.shape[:-1], size))
                if not size.is_zero:
                    phase.gathers.append((blank, whole.shifted(start)))
            for part in node.inputs:
                if not (part in self.phase and self._is_elementwise(part)):
                    phase.gathers.append((part, whole.shifted(at)))
                at = at + _width(part)
        for node, place in self.targets:
            base, start = resolve(node, self.given)
            stored = place in self.stores.get(base, []) and start.is_zero
            if not stored and self.places.get(node) != place:
                phases[-1].copies.append((node, place))


def _stretches(phases: Sequence[Phase], unit: Dim | None) -> list[list[Phase]]:
    stretches: list[list[Phase]] = []
    for phase in phases:
        if stretches and not phase.products and unit is None:
            stretches[-1].append(phase)
        else:
            stretches.append([phase])
    return stretches


def _is_multiple(size: Dim, unit: Dim) -> bool:
    if size.is_zero:
        return True
    (_, first), *_ = (*size.terms, ("", size.constant))
    (_, whole), *_ = (*unit.terms, ("", unit.constant))
    factor = first / whole if whole else first * 0
    return factor.denominator == 1 and unit * factor == size


def _placed(kind: str, index: int, node: Node) -> Place:
    return Place(kind, index, count=node.shape[0] if is_rows(node.shape) else None)


def _is_same(a: Shape | None, b: Shape | None) -> bool:
    """Whether values of two shapes are the same numbers: a vector, and the numbers of rows."""
    if a is None or b is None or len(a) != 1 or len(b) != 1:
        return a == b
    return a[0].in_blocks(0) == b[0].in_blocks(0)


def _width(node: Node) -> Dim:
    """The size of a value, or of each of its rows."""
    return node.shape[-1].in_blocks(0) if node.shape else Dim.of(1)


def size_names(body: Graph, before: Sequence[Bulk], after: Sequence[Bulk]) -> tuple[str, ...]:
    """The size names that occur in the shapes and slices of what is computed."""
    nodes = [*body.inputs, *body.nodes()]
    for item in (*before, *after):
        given = (item.operand, item.matrix, item.right, item.bias)
        nodes += [node for node in given if node is not None]
    nodes += [child for node in nodes if node.op == "slice" for child in node.inputs]
    dims = [dim for node in nodes for dim in node.shape]
    dims += [value for node in nodes for _, value in node.attrs if isinstance(value, Dim)]
    return tuple(sorted({name for dim in dims for name in dim.names}))
