"""The composites: what exists so that a cell prints as it was written.

The pass `decompose` rewrites each into primitives before anything else looks at it.
"""

import math
from collections.abc import Callable
from typing import Any

from recurra.ir import shapes
from recurra.ir.dims import is_matrix
from recurra.ir.graph import Node
from recurra.ir.ops import OPS, Group, Op, apply, size_of


def _mul(a: Node, b: Node | float) -> Node:
    return apply("mul", a, b)


def _mean(v: Node) -> Node:
    return apply("div", apply("sum", v), size_of(v.shape[-1]))


def _centered(v: Node) -> Node:
    return apply("sub", v, _mean(v))


def _variance(v: Node) -> Node:
    centered = _centered(v)
    return _mean(_mul(centered, centered))


def _expand_layer_norm(y: Node) -> Node:
    v, *affine = y.inputs
    deviation = apply("sqrt", apply("add", _variance(v), y.attr("eps")))
    normed = apply("div", _centered(v), deviation)
    if y.attr("gain"):
        normed = _mul(normed, affine.pop(0))
    if y.attr("bias"):
        normed = apply("add", normed, affine.pop(0))
    return normed


def _expand_softmax(y: Node) -> Node:
    (v,) = y.inputs
    if is_matrix(v.shape):
        return apply("matrix_softmax", v)
    # whatever is subtracted falls out of the quotient: nothing is differentiated through it
    weights = apply("exp", apply("sub", v, apply("max", v, held=True)))
    return apply("div", weights, apply("sum", weights))


def _expand_blocks_product(y: Node) -> Node:
    """Block k of the rows times part k of the vector."""
    matrix, operand = y.inputs
    heads = y.attr("heads")
    rows, columns = matrix.shape[0] / heads, matrix.shape[1]
    parts = [
        apply(
            "matvec",
            apply("slice", matrix, axis=0, start=rows * k, size=rows),
            apply("slice", operand, axis=0, start=columns * k, size=columns),
        )
        for k in range(heads)
    ]
    return apply("concat", *parts, axis=0) if heads > 1 else parts[0]


def _expand_leaky_relu(y: Node) -> Node:
    (v,) = y.inputs
    return apply("where", apply("gt", v, 0.0), v, _mul(v, y.attr("slope")))


def _expand_elu(y: Node) -> Node:
    (v,) = y.inputs
    positive = apply("gt", v, 0.0)
    # the inner `where` keeps expm1 finite on the side that the outer one throws away
    negative = _mul(apply("expm1", apply("where", positive, 0.0, v)), y.attr("alpha"))
    return apply("where", positive, v, negative)


def _expand_gelu(y: Node) -> Node:
    (v,) = y.inputs
    return _mul(_mul(v, 0.5), apply("add", apply("erf", _mul(v, math.sqrt(0.5))), 1.0))


def _expand_silu(y: Node) -> Node:
    (v,) = y.inputs
    return _mul(v, apply("sigmoid", v))


def _composite(
    name: str,
    expand: Callable[[Node], Node],
    *,
    shape: Any = shapes.same,
    text: str | None = None,
    latex: str | None = None,
    precedence: int = 4,
) -> Op:
    return Op(
        name=name,
        group=Group.COMPOSITE,
        shape=shape,
        expand=expand,
        text=text or f"{name}({{all}})",
        latex=latex or rf"\operatorname{{{{{name}}}}}({{all}})",
        precedence=precedence,
    )


TABLE = [
    _composite("mean", lambda y: _mean(y.inputs[0]), shape=shapes.features_gone),
    _composite("var", lambda y: _variance(y.inputs[0]), shape=shapes.features_gone),
    _composite("softmax", _expand_softmax),
    _composite("layer_norm", _expand_layer_norm, latex=r"\operatorname{{LN}}({all})"),
    _composite("leaky_relu", _expand_leaky_relu, latex=r"\operatorname{{leaky\_relu}}({all})"),
    _composite("elu", _expand_elu),
    _composite("gelu", _expand_gelu),
    _composite("silu", _expand_silu),
    _composite(
        "blocks_product",  # a block-diagonal matrix, its blocks one below the other, times a vector
        _expand_blocks_product,
        shape=shapes.blocks_product,
        text="{0} @ {1}",
        latex="{0} {1}",
        precedence=2,
    ),
]

OPS.update({op.name: op for op in TABLE})
