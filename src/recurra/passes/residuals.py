"""residuals: which values of the forward pass are kept for the backward pass, which made again.

A value that is kept goes through memory twice and stays there meanwhile. One that follows from what
is kept anyway by a little arithmetic is cheaper made again where it is needed. Rows of a memory,
S vectors a step, are never kept: what they are made of is.
"""

from collections.abc import Collection, Iterable

from recurra.ir import OPS, Graph, Group, Node, is_rows
from recurra.passes.adjoint import is_residual
from recurra.passes.cut import section

# work of about as long as the way of a value to memory and back
_FUNCTIONS_WORTH_IT = 1
_ARITHMETIC = frozenset(
    (
        *("add", "sub", "mul", "div", "neg", "lt", "le", "gt", "ge", "eq", "ne", "where"),
        *("minimum", "maximum", "clamp", "abs", "relu", "sign", "floor", "detach"),
    )
)


def recompute(step: Graph, adjoint: Graph, late: Collection[Node], *, low: bool) -> Graph:
    """The adjoint of a step with values made again that it would else read.

    Args:
        step: the forward graph of one step; its inputs are had again at no cost, but for those
            in `late`.
        adjoint: reads values of `step`.
        late: inputs of `step` that are computed for all steps at once: large, so a value that
            needs them is made again only with `low`.
        low: keep states alone, whatever has to be computed again for that.
    """
    inputs = set(step.inputs)
    states = {node for name, node in step.outputs if name != "output" and is_residual(node)}
    have = inputs | states if low else (inputs | states).difference(late)
    have |= inputs.intersection(adjoint.inputs)
    reads = set(adjoint.inputs)
    for node in reversed(step.nodes()):
        if node in reads and node not in have and is_rows(node.shape):
            reads.update(child for child in node.inputs if child in inputs or not _is_leaf(child))
    made_again = set()
    for node in step.nodes():
        if node not in reads or node in have:
            continue
        if low or is_rows(node.shape) or _functions(node, have) <= _FUNCTIONS_WORTH_IT:
            made_again.add(node)
        else:
            have.add(node)
    known = reads.difference(made_again) | have
    return _tidy(section(adjoint.output_nodes, known=known, names=adjoint.outputs), adjoint.inputs)


def _is_leaf(node: Node) -> bool:
    return OPS[node.op].group is Group.LEAF


def _functions(node: Node, have: Collection[Node]) -> float:
    """How many functions (exp and its kin) it takes to make a value; infinite if more than them."""
    seen: set[Node] = set()

    def count(node: Node) -> float:
        group = OPS[node.op].group
        if node in have or node in seen or (group is Group.LEAF and node.op != "input"):
            return 0.0
        seen.add(node)
        if node.op in ("input", "concat") or group not in (Group.ELEMENTWISE, Group.MOVEMENT):
            return float("inf")
        return (node.op not in _ARITHMETIC and group is Group.ELEMENTWISE) + sum(
            count(child) for child in node.inputs
        )

    return count(node)


def _tidy(graph: Graph, first: Iterable[Node]) -> Graph:
    """The graph with inputs that it had before in their old order."""
    ordered = dict.fromkeys(node for node in first if node in graph.inputs)
    ordered.update(dict.fromkeys(graph.inputs))
    return Graph(inputs=tuple(ordered), outputs=graph.outputs)
