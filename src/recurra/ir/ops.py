"""The table of operations: for each one its shape, value, cotangents and spelling.

Letters: y the node itself, d the cotangent of its value, a b c its inputs. Targets (torch, C++,
Triton) keep their own spelling tables; this one holds what all of them share. Here are the
primitives; `composites`, `linalg`, `matrices` and `positions` add their own rows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from recurra.ir import shapes
from recurra.ir.dims import Dim, Shape, has_rows, is_matrix, is_rows
from recurra.ir.graph import Node, intern


class Group(Enum):
    """What kind of operation it is; passes speak of groups, not of names."""

    LEAF = "leaf"  # input, const, size
    ELEMENTWISE = "elementwise"  # scalars broadcast
    PRODUCT = "product"  # matrix times vector or matrix
    REDUCTION = "reduction"  # over features
    MOVEMENT = "movement"  # no arithmetic
    MATRIX = "matrix"  # of matrices of parameters, once a call: see `linalg`
    ACCUMULATION = "accumulation"  # over time and batch; only the adjoint pass makes these
    COMPOSITE = "composite"  # rewritten into the others by `decompose`


CotangentRule = Callable[[Node, Node], tuple[Node | None, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One row of the table.

    `value` works on Python floats (constant folding); `cotangent(y, d)` gives one cotangent for
    each input, None where there is none; `expand` rewrites a composite; `precedence` is that of
    the spelling: 1 sum, 2 product, 3 sign and power, 4 a call or an atom.
    """

    name: str
    group: Group
    shape: Callable[[tuple[Shape, ...], dict[str, Any]], Shape]
    text: str
    latex: str
    precedence: int = 4
    value: Callable[..., float] | None = None
    cotangent: CotangentRule | None = None
    expand: Callable[[Node], Node] | None = None


# ---- making nodes ------------------------------------------------------------------------------


def apply(op: str, *inputs: Node | float, **attrs: Any) -> Node:
    """The node for `op` on `inputs` (numbers become constants), its shape from the table."""
    nodes = tuple(node if isinstance(node, Node) else const(node) for node in inputs)
    shape = OPS[op].shape(tuple(node.shape for node in nodes), attrs)
    return intern(op, nodes, tuple(attrs.items()), shape)


def const(value: float) -> Node:
    """A number."""
    return intern("const", (), (("value", float(value)),), ())


def leaf(kind: str, name: str, shape: Shape) -> Node:
    """An input of a cell; `kind` is one of those that `passes.rates` lists."""
    return intern("input", (), (("kind", kind), ("name", name)), shape)


def size_of(dim: Dim) -> Node:
    """A size as a number in the equations."""
    return intern("size", (), (("dim", dim),), ())


# ---- cotangents --------------------------------------------------------------------------------


def cotangents(node: Node, d: Node) -> tuple[Node | None, ...]:
    """The cotangent of each input of `node` when its own is `d`; None where it is always zero."""
    rule = OPS[node.op].cotangent
    if rule is None:
        return tuple(None for _ in node.inputs)
    found = zip(node.inputs, rule(node, d), strict=True)
    return tuple(
        _unbroadcast(cotangent, child.shape) if cotangent is not None else None
        for child, cotangent in found
    )


def _unbroadcast(d: Node, shape: Shape) -> Node:
    """`d` summed over what a value of `shape` was spread over: features, or rows."""
    if len(d.shape) <= len(shape):
        return d
    if is_matrix(d.shape) and shape:  # the vector that went with each row
        ones = apply("expand", const(1.0), shape=d.shape[:1])
        return apply("matvec", apply("transpose", d), ones)
    if is_rows(d.shape) and len(shape) == 1:
        return apply("sum" if has_rows(shape) else "sum_rows", d)
    total = apply("sum", d)
    return apply("sum", total) if total.shape else total


def _mul(*factors: Node | float) -> Node:
    product = factors[0] if isinstance(factors[0], Node) else const(factors[0])
    for factor in factors[1:]:
        product = apply("mul", product, factor)
    return product


def _neg(a: Node) -> Node:
    return apply("neg", a)


def _gate(condition: Node, d: Node) -> Node:
    """`d` where the condition holds, else zero."""
    return apply("where", condition, d, 0.0)


