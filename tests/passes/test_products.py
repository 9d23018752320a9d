"""separate, merge, arrange and widen: graph in, exact graph out."""

from collections.abc import Callable
from typing import Any

import pytest

from recurra import cells
from recurra.ir import Dim, Graph, Node, apply, leaf
from recurra.lang import Cell, cell, concat, layer_norm, mean, sigmoid, split, tanh
from recurra.passes import forward_graph
from recurra.passes.arrange import arrange, spread
from recurra.passes.products import merge, separate
from recurra.passes.rates import Rate, leaf_rates, rates
from recurra.passes.simplify import simplify, zeros
from recurra.passes.widen import widen

H, I, C = (Dim.named(name) for name in "HIC")  # noqa: E741 - the input size
X, STATE = leaf("input", "x", (I,)), leaf("state", "h", (H,))
W, U = leaf("parameter", "W", (H, I)), leaf("parameter", "U", (H, H))


def outputs_of(
    function: Callable[..., Any], rewrite: Callable[[Graph], Graph], **options: Any
) -> Node:
    """The new state that the pass makes of a cell's equations."""
    return rewrite(cell(**options)(function).equations).output("h")


def merged(graph: Graph) -> Graph:
    given = leaf_rates(graph)
    return merge(arrange(separate(graph), given), given)


def products(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes() if node.op == "matvec"]


# ---- rates ---------------------------------------------------------------------------------------


def test_rate_is_that_of_the_most_frequent_input() -> None:
    @cell(context="v")
    def f(x, h, v, t, W, b, V, rate=2.0):
        once = rate * tanh(b)
        early = V @ v + once
        sequence = W @ x * t + early
        return tanh(sequence + h)

    found = {
        f.equations.names[node]: rate
        for node, rate in rates(f.equations, leaf_rates(f.equations)).items()
        if node in f.equations.names
    }
    assert found == {"once": Rate.ONCE, "early": Rate.CONTEXT, "sequence": Rate.SEQUENCE}
    assert Rate.ONCE < Rate.CONTEXT < Rate.SEQUENCE < Rate.STEP


# ---- separate ------------------------------------------------------------------------------------


def test_product_with_a_concatenation_becomes_a_sum() -> None:
    def stacked(x, h, W):
        return tanh(W @ concat(x, h) + h)

    W = leaf("parameter", "W", (H, H + I))
    left = apply("slice", W, axis=1, start=Dim(), size=I)
    right = apply("slice", W, axis=1, start=I, size=H)
    total = apply("add", apply("matvec", left, X), apply("matvec", right, STATE))
    assert outputs_of(stacked, separate) is apply("tanh", apply("add", total, STATE))


def test_slice_of_a_product_becomes_a_product_with_a_slice() -> None:
    def stacked(x, h, W, b):
        i, _ = split(W @ x + b, 2)
        return i * h

    W, b = leaf("parameter", "W", (H * 2, I)), leaf("parameter", "b", (H * 2,))
    rows = apply("slice", W, axis=0, start=Dim(), size=H)
    bias = apply("slice", b, axis=0, start=Dim(), size=H)
    i = apply("add", apply("matvec", rows, X), bias)
    assert outputs_of(stacked, separate) is apply("mul", i, STATE)


# ---- merge ---------------------------------------------------------------------------------------


def test_matrices_on_one_vector_are_stacked_in_the_written_order() -> None:
    def two(x, h, W, V, b, a):
        return sigmoid(V @ x + a) * h + tanh(W @ x + b)

    W, V = (leaf("parameter", name, (H, I)) for name in "WV")
    b, a = (leaf("parameter", name, (H,)) for name in "ba")
    stack = apply(
        "add",
        apply("concat", b, a, axis=0),
        apply("matvec", apply("concat", W, V, axis=0), X),
    )
    first, second = (apply("slice", stack, axis=0, start=H * i, size=H) for i in range(2))
    gate = apply("mul", apply("sigmoid", second), STATE)
    assert outputs_of(two, merged) is apply("add", apply("tanh", first), gate)


def test_missing_bias_is_zero() -> None:
    def two(x, h, W, V, b):
        return (W @ x + b) * (V @ x) * h

    graph = merged(cell(two).equations)
    (product,) = products(graph)
    (stack,) = [node for node in graph.nodes() if product in node.inputs]
    assert stack.inputs[0] is apply("concat", leaf("parameter", "b", (H,)), zeros((H,)), axis=0)


def test_one_matrix_stays_alone() -> None:
    def one(x, h, W, U):
        return tanh(W @ x + U @ h)

    assert [p.inputs[0] for p in products(merged(cell(one).equations))] == [W, U]


