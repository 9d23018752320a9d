"""hoist and split: what need not be in the time loop leaves it.

`hoist` cuts a cell into sections by rate. `split` cuts a loop's body into what can run before the
loop for all steps at once, the loop itself, and what can run after it; it serves the forward loop
(carried: states) and the reverse loop of the adjoint (carried: cotangents of states) alike.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from recurra.ir import OPS, Graph, Group, Node, topological
from recurra.passes.rates import Rate, rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """A cell cut by rate. Each graph's inputs are leaves of the cell or nodes of earlier sections;
    the outputs of all but `step` are named by position and are what later sections read."""

    once: Graph
    context: Graph
    sequence: Graph
    step: Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A loop body cut in three: `before` and `after` hold what runs for all steps at once."""

    before: Graph
    body: Graph
    after: Graph


def hoist(graph: Graph, given: Mapping[Node, Rate]) -> Sections:
    """Cut `graph` into what is computed once, for each sequence, for all steps, and in each step."""
    rate_of = rates(graph, given)
    cuts = _cut_nodes(graph, rate_of)
    sections: dict[Rate, Graph] = {}
    for rate in (Rate.ONCE, Rate.CONTEXT, Rate.SEQUENCE):
        outputs = [node for node in cuts if rate_of[node] == rate]
        sections[rate] = section(outputs, known={*graph.inputs, *cuts}.difference(outputs))
    step = section(graph.output_nodes, known={*graph.inputs, *cuts}, names=graph.outputs)
    return Sections(
        once=sections[Rate.ONCE],
        context=sections[Rate.CONTEXT],
        sequence=sections[Rate.SEQUENCE],
        step=step,
    )


def _cut_nodes(graph: Graph, rate_of: Mapping[Node, Rate]) -> list[Node]:
    """Nodes that are computed at one rate and read at a higher one."""
    inputs = set(graph.inputs)
    cuts: dict[Node, None] = {}
    for node in graph.nodes():
        for child in node.inputs:
            if rate_of[child] < rate_of[node] and not _is_free(child, inputs):
                cuts[child] = None
    for node in graph.output_nodes:
        if rate_of[node] < Rate.STEP and not _is_free(node, inputs):
            cuts[node] = None
    return list(cuts)


def _is_free(node: Node, inputs: set[Node]) -> bool:
    """Inputs are given anyway, and numbers cost nothing anywhere."""
    return node in inputs or OPS[node.op].group is Group.LEAF or _is_number(node)


def _is_number(node: Node) -> bool:
    return node.op == "expand" and OPS[node.inputs[0].op].group is Group.LEAF


def section(
    outputs: Iterable[Node],
    known: Iterable[Node],
    names: Iterable[tuple[str, Node]] | None = None,
) -> Graph:
    """The graph that computes `outputs` from those of the `known` nodes that it needs."""
    outputs = list(outputs)
    known = set(known)
    computed = topological(outputs, stop=known)
    used = dict.fromkeys(child for node in computed for child in node.inputs if child in known)
    used.update(dict.fromkeys(node for node in outputs if node in known))
    named = tuple(names) if names is not None else tuple(_numbered(outputs))
    return Graph(inputs=tuple(used), outputs=named)


def _numbered(nodes: Iterable[Node]) -> Iterable[tuple[str, Node]]:
    return ((f"v{i}", node) for i, node in enumerate(nodes))


def split(graph: Graph, carried: Mapping[Node, str], after_also: Iterable[str] = ()) -> Loop:
    """Cut a loop body at what depends on `carried` and what the next step needs.

    Args:
        graph: one step; its outputs include one for each carried value.
        carried: the inputs that come from the step before, each with the name of the output
            that becomes it in the next step.
    """
    depends = dependents(graph, carried)
    next_values = [graph.output(name) for name in carried.values()]
    needed = set(topological(next_values, stop=graph.inputs))
    body_nodes = {node for node in graph.nodes() if node in depends and node in needed}
    inputs = set(graph.inputs)
    before_nodes = {node for node in graph.nodes() if node not in depends}

    def crossing(producers: set[Node], consumers: Iterable[Node]) -> dict[Node, None]:
        return dict.fromkeys(
            child
            for node in consumers
            for child in node.inputs
            if child in producers and not _is_free(child, inputs)
        )

    outside = [n for n in graph.nodes() if n not in before_nodes and n not in body_nodes]
    loop_reads = crossing(before_nodes, [n for n in graph.nodes() if n in body_nodes])
    loop_reads.update(
        {node: None for node in next_values if node in before_nodes and not _is_free(node, inputs)}
    )
    after_reads = crossing(before_nodes, outside)
    before_outputs = list({**loop_reads, **after_reads})
    finals = [node for name, node in graph.outputs if name not in set(carried.values())]
    taps = crossing(body_nodes, outside)
    taps.update({node: None for node in finals if node in body_nodes})
    before = section(before_outputs, known=graph.inputs)
    body_names = [(name, graph.output(name)) for name in carried.values()]
    body_names += [(f"tap{i}", node) for i, node in enumerate(taps)]
    body = section(
        [node for _, node in body_names],
        known={*graph.inputs, *before_outputs},
        names=body_names,
    )
    after_names = [(name, node) for name, node in graph.outputs if name not in carried.values()]
    after = section(
        [node for _, node in after_names],
        known={*graph.inputs, *before_outputs, *taps},
        names=after_names,
    )
    return Loop(before=before, body=body, after=after)


def dependents(graph: Graph, sources: Iterable[Node]) -> set[Node]:
    """`sources` and every node of `graph` that depends on them."""
    depends = set(sources)
    for node in graph.nodes():
        if any(child in depends for child in node.inputs):
            depends.add(node)
    return depends
