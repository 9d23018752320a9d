"""place: when each value is computed. Nothing else decides that, for any target.

A value is computed as rarely as its inputs allow (`rates`), unless the target would rather have it
in the loop. In a loop, forward or reverse, what does not depend on what it carries can come before
its steps, and what the next step does not need after them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from recurra.ir import OPS, VIEWS, Graph, Group, Node, is_rows, topological
from recurra.passes.rates import Rate, rates


class When(IntEnum):
    """When a value is computed, in the order of a call."""

    ONCE = 0
    CONTEXT = 1
    ROW = 2
    EARLY = 3
    BEFORE = 4
    STEP = 5
    AFTER = 6
    LATE = 7

    def __str__(self) -> str:
        return _IN_WORDS[self]


_IN_WORDS = {
    When.ONCE: "once a call",
    When.CONTEXT: "once a sequence",
    When.ROW: "once a token",
    When.EARLY: "for all steps, before",
    When.BEFORE: "some steps, before",
    When.STEP: "each step",
    When.AFTER: "some steps, after",
    When.LATE: "for all steps, after",
}


def _nothing(node: Node, given: Collection[Node]) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a target pays for, and what its loops can do.

    Attributes:
        fuses: elementwise work of a step is one pass over its features, values in registers, and
            so never worth a way to memory: it stays in the loops.
        spares_memory: elementwise work stays in the loops unless it can run before the reverse one,
            so that only products read the values of all steps at once: right when those outgrow the
            cache. It is not `fuses`: each operation still costs a call, so values are kept and not
            made again, and what can run before the reverse loop does, for some steps at a time.
        chunks: whether its loops compute a value for some steps at a time, before or after these,
            from what is given in memory.
        pays_per_operation: elementwise siblings are joined into wide operations.
    """

    fuses: bool = False
    spares_memory: bool = False
    chunks: Callable[[Node, Collection[Node]], bool] = _nothing
    pays_per_operation: bool = True

    @property
    def chunks_steps(self) -> bool:
        """Whether its loops compute anything for some steps at a time."""
        return self.chunks is not _nothing

    @property
    def works_in_loops(self) -> bool:
        """Whether elementwise work stays in the loops."""
        return self.fuses or self.spares_memory


def place(
    graph: Graph, given: Mapping[Node, Rate], target: Target, *, of_input: When = When.EARLY
) -> dict[Node, When]:
    """When each value of a cell's graph is computed, all in the loop being `STEP`.

    Args:
        given: how often the inputs of the graph change.
        of_input: when that is computed which depends on the input and not on a state: `EARLY`, for
            all steps at once, or where they are not known, `ROW` (it is looked up) or `STEP`.
    """
    rate_of: Mapping[Node, Rate] = rates(graph, given)
    if target.works_in_loops and of_input is not When.STEP:
        rate_of = _in_loops(graph, rate_of)
    when = {Rate.ONCE: When.ONCE, Rate.CONTEXT: When.CONTEXT, Rate.SEQUENCE: of_input}
    return {node: when.get(rate, When.STEP) for node, rate in rate_of.items()}


