"""A time loop that computes nothing: results of the right shapes, for operators that are traced."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from recurra.backends.reference.loops import LoopResult
from recurra.ir import Graph, Node


def blank_run(
    body: Graph,
    carried: Sequence[Node],
    first: Sequence[Tensor],
    steps: int,
    history: Mapping[Node, Node],
    width: Callable[[Node], int],
) -> LoopResult:
    """What a loop over `body` would give, its numbers left open; see `TimeLoop.run`.

    Args:
        steps: T, which may be symbolic here.
        width: the size of a node.
    """
    like, batch = first[0], first[0].shape[0]
    records = {
        node: like.new_empty(steps, batch, width(node))
        for node in body.output_nodes[len(carried) :]
    }
    for node, value in zip(carried, first, strict=True):
        if node in history:
            shape = (steps, batch, value.shape[-1])
            records[node] = like.new_empty(shape)
            records[history[node]] = like.new_empty(shape)
    return LoopResult(carried=[value.new_empty(value.shape) for value in first], records=records)
