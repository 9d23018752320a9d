"""hoist and split: what need not be in the time loop leaves it.

`hoist` cuts a cell into sections by rate. `split` cuts a loop's body into what can run before the
loop for all steps at once, the loop itself, and what can run after it; it serves the forward loop
(carried: states) and the reverse loop of the adjoint (carried: cotangents of states) alike.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from recurra.ir import OPS, Graph, Group, Node, is_rows, topological
from recurra.passes.rates import Rate, rates


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
    """A loop body cut in three: `before` and `after` hold what runs for all steps at once."""

    before: Graph
    body: Graph
    after: Graph


def hoist(
    graph: Graph, given: Mapping[Node, Rate], *, lean: bool = False, products: bool = True
) -> Sections:
    """Cut `graph` into what runs once, for each sequence, for all steps at once, and in each.

    With `lean`, elementwise work stays in the loop, where its operands are in the cache: of what
    need not be done in each step only products, and what they read, leave it; without `products`
    not even those do.
    """
    rate_of = rates(graph, given)
    if lean:
        rate_of = _lean_rates(graph, rate_of, products)
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


def _lean_rates(graph: Graph, rate_of: Mapping[Node, Rate], products: bool) -> dict[Node, Rate]:
    """The rates with all that runs for every step put into the loop, but for `products`."""
    inputs = set(graph.inputs)
    kept: set[Node] = set()
    for node in reversed(graph.nodes()):
        if rate_of[node] is not Rate.SEQUENCE or not products:
            continue
        product = OPS[node.op].group is Group.PRODUCT
        # a bias costs nothing where it is added by the product itself
        biased = node.op == "add" and any(
            OPS[a.op].group is Group.PRODUCT and a not in inputs and rate_of[b] is Rate.ONCE
            for a, b in (node.inputs, node.inputs[::-1])
        )
        if product or biased or node in kept:
            kept.update((node, *node.inputs))
    return {
        node: Rate.STEP
        if rate is Rate.SEQUENCE and node not in kept and node not in inputs
        else rate
        for node, rate in rate_of.items()
    }


def _cut_nodes(graph: Graph, rate_of: Mapping[Node, Rate]) -> list[Node]:
    """Nodes that are computed at one rate and read at a higher one."""
    inputs = set(graph.inputs)
    cuts: dict[Node, None] = {}
    for node in graph.nodes():
        for child in node.inputs:
            # a transpose is a way to read its matrix: the reader's section has it
            cut = child.inputs[0] if child.op == "transpose" and child not in inputs else child
            if rate_of[cut] < rate_of[node] and not _is_free(cut, inputs):
                cuts[cut] = None
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


def split(
    graph: Graph,
    carried: Mapping[Node, str],
    *,
    late: bool = True,
    fixed: Iterable[Node] | None = None,
) -> Loop:
    """Cut a loop body at what depends on `carried` and what the next step needs.

    Args:
        graph: one step; its outputs include one for each carried value.
        carried: the inputs that come from the step before, each with the name of the output
            that becomes it in the next step.
        late: whether elementwise work that the next step does not need comes after the loop.
        fixed: given for a loop that does its elementwise work itself, the inputs that are the same
            at every step: of what could run before it only products, what they read, and what
            depends on these inputs alone then do.
    """
    next_names = set(carried.values())
    next_values = [node for name, node in graph.outputs if name in next_names]
    nodes = graph.nodes()
    sums = {node for node in nodes if OPS[node.op].group is Group.ACCUMULATION}
    # rows of a memory are never there for all steps at once, but for sums of them: what is made of
    # them is made in the loop
    summed = dependents(graph, sums)
    rows = {node for node in nodes if is_rows(node.shape) and node not in summed}
    rows |= {node for node in nodes if node not in summed and rows.intersection(node.inputs)}
    depends = dependents(graph, {*carried, *rows})
    needed = set(topological([*next_values, *rows], stop=graph.inputs))
    early = {node for node in nodes if node not in depends}
    if fixed is not None:
        early = _worth_hoisting(graph, early, fixed)
    body = {node for node in nodes if node in needed and node not in early}
    if not late:
        outside_loop = early | summed
        body |= {node for node in nodes if _is_elementwise(node) and node not in outside_loop}
    body |= {node for node in nodes if is_summed_in_loop(node)}
    outside = [node for node in nodes if node not in early and node not in body]
    finals = [(name, node) for name, node in graph.outputs if name not in next_names]
    inputs = set(graph.inputs)

    def crossing(producers: set[Node], consumers: Iterable[Node]) -> list[Node]:
        """What `consumers` read of `producers`, numbers apart."""
        read = (child for node in consumers for child in node.inputs)
        return [
            node for node in dict.fromkeys(read) if node in producers and not _is_free(node, inputs)
        ]

    in_body = [node for node in nodes if node in body]
    before = crossing(early, in_body)
    before += [node for node in next_values if node in early and not _is_free(node, inputs)]
    before = list(dict.fromkeys(before))
    taps = crossing(body, outside) + [node for _, node in finals if node in body]
    body_outputs = [(name, graph.output(name)) for name in carried.values()]
    body_outputs += [(f"tap{i}", node) for i, node in enumerate(dict.fromkeys(taps))]
    return Loop(
        before=section(before, known=graph.inputs),
        body=section(
            [node for _, node in body_outputs], known={*inputs, *before}, names=body_outputs
        ),
        after=section([node for _, node in finals], known={*inputs, *taps}, names=finals),
    )


def is_summed_in_loop(node: Node) -> bool:
    """Whether it is a sum over time of rows of a memory, which are added up as they come."""
    is_sum = OPS[node.op].group is Group.ACCUMULATION
    return is_sum and any(is_rows(child.shape) for child in node.inputs)


def _is_elementwise(node: Node) -> bool:
    """Work on single features; putting vectors together is part of it, matrices are not."""
    group = OPS[node.op].group
    return group in (Group.ELEMENTWISE, Group.REDUCTION) or (
        node.op == "concat" and len(node.shape) == 1
    )


def _worth_hoisting(graph: Graph, early: set[Node], fixed: Iterable[Node]) -> set[Node]:
    """Of the nodes that may leave the loop: those that cost more than a pass over memory."""
    varying = dependents(graph, set(graph.inputs).difference(fixed))
    constant = {node for node in early if node not in varying}
    worth = [node for node in early if OPS[node.op].group is Group.PRODUCT]
    return constant | (set(topological(worth, stop=graph.inputs)) & early)


def dependents(graph: Graph, sources: Iterable[Node]) -> set[Node]:
    """`sources` and every node of `graph` that depends on them."""
    depends = set(sources)
    for node in graph.nodes():
        if any(child in depends for child in node.inputs):
            depends.add(node)
    return depends
