"""widen: the same elementwise operation on neighbouring slices becomes one on the wider slice.

For backends that pay for each operation (torch): the three sigmoids of an LSTM become one.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from recurra.ir import OPS, Dim, Graph, Group, Node, apply, rebuild
from recurra.passes.simplify import cut, simplest

_MAX_ROUNDS = 16  # each round widens one more level; no step has chains this long


def widen(graph: Graph) -> Graph:
    """The graph with sibling operations joined, level by level, until none is left."""
    for _ in range(_MAX_ROUNDS):
        wider = _widen_level(graph)
        if wider.outputs == graph.outputs:
            return graph
        graph = wider
    return graph


def _widen_level(graph: Graph) -> Graph:
    inputs = set(graph.inputs)
    families: dict[tuple[Any, ...], dict[tuple[Dim, ...], Node]] = {}
    for node in graph.nodes():
        if node not in inputs and OPS[node.op].group is Group.ELEMENTWISE and len(node.shape) == 1:
            bases, starts = _bases(node)
            if starts:
                families.setdefault((node.op, node.attrs, bases), {})[starts] = node
    runs = [run for family in families.values() for run in _runs(family)]
    place = {node: (run, i) for run in runs for i, node in enumerate(run)}
    new: dict[Node, Node] = {node: node for node in graph.inputs}

    def rule(node: Node, new_inputs: tuple[Node, ...]) -> Node:
        if node in place:
            run, index = place[node]
            start = _total(run[:index])
            result = cut(_wide(run, new), 0, start, node.shape[0])
        elif node.inputs:
            result = simplest(apply(node.op, *new_inputs, **dict(node.attrs)))
        else:
            result = node
        new[node] = result
        return result

    return rebuild(graph, rule)


def _bases(node: Node) -> tuple[tuple[Node, ...], tuple[Dim, ...]]:
    """What the inputs are slices of, and where they start; no starts if one is no slice."""
    bases, starts = [], []
    for child in node.inputs:
        if child.op == "slice" and child.attr("axis") == 0:
            bases.append(child.inputs[0])
            starts.append(child.attr("start"))
        elif not child.shape:
            bases.append(child)
        else:
            return (), ()
    return tuple(bases), tuple(starts)


def _runs(family: dict[tuple[Dim, ...], Node]) -> Iterable[list[Node]]:
    """Lists of two or more members that lie one behind the other in every base."""
    follows = {
        starts: tuple(start + node.shape[0] for start in starts) for starts, node in family.items()
    }
    heads = [starts for starts in family if starts not in set(follows.values())]
    for head in heads:
        run, at = [], head
        while at in family:
            run.append(family[at])
            at = follows[at]
        if len(run) > 1:
            yield run


def _wide(run: list[Node], new: Mapping[Node, Node]) -> Node:
    """The operation on the slices of all members together."""
    total = _total(run)
    parts = [
        cut(new[child.inputs[0]], 0, child.attr("start"), total) if child.shape else new[child]
        for child in run[0].inputs
    ]
    return simplest(apply(run[0].op, *parts, **dict(run[0].attrs)))


def _total(nodes: Iterable[Node]) -> Dim:
    total = Dim()
    for node in nodes:
        total = total + node.shape[0]
    return total
