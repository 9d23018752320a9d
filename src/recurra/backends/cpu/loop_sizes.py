"""How large values are, with the numbers that stand behind the names of sizes."""

from collections.abc import Mapping

from recurra.backends.cpu.abi import PANEL
from recurra.ir import Node, is_rows
from recurra.ir.dims import Shape


def padded(width: int) -> int:
    """Rounded up to whole panels."""
    return -(-width // PANEL) * PANEL


def dims_of(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The numbers of a shape."""
    return tuple(dim.evaluate(sizes) for dim in shape)


def shape_of(node: Node, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The numbers of a value's shape."""
    return dims_of(node.shape, sizes)


def count_of(node: Node, sizes: Mapping[str, int]) -> int:
    """How many rows a sequence has of a value."""
    return node.shape[0].evaluate(sizes) if is_rows(node.shape) else 1


def width_of(node: Node, sizes: Mapping[str, int]) -> int:
    """The size of a value, or of each of its rows."""
    return node.shape[-1].evaluate(sizes) if node.shape else 1
