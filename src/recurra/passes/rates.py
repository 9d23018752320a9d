"""How often a value changes: the one thing that decides where it is computed."""

from collections.abc import Mapping
from enum import IntEnum

from recurra.ir import Graph, Node, has_own_rows, has_positions, is_rows


class Rate(IntEnum):
    """From the rarest to the most frequent."""

    ONCE = 0  # depends on parameters alone: once a call
    CONTEXT = 1  # on context inputs too: once for each sequence
    SEQUENCE = 2  # on inputs or the step index: for all steps at once, outside the loop
    STEP = 3  # on a state: in the loop


LEAF_RATES: Mapping[str, Rate] = {
    "parameter": Rate.ONCE,
    "array": Rate.ONCE,  # a parameter that is not learned
    "context": Rate.CONTEXT,
    "memory": Rate.CONTEXT,
    "positions": Rate.CONTEXT,
    "input": Rate.SEQUENCE,  # x, which may be token ids
    "further": Rate.SEQUENCE,  # what else is given at each step
    "step": Rate.SEQUENCE,
    "mask": Rate.SEQUENCE,
    "sequence mask": Rate.CONTEXT,
    "call mask": Rate.ONCE,
    "state": Rate.STEP,
    # of leaves at cuts: what another part has made
    "made once": Rate.ONCE,
    "made for a sequence": Rate.CONTEXT,
    "made for a step": Rate.SEQUENCE,
    "made for all at a step": Rate.SEQUENCE,  # it has time, and is the same for all sequences
}

MASK_KINDS = ("mask", "sequence mask", "call mask")
# inputs that nothing is differentiated by
CONSTANT_KINDS = ("step", "positions", "array", *MASK_KINDS)
# what has one value for all steps and sequences of a call
FIXED_KINDS = ("parameter", "array", "made once")
# what all sequences share
SHARED_KINDS = (*FIXED_KINDS, "step", "made for all at a step")


def leaf_rates(graph: Graph) -> dict[Node, Rate]:
    """The rates of a cell's inputs."""
    return {node: LEAF_RATES[node.attr("kind")] for node in graph.inputs}


def made_kind(rate: Rate, *, shared: bool) -> str:
    """The kind of the leaf of a value that changes so often."""
    if rate in (Rate.ONCE, Rate.CONTEXT):
        return "made once" if rate is Rate.ONCE else "made for a sequence"
    return "made for all at a step" if shared else "made for a step"


def shared(graph: Graph) -> set[Node]:
    """The values of a graph that are the same for all sequences."""
    found = {node for node in graph.inputs if node.attr("kind") in SHARED_KINDS}
    for node in graph.nodes():
        if found.issuperset(node.inputs):
            found.add(node)
    return found


def rates(graph: Graph, given: Mapping[Node, Rate]) -> dict[Node, Rate]:
    """The rate of every node: that of its most frequent input; `given` holds the graph's inputs.

    What the input makes of a memory belongs to the step, which has no rows for all steps at once;
    so do the rows of matrices that each sequence has of its own, whatever they are made of.
    """
    found = dict(given)
    for node in graph.nodes():
        rate = max((found[child] for child in node.inputs), default=Rate.ONCE)
        in_loop = rate is Rate.SEQUENCE and has_positions(node.shape)
        in_loop = in_loop or (is_rows(node.shape) and has_own_rows(node.shape))
        found[node] = Rate.STEP if in_loop else rate
    return found
