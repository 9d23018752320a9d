"""step: a cell's equations as one whole step, for a target that is given its input step by step.

once -> context (-> rows) -> body

Nothing can be computed for all steps at once here. For token ids, what depends on the input alone
can still be computed for each token of the vocabulary, and looked up.
"""

from dataclasses import dataclass

from recurra.ir import Graph, Node, Stage, verify_part
from recurra.passes.cut import cut
from recurra.passes.place import Target, When, place
from recurra.passes.plan import forward_graph
from recurra.passes.rates import FIXED_KINDS, Rate, leaf_rates

_TARGET = Target(fuses=True, pays_per_operation=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One step of a cell, cut by how often a value changes.

    Attributes:
        states: the leaves that the step carries; the first outputs of `body` are their next values,
            in order.
        once: what depends on the parameters alone.
        context: what depends on context inputs too.
        rows: what depends on the input too, for each token of a vocabulary; empty without a table.
        body: what runs in each step.
        output: the node of the cell's output, an output of `body`.
    """

    states: tuple[Node, ...]
    once: Graph
    context: Graph
    rows: Graph
    body: Graph
    output: Node


def whole_step(equations: Graph, *, table: bool = False) -> Step | None:
    """A cell's step for a target that fuses elementwise work.

    Args:
        equations: as `Cell.equations`.
        table: what the input alone decides is to be looked up by token. None is returned where
            that depends on more than the token, such as the context or the index of the step.
    """
    graph = forward_graph(equations, wide=False, in_loop=Rate.STEP if table else Rate.SEQUENCE)
    of_input = When.ROW if table else When.STEP
    sections = cut(graph, place(graph, leaf_rates(graph), _TARGET, of_input=of_input))
    for part in (sections.once, sections.context, sections.sequence, sections.step):
        verify_part(part, Stage.PRIMITIVE)
    if table and not _depends_on_token(sections.sequence):
        return None
    states = tuple(node for node in graph.inputs if node.attr("kind") == "state")
    step = sections.step
    # a state that the step never reads is carried all the same
    unread = tuple(state for state in states if state not in step.inputs)
    outputs = [(state.name, step.output(state.name)) for state in states]
    output = step.output("output")
    if all(node is not output for _, node in outputs):
        outputs.append(("output", output))
    return Step(
        states=states,
        once=sections.once,
        context=sections.context,
        rows=sections.sequence,
        body=Graph(inputs=(*step.inputs, *unread), outputs=tuple(outputs)),
        output=output,
    )


def _depends_on_token(rows: Graph) -> bool:
    """Whether the input and the parameters are all that `rows` are computed from."""
    return {leaf.attr("kind") for leaf in rows.inputs} <= {"input", *FIXED_KINDS}