def test_product_that_is_read_twice_is_computed_once() -> None:
    """W x + a and W x + b share W x; stacking W twice would compute it twice."""

    def shared(x, h, W, V, a, b):
        u = W @ x
        return sigmoid(u + a) * h + tanh(u + b) + V @ x

    (product,) = products(forward_graph(cell(shared).equations))
    V = leaf("parameter", "V", (H, I))
    assert product.inputs == (apply("concat", W, V, axis=0), X)


def test_rows_of_a_product_that_is_read_whole_are_parts_of_it() -> None:
    """As layer normalisation reads it; stacking W with its own rows would compute them twice."""

    def normalised(x, h, W, U, a, b):
        gates = W @ x
        p, q = split(gates, 2)
        return tanh(p + a) * h + (q + b) * mean(gates) + U @ x

    (product,) = products(forward_graph(cell(normalised).equations))
    W, U = leaf("parameter", "W", (H * 2, I)), leaf("parameter", "U", (H, I))
    assert product.inputs == (apply("concat", W, U, axis=0), X)


def test_products_of_parameters_are_left() -> None:
    def once(x, h, W, U, b):
        return tanh(W @ x + U @ h + U @ b)

    assert len(products(merged(cell(once).equations))) == 3


@pytest.mark.parametrize("name", ["lstm", "lstm_stacked", "torch_lstm", "lstm_1997"])
def test_every_form_of_the_lstm_has_one_product_each(name: str) -> None:
    found = products(forward_graph(cells.get(name).equations))
    assert [product.inputs[1].name for product in found] == ["x", "h"]
    gates = 3 if name == "lstm_1997" else 4
    assert [product.shape for product in found] == [(H * gates,)] * 2


def test_gate_form_stacks_its_parameters() -> None:
    on_x, on_h = products(forward_graph(cells.lstm.equations))
    for product, letter in ((on_x, "x"), (on_h, "h")):
        names = [part.name for part in product.inputs[0].inputs]
        assert names == [f"W_{letter}{gate}" for gate in "ifog"]


def test_stacked_parameter_is_used_whole() -> None:
    """Columns of W are views of it: nothing is copied."""
    W = leaf("parameter", "W", (H * 4, H + I))
    on_x, on_h = products(forward_graph(cells.lstm_stacked.equations))
    assert on_x.inputs[0] is apply("slice", W, axis=1, start=Dim(), size=I)
    assert on_h.inputs[0] is apply("slice", W, axis=1, start=I, size=H)
    for name in ("torch_lstm", "torch_gru", "torch_lstm_projected"):
        on_x, on_h, *_ = products(forward_graph(cells.get(name).equations))
        assert on_x.inputs[0].name == "weight_ih"
        assert on_h.inputs[0].name == "weight_hh"


def shape_of(graph: Graph) -> list[tuple[str, tuple[str, ...]]]:
    """The operations with their shapes, in order: what a program does, whatever the names."""
    return [
        (node.op, tuple(map(str, node.shape)))
        for node in graph.nodes()
        if node.op not in ("concat", "slice")
    ]


def test_gate_form_and_stacked_form_are_the_same_program() -> None:
    gates, stacked = (forward_graph(c.equations) for c in (cells.lstm, cells.lstm_stacked))
    assert shape_of(gates) == shape_of(stacked)


# ---- arrange -------------------------------------------------------------------------------------

A, B = leaf("parameter", "a", (H,)), leaf("parameter", "b", (H,))
ON_X, ON_H = apply("matvec", W, X), apply("matvec", U, STATE)


def arranged(node: Node) -> Node:
    graph = Graph(inputs=(X, STATE, W, U, A, B), outputs=(("y", node),))
    return arrange(graph, leaf_rates(graph)).output("y")


def test_what_changes_rarely_is_added_first() -> None:
    before = apply("add", apply("add", ON_H, ON_X), apply("add", A, STATE))
    expected = apply("add", apply("add", apply("add", A, ON_X), STATE), ON_H)
    assert arranged(before) is expected


def test_signs_go_with_their_terms() -> None:
    before = apply("sub", STATE, apply("sub", A, ON_X))
    rest = apply("add", apply("neg", A), ON_X)
    assert arranged(before) is apply("add", rest, STATE)


def test_what_changes_rarely_is_multiplied_first() -> None:
    before = apply("mul", apply("mul", STATE, ON_X), apply("mul", 2.0, A))
    expected = apply("mul", apply("mul", apply("mul", 2.0, A), ON_X), STATE)
    assert arranged(before) is expected


def test_sum_that_is_read_elsewhere_is_kept_whole() -> None:
    shared = apply("add", STATE, A)
    graph = Graph(
        inputs=(X, STATE, W, A), outputs=(("y", apply("add", shared, ON_X)), ("s", shared))
    )
    done = arrange(graph, leaf_rates(graph))
    assert done.output("s") is apply("add", A, STATE)
    assert done.output("y") is apply("add", ON_X, done.output("s"))


