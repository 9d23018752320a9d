"""The table of operations: every value, cotangent and expansion against torch and its autograd.

`EVALUATE` is a spelling of every operation that shares no code with the backends; a new row in the
table without one here fails.
"""

import math
import random
from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.ir import (
    OPS,
    Dim,
    Graph,
    Group,
    Node,
    apply,
    const,
    cotangents,
    leaf,
    matrices,
    positions,
    topological,
)
from recurra.ir.ops import size_of
from recurra.passes.decompose import decompose

SIZES = {"H": 4, "I": 3, "P": 2}
H, I, P = (Dim.named(name) for name in "HIP")  # noqa: E741 - the input size


def _size(dim: Dim) -> int:
    return dim.evaluate(SIZES)


def _slice(node: Node, a: Tensor) -> Tensor:
    return a.narrow(node.attr("axis"), _size(node.attr("start")), _size(node.attr("size")))


def _pad(node: Node, a: Tensor) -> Tensor:
    shape = list(a.shape)
    before, after = shape.copy(), shape.copy()
    before[node.attr("axis")] = _size(node.attr("before"))
    after[node.attr("axis")] = _size(node.attr("after"))
    return torch.cat([a.new_zeros(before), a, a.new_zeros(after)], node.attr("axis"))


def _layer_norm(node: Node, v: Tensor, *affine: Tensor) -> Tensor:
    rest = list(affine)
    gain = rest.pop(0) if node.attr("gain") else None
    bias = rest.pop(0) if node.attr("bias") else None
    return F.layer_norm(v, v.shape, gain, bias, node.attr("eps"))


def _plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda node, *values: function(*values)


