"""cut: a graph in parts, by when its values are computed.

`cut` makes sections of a cell; `cut_loop` cuts one step, forward (carried: states) or of the
adjoint (carried: cotangents of states), into what comes before the loop's steps, what is in them,
and what comes after them. Neither decides anything: `place` has.

At the cut between two parts stands a leaf with a name and a shape. Its kind says how often what it
stands for changes, and nothing that reads it can look behind it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count

from recurra.ir import OPS, Graph, Group, Node, leaf, substitute, topological
from recurra.passes.place import When, is_summed_in_loop
from recurra.passes.rates import Rate, made_kind, shared


class Leaves:
    """Makes the leaves of one plan: each is called what the user calls its value, if no other is,
    else v1, v2, ..."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._reserved, self._used = set(names), set[str]()
        self._numbers = count(1)

    def of(
        self, graph: Graph, nodes: Iterable[Node], rate: Mapping[Node, Rate]
    ) -> dict[Node, Node]:
        """A leaf for each of some nodes of a graph whose inputs are leaves."""
        alike = shared(graph)
        return {
            node: leaf(
                made_kind(rate[node], shared=node in alike),
                self._name(graph.names.get(node)),
                node.shape,
            )
            for node in nodes
        }

    def _name(self, name: str | None) -> str:
        if name is None or name in self._used:
            fresh = (f"v{number}" for number in self._numbers)
            name = next(each for each in fresh if each not in self._reserved)
        self._used.add(name)
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """A cell cut by rate. Each graph reads leaves, those of the cell or of earlier sections; the
    outputs of all but `step` are what later sections read."""

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


_RATES = {
    When.ONCE: Rate.ONCE,
    When.CONTEXT: Rate.CONTEXT,
    When.ROW: Rate.SEQUENCE,
    When.EARLY: Rate.SEQUENCE,
}


def cut(graph: Graph, where: Mapping[Node, When], leaves: Leaves | None = None) -> Sections:
    """A cell's graph in the sections that `place` gives it."""
    cuts = _cut_nodes(graph, where)
    known = {*graph.inputs, *cuts}
    leaves = leaves or Leaves(graph.names.values())
    leaf_of = leaves.of(graph, cuts, {node: _RATES[where[node]] for node in cuts})

    def made(*when: When) -> Graph:
        outputs = [node for node in cuts if where[node] in when]
        part = section(outputs, known=known.difference(outputs))
        stand_ins = tuple(leaf_of[node] for node in outputs)
        return substitute(replace(part, names=graph.names, leaves=stand_ins), leaf_of)

    step = section(graph.output_nodes, known=known, names=graph.outputs)
    return Sections(
        once=made(When.ONCE),
        context=made(When.CONTEXT),
        sequence=made(When.ROW, When.EARLY),
        step=substitute(replace(step, names=graph.names), leaf_of),
    )


def with_kept(
    graph: Graph, adjoint: Graph, rate: Rate, leaves: Leaves, *, extending: bool
) -> tuple[Graph, Graph]:
    """What a part computes that its adjoint reads, as a graph, and the adjoint reading leaves.

    Args:
        rate: how often the part's values change.
        extending: the graph computes the part's own outputs too, first.
    """
    inner = set(graph.nodes())
    read = [node for node in adjoint.inputs if node in inner]
    leaf_of = dict(zip(graph.output_nodes, graph.leaves, strict=False))
    new = [node for node in read if node not in leaf_of]
    leaf_of |= leaves.of(graph, new, dict.fromkeys(new, rate))
    outputs = list(dict.fromkeys((*(graph.output_nodes if extending else ()), *read)))
    kept = section(outputs, known=graph.inputs)
    kept = replace(kept, leaves=tuple(leaf_of[node] for node in outputs))
    return kept, substitute(adjoint, {node: leaf_of[node] for node in read})


def restricted(graph: Graph, keys: Iterable[Node]) -> Graph:
    """The graph of a part computing only the values that are known by `keys`."""
    chosen = set(keys)
    pairs = [pair for pair in zip(graph.keys, graph.output_nodes, strict=True) if pair[0] in chosen]
    found = section([node for _, node in pairs], known=graph.inputs)
    return replace(found, leaves=tuple(key for key, _ in pairs) if graph.leaves else ())


def _cut_nodes(graph: Graph, where: Mapping[Node, When]) -> list[Node]:
    """Nodes that are computed at one time and read at a later one."""
    cuts: dict[Node, None] = {}
    for node in graph.nodes():
        for child in node.inputs:
            # a transpose is a way to read its matrix: the reader's section has it
            cut = child.inputs[0] if child.op == "transpose" else child
            if where[cut] < where[node] and not _is_free(cut):
                cuts[cut] = None
    for node in graph.output_nodes:
        if where[node] < When.STEP and not _is_free(node):
            cuts[node] = None
    return list(cuts)


def _is_free(node: Node) -> bool:
    """Leaves are given anyway, and a number repeated costs nothing anywhere."""
    base = node.inputs[0] if node.op == "expand" else node
    return OPS[base.op].group is Group.LEAF


def _is_part(node: Node) -> bool:
    """Whether it is a slice of what is given."""
    base = node
    while base.op == "slice":
        (base,) = base.inputs
    return base is not node and base.op == "input"


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
        return [node for node in dict.fromkeys(read) if node in producers and not _is_free(node)]

    before = crossing(early, body)
    before += [node for node in next_values if node in early and not _is_free(node)]
    before = list(dict.fromkeys(before))
    in_body = set(body)
    # a part of what is in memory anyway is not recorded once more
    taps = [node for node in crossing(in_body, outside) if not _is_part(node)]
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
