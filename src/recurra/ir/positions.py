"""The operations over a memory: a sequence of S vectors that stays constant through time.

A value over the memory has a number [S] or a row [S, K] for each of its positions. How many of them
a sequence really has says the leaf `inside`, [S]: 1 there, 0 past its end. Whatever leaves the
positions (a sum, a largest number, a weighted sum of rows) reads it, so that what stands past the
end is never seen, and its cotangents are zero.
"""

from collections.abc import Callable
from typing import Any

from recurra.ir import shapes
from recurra.ir.dims import POSITIONS, is_rows
from recurra.ir.graph import Node
from recurra.ir.ops import OPS, Group, Op, apply, leaf

# below all that is compared with it, and a number in every dtype but the smallest, where it is -inf
_LOWEST = -1e38


def inside() -> Node:
    """The leaf that says which positions are within the memory of a sequence."""
    return leaf("positions", "inside the memory", (POSITIONS,))


def is_inside(node: Node) -> bool:
    """Whether it is that leaf."""
    return node.op == "input" and node.attr("kind") == "positions"


# ---- cotangents --------------------------------------------------------------------------------


def _rows_product_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    matrix, rows = y.inputs
    return apply("outer", d, rows), apply("rows_product", apply("transpose", matrix), d)


def _rows_dot_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    rows, vector = y.inputs
    return apply("mul", d, vector), apply("weighted_sum", d, rows)


def _weighted_sum_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    numbers, rows = y.inputs
    return apply("rows_dot", rows, d), apply("mul", numbers, d)


def _max_rows_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    """Ties share the cotangent, as those of `max` do."""
    (rows,) = y.inputs
    largest = apply("eq", rows, y)
    return (apply("mul", apply("div", d, apply("sum_rows", largest)), largest),)


# ---- composites --------------------------------------------------------------------------------


def _masked(v: Node, within: Node, value: float) -> Node:
    return apply("where", within, v, value)


def _expand_softmax(y: Node) -> Node:
    v, within = y.inputs
    return OPS["softmax"].expand(apply("softmax", _masked(v, within, _LOWEST)))  # type: ignore[misc]


def _expand_sum(y: Node) -> Node:
    v, within = y.inputs
    return apply("sum_rows" if is_rows(v.shape) else "sum", _masked(v, within, 0.0))


def _expand_max(y: Node) -> Node:
    v, within = y.inputs
    return apply("max_rows" if is_rows(v.shape) else "max", _masked(v, within, _LOWEST))


def _expand_mean(y: Node) -> Node:
    return apply("div", _expand_sum(y), apply("sum", y.inputs[1]))


def _expand_read(y: Node) -> Node:
    numbers, rows, within = y.inputs
    if not _is_zero_outside(numbers, within):
        numbers = _masked(numbers, within, 0.0)
    return apply("weighted_sum", numbers, rows)


def _expand_neighbours(y: Node) -> Node:
    v, within = y.inputs
    return apply("windows", _masked(v, within, 0.0), width=y.attr("width"))


def _is_zero_outside(numbers: Node, within: Node) -> bool:
    """Whether they are zero past the end as they are: a softmax, and what is multiplied by one."""
    if numbers.op == "div" or numbers.op == "mul":
        return any(_is_zero_outside(a, within) for a in numbers.inputs[: 2 - (numbers.op == "div")])
    if numbers.op == "exp" and numbers.inputs[0].op == "sub":
        masked = numbers.inputs[0].inputs[0]
        return masked.op == "where" and masked.inputs[0] is within
    return False


# ---- the table ---------------------------------------------------------------------------------


def _over_positions(
    name: str, spelled: str, expand: Callable[[Node], Node], latex: str, *, shape: Any
) -> Op:
    """A composite of one value and `inside`; of numbers it is spelled without the dim."""
    return Op(
        name=name,
        group=Group.COMPOSITE,
        shape=shape,
        expand=expand,
        text=f"{spelled}({{0}}, dim=0)",
        latex=latex,
    )


TABLE = [
    Op(
        name="rows_product",  # a matrix times each row
        group=Group.PRODUCT,
        shape=shapes.rows_product,
        cotangent=_rows_product_cotangent,
        text="{0} @ {1}",
        latex="{0} {1}",
        precedence=2,
    ),
    Op(
        name="rows_dot",  # each row times a vector
        group=Group.PRODUCT,
        shape=shapes.rows_dot,
        cotangent=_rows_dot_cotangent,
        text="{0} @ {1}",
        latex="{0} {1}",
        precedence=2,
    ),
    Op(
        name="weighted_sum",  # of rows, by numbers; it takes all positions
        group=Group.PRODUCT,
        shape=shapes.weighted_sum,
        cotangent=_weighted_sum_cotangent,
        text="{0} @ {1}",
        latex=r"{0}^{{\top}} {1}",
        precedence=2,
    ),
    Op(
        name="sum_rows",  # over all positions
        group=Group.REDUCTION,
        shape=shapes.positions_gone,
        cotangent=lambda y, d: (apply("expand", d, shape=y.inputs[0].shape),),
        text="sum({0}, dim=0)",
        latex=r"\textstyle\sum {0}",
    ),
    Op(
        name="max_rows",  # over all positions
        group=Group.REDUCTION,
        shape=shapes.positions_gone,
        cotangent=_max_rows_cotangent,
        text="max({0}, dim=0)",
        latex=r"\max({0})",
    ),
    Op(
        name="windows",  # [S, width]: each number with those beside it, zero past both ends
        group=Group.MOVEMENT,
        shape=shapes.windows,
        cotangent=lambda y, d: (apply("overlaps", d),),
        text="windows({0}, {width})",
        latex=r"\operatorname{{windows}}_{{{width}}}({0})",
    ),
    Op(
        name="overlaps",  # [S]: to each position what windows have of it, summed; for `windows`
        group=Group.MOVEMENT,
        shape=shapes.features_gone,
        cotangent=lambda y, d: (apply("windows", d, width=int(y.inputs[0].shape[1].constant)),),
        text="overlaps({0})",
        latex=r"\operatorname{{overlaps}}({0})",
    ),
    Op(
        name="outer_time",  # [S, K]: the sum over time of numbers [S] times a vector [K]
        group=Group.ACCUMULATION,
        shape=shapes.outer_time,
        text="total_time({0} * {1})",
        latex="",
    ),
    _over_positions(
        "positions_softmax",
        "softmax",
        _expand_softmax,
        r"\operatorname{{softmax}}({0})",
        shape=shapes.same,
    ),
    _over_positions(
        "positions_sum", "sum", _expand_sum, r"\textstyle\sum {0}", shape=shapes.positions_gone
    ),
    _over_positions("positions_max", "max", _expand_max, r"\max({0})", shape=shapes.positions_gone),
    _over_positions(
        "positions_mean",
        "mean",
        _expand_mean,
        r"\operatorname{{mean}}({0})",
        shape=shapes.positions_gone,
    ),
    Op(
        name="read",  # the sum of rows, weighted by numbers, within the memory
        group=Group.COMPOSITE,
        shape=shapes.weighted_sum,
        expand=_expand_read,
        text="{0} @ {1}",
        latex=r"{0}^{{\top}} {1}",
        precedence=2,
    ),
    Op(
        name="neighbours",  # the windows of what is within the memory
        group=Group.COMPOSITE,
        shape=shapes.windows,
        expand=_expand_neighbours,
        text="windows({0}, {width})",
        latex=r"\operatorname{{windows}}_{{{width}}}({0})",
    ),
]

OPS.update({op.name: op for op in TABLE})