def test_padded_pieces_become_a_concatenation() -> None:
    first = apply("pad", A, axis=0, before=Dim(), after=H)
    second = apply("pad", B, axis=0, before=H, after=Dim())
    assert arranged(apply("add", first, second)) is apply("concat", A, B, axis=0)


def test_padded_pieces_with_a_gap() -> None:
    first = apply("pad", A, axis=0, before=Dim(), after=H * 2)
    last = apply("pad", B, axis=0, before=H * 2, after=Dim())
    expected = apply("concat", A, zeros((H,)), B, axis=0)
    assert arranged(apply("add", first, last)) is expected


def test_padded_pieces_that_overlap_are_added() -> None:
    first = apply("pad", A, axis=0, before=Dim(), after=H / 2)
    last = apply("pad", B, axis=0, before=H / 2, after=Dim())
    assert arranged(apply("add", first, last)) is apply("add", first, last)


def test_product_with_a_concatenation_is_spread() -> None:
    whole = apply("concat", A, STATE, axis=0)
    other = leaf("parameter", "c", (H * 2,))
    graph = Graph(inputs=(A, STATE, other), outputs=(("y", apply("mul", whole, other)),))
    rows = [apply("slice", other, axis=0, start=H * i, size=H) for i in range(2)]
    expected = apply("concat", apply("mul", A, rows[0]), apply("mul", STATE, rows[1]), axis=0)
    assert spread(graph).output("y") is expected


# ---- widen ---------------------------------------------------------------------------------------


def widened(function: Callable[..., Any], **options: Any) -> Graph:
    return widen(simplify(separate(cell(**options)(function).equations)))


STACK = leaf("state", "s", (H * 3,))


def piece(i: int, base: Node = STACK) -> Node:
    return apply("slice", base, axis=0, start=H * i, size=H)


def test_neighbours_become_one_operation() -> None:
    total = apply("mul", apply("sigmoid", piece(0)), apply("sigmoid", piece(1)))
    graph = Graph(inputs=(STACK,), outputs=(("y", total),))
    wide = apply("sigmoid", apply("slice", STACK, axis=0, start=Dim(), size=H * 2))
    assert widen(graph).output("y") is apply("mul", piece(0, wide), piece(1, wide))


def test_levels_are_widened_one_after_the_other() -> None:
    parts = [apply("mul", 2.0, apply("tanh", piece(i))) for i in range(3)]
    graph = Graph(inputs=(STACK,), outputs=(("y", apply("concat", *parts, axis=0)),))
    assert widen(graph).output("y") is apply("mul", 2.0, apply("tanh", STACK))


def test_what_does_not_lie_together_stays() -> None:
    for first, second in (
        (apply("sigmoid", piece(0)), apply("sigmoid", piece(2))),
        (apply("sigmoid", piece(0)), apply("tanh", piece(1))),
        (apply("clamp", piece(0), lo=0.0, hi=1.0), apply("clamp", piece(1), lo=0.0, hi=2.0)),
        (apply("mul", piece(0), piece(1)), apply("mul", piece(1), piece(0))),
    ):
        graph = Graph(inputs=(STACK,), outputs=(("y", apply("add", first, second)),))
        assert widen(graph).output("y") is graph.output("y")


def test_gates_of_the_lstm_are_one_sigmoid() -> None:
    graph = forward_graph(cells.lstm.equations)
    sigmoids = [node for node in graph.nodes() if node.op == "sigmoid"]
    assert [node.shape for node in sigmoids] == [(H * 3,)]
    narrow = forward_graph(cells.lstm.equations, wide=False)
    assert len([node for node in narrow.nodes() if node.op == "sigmoid"]) == 3


@cell(state="h")
def normed_gates(x, h, W, U):
    i, g = split(layer_norm(W @ x) + U @ h, 2)
    return sigmoid(i) * tanh(g)


def test_parts_of_what_is_normalised_are_taken_of_the_whole() -> None:
    graph = forward_graph(normed_gates.equations, wide=False)
    quotients = [node for node in graph.nodes() if node.op == "div" and node.shape]
    assert [node.shape for node in quotients] == [(H * 2,)]
    sums = [node for node in graph.nodes() if node.op == "add" and node.shape]
    assert {node.shape for node in sums} == {(H,)}  # what is added to it is for each gate


# ---- purity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cells.names())
def test_passes_are_pure(name: str) -> None:
    of: Cell = cells.get(name)
    before = (of.equations.inputs, of.equations.outputs, dict(of.equations.names))
    once, twice = forward_graph(of.equations), forward_graph(of.equations)
    assert (once.inputs, once.outputs) == (twice.inputs, twice.outputs)
    assert (of.equations.inputs, of.equations.outputs, dict(of.equations.names)) == before
