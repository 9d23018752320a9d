"""How many operations the products of a run are, as torch counts them: two for each number that is
multiplied and added. All that is not a product counts as nothing, as in torch."""

import math

from recurra.backends.runtime.execute import Bound
from recurra.ir import Graph, Node
from recurra.passes import Section
from recurra.passes.cut import section

_PRODUCTS = ("matvec", "outer", "rows_product", "rows_dot", "weighted_sum", "outer_time")


def forward_flops(bound: Bound) -> int:
    """The products of a run."""
    plan = bound.executor.plan
    parts = (plan.once, plan.context, plan.sequence, plan.step)
    return sum(_flops(part.graph, bound) * _times(part, bound) for part in parts)


def backward_flops(bound: Bound, wanted: set[Node]) -> int:
    """The products of the backward pass that gives the cotangents of the leaves in `wanted`."""
    executor = bound.executor
    plan, needed = executor.plan, executor.parts.on_the_way(wanted)
    total = 0
    for part in (plan.once, plan.context, plan.sequence, plan.step):
        carried = plan.states if part is plan.step else ()
        outputs = [
            node
            for name, node in part.adjoint.outputs
            if part.wanted[int(name)] in needed or part.wanted[int(name)] in carried
        ]
        graph = section(outputs, known=part.adjoint.inputs)
        total += _flops(graph, bound) * _times(part, bound)
    if plan.low:  # it runs again
        total += _flops(plan.sequence.graph, bound) * _times(plan.sequence, bound)
    return total


def _times(part: Section, bound: Bound) -> int:
    """For how many vectors a part runs."""
    call, plan = bound.call, bound.executor.plan
    if part is plan.once:
        return 1
    if part is plan.context:
        return call.batch
    if part is plan.sequence and bound.executor.uses_table(bound.leaves, call):
        return bound.executor.table_rows(bound.leaves, call)
    return call.steps * call.batch


def _flops(graph: Graph, bound: Bound) -> int:
    return sum(_flops_of(node, bound) for node in graph.nodes())


def _flops_of(node: Node, bound: Bound) -> int:
    if node.op not in _PRODUCTS:
        return 0
    own, *read = (bound.executor.shape_of(each, bound.call) for each in (node, *node.inputs))
    if node.op == "matvec":
        return 2 * math.prod(read[0]) * math.prod(read[1][1:])
    if node.op == "rows_product":
        return 2 * math.prod(own) * read[1][1]
    rows = max(read, key=len)  # of an outer product its own, where it is of rows the sum of theirs
    if node.op == "outer":
        return 2 * math.prod(own) * math.prod(rows[:-1])
    return 2 * math.prod(own if node.op == "outer_time" else rows)
