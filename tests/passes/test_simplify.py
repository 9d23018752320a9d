"""simplify and decompose: graph in, exact graph out; nodes are interned, so `is` compares."""

import pytest

from recurra.ir import Dim, Graph, Node, apply, const, leaf
from recurra.passes.decompose import decompose
from recurra.passes.simplify import cut, is_const, is_zeros, join, simplest, simplify, zeros

H, I = Dim.named("H"), Dim.named("I")  # noqa: E741 - the input size
A, B = leaf("state", "a", (H,)), leaf("state", "b", (H,))
S = leaf("parameter", "s", ())
W, V = leaf("parameter", "W", (H, I)), leaf("parameter", "V", (H, I))
ZEROS = zeros((H,))


def neg(a: Node) -> Node:
    return apply("neg", a)


def part(node: Node, start: Dim, size: Dim, axis: int = 0) -> Node:
    return apply("slice", node, axis=axis, start=start, size=size)


STACK = leaf("parameter", "stack", (H * 4,))
FIRST, SECOND, THIRD = (part(STACK, H * i, H) for i in range(3))
BLOCKS = apply("concat", A, B, leaf("state", "c", (H,)), axis=0)

TALL = apply("concat", A, STACK, B, axis=0)

EXACT: list[tuple[Node, Node]] = [
    # numbers
    (apply("add", 1.0, 2.0), const(3.0)),
    (apply("tanh", apply("mul", 0.0, 2.0)), const(0.0)),
    (apply("where", 1.0, 2.0, 3.0), const(2.0)),
    (apply("lt", 1.0, 2.0), const(1.0)),
    # sums
    (apply("add", A, 0.0), A),
    (apply("add", 0.0, A), A),
    (apply("add", ZEROS, A), A),
    (apply("sub", A, 0.0), A),
    (apply("sub", 0.0, A), neg(A)),
    (apply("add", A, neg(B)), apply("sub", A, B)),
    (apply("sub", A, neg(B)), apply("add", A, B)),
    # a scalar cannot stand for the vector that it is spread to
    (apply("add", ZEROS, S), apply("add", ZEROS, S)),
    (apply("sub", S, ZEROS), apply("sub", S, ZEROS)),
    # products
    (apply("mul", A, 1.0), A),
    (apply("mul", A, 2.0), apply("mul", 2.0, A)),
    (apply("mul", -1.0, A), neg(A)),
    (apply("mul", 2.0, apply("mul", 3.0, A)), apply("mul", 6.0, A)),
    (apply("mul", neg(A), B), neg(apply("mul", A, B))),
    (apply("mul", A, neg(B)), neg(apply("mul", B, A))),
    (apply("mul", neg(A), neg(B)), apply("mul", B, A)),
    # 0 * a is NaN where a is not finite, so it stays
    (apply("mul", 0.0, A), apply("mul", 0.0, A)),
    (apply("div", A, 1.0), A),
    (apply("div", neg(A), B), neg(apply("div", A, B))),
    (neg(neg(A)), A),
    (neg(apply("sub", A, B)), apply("sub", B, A)),
    # powers
    (apply("pow", A, 1.0), A),
    (apply("pow", A, 2.0), apply("mul", A, A)),
    (apply("pow", A, 3.0), apply("mul", apply("mul", A, A), A)),
    (apply("pow", A, 0.5), apply("sqrt", A)),
    (apply("pow", A, -1.0), apply("div", 1.0, A)),
    (apply("pow", A, 2.5), apply("pow", A, 2.5)),
    # choices
    (apply("where", 1.0, A, B), A),
    (apply("where", 0.0, A, B), B),
    (apply("where", 1.0, S, B), apply("where", 1.0, S, B)),
    (apply("where", A, 0.0, ZEROS), ZEROS),
    # movement
    (apply("transpose", apply("transpose", W)), W),
    (apply("transpose", apply("outer", A, B)), apply("outer", B, A)),
    (apply("expand", S, shape=()), S),
    (apply("sum", S), S),
    (part(A, Dim(), H), A),
    (part(part(STACK, H, H * 2), H, H), THIRD),
    (part(BLOCKS, H, H), B),
    (part(BLOCKS, Dim(), H * 2), apply("concat", A, B, axis=0)),
    (part(BLOCKS, H / 2, H), part(BLOCKS, H / 2, H)),
    (part(BLOCKS, H / 2, H / 4), part(A, H / 2, H / 4)),
    (part(TALL, H * 2, H * 2), part(STACK, H, H * 2)),
    (part(TALL, Dim(), H / 2), part(A, Dim(), H / 2)),
    (part(ZEROS, Dim(), H / 2), zeros((H / 2,))),
    (apply("concat", A, axis=0), A),
    (apply("concat", FIRST, SECOND, axis=0), part(STACK, Dim(), H * 2)),
    (apply("concat", *(part(STACK, H * i, H) for i in range(4)), axis=0), STACK),
    (apply("concat", SECOND, FIRST, axis=0), apply("concat", SECOND, FIRST, axis=0)),
    (
        apply("concat", apply("concat", A, B, axis=0), A, axis=0),
        apply("concat", A, B, A, axis=0),
    ),
    (apply("concat", ZEROS, ZEROS, A, axis=0), apply("concat", zeros((H * 2,)), A, axis=0)),
    (
        apply("concat", part(W, Dim(), H / 2), part(W, H / 2, H / 2), axis=0),
        W,
    ),
    (
        apply("concat", part(W, Dim(), H / 2), part(W, H / 2, H / 2), axis=1),
        apply("concat", part(W, Dim(), H / 2), part(W, H / 2, H / 2), axis=1),
    ),
    (apply("pad", A, axis=0, before=Dim(), after=Dim()), A),
    (apply("pad", ZEROS, axis=0, before=H, after=Dim()), zeros((H * 2,))),
]