def _pow_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    a, b = y.inputs
    # a ** 0 is 1 everywhere; the gate keeps 0 * 0 ** -1 out
    d_a = _gate(apply("ne", b, 0.0), _mul(d, b, apply("pow", a, apply("sub", b, 1.0))))
    if b.op == "const":
        return d_a, None
    # log is of no use at a <= 0, where the derivative by b is zero or does not exist
    positive = apply("gt", a, 0.0)
    log_a = apply("log", apply("where", positive, a, 1.0))
    return d_a, _gate(positive, _mul(d, y, log_a))


def _extremum_cotangent(comparison: str) -> CotangentRule:
    """Of maximum and minimum: ties share the cotangent equally, as torch has it."""

    def rule(y: Node, d: Node) -> tuple[Node | None, ...]:
        a, b = y.inputs
        tie = _gate(apply("eq", a, b), _mul(d, 0.5))
        return (
            apply("where", apply(comparison, a, b), d, tie),
            apply("where", apply(comparison, b, a), d, tie),
        )

    return rule


def _clamp_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    (a,) = y.inputs
    inside = _gate(apply("ge", a, y.attr("lo")), d)
    return (_gate(apply("le", a, y.attr("hi")), inside),)


def _max_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    if dict(y.attrs).get("held"):
        return (None,)
    (a,) = y.inputs
    largest = apply("eq", a, y)
    return (_mul(apply("div", d, apply("sum", largest)), largest),)


def _concat_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    axis, start, parts = y.attr("axis"), Dim(), []
    for child in y.inputs:
        size = child.shape[axis]
        parts.append(apply("slice", d, axis=axis, start=start, size=size))
        start = start + size
    return tuple(parts)


def _slice_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    axis, start, size = y.attr("axis"), y.attr("start"), y.attr("size")
    after = y.inputs[0].shape[axis] - start - size
    return (apply("pad", d, axis=axis, before=start, after=after),)


def _pad_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    axis = y.attr("axis")
    size = y.inputs[0].shape[axis]
    return (apply("slice", d, axis=axis, start=y.attr("before"), size=size),)


def _matvec_cotangent(y: Node, d: Node) -> tuple[Node | None, ...]:
    matrix, operand = y.inputs
    d_operand = apply("matvec", apply("transpose", matrix), d)
    if len(operand.shape) == 2:
        return apply("matvec", d, apply("transpose", operand)), d_operand
    return apply("outer", d, operand), d_operand


# ---- the table ---------------------------------------------------------------------------------


def _sigmoid(a: float) -> float:
    return 1.0 / (1.0 + math.exp(-a)) if a >= 0 else math.exp(a) / (1.0 + math.exp(a))


def _softplus(a: float) -> float:
    return max(a, 0.0) + math.log1p(math.exp(-abs(a)))


def _floor(a: float) -> float:
    return float(math.floor(a)) if math.isfinite(a) else a


def _sign(a: float) -> float:
    return float((a > 0) - (a < 0))


def _leaf(name: str) -> Op:
    return Op(name=name, group=Group.LEAF, shape=shapes.scalar, text=name, latex=name)


def _unary(
    name: str,
    value: Callable[[float], float] | None,
    cotangent: Callable[[Node, Node, Node], Node | None],
    *,
    text: str | None = None,
    latex: str | None = None,
    precedence: int = 4,
) -> Op:
    """A row for a function of one value; its cotangent rule takes (a, y, d)."""
    return Op(
        name=name,
        group=Group.ELEMENTWISE,
        shape=shapes.broadcast,
        value=value,
        cotangent=lambda y, d: (cotangent(y.inputs[0], y, d),),
        text=text or f"{name}({{0}})",
        latex=latex or rf"\operatorname{{{{{name}}}}}({{0}})",
        precedence=precedence,
    )


def _binary(
    name: str,
    value: Callable[[float, float], float],
    cotangent: CotangentRule | None,
    *,
    text: str,
    latex: str,
    precedence: int,
) -> Op:
    return Op(
        name=name,
        group=Group.ELEMENTWISE,
        shape=shapes.broadcast,
        value=value,
        cotangent=cotangent,
        text=text,
        latex=latex,
        precedence=precedence,
    )


