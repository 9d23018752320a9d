"""In which order the tensors of a call stand for the inputs of a cell."""

from recurra.ir import Graph, Node
from recurra.passes import FIXED_KINDS, MASK_KINDS

_ORDER = ("state", "further", "context", *MASK_KINDS, "memory", "positions", *FIXED_KINDS)


def input_of(equations: Graph) -> Node | None:
    """The cell's input x; None where it has none."""
    return next((node for node in equations.inputs if node.attr("kind") == "input"), None)


def others_of(equations: Graph) -> tuple[Node, ...]:
    """What else a call gives tensors for, in order: states, further inputs, context, masks, what
    is over memories, parameters and arrays."""
    return tuple(n for kind in _ORDER for n in equations.inputs if n.attr("kind") == kind)
