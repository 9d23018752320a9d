"""arrange: reorder sums and products so that what changes rarely is combined first.

(W_x x + W_h h) + b becomes (b + W_x x) + W_h h: the part without the state can then leave the
loop. In the adjoint the same rule gathers what does not depend on the carried cotangents, such as
g * i * (1 - i), into one factor.
"""

from collections.abc import Mapping
from typing import NamedTuple

from recurra.ir import Dim, Graph, Node, apply, has_rows, is_rows, rebuild, use_counts
from recurra.passes.rates import Rate, rates
from recurra.passes.simplify import cut, join, simplest, zeros

_SUMS = ("add", "sub", "neg")


class _Term(NamedTuple):
    rate: Rate
    sign: int
    node: Node


def arrange(graph: Graph, given: Mapping[Node, Rate]) -> Graph:
    """The graph with every sum and product of more than two terms in order of rate."""
    rate_of, uses = rates(graph, given), use_counts(graph)
    inner = _inner_nodes(graph, uses)
    new: dict[Node, Node] = {}

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if not inputs:
            return node
        if node.op in _SUMS and node not in inner:
            result = _sum(_terms(node, inner), rate_of, new)
        elif node.op == "mul" and node not in inner:
            result = _product(_factors(node, inner), rate_of, new)
        else:
            result = simplest(apply(node.op, *inputs, **dict(node.attrs)))
        new[node] = result
        return result

    new.update({node: node for node in graph.inputs})
    new.update({node: node for node in graph.nodes() if not node.inputs})
    return rebuild(graph, rule)


def spread(graph: Graph) -> Graph:
    """A product with a concatenation, as a concatenation of products.

    In an adjoint each piece then meets its own factor, which `arrange` takes out of the loop.
    """

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node.op == "mul":
            for whole, other in (inputs, inputs[::-1]):
                is_vector = len(whole.shape) == 1 and not has_rows(other.shape)
                if whole.op == "concat" and is_vector:
                    return _spread(whole, other)
        return simplest(apply(node.op, *inputs, **dict(node.attrs))) if inputs else node

    return rebuild(graph, rule)


def _spread(whole: Node, other: Node) -> Node:
    pieces, start = [], Dim()
    for part in whole.inputs:
        size = part.shape[0]
        factor = cut(other, 0, start, size) if other.shape else other
        pieces.append(simplest(apply("mul", part, factor)))
        start = start + size
    return join(pieces, 0)


def _inner_nodes(graph: Graph, uses: Mapping[Node, int]) -> set[Node]:
    """Sums read only by one sum, and products read only by one product: parts of a larger one."""
    inputs = set(graph.inputs)
    inner: set[Node] = set()
    for node in graph.nodes():
        for child in node.inputs:
            if child in inputs or uses[child] != 1:
                continue
            in_sum = node.op in _SUMS and child.op in _SUMS
            in_product = node.op == "mul" and child.op == "mul"
            if in_sum or in_product:
                inner.add(child)
    return inner


_SIGNS = {"add": (1, 1), "sub": (1, -1), "neg": (-1,), "mul": (1, 1)}


def _terms(node: Node, inner: set[Node]) -> list[tuple[int, Node]]:
    """The terms of a sum, or the factors of a product, through those that are parts of it."""
    terms: list[tuple[int, Node]] = []
    stack = [(1, node)]
    while stack:
        sign, top = stack.pop()
        if top is not node and top not in inner:
            terms.append((sign, top))
            continue
        signed = zip(_SIGNS[top.op], top.inputs, strict=True)
        stack.extend(reversed([(sign * own, child) for own, child in signed]))
    return terms


def _factors(node: Node, inner: set[Node]) -> list[Node]:
    return [factor for _, factor in _terms(node, inner)]


def _sum(
    terms: list[tuple[int, Node]], rate_of: Mapping[Node, Rate], new: Mapping[Node, Node]
) -> Node:
    rated = _pads_to_concat([_Term(rate_of[term], sign, new[term]) for sign, term in terms])
    rated = _vectors_first(_factored(rated))
    # positive first spares a negation; products last let a backend add into them (gemm, beta = 1)
    rated.sort(key=lambda term: (term.rate, term.sign < 0, term.node.op == "matvec"))
    first, *rest = rated
    total = first.node if first.sign > 0 else simplest(apply("neg", first.node))
    for term in rest:
        total = simplest(apply("add" if term.sign > 0 else "sub", total, term.node))
    return total