def _comparison(name: str, value: Callable[[float, float], bool], text: str, latex: str) -> Op:
    """1 where it holds, else 0; nothing flows back through it."""
    return _binary(
        name,
        lambda a, b: float(value(a, b)),
        None,
        text=f"{{0}} {text} {{1}}",
        latex=f"{{0}} {latex} {{1}}",
        precedence=0,
    )


_LEAVES = [_leaf("input"), _leaf("const"), _leaf("size")]

_UNARY = [
    _unary("neg", lambda a: -a, lambda a, y, d: _neg(d), text="-{0}", latex="-{0}", precedence=3),
    _unary("abs", abs, lambda a, y, d: _mul(d, apply("sign", a)), latex="|{0}|"),
    _unary("exp", math.exp, lambda a, y, d: _mul(d, y), latex=r"\exp({0})"),
    # not y + 1, of which nothing is left where a is far below 0
    _unary("expm1", math.expm1, lambda a, y, d: _mul(d, apply("exp", a))),
    _unary("log", math.log, lambda a, y, d: apply("div", d, a), latex=r"\log({0})"),
    _unary("log1p", math.log1p, lambda a, y, d: apply("div", d, apply("add", a, 1.0))),
    _unary("sqrt", math.sqrt, lambda a, y, d: apply("div", _mul(d, 0.5), y), latex=r"\sqrt{{{0}}}"),
    _unary(
        "sigmoid",
        _sigmoid,
        lambda a, y, d: _mul(d, y, apply("sub", 1.0, y)),
        latex=r"\sigma({0})",
    ),
    _unary(
        "tanh",
        math.tanh,
        lambda a, y, d: _mul(d, apply("sub", 1.0, _mul(y, y))),
        latex=r"\tanh({0})",
    ),
    _unary("relu", lambda a: max(a, 0.0), lambda a, y, d: _gate(apply("gt", y, 0.0), d)),
    _unary("softplus", _softplus, lambda a, y, d: _mul(d, apply("sigmoid", a))),
    _unary(
        "erf",
        math.erf,
        lambda a, y, d: _mul(d, 2.0 / math.sqrt(math.pi), apply("exp", _neg(_mul(a, a)))),
    ),
    _unary("sin", math.sin, lambda a, y, d: _mul(d, apply("cos", a)), latex=r"\sin({0})"),
    _unary("cos", math.cos, lambda a, y, d: _neg(_mul(d, apply("sin", a))), latex=r"\cos({0})"),
    _unary("sign", _sign, lambda a, y, d: None),
    _unary("floor", _floor, lambda a, y, d: None, latex=r"\lfloor {0} \rfloor"),
    _unary("detach", lambda a: a, lambda a, y, d: None, latex=r"\operatorname{{sg}}({0})"),
]

_BINARY = [
    _binary(
        "add",
        lambda a, b: a + b,
        lambda y, d: (d, d),
        text="{0} + {1}",
        latex="{0} + {1}",
        precedence=1,
    ),
    _binary(
        "sub",
        lambda a, b: a - b,
        lambda y, d: (d, _neg(d)),
        text="{0} - {1}",
        latex="{0} - {1}",
        precedence=1,
    ),
    _binary(
        "mul",
        lambda a, b: a * b,
        lambda y, d: (_mul(d, y.inputs[1]), _mul(d, y.inputs[0])),
        text="{0} * {1}",
        latex=r"{0} \odot {1}",
        precedence=2,
    ),
    _binary(
        "div",
        lambda a, b: a / b,
        lambda y, d: (
            apply("div", d, y.inputs[1]),
            _neg(apply("div", _mul(d, y), y.inputs[1])),
        ),
        text="{0} / {1}",
        latex=r"\frac{{{0}}}{{{1}}}",
        precedence=2,
    ),
    _binary(
        "pow",
        lambda a, b: a**b,
        _pow_cotangent,
        text="{0} ** {1}",
        latex="{0}^{{{1}}}",
        precedence=3,
    ),
    _binary(
        "minimum",
        min,
        _extremum_cotangent("lt"),
        text="minimum({0}, {1})",
        latex=r"\min({0}, {1})",
        precedence=4,
    ),
    _binary(
        "maximum",
        max,
        _extremum_cotangent("gt"),
        text="maximum({0}, {1})",
        latex=r"\max({0}, {1})",
        precedence=4,
    ),
    _comparison("lt", lambda a, b: a < b, "<", "<"),
    _comparison("le", lambda a, b: a <= b, "<=", r"\le"),
    _comparison("gt", lambda a, b: a > b, ">", ">"),
    _comparison("ge", lambda a, b: a >= b, ">=", r"\ge"),
    _comparison("eq", lambda a, b: a == b, "==", "="),
    _comparison("ne", lambda a, b: a != b, "!=", r"\ne"),
]

