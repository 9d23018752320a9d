"""narrow: slices of elementwise work in the loop become elementwise work on slices.

For targets that fuse elementwise work in one pass over the features: each gate of a stacked product
is then computed where it is used, and all work has one size. The opposite of `widen`.
"""

from collections.abc import Mapping

from recurra.ir import OPS, Dim, Graph, Group, Node, apply, rebuild
from recurra.passes.products import is_normalised
from recurra.passes.rates import Rate, rates
from recurra.passes.simplify import cut, simplest


def narrow(graph: Graph, given: Mapping[Node, Rate], in_loop: Rate = Rate.STEP) -> Graph:
    """The graph with slices in the loop pushed down to products and to what comes from outside.

    Args:
        given: the rates of the graph's inputs.
        in_loop: the lowest rate of what the loop computes.
    """
    rate_of = rates(graph, given)
    new_rate: dict[Node, Rate] = {node: rate_of[node] for node in graph.inputs}

    def pushed(node: Node, start: Dim, size: Dim) -> Node:
        sliced = cut(node, 0, start, size)
        if sliced.op != "slice":
            return sliced
        (base,) = sliced.inputs
        fused = OPS[base.op].group is Group.ELEMENTWISE and len(base.shape) == 1
        fused = fused and not is_normalised(base)
        if not fused or new_rate.get(base, Rate.ONCE) < in_loop:
            return sliced
        at = sliced.attr("start")
        parts = [pushed(child, at, size) if child.shape else child for child in base.inputs]
        return simplest(apply(base.op, *parts, **dict(base.attrs)))

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node.op == "slice" and len(node.shape) == 1:
            result = pushed(inputs[0], node.attr("start"), node.shape[0])
        elif inputs:
            result = simplest(apply(node.op, *inputs, **dict(node.attrs)))
        else:
            result = node
        new_rate[result] = rate_of[node]
        return result

    return rebuild(graph, rule)
