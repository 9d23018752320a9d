"""decompose: rewrite composites (layer_norm, softmax, gelu, ...) into primitives."""

from recurra.ir import OPS, Graph, Node, apply, rebuild


def decompose(graph: Graph) -> Graph:
    """The graph without composites, as the table of operations expands them."""

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if not inputs:
            return node
        again = apply(node.op, *inputs, **dict(node.attrs))
        expand = OPS[again.op].expand
        return again if expand is None else expand(again)

    return rebuild(graph, rule)
