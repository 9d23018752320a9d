"""separate and merge: products in their smallest pieces, then one product for each vector.

`separate` takes stacked forms apart: W @ concat(x, h) becomes W_x @ x + W_h @ h, and a slice of
W @ x becomes a product with a slice of W. `merge` stacks all matrices that multiply the same
vector, with the biases that are added to them. Together they bring every way of writing a cell to
the same products.
"""

from collections.abc import Mapping
from typing import NamedTuple

from recurra.ir import OPS, Dim, Graph, Group, Node, apply, rebuild, topological, use_counts
from recurra.passes.rates import Rate, rates
from recurra.passes.simplify import cut, join, simplest, zeros


def separate(graph: Graph) -> Graph:
    """The graph with concatenated operands split and slices pushed down to parameters."""

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if not inputs:
            return node
        node = simplest(apply(node.op, *inputs, **dict(node.attrs)))
        if node.op == "matvec":
            return _split_operand(node)
        if node.op == "slice":
            return _push_slice(node.inputs[0], node.attr("axis"), node.attr("start"), node.shape)
        return node

    return rebuild(graph, rule)


def _split_operand(node: Node) -> Node:
    """A matrix times a concatenation, as a sum of products of its columns."""
    matrix, operand = node.inputs
    if operand.op != "concat" or len(operand.shape) != 1:
        return node
    total, start = None, Dim()
    for part in operand.inputs:
        size = part.shape[0]
        term = _split_operand(apply("matvec", cut(matrix, 1, start, size), part))
        total = term if total is None else apply("add", total, term)
        start = start + size
    return total if total is not None else node


def _push_slice(node: Node, axis: int, start: Dim, shape: tuple[Dim, ...]) -> Node:
    """`shape[axis]` entries of `node` from `start`, cut out as far down as possible."""
    size = shape[axis]
    sliced = cut(node, axis, start, size)
    if sliced.op != "slice" or len(shape) != 1:
        return sliced
    (base,) = sliced.inputs
    start = sliced.attr("start")
    if OPS[base.op].group is Group.ELEMENTWISE and not is_normalised(base):
        parts = [
            _push_slice(child, 0, start, (size,)) if child.shape else child for child in base.inputs
        ]
        return simplest(apply(base.op, *parts, **dict(base.attrs)))
    if base.op == "matvec" and len(base.shape) == 1:
        matrix, operand = base.inputs
        return simplest(apply("matvec", cut(matrix, 0, start, size), operand))
    return sliced


def is_normalised(node: Node) -> bool:
    """Whether it takes a number from a reduction, such as a mean, of what is then wanted whole."""
    numbers = [child for child in node.inputs if not child.shape]
    return any(OPS[each.op].group is Group.REDUCTION for each in topological(numbers))


# ---- merging -----------------------------------------------------------------------------------


class _Affine(NamedTuple):
    """A node that is matrix @ vector + bias, with a bias that is computed once (None: no bias)."""

    node: Node
    matrix: Node
    bias: Node | None


class _Slot(NamedTuple):
    """Where a product of `vector` lies in the one of all `members`, and what is still to be added.

    Attributes:
        bias: of a product with some rows of a member's matrix, which has the rows without it.
    """

    vector: Node
    members: list[_Affine]
    start: Dim
    bias: Node | None = None


def merge(graph: Graph, given: Mapping[Node, Rate]) -> Graph:
    """The graph with one product for each vector that several matrices multiply."""
    rate_of, uses = rates(graph, given), use_counts(graph)
    groups: dict[Node, list[_Affine]] = {}
    covered: set[Node] = set()
    # from the outputs down, so that W x + b is found before the W x inside it
    for node in reversed(graph.nodes()):
        affine = _as_affine(node, rate_of, uses)
        if affine is None or node in covered:
            continue
        # a bias may be a product too, of parameters alone
        candidates = (node,) if node.op == "matvec" else node.inputs
        product = next(c for c in candidates if _is_product(c) and c is not affine.bias)
        covered.add(product)
        groups.setdefault(product.inputs[1], []).append(affine)
    position = {node: i for i, node in enumerate(graph.inputs)}
    slots: dict[Node, _Slot] = {}
    for vector, all_members in groups.items():
        if len(all_members) == 1:
            continue
        whole = {member.matrix for member in all_members if member.bias is None}
        inside = [member for member in all_members if _rows_of(member.matrix) in whole]
        members = [member for member in all_members if member not in inside]
        members.sort(key=lambda member: _written_order(member.matrix, position))
        start, starts = Dim(), {}
        for member in members:
            slots[member.node] = _Slot(vector, members, start)
            if member.bias is None:
                starts[member.matrix] = start
            start = start + member.node.shape[0]
        for member in inside:
            at = starts[member.matrix.inputs[0]] + member.matrix.attr("start")
            slots[member.node] = _Slot(vector, members, at, member.bias)
    return _replaced(graph, slots)


def _rows_of(matrix: Node) -> Node | None:
    """The matrix of which this one is some rows; None where it is no such part."""
    is_rows = matrix.op == "slice" and matrix.attr("axis") == 0
    return matrix.inputs[0] if is_rows else None


def _is_product(node: Node) -> bool:
    return node.op == "matvec" and len(node.inputs[1].shape) == 1


def _as_affine(
    node: Node, rate_of: Mapping[Node, Rate], uses: Mapping[Node, int]
) -> _Affine | None:
    if _is_product(node) and rate_of[node] > Rate.ONCE:
        return _Affine(node, node.inputs[0], None)
    if node.op == "add":
        for product, bias in (node.inputs, reversed(node.inputs)):
            once = rate_of[bias] == Rate.ONCE and bias.shape == node.shape
            # a product that is read elsewhere too is merged alone, or it would be computed twice
            alone = _is_product(product) and uses[product] == 1
            if once and alone and rate_of[product] > Rate.ONCE:
                return _Affine(node, product.inputs[0], bias)
    return None


def _written_order(matrix: Node, position: Mapping[Node, int]) -> tuple[int, float]:
    """Sort key: the parameter's place in the signature, then the place of a slice within it."""
    start = 0.0
    while matrix.inputs:
        if matrix.op == "slice":
            dim: Dim = matrix.attr("start")
            start += float(dim.constant + sum(c for _, c in dim.terms))
        matrix = matrix.inputs[0]
    return position.get(matrix, len(position)), start


def _replaced(graph: Graph, slots: Mapping[Node, _Slot]) -> Graph:
    new: dict[Node, Node] = {}

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node in slots:
            vector, members, start, bias = slots[node]
            merged = _merged(new.get(vector, vector), members, new)
            result = cut(merged, 0, start, node.shape[0])
            if bias is not None:
                result = simplest(apply("add", result, new.get(bias, bias)))
        else:
            result = simplest(apply(node.op, *inputs, **dict(node.attrs))) if inputs else node
        new[node] = result
        return result

    return rebuild(graph, rule)


def _merged(vector: Node, members: list[_Affine], new: Mapping[Node, Node]) -> Node:
    """One product for all `members`; their matrices and biases are computed once a call."""
    product = apply("matvec", join([new.get(m.matrix, m.matrix) for m in members], 0), vector)
    if all(member.bias is None for member in members):
        return product
    biases = [
        zeros(member.node.shape) if member.bias is None else new.get(member.bias, member.bias)
        for member in members
    ]
    return simplest(apply("add", join(biases, 0), product))
