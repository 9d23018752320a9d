"""A time loop that computes nothing: results of the right shapes, for operators that are traced."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from recurra.backends.reference.loops import LoopResult
from recurra.ir import Graph, Node, is_matrix
from recurra.passes.hoist import is_summed_in_loop


def blank_run(
    body: Graph,
    carried: Sequence[Node],
    first: Sequence[Tensor],
    steps: int,
    history: Mapping[Node, Node],
    shape: Callable[[Node], tuple[int, ...]],
) -> LoopResult:
    """What a loop over `body` would give, its numbers left open; see `TimeLoop.run`.

    Args:
        steps: T, which may be symbolic here.
        shape: that of a node's value, without time and batch.
    """
    like, batch = first[0], first[0].shape[0]
    records = {
        node: like.new_empty(*_lead(node, steps, batch), *shape(node))
        for node in body.output_nodes[len(carried) :]
    }
    for node, value in zip(carried, first, strict=True):
        if node in history:
            each = (steps, batch, value.shape[-1])
            records[node] = like.new_empty(each)
            records[history[node]] = like.new_empty(each)
    return LoopResult(carried=[value.new_empty(value.shape) for value in first], records=records)


def _lead(node: Node, steps: int, batch: int) -> tuple[int, ...]:
    """Time and batch, of what has them: a sum over time has no time, that of a matrix no batch."""
    if not is_summed_in_loop(node):
        return steps, batch
    return () if is_matrix(node.shape) else (batch,)
