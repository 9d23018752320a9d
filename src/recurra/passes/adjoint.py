"""adjoint: reverse mode over a graph, from the table's cotangent rules.

The result reads values of the forward graph directly: its inputs are the forward nodes that must
be known (the residuals) and one cotangent for each output. A matrix gets a sum over time and batch
of outer products, so weight gradients come out as one product over all steps.
"""

from collections.abc import Mapping

from recurra.ir import (
    OPS,
    POSITIONS,
    Graph,
    Group,
    Node,
    apply,
    cotangents,
    is_matrix,
    is_rows,
    leaf,
)
from recurra.passes.cut import section

Accumulate = Mapping[Node, str | None]


def cotangent_of(name: str, node: Node) -> Node:
    """The leaf that stands for the cotangent of the output called `name`."""
    return leaf("cotangent", name, node.shape)


def adjoint(graph: Graph, accumulate: Accumulate, prefix: str = "") -> Graph:
    """The cotangents of the inputs named in `accumulate`, given those of the outputs.

    Args:
        graph: primitives only.
        accumulate: which inputs to differentiate by; the value is the operation that sums their
            cotangent over what they do not vary with ("total", "total_time", or None).
        prefix: put before the names of the output cotangents, to tell sections apart.
    Returns:
        A graph with output "0", "1", ... for each input in `accumulate`, in order.
    """
    forward = graph.nodes()
    found: dict[Node, Node] = {}
    seeds = []
    for name, node in graph.outputs:
        seed = cotangent_of(prefix + name, node)
        seeds.append(seed)
        _add(found, node, seed)
    wanted = _reach(graph, accumulate)
    for node in reversed(forward):
        if node not in found or node not in wanted:
            continue
        for child, cotangent in zip(node.inputs, cotangents(node, found[node]), strict=True):
            if cotangent is not None and child in wanted:
                _add(found, child, cotangent)
    outputs = []
    for i, (node, how) in enumerate(accumulate.items()):
        if node in found:
            outputs.append((str(i), _accumulated(found[node], how)))
    known = {*graph.inputs, *seeds, *(node for node in forward if is_residual(node))}
    return section([node for _, node in outputs], known=known, names=outputs)


def is_residual(node: Node) -> bool:
    """Whether a forward value is worth keeping: slices are made again from their base."""
    group = OPS[node.op].group
    return group is not Group.LEAF and (group is not Group.MOVEMENT or node.op == "concat")


def _add(found: dict[Node, Node], node: Node, cotangent: Node) -> None:
    found[node] = apply("add", found[node], cotangent) if node in found else cotangent


def _reach(graph: Graph, sources: Accumulate) -> set[Node]:
    """The nodes that depend on `sources`."""
    reach = set(sources)
    for node in graph.nodes():
        if any(child in reach for child in node.inputs):
            reach.add(node)
    return reach


def _accumulated(cotangent: Node, how: str | None) -> Node:
    if how is None or is_matrix(cotangent.shape):
        return cotangent  # a matrix's cotangent is made of outer products, which are sums already
    if is_rows(cotangent.shape) and how == "total_time":
        return _total_of_rows(cotangent)
    return apply(how, cotangent)


def _total_of_rows(cotangent: Node) -> Node:
    """The sum over time, of each term by itself: numbers times a vector make no rows for that."""
    if cotangent.op in ("add", "sub") and all(is_rows(a.shape) for a in cotangent.inputs):
        return apply(cotangent.op, *map(_total_of_rows, cotangent.inputs))
    if cotangent.op == "mul":
        for numbers, vector in (cotangent.inputs, cotangent.inputs[::-1]):
            if numbers.shape == (POSITIONS,) and vector.shape == cotangent.shape[1:]:
                return apply("outer_time", numbers, vector)
    return apply("total_time", cotangent)


def reads(graph: Graph) -> tuple[Node, ...]:
    """Inputs of an adjoint that are forward values, not cotangents."""
    return tuple(
        node
        for node in graph.inputs
        if not (node.op == "input" and node.attr("kind") == "cotangent")
    )