@pytest.mark.parametrize(("node", "expected"), EXACT, ids=lambda node: str(node)[:40])
def test_simplest_form(node: Node, expected: Node) -> None:
    graph = Graph(inputs=(A, B, S, W, V, STACK), outputs=(("y", node),))
    simple = simplify(graph)
    assert simple.output("y") is expected
    assert simplify(simple).output("y") is expected
    assert graph.output("y") is node
    assert expected.shape == node.shape


@pytest.mark.parametrize(
    "node",
    [
        apply("div", 1.0, 0.0),
        apply("log", -1.0),
        apply("exp", 1e6),
        apply("pow", -8.0, 1 / 3),
    ],
    ids=str,
)
def test_numbers_that_python_refuses_are_left_to_the_backend(node: Node) -> None:
    assert simplest(node) is node


def test_names_follow_their_nodes() -> None:
    u = apply("add", A, 0.0)
    w = apply("tanh", u)
    graph = Graph(inputs=(A,), outputs=(("y", w),), names={w: "w"})
    assert simplify(graph).names == {apply("tanh", A): "w"}


def test_constants_and_zeros_are_recognised() -> None:
    assert is_const(const(2.0))
    assert is_const(const(2.0), 2.0)
    assert not is_const(const(2.0), 3.0)
    assert not is_const(A)
    assert is_zeros(const(0.0))
    assert is_zeros(zeros((H, I)))
    assert not is_zeros(apply("expand", 1.0, shape=(H,)))


def test_cut_and_join_undo_each_other() -> None:
    assert cut(join([A, B], 0), 0, H, H) is B
    assert join([cut(STACK, 0, Dim(), H), cut(STACK, 0, H, H * 3)], 0) is STACK


# ---- decompose -----------------------------------------------------------------------------------


def test_softmax_in_primitives() -> None:
    graph = Graph(inputs=(A,), outputs=(("y", apply("softmax", A)),))
    weights = apply("exp", apply("sub", A, apply("max", A, held=True)))
    assert decompose(graph).output("y") is apply("div", weights, apply("sum", weights))


def test_composites_within_composites() -> None:
    inner = apply("silu", A)
    graph = Graph(inputs=(A,), outputs=(("y", apply("silu", inner)),), names={inner: "u"})
    u = apply("mul", A, apply("sigmoid", A))
    done = decompose(graph)
    assert done.output("y") is apply("mul", u, apply("sigmoid", u))
    assert done.names == {u: "u"}


def test_primitives_stay() -> None:
    graph = Graph(inputs=(A, B), outputs=(("y", apply("tanh", apply("add", A, B))),))
    assert decompose(graph).outputs == graph.outputs