def _in_loops(graph: Graph, rate_of: Mapping[Node, Rate]) -> dict[Node, Rate]:
    """The rates with all that is for each step put into the loop, but for products, and what they
    read."""
    inputs = set(graph.inputs)
    kept: set[Node] = set()
    for node in reversed(graph.nodes()):
        if rate_of[node] is not Rate.SEQUENCE:
            continue
        product = OPS[node.op].group is Group.PRODUCT
        # a bias costs nothing where it is added by the product itself
        biased = node.op == "add" and any(
            OPS[a.op].group is Group.PRODUCT and rate_of[b] is Rate.ONCE
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


def place_loop(
    graph: Graph,
    carried: Iterable[Node],
    next_values: Iterable[Node],
    target: Target,
    *,
    fixed: Collection[Node] = (),
    reverse: bool = False,
) -> dict[Node, When]:
    """When each value of a loop is computed.

    Args:
        graph: one step.
        carried: the inputs that come from the step before.
        next_values: what they become in the next one.
        fixed: the inputs that are the same at every step.
        reverse: it is the adjoint of a step.
    """
    nodes, carried = graph.nodes(), set(carried)
    sums = {node for node in nodes if OPS[node.op].group is Group.ACCUMULATION}
    # rows of a memory are never there for all steps at once, but for sums of them: what is made of
    # them is made in the loop
    summed = dependents(graph, sums)
    rows = {node for node in nodes if is_rows(node.shape) and node not in summed}
    rows = {node for node in rows if node.op != "matrix_rows"}  # the same for all sequences
    rows |= {node for node in nodes if node not in summed and rows.intersection(node.inputs)}
    early = set(nodes).difference(dependents(graph, {*carried, *rows}))
    where = _place_early(graph, early, carried, target, fixed=fixed, reverse=reverse)
    needed = set(topological([*next_values, *rows], stop=graph.inputs))
    stays = target.works_in_loops
    for node in nodes:
        if node in where:
            continue
        kept = stays and node not in summed and _is_elementwise(node)
        in_loop = node in needed or kept or is_summed_in_loop(node)
        where[node] = When.STEP if in_loop else When.LATE
    if not reverse:
        return where
    late = {node for node in graph.output_nodes if where.get(node) is When.LATE}
    late.update(node for node in nodes if is_summed_in_loop(node))
    found = place_tail(late, graph.inputs, where, target)
    after = {node: when for node, when in found.items() if when is When.AFTER}
    return where | after


def place_tail(
    nodes: Collection[Node], known: Collection[Node], where: Mapping[Node, When], target: Target
) -> dict[Node, When]:
    """When cotangents are computed that nothing in the reverse loop's steps needs.

    Args:
        known: what is in memory besides what `where` has been placed before or in the steps.
    """
    given = {node for node, when in where.items() if when <= When.STEP and node.op not in VIEWS}
    given.difference_update(node for node in nodes if is_summed_in_loop(node))
    given.update(known)
    late = [node for node in nodes if node not in given]  # what is there needs no computing
    return {node: When.AFTER if target.chunks(node, given) else When.LATE for node in late}


def place_heads(graph: Graph, read_elsewhere: Collection[Node], target: Target) -> dict[Node, When]:
    """What of the section for all steps the forward loop computes for some steps at a time.

    Args:
        graph: the section.
        read_elsewhere: what is read outside the forward loop's body.
    """
    inside = {child for node in graph.nodes() for child in node.inputs}
    made = zip(graph.keys, graph.output_nodes, strict=True)
    apart = [node for key, node in made if node not in inside and key not in read_elsewhere]
    given = set(graph.inputs)
    return {node: When.BEFORE for node in apart if target.chunks(node, given)}


def _place_early(
    graph: Graph,
    early: set[Node],
    carried: set[Node],
    target: Target,
    *,
    fixed: Collection[Node],
    reverse: bool,
) -> dict[Node, When]:
    """When that is computed which depends on nothing that a loop carries, if it leaves the loop."""
    inputs = set(graph.inputs)
    varying = dependents(graph, inputs.difference(fixed))
    where = {node: When.EARLY if node in varying else When.ONCE for node in early}
    if target.fuses or (target.spares_memory and not reverse):
        # only what costs more than a pass over memory is worth leaving it
        worth = [node for node in early if OPS[node.op].group is Group.PRODUCT]
        worth_it = set(topological(worth, stop=inputs))
        where = {n: w for n, w in where.items() if w is When.ONCE or n in worth_it}
    if reverse and target.chunks_steps:
        given = inputs - carried
        where = {
            node: When.ONCE if when is When.ONCE else When.BEFORE
            for node, when in where.items()
            if when is When.ONCE or (node.op == "matvec" and target.chunks(node, given))
        }
    return where


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


def dependents(graph: Graph, sources: Iterable[Node]) -> set[Node]:
    """`sources` and every node of `graph` that depends on them."""
    depends = set(sources)
    for node in graph.nodes():
        if any(child in depends for child in node.inputs):
            depends.add(node)
    return depends
