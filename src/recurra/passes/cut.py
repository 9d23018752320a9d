"""cut: a graph in parts, by when its values are computed.

`cut` makes sections of a cell; `cut_loop` cuts one step, forward (carried: states) or of the
adjoint (carried: cotangents of states), into what comes before the loop's steps, what is in them,
and what comes after them. Neither decides anything: `place` has.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from recurra.ir import OPS, Graph, Group, Node, topological
from recurra.passes.place import When, is_summed_in_loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """A cell cut by rate. Each graph's inputs are leaves of the cell or nodes of earlier sections;
    the outputs of all but `step` are named by position and are what later sections read."""

    once: Graph
    context: Graph
    sequence: Graph
    step: Graph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loop:
    """A loop cut in three: `before` and `after` hold what runs for all steps at once, or for some
    of them."""

    before: Graph
    body: Graph
    after: Graph


def cut(graph: Graph, where: Mapping[Node, When]) -> Sections:
    """A cell's graph in the sections that `place` gives it."""
    cuts = _cut_nodes(graph, where)
    known = {*graph.inputs, *cuts}

    def made(*when: When) -> Graph:
        outputs = [node for node in cuts if where[node] in when]
        return section(outputs, known=known.difference(outputs))

    return Sections(
        once=made(When.ONCE),
        context=made(When.CONTEXT),
        sequence=made(When.ROW, When.EARLY),
        step=section(graph.output_nodes, known=known, names=graph.outputs),
    )


def _cut_nodes(graph: Graph, where: Mapping[Node, When]) -> list[Node]:
    """Nodes that are computed at one time and read at a later one."""
    inputs = set(graph.inputs)
    cuts: dict[Node, None] = {}
    for node in graph.nodes():
        for child in node.inputs:
            # a transpose is a way to read its matrix: the reader's section has it
            cut = child.inputs[0] if child.op == "transpose" and child not in inputs else child
            if where[cut] < where[node] and not _is_free(cut, inputs):
                cuts[cut] = None
    for node in graph.output_nodes:
        if where[node] < When.STEP and not _is_free(node, inputs):
            cuts[node] = None
    return list(cuts)


def _is_free(node: Node, inputs: set[Node]) -> bool:
    """Inputs are given anyway, and numbers cost nothing anywhere."""
    return node in inputs or OPS[node.op].group is Group.LEAF or _is_number(node)


def _is_number(node: Node) -> bool:
    return node.op == "expand" and OPS[node.inputs[0].op].group is Group.LEAF


def _is_part(node: Node, inputs: set[Node]) -> bool:
    while node.op == "slice" and node not in inputs:
        (node,) = node.inputs
        if node in inputs:
            return True
    return False


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


def cut_loop(graph: Graph, carried: Mapping[Node, str], where: Mapping[Node, When]) -> Loop:
    """One step in what `place_loop` puts before its steps, into them, and after them.

    Args:
        graph: its outputs include one for each carried value.
        carried: the inputs that come from the step before, each with the name of the output
            that becomes it in the next step.
    """
    nodes, inputs = graph.nodes(), set(graph.inputs)
    next_names = set(carried.values())
    next_values = [node for name, node in graph.outputs if name in next_names]
    finals = [(name, node) for name, node in graph.outputs if name not in next_names]
    early = {node for node in nodes if where[node] < When.STEP}
    # sums of rows are in the body whoever adds them up, because rows are nowhere else
    late = {n for n in nodes if where[n] > When.STEP and not is_summed_in_loop(n)}
    outside = [node for node in nodes if node in late]
    body = [node for node in nodes if node not in late and node not in early]

    def crossing(producers: Collection[Node], consumers: Iterable[Node]) -> list[Node]:
        """What `consumers` read of `producers`, numbers apart."""
        read = (child for node in consumers for child in node.inputs)
        return [
            node for node in dict.fromkeys(read) if node in producers and not _is_free(node, inputs)
        ]

    before = crossing(early, body)
    before += [node for node in next_values if node in early and not _is_free(node, inputs)]
    before = list(dict.fromkeys(before))
    in_body = set(body)
    # a part of what is in memory anyway is not recorded once more
    taps = [node for node in crossing(in_body, outside) if not _is_part(node, inputs)]
    taps += [node for _, node in finals if node in in_body]
    body_outputs = [(name, graph.output(name)) for name in carried.values()]
    body_outputs += [(f"tap{i}", node) for i, node in enumerate(dict.fromkeys(taps))]
    return Loop(
        before=section(before, known=graph.inputs),
        body=section(
            [node for _, node in body_outputs], known={*inputs, *before}, names=body_outputs
        ),
        after=section([node for _, node in finals], known={*inputs, *taps}, names=finals),
    )
