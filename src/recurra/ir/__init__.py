"""The graph that cells are traced to: one node type, one table of operations, verify."""

from recurra.ir import composites as composites
from recurra.ir import linalg as linalg
from recurra.ir.dims import (
    POSITIONS,
    Dim,
    Shape,
    blocks_of,
    has_positions,
    has_rows,
    is_matrix,
    is_rows,
    shape_text,
)
from recurra.ir.graph import (
    Graph,
    Node,
    intern,
    rebuild,
    substitute,
    topological,
    use_counts,
)
from recurra.ir.matrices import VIEWS, has_own_rows, is_transparent
from recurra.ir.ops import OPS, Group, Op, apply, const, cotangents, leaf
from recurra.ir.positions import inside, is_inside
from recurra.ir.verify import Stage, verify, verify_part

__all__ = [
    "OPS",
    "POSITIONS",
    "VIEWS",
    "Dim",
    "Graph",
    "Group",
    "Node",
    "Op",
    "Shape",
    "Stage",
    "apply",
    "blocks_of",
    "const",
    "cotangents",
    "has_own_rows",
    "has_positions",
    "has_rows",
    "inside",
    "intern",
    "is_inside",
    "is_matrix",
    "is_rows",
    "is_transparent",
    "leaf",
    "rebuild",
    "shape_text",
    "substitute",
    "topological",
    "use_counts",
    "verify",
    "verify_part",
]