_OTHERS = [
    Op(
        name="where",
        group=Group.ELEMENTWISE,
        shape=shapes.broadcast,
        value=lambda condition, a, b: a if condition else b,
        cotangent=lambda y, d: (None, _gate(y.inputs[0], d), apply("where", y.inputs[0], 0.0, d)),
        text="where({0}, {1}, {2})",
        latex=r"\operatorname{{where}}({0}, {1}, {2})",
    ),
    Op(
        name="clamp",
        group=Group.ELEMENTWISE,
        shape=shapes.broadcast,
        cotangent=_clamp_cotangent,
        text="clamp({0}, {lo}, {hi})",
        latex=r"\operatorname{{clamp}}({0}, {lo}, {hi})",
    ),
    Op(
        name="matvec",
        group=Group.PRODUCT,
        shape=shapes.matvec,
        cotangent=_matvec_cotangent,
        text="{0} @ {1}",
        latex="{0} {1}",
        precedence=2,
    ),
    Op(
        name="sum",
        group=Group.REDUCTION,
        shape=shapes.features_gone,
        cotangent=lambda y, d: (apply("expand", d, shape=y.inputs[0].shape),),
        text="sum({0})",
        latex=r"\textstyle\sum {0}",
    ),
    Op(
        name="max",
        group=Group.REDUCTION,
        shape=shapes.features_gone,
        cotangent=_max_cotangent,
        text="max({0})",
        latex=r"\max({0})",
    ),
    Op(
        name="expand",
        group=Group.MOVEMENT,
        shape=shapes.given,
        cotangent=lambda y, d: (_unbroadcast(d, y.inputs[0].shape),),
        text="expand({0}, {sizes})",
        latex=r"{0}\,\mathbf{{1}}",
    ),
    Op(
        name="concat",
        group=Group.MOVEMENT,
        shape=shapes.concat,
        cotangent=_concat_cotangent,
        text="concat({all})",
        latex="[{all}]",
    ),
    Op(
        name="slice",
        group=Group.MOVEMENT,
        shape=shapes.slice_of,
        cotangent=_slice_cotangent,
        text="{0}[{bounds}]",
        latex="{0}[{bounds}]",
    ),
    Op(
        name="pad",
        group=Group.MOVEMENT,
        shape=shapes.pad,
        cotangent=_pad_cotangent,
        text="pad({0}, {before}, {after})",
        latex=r"\operatorname{{pad}}({0})",
    ),
    Op(
        name="transpose",
        group=Group.MOVEMENT,
        shape=shapes.transpose,
        cotangent=lambda y, d: (apply("transpose", d),),
        text="{0}.T",
        latex="{0}^{{\\top}}",
    ),
    Op(
        name="outer",  # the sum over time and batch, and over positions of rows, of a b^T
        group=Group.ACCUMULATION,
        shape=shapes.outer,
        text="total(outer({0}, {1}))",
        latex="",
    ),
    Op(
        name="total",  # the sum over time and batch
        group=Group.ACCUMULATION,
        shape=shapes.same,
        text="total({0})",
        latex="",
    ),
    Op(
        name="total_time",  # the sum over time alone
        group=Group.ACCUMULATION,
        shape=shapes.same,
        text="total_time({0})",
        latex="",
    ),
]

OPS: dict[str, Op] = {op.name: op for op in (*_LEAVES, *_UNARY, *_BINARY, *_OTHERS)}
