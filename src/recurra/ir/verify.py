"""The legality checks: `verify` runs before and after every pass, `verify_part` after every cut."""

from enum import Enum

from recurra.ir.graph import Graph, Node
from recurra.ir.ops import OPS, Group


class Stage(Enum):
    """What a graph may hold at a point of the pipeline."""

    CELL = "cell"  # as the user wrote it
    PRIMITIVE = "primitive"  # no composites
    BACKWARD = "backward"  # primitives and accumulations over time and batch


_FORBIDDEN = {
    Stage.CELL: {Group.ACCUMULATION},
    Stage.PRIMITIVE: {Group.ACCUMULATION, Group.COMPOSITE},
    Stage.BACKWARD: {Group.COMPOSITE},
}


def verify(graph: Graph, stage: Stage) -> Graph:
    """`graph` itself, if it is legal at `stage`; an AssertionError (our own bug) otherwise."""
    known = set(graph.inputs)
    assert len(known) == len(graph.inputs), f"{stage.value}: an input is listed twice"
    names = [name for name, _ in graph.outputs]
    assert len(set(names)) == len(names), f"{stage.value}: an output name is used twice: {names}"
    for node in graph.nodes():
        _verify_node(node, stage)
        missing = [child for child in node.inputs if child not in known]
        assert not missing, f"{stage.value}: {node} reads {missing}, which come later"
        known.add(node)
    return graph


def verify_part(graph: Graph, stage: Stage) -> Graph:
    """`graph` itself, if it is legal and a part by itself: it reads leaves alone."""
    behind = [node for node in graph.inputs if node.op != "input"]
    assert not behind, f"{stage.value}: a part reads {behind}, which are no leaves"
    if graph.leaves:
        made = zip(graph.leaves, graph.output_nodes, strict=True)
        wrong = [leaf for leaf, node in made if leaf.op != "input" or leaf.shape != node.shape]
        assert not wrong, f"{stage.value}: {wrong} cannot stand for what the part makes"
        assert len(set(graph.leaves)) == len(graph.leaves), f"{stage.value}: a leaf stands twice"
    return verify(graph, stage)


def _verify_node(node: Node, stage: Stage) -> None:
    op = OPS.get(node.op)
    assert op is not None, f"{stage.value}: no row for {node} in the table"
    assert op.group not in _FORBIDDEN[stage], f"{stage.value}: {node} has no place here"
    assert node.op != "input", f"{stage.value}: {node} is read but is not an input of the graph"
    if op.group is not Group.LEAF:
        shape = op.shape(tuple(child.shape for child in node.inputs), dict(node.attrs))
        assert shape == node.shape, f"{stage.value}: {node} should have shape {shape}"
    for dim in node.shape:
        assert not dim.unknowns, f"{stage.value}: {node} has an open size"
