"""The operations on matrices that each sequence has of its own, such as a state of shape [P, Q].

They are rows, as those of a memory are, with a size of the layer in place of the number of
positions: the operations on rows serve both, and the ones here lead to them and back. A vector [P]
and the numbers [P] of P rows are not the same: beside rows, the first goes with each of them, the
second has a number for each.

In n blocks, [P, Q] is n matrices [P / n, Q] one below the other. A vector beside such rows has n
parts [Q], and each block goes with its own.
"""

from recurra.ir import shapes
from recurra.ir.dims import Shape, blocks_of
from recurra.ir.graph import Node
from recurra.ir.ops import OPS, Group, Op, apply, size_of

# ways to see what is in memory
VIEWS = ("slice", "column", "vector", "rows")


def column(v: Node, blocks: int) -> Node:
    """A vector [P] as a number for each of P rows."""
    return apply("column", v, blocks=blocks)


def has_own_rows(shape: Shape) -> bool:
    """Whether it is that of rows, or of their numbers, which are no memory's."""
    return bool(shape) and shape[0].blocks > 0


def _vector_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    return (column(d, y.inputs[0].shape[0].blocks),)


def _flatten_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    return (apply("rows", d, parts=int(y.inputs[0].shape[0].constant)),)


def _expand_outer(y: Node) -> Node:
    v, k = y.inputs
    return apply("mul", column(v, y.attr("blocks")), k)


def _expand_times_matrix(y: Node) -> Node:
    rows, matrix = y.inputs
    return apply("rows_product", apply("transpose", matrix), rows)


def _expand_mean_rows(y: Node) -> Node:
    (rows,) = y.inputs
    count = size_of(rows.shape[0].in_blocks(0) / blocks_of(rows.shape))
    return apply("div", apply("sum_rows", rows), count)


def _expand_repeat(y: Node) -> Node:
    (v,) = y.inputs
    numbers = column(v, 1)
    each = (*numbers.shape, y.attr("shape")[0] / v.shape[0].constant)
    return apply("flatten", apply("expand", numbers, shape=each))


def _expand_columns_read(y: Node) -> Node:
    v, rows = y.inputs
    return apply("weighted_sum", column(v, rows.shape[0].blocks), rows)


TABLE = [
    Op(
        name="column",  # a vector as the numbers of rows
        group=Group.MOVEMENT,
        shape=shapes.in_rows,
        cotangent=lambda y, d: (apply("vector", d),),
        text="outer({all})",
        latex=r"{0} \mathbf{{1}}^{{\top}}",
    ),
    Op(
        name="vector",  # the numbers of rows as a vector
        group=Group.MOVEMENT,
        shape=shapes.rows_gone,
        cotangent=_vector_cotangent,
        text="{0}",
        latex="{0}",
    ),
    Op(
        name="rows",  # a vector cut into equal parts, as rows
        group=Group.MOVEMENT,
        shape=shapes.folded,
        cotangent=lambda y, d: (apply("flatten", d),),
        text="rows({0}, {parts})",
        latex=r"\operatorname{{rows}}({0})",
    ),
    Op(
        name="flatten",  # rows one behind the other, as a vector
        group=Group.MOVEMENT,
        shape=shapes.unfolded,
        cotangent=_flatten_cotangent,
        text="flatten({0})",
        latex=r"\operatorname{{vec}}({0})",
    ),
    Op(
        name="matrix_rows",  # a matrix that all sequences share, as rows of each
        group=Group.MOVEMENT,
        shape=shapes.in_rows,
        cotangent=lambda y, d: (apply("total_rows", apply("total_time", d)),),
        text="{0}",
        latex="{0}",
    ),
    Op(
        name="total_rows",  # [P, Q]: the sum of rows over sequences, a matrix; for `matrix_rows`
        group=Group.REDUCTION,
        shape=shapes.total_rows,
        text="total({0})",
        latex="",
    ),
    Op(
        name="outer_vectors",  # v k^T
        group=Group.COMPOSITE,
        shape=shapes.outer_vectors,
        expand=_expand_outer,
        text="outer({all})",
        latex=r"{0} {1}^{{\top}}",
    ),
    Op(
        name="columns_read",  # v^T S, as a vector
        group=Group.COMPOSITE,
        shape=shapes.columns_read,
        expand=_expand_columns_read,
        text="{0} @ {1}",
        latex=r"{1}^{{\top}} {0}",
        precedence=2,
    ),
    Op(
        name="times_matrix",  # S W, with a matrix that all sequences share
        group=Group.COMPOSITE,
        shape=shapes.times_matrix,
        expand=_expand_times_matrix,
        text="{0} @ {1}",
        latex="{0} {1}",
        precedence=2,
    ),
    Op(
        name="repeat",  # each of the numbers of a vector, as often as makes one of a size
        group=Group.COMPOSITE,
        shape=shapes.given,
        expand=_expand_repeat,
        text="expand({0}, {sizes})",
        latex=r"{0} \otimes \mathbf{{1}}",
    ),
    Op(
        name="mean_rows",  # over the rows of each block
        group=Group.COMPOSITE,
        shape=shapes.positions_gone,
        expand=_expand_mean_rows,
        text="mean({0}, dim=0)",
        latex=r"\operatorname{{mean}}({0})",
    ),
]

OPS.update({op.name: op for op in TABLE})


def is_transparent(node: Node) -> bool:
    """Whether it is written as what it reads: the same numbers, seen as something else."""
    return node.op in ("vector", "matrix_rows")