def _comparison(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda node, a, b: function(a, b).double()


EVALUATE: dict[str, Callable[..., Tensor]] = {
    "const": lambda node: torch.tensor(node.attr("value"), dtype=torch.float64),
    "size": lambda node: torch.tensor(float(_size(node.attr("dim"))), dtype=torch.float64),
    "neg": _plain(torch.neg),
    "abs": _plain(torch.abs),
    "exp": _plain(torch.exp),
    "expm1": _plain(torch.expm1),
    "log": _plain(torch.log),
    "log1p": _plain(torch.log1p),
    "sqrt": _plain(torch.sqrt),
    "sigmoid": _plain(torch.sigmoid),
    "tanh": _plain(torch.tanh),
    "relu": _plain(torch.relu),
    "softplus": _plain(lambda v: F.softplus(v, threshold=50.0)),
    "erf": _plain(torch.erf),
    "sin": _plain(torch.sin),
    "cos": _plain(torch.cos),
    "sign": _plain(torch.sign),
    "floor": _plain(torch.floor),
    "detach": _plain(torch.detach),
    "add": _plain(torch.add),
    "sub": _plain(torch.sub),
    "mul": _plain(torch.mul),
    "div": _plain(torch.div),
    "pow": _plain(torch.pow),
    "minimum": _plain(torch.minimum),
    "maximum": _plain(torch.maximum),
    "lt": _comparison(torch.lt),
    "le": _comparison(torch.le),
    "gt": _comparison(torch.gt),
    "ge": _comparison(torch.ge),
    "eq": _comparison(torch.eq),
    "ne": _comparison(torch.ne),
    "where": _plain(lambda condition, a, b: torch.where(condition != 0, a, b)),
    "clamp": lambda node, a: torch.clamp(a, node.attr("lo"), node.attr("hi")),
    "matvec": _plain(torch.matmul),
    "sum": _plain(torch.sum),
    "max": _plain(torch.amax),
    "expand": lambda node, a: a.expand([_size(dim) for dim in node.shape]),
    "concat": lambda node, *parts: torch.cat(parts, node.attr("axis")),
    "slice": _slice,
    "pad": _pad,
    "transpose": _plain(lambda m: m.t()),
    "outer": _plain(torch.outer),
    "mean": _plain(torch.mean),
    "var": _plain(lambda v: torch.var(v, correction=0)),
    "softmax": _plain(lambda v: torch.softmax(v, -1)),
    "layer_norm": _layer_norm,
    "blocks_product": lambda node, blocks, v: (
        torch.block_diag(*blocks.chunk(node.attr("heads"))) @ v
    ),
    "leaky_relu": lambda node, v: F.leaky_relu(v, node.attr("slope")),
    "elu": lambda node, v: F.elu(v, node.attr("alpha")),
    "gelu": _plain(F.gelu),
    "silu": _plain(F.silu),
    "matrix_softmax": _plain(lambda m: torch.softmax(m, -1)),
    "matrix_sum": lambda node, m: m.sum(node.attr("dim")),
    "matrix_mean": lambda node, m: m.mean(node.attr("dim")),
    "inverse": _plain(torch.linalg.inv),
    "solve": _plain(torch.linalg.solve),
    "matrix_exp": _plain(torch.linalg.matrix_exp),
    "diag": _plain(torch.diag),
    "diagonal": _plain(torch.diagonal),
    # over one step of one sequence
    "total": _plain(lambda v: v),
    "total_time": _plain(lambda v: v),
}


def evaluate(roots: tuple[Node, ...], values: dict[Node, Tensor]) -> tuple[Tensor, ...]:
    """The values of `roots`, given those of some nodes; scalars of a sum of vectors spread."""
    found = dict(values)
    for node in topological(roots, stop=values):
        found[node] = EVALUATE[node.op](node, *(found[child] for child in node.inputs))
    return tuple(found[root].expand([_size(dim) for dim in root.shape]) for root in roots)


# ---- samples: nodes of every operation, and the numbers that they are tried on -------------------


def value_leaf(name: str, *shape: Dim) -> Node:
    return leaf("state", name, shape)


V, U, S = value_leaf("v", H), value_leaf("u", H), value_leaf("s")
Z = value_leaf("z")
M, N = value_leaf("m", H, I), value_leaf("n", I, P)

POSITIVE = {"log", "log1p", "sqrt", "pow"}


def samples(op: str) -> Iterator[Node]:
    """Nodes of the operation on leaves, in every combination of shapes that it has."""
    group = OPS[op].group
    arity = {"where": 3, "clamp": 1, **dict.fromkeys(BINARY, 2)}.get(op, 1)
    if group is Group.ELEMENTWISE and op != "clamp":
        for operands in product((V, S), (U, Z), (V, S)) if arity == 3 else product((V, S), (U, Z)):
            yield apply(op, *operands[:arity])
    if op in BINARY:
        yield apply(op, V, 1.5)
        yield apply(op, 1.5, V)
        yield apply(op, V, V)
    yield from SAMPLES.get(op, ())


BINARY = (
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "minimum",
    "maximum",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
)
# far from a matrix that has no inverse
REGULAR = apply("add", apply("diag", apply("expand", 9.0, shape=(H,))), value_leaf("R", H, H))
SAMPLES: dict[str, tuple[Node, ...]] = {
    "pow": (apply("pow", V, 2.0), apply("pow", V, 0.0), apply("pow", 2.0, V)),
    "mul": (apply("mul", M, S), apply("mul", S, M), apply("mul", M, value_leaf("x", I))),
    "sub": (apply("sub", M, value_leaf("x", I)), apply("sub", value_leaf("x", I), M)),
    "where": (apply("where", apply("gt", V, U), V, 0.0),),
    "clamp": (
        apply("clamp", V, lo=-0.5, hi=0.25),
        apply("clamp", V, lo=float("-inf"), hi=0.25),
        apply("clamp", S, lo=-0.5, hi=0.25),
    ),
    "matvec": (apply("matvec", M, value_leaf("x", I)), apply("matvec", M, N)),
    "sum": (apply("sum", V), apply("sum", M)),
    "max": (apply("max", V),),
    "expand": (apply("expand", S, shape=(H,)), apply("expand", S, shape=(H, I))),
    "concat": (
        apply("concat", V, value_leaf("x", I), U, axis=0),
        apply("concat", M, value_leaf("k", P, I), axis=0),
        apply("concat", M, value_leaf("c", H, P), axis=1),
    ),
    "slice": (
        apply("slice", V, axis=0, start=Dim.of(1), size=Dim.of(2)),
        apply("slice", M, axis=1, start=Dim.of(1), size=P),
        apply("slice", M, axis=0, start=Dim(), size=P),
    ),
    "pad": (
        apply("pad", V, axis=0, before=Dim.of(1), after=P),
        apply("pad", M, axis=1, before=P, after=Dim()),
    ),
    "transpose": (apply("transpose", M),),
    "mean": (apply("mean", V),),
    "var": (apply("var", V),),
    "softmax": (apply("softmax", V), apply("softmax", M)),
    "matrix_softmax": (apply("matrix_softmax", M),),
    "matrix_sum": (apply("matrix_sum", M, dim=0), apply("matrix_sum", M, dim=1)),
    "matrix_mean": (apply("matrix_mean", M, dim=0), apply("matrix_mean", M, dim=1)),
    "inverse": (apply("inverse", REGULAR),),
    "solve": (apply("solve", REGULAR, M),),
    "matrix_exp": (apply("matrix_exp", REGULAR),),
    "diag": (apply("diag", V),),
    "diagonal": (apply("diagonal", REGULAR),),
    "blocks_product": (
        apply("blocks_product", value_leaf("B", H, H / 2), V, heads=2),
        apply("blocks_product", value_leaf("B", H, H), V, heads=1),
    ),
    "layer_norm": (
        apply("layer_norm", V, eps=1e-5, gain=False, bias=False),
        apply("layer_norm", V, U, eps=1e-2, gain=True, bias=False),
        apply("layer_norm", V, U, eps=1e-5, gain=False, bias=True),
        apply("layer_norm", V, U, value_leaf("b", H), eps=1e-5, gain=True, bias=True),
    ),
    "leaky_relu": (apply("leaky_relu", V, slope=0.2), apply("leaky_relu", S, slope=0.2)),
    "elu": (apply("elu", V, alpha=0.7), apply("elu", S, alpha=1.0)),
    "gelu": (apply("gelu", V), apply("gelu", S)),
    "silu": (apply("silu", V), apply("silu", S)),
}
OVER_ROWS = {op.name for op in (*positions.TABLE, *matrices.TABLE)}  # which have tests of their own
DIFFERENTIABLE = [
    op
    for op, row in OPS.items()
    if row.group not in (Group.LEAF, Group.ACCUMULATION) and op not in OVER_ROWS
]


def draw(node: Node, like: str, at: str) -> Tensor:
    """Numbers for a leaf: "away" from kinks, or "on" them (zero, ties, the bounds of clamp)."""
    shape = [_size(dim) for dim in node.shape]
    if at == "on":
        choices = torch.tensor([-0.5, 0.0, 0.25, 1.0], dtype=torch.float64)
        values = choices[torch.randint(4, shape)]
    else:
        values = torch.randn(shape, dtype=torch.float64)
    return (values.abs() + 0.1 if like in POSITIVE else values).requires_grad_()


def as_primitives(node: Node, leaves: list[Node]) -> Graph:
    graph = Graph(inputs=tuple(dict.fromkeys(leaves)), outputs=(("y", node),))
    return decompose(graph)


def backward(graph: Graph, d: Node) -> dict[Node, Node]:
    """Cotangents of the graph's inputs by the table's rules alone."""
    found = {graph.output("y"): d}
    for node in reversed(graph.nodes()):
        if node not in found:
            continue
        for child, cotangent in zip(node.inputs, cotangents(node, found[node]), strict=True):
            if cotangent is not None:
                assert cotangent.shape == child.shape
                found[child] = (
                    apply("add", found[child], cotangent) if child in found else cotangent
                )
    return found


def leaves_of(node: Node) -> list[Node]:
    return [n for n in topological([node]) if n.op == "input"]


# ---- the tests -----------------------------------------------------------------------------------


def test_every_operation_has_a_spelling_here() -> None:
    assert EVALUATE.keys() == OPS.keys() - OVER_ROWS - {"input"}
    assert all(name == row.name for name, row in OPS.items())
    without = [op for op in DIFFERENTIABLE if not list(samples(op))]
    assert not without, f"no sample for {without}"


def test_rows_are_complete() -> None:
    for op, row in OPS.items():
        if row.group is Group.COMPOSITE:
            assert row.expand is not None, op
            assert row.cotangent is None, op
        else:
            assert row.expand is None, op
        # total_rows is of adjoints alone, which nothing differentiates again
        if row.group in (Group.PRODUCT, Group.REDUCTION, Group.MOVEMENT) and op != "total_rows":
            assert row.cotangent is not None, op


@pytest.mark.parametrize("at", ["away", "on"])
@pytest.mark.parametrize("op", DIFFERENTIABLE)
def test_value_and_cotangents_equal_torch(op: str, at: str) -> None:
    for sample in samples(op):
        leaves = leaves_of(sample)
        if at == "on" and op in ("pow", "layer_norm", "var", "div"):
            continue  # no kinks, and numbers that divide by zero
        values = {node: draw(node, op, at) for node in leaves}
        (expected,) = evaluate((sample,), values)
        graph = as_primitives(sample, leaves)
        (found,) = evaluate((graph.output("y"),), values)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

        d = leaf("cotangent", "y", sample.shape)
        seed = torch.randn(expected.shape, dtype=torch.float64)
        table = backward(graph, d)
        gradients = (
            torch.autograd.grad(expected, list(values.values()), seed, allow_unused=True)
            if expected.requires_grad
            else [None] * len(values)
        )
        for (node, value), gradient in zip(values.items(), gradients, strict=True):
            ours = torch.zeros_like(value)
            if node in table:
                (ours,) = evaluate((table[node],), {**values, d: seed})
            theirs = torch.zeros_like(value) if gradient is None else gradient
            message = f"{sample} by {node}"
            torch.testing.assert_close(
                ours, theirs, rtol=1e-11, atol=1e-11, msg=lambda text, m=message: f"{m}: {text}"
            )


def test_powers_at_zero() -> None:
    """Of a base 0: the derivative exists for exponents 0 and above 1."""
    base = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    for exponent in (0.0, 1.0, 2.0, 3.5):
        node = apply("pow", V, exponent)
        (expected,) = torch.autograd.grad((base**exponent).sum(), base)
        d = apply("expand", 1.0, shape=(H,))
        cotangent = cotangents(node, d)[0]
        assert cotangent is not None
        (found,) = evaluate((cotangent,), {V: base})
        torch.testing.assert_close(found, expected)


def test_learned_exponent_of_a_base_below_zero() -> None:
    """Where the derivative by the exponent does not exist it is zero, and no NaN spreads."""
    node = apply("pow", V, U)
    cotangent = cotangents(node, apply("expand", 1.0, shape=(H,)))[1]
    assert cotangent is not None
    base = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    (found,) = evaluate((cotangent,), {V: base, U: torch.full((4,), 2.0, dtype=torch.float64)})
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.0, 4 * math.log(2)]).double())


