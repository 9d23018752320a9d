"""The graph that cells are traced to: one node type, one table of operations, verify, show."""

from recurra.ir.dims import Dim, Shape, shape_text
from recurra.ir.graph import (
    Graph,
    Node,
    intern,
    rebuild,
    substitute,
    topological,
    use_counts,
)
from recurra.ir.ops import OPS, Group, Op, apply, const, cotangents, leaf
from recurra.ir.verify import Stage, verify

__all__ = [
    "OPS",
    "Dim",
    "Graph",
    "Group",
    "Node",
    "Op",
    "Shape",
    "Stage",
    "apply",
    "const",
    "cotangents",
    "intern",
    "leaf",
    "rebuild",
    "shape_text",
    "substitute",
    "topological",
    "use_counts",
    "verify",
]
