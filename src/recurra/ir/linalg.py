"""The operations on matrices of parameters, which are computed once a call and never in a loop.

Their values have neither time nor batch in front. A vector beside such a matrix goes with each of
its rows: it has a number for each column.
"""

from collections.abc import Callable

from recurra.ir import shapes
from recurra.ir.dims import Dim
from recurra.ir.graph import Node
from recurra.ir.ops import OPS, Group, Op, apply, const, size_of


def _ones(size: Dim) -> Node:
    return apply("expand", const(1.0), shape=(size,))


def row_sums(matrix: Node) -> Node:
    """[R], of [R, C]."""
    return apply("matvec", matrix, _ones(matrix.shape[1]))


def column_sums(matrix: Node) -> Node:
    """[C], of [R, C]."""
    return row_sums(_transposed(matrix))


def _transposed(matrix: Node) -> Node:
    return apply("transpose", matrix)


def _product(a: Node, b: Node) -> Node:
    return apply("matvec", a, b)


def _each_row_less(matrix: Node, numbers: Node) -> Node:
    """The matrix less a number for each row."""
    return _transposed(apply("sub", _transposed(matrix), numbers))


# ---- cotangents --------------------------------------------------------------------------------


def _softmax_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    return (apply("mul", y, _each_row_less(d, row_sums(apply("mul", d, y)))),)


def _inverse_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    turned = _transposed(y)
    return (apply("neg", _product(_product(turned, d), turned)),)


def _solve_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    d_right = apply("solve", _transposed(y.inputs[0]), d)
    return apply("neg", _product(d_right, _transposed(y))), d_right


def _exp_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    """The derivative of exp at A' in the direction d, a block of exp of [[A', d], [0, A']].

    Source: Higham (2008), "Functions of Matrices", SIAM, eq. (3.16); its adjoint is that at A'.
    """
    turned = _transposed(y.inputs[0])
    size = turned.shape[0]
    above = apply("concat", turned, d, axis=1)
    zeros = apply("expand", const(0.0), shape=turned.shape)
    whole = apply("concat", above, apply("concat", zeros, turned, axis=1), axis=0)
    rows = apply("slice", apply("matrix_exp", whole), axis=0, start=Dim(), size=size)
    return (apply("slice", rows, axis=1, start=size, size=size),)


# ---- composites --------------------------------------------------------------------------------


def _expand_sum(y: Node) -> Node:
    (matrix,) = y.inputs
    return row_sums(matrix) if y.attr("dim") else column_sums(matrix)


def _expand_mean(y: Node) -> Node:
    return apply("div", _expand_sum(y), size_of(y.inputs[0].shape[y.attr("dim")]))


def _sums(name: str, expand: Callable[[Node], Node], latex: str) -> Op:
    return Op(
        name=f"matrix_{name}",
        group=Group.COMPOSITE,
        shape=lambda given, attrs: (given[0][1 - attrs["dim"]],),
        expand=expand,
        text=f"{name}({{0}}, dim={{dim}})",
        latex=latex,
    )


# ---- the table ---------------------------------------------------------------------------------

TABLE = [
    Op(
        name="matrix_softmax",  # of each row
        group=Group.MATRIX,
        shape=shapes.same,
        cotangent=_softmax_cotangent,
        text="softmax({0})",
        latex=r"\operatorname{{softmax}}({0})",
    ),
    Op(
        name="inverse",
        group=Group.MATRIX,
        shape=shapes.square,
        cotangent=_inverse_cotangent,
        text="inverse({0})",
        latex="{0}^{{-1}}",
        precedence=3,
    ),
    Op(
        name="solve",  # the inverse of a matrix, times another
        group=Group.MATRIX,
        shape=shapes.solved,
        cotangent=_solve_cotangent,
        text="solve({0}, {1})",
        latex="{0}^{{-1}} {1}",
        precedence=2,
    ),
    Op(
        name="matrix_exp",
        group=Group.MATRIX,
        shape=shapes.square,
        cotangent=_exp_cotangent,
        text="matrix_exp({0})",
        latex=r"\operatorname{{expm}}({0})",  # \exp is that of each number
    ),
    Op(
        name="diag",  # a vector as a diagonal matrix
        group=Group.MATRIX,
        shape=lambda given, attrs: (given[0][0], given[0][0]),
        cotangent=lambda y, d: (apply("diagonal", d),),
        text="diag({0})",
        latex=r"\operatorname{{diag}}({0})",
    ),
    Op(
        name="diagonal",  # that of a square matrix, as a vector
        group=Group.MATRIX,
        shape=lambda given, attrs: shapes.square(given, attrs)[:1],
        cotangent=lambda y, d: (apply("diag", d),),
        text="diag({0})",
        latex=r"\operatorname{{diag}}({0})",
    ),
    _sums("sum", _expand_sum, r"\textstyle\sum_{{\mathrm{{dim}}\,{dim}}} {0}"),
    _sums("mean", _expand_mean, r"\operatorname{{mean}}_{{\mathrm{{dim}}\,{dim}}}({0})"),
]

OPS.update({op.name: op for op in TABLE})