def test_large_arguments_do_not_overflow() -> None:
    large = torch.tensor([-1e4, -50.0, 50.0, 1e4], dtype=torch.float64, requires_grad=True)
    for op, attrs in {"elu": {"alpha": 1.0}, "softmax": {}, "silu": {}, "softplus": {}}.items():
        sample = apply(op, V, **attrs)
        graph = as_primitives(sample, [V])
        d = apply("expand", 1.0, shape=(H,))
        table = backward(graph, d)
        found = evaluate((graph.output("y"), table[V]), {V: large})
        assert all(torch.isfinite(value).all() for value in found), op


def test_softmax_is_not_differentiated_through_what_it_subtracts() -> None:
    graph = as_primitives(apply("softmax", V), [V])
    table = backward(graph, leaf("cotangent", "y", (H,)))
    assert all(node.op != "eq" for node in topological([table[V]]))


# ---- folding -------------------------------------------------------------------------------------


FOLDED = [op for op, row in OPS.items() if row.value is not None]


def test_elementwise_operations_fold() -> None:
    missing = {op for op, row in OPS.items() if row.group is Group.ELEMENTWISE} - set(FOLDED)
    assert missing == {"clamp"}


@pytest.mark.parametrize("op", FOLDED)
def test_folded_value_equals_torch(op: str) -> None:
    value = OPS[op].value
    assert value is not None
    rng = random.Random(0)
    arity = {"where": 3, **dict.fromkeys(BINARY, 2)}.get(op, 1)
    grid = [-30.0, -1.0, -0.25, 0.0, 0.5, 1.0, 2.0, 30.0, rng.gauss(0, 1)]
    for numbers in product(grid, repeat=arity):
        node = apply(op, *numbers)
        (expected,) = evaluate((node,), {})
        try:
            found = value(*numbers)
            assert isinstance(found, float)
        except (ArithmeticError, ValueError, AssertionError):
            # Python refuses; torch answers inf or NaN, which is left to it
            assert not math.isfinite(float(expected)), numbers
            continue
        assert found == pytest.approx(float(expected), rel=1e-12, abs=1e-300), numbers


def test_size_is_a_number_of_the_call() -> None:
    (value,) = evaluate((size_of(H),), {})
    assert float(value) == 4.0
    assert const(3.0).attr("value") == 3.0