def _vectors_first(terms: list[_Term]) -> list[_Term]:
    """The terms with those that are no rows of a memory, and change with each step, as one: what
    is added to each row is added up once."""
    rows = [term for term in terms if is_rows(term.node.shape)]
    vectors = [term for term in terms if term not in rows and term.rate > Rate.CONTEXT]
    if not rows or len(vectors) < 2:
        return terms
    vectors.sort(key=lambda term: (term.rate, term.sign < 0, term.node.op == "matvec"))
    first, *others = vectors
    total = first.node if first.sign > 0 else simplest(apply("neg", first.node))
    for term in others:
        total = simplest(apply("add" if term.sign > 0 else "sub", total, term.node))
    rest = [term for term in terms if term not in vectors]
    return [*rest, _Term(max(term.rate for term in vectors), 1, total)]


def _factored(terms: list[_Term]) -> list[_Term]:
    """a * d - b * d as (a - b) * d: the factor in brackets often needs no d to be computed.

    A product that this pass has made has its most frequent factor last.
    """
    families: dict[Node, list[_Term]] = {}
    for term in terms:
        if term.node.op == "mul":
            families.setdefault(term.node.inputs[1], []).append(term)
    for common, family in families.items():
        if len(family) < 2:
            continue
        family.sort(key=lambda term: term.sign < 0)
        first, *others = family
        total = first.node.inputs[0]
        total = total if first.sign > 0 else simplest(apply("neg", total))
        for term in others:
            op = "add" if term.sign > 0 else "sub"
            total = simplest(apply(op, total, term.node.inputs[0]))
        rate = max(term.rate for term in family)
        product = simplest(apply("mul", total, common))
        terms = [term for term in terms if term not in family] + [_Term(rate, 1, product)]
    return terms


def _product(factors: list[Node], rate_of: Mapping[Node, Rate], new: Mapping[Node, Node]) -> Node:
    ordered = sorted(factors, key=lambda factor: (rate_of[factor], len(factor.shape)))
    product = new[ordered[0]]
    for factor in ordered[1:]:
        product = simplest(apply("mul", product, new[factor]))
    return product


# ---- sums of padded pieces ---------------------------------------------------------------------


def _pads_to_concat(terms: list[_Term]) -> list[_Term]:
    """Pieces that were padded to one size and do not overlap, as one concatenation.

    The cotangents of slices are such pieces: those of a stacked product come back stacked.
    """
    pads = [term for term in terms if term.node.op == "pad"]
    if len(pads) < 2 or len({(term.node.shape, term.node.attr("axis")) for term in pads}) != 1:
        return terms
    axis = pads[0].node.attr("axis")
    pieces: dict[Dim, Node] = {}
    for term in pads:
        (piece,) = term.node.inputs
        piece = piece if term.sign > 0 else simplest(apply("neg", piece))
        start = term.node.attr("before")
        if start in pieces:
            if pieces[start].shape != piece.shape:
                return terms
            piece = simplest(apply("add", pieces[start], piece))
        pieces[start] = piece
    whole = _tiles(pieces, pads[0].node.shape, axis)
    if whole is None:
        return terms
    rate = max(term.rate for term in pads)
    return [*(term for term in terms if term.node.op != "pad"), _Term(rate, 1, whole)]


def _tiles(pieces: Mapping[Dim, Node], shape: tuple[Dim, ...], axis: int) -> Node | None:
    """The pieces in order, gaps filled with zeros; None if they do not fit."""
    ordered = sorted(pieces.items(), key=lambda item: _position(item[0]))
    at, parts = Dim(), []
    for start, piece in ordered:
        gap = start - at
        if not gap.is_zero:
            if _position(gap) <= 0 or any(c < 0 for _, c in gap.terms):
                return None
            parts.append(zeros((*shape[:axis], gap, *shape[axis + 1 :])))
        parts.append(piece)
        at = start + piece.shape[axis]
    rest = shape[axis] - at
    if not rest.is_zero:
        if any(c < 0 for _, c in rest.terms):
            return None
        parts.append(zeros((*shape[:axis], rest, *shape[axis + 1 :])))
    return join(parts, axis)


def _position(dim: Dim) -> float:
    """A number to sort symbolic positions by."""
    return float(dim.constant + sum(c for _, c in dim.terms))
