"""named: a cell's equations as one step in which each value that has a name is computed by itself.

Nothing is merged or rewritten, so that every value is there to be looked at, and to be replaced.
What is the same at all steps, or follows from the input alone, still comes before the loop, as long
as nothing in it is replaced.

once -> before -> body
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from recurra.ir import Graph, Node
from recurra.passes.cut import section
from recurra.passes.decompose import decompose
from recurra.passes.rates import Rate, leaf_rates, rates
from recurra.show.values import named_values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NamedStep:
    """A cell cut by how often a value changes; each graph reads leaves and what came before it.

    Attributes:
        once: what depends on parameters alone.
        before: what depends on no state and on nothing that is replaced, for all steps at once.
        body: what each step computes.
        looked_up: of one-hot inputs, the matrix of each product with the input: its columns.
        output: the node of the output.
        news: those of the new states, in order.
        values: those of the values to be kept, by name, and
        changed: of those to be replaced.
        rates: how often each changes.
    """

    once: Graph
    before: Graph
    body: Graph
    looked_up: Mapping[Node, Node]
    output: Node
    news: tuple[Node, ...]
    values: Mapping[str, Node]
    changed: Mapping[str, Node]
    rates: Mapping[Node, Rate]


def named_step(
    equations: Graph,
    keep: Collection[str] | None = None,
    changed: Collection[str] = (),
    *,
    one_hot: bool = False,
) -> NamedStep:
    """A cell's step that computes values by name.

    Args:
        equations: as `Cell.equations`.
        keep: names of `named_values`, those to be kept; None for all.
        changed: names of those that are replaced: all that reads them is computed in each step.
        one_hot: the input is token ids: products with it are rows of a table.
    """
    named = named_values(equations)
    wanted = named if keep is None else {name: named[name] for name in named if name in keep}
    wanted = {**wanted, **{name: named[name] for name in changed}}
    roots = (*equations.output_nodes, *wanted.values())
    numbered = tuple((str(i), node) for i, node in enumerate(roots))
    graph = decompose(Graph(inputs=equations.inputs, outputs=numbered))
    (output, *news), found = _parted(graph.output_nodes, len(equations.outputs))
    of_name = dict(zip(wanted, found, strict=True))
    of_changed = {name: of_name[name] for name in changed}
    rate = _with_changed(graph, set(of_changed.values()).difference(graph.inputs))
    nodes = graph.nodes()
    looked_up = _looked_up(nodes, rate) if one_hot else {}
    in_body = [n for n in nodes if n.inputs and rate[n] is Rate.STEP]
    read = {child for node in in_body for child in node.inputs} | set(graph.output_nodes)
    early = [n for n in nodes if n in read and n.inputs and rate[n] < Rate.STEP]
    late = dict.fromkeys(n for n in graph.output_nodes if rate[n] is Rate.STEP or not n.inputs)
    once = dict.fromkeys((*(n for n in early if rate[n] is Rate.ONCE), *looked_up.values()))
    known = {*graph.inputs, *once}
    before = [n for n in early if n not in known and n not in looked_up]
    return NamedStep(
        once=section([n for n in once if n not in graph.inputs], known=graph.inputs),
        before=section(before, known={*known, *looked_up}),
        body=section([n for n in late if n not in graph.inputs], known={*known, *early}),
        looked_up=looked_up,
        output=output,
        news=tuple(news),
        values={name: node for name, node in of_name.items() if keep is None or name in keep},
        changed=of_changed,
        rates=rate,
    )


def _parted(nodes: tuple[Node, ...], count: int) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    return nodes[:count], nodes[count:]


def _with_changed(graph: Graph, changed: set[Node]) -> dict[Node, Rate]:
    """When each value is computed: in the loop what is replaced, and all that reads it."""
    found = rates(graph, leaf_rates(graph))
    in_loop = set(changed)
    for node in graph.nodes():
        if node in changed or not in_loop.isdisjoint(node.inputs):
            in_loop.add(node)
            found[node] = Rate.STEP
    return found


def _looked_up(nodes: Iterable[Node], rate: Mapping[Node, Rate]) -> dict[Node, Node]:
    """The products of a matrix that is the same at all steps with the input itself."""
    return {
        node: node.inputs[0]
        for node in nodes
        if node.op == "matvec"
        and node.inputs[1].op == "input"
        and node.inputs[1].attr("kind") == "input"
        and rate[node.inputs[0]] is Rate.ONCE
        and rate[node] is Rate.SEQUENCE
    }
