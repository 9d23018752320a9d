"""place, cut, adjoint and the plan: what left the loop, and what the loop carries."""

import random
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest

import random_cells
import random_matrices
import random_memories
from recurra import cells
from recurra.backends.cpu import TARGET as COMPILED
from recurra.ir import (
    OPS,
    Dim,
    Graph,
    Group,
    Node,
    Stage,
    apply,
    leaf,
    topological,
    verify,
    verify_part,
)
from recurra.lang import Cell, cell, concat, cos, layer_norm, sigmoid, softmax, tanh
from recurra.passes import Loop, Plan, forward_graph, plan
from recurra.passes.adjoint import adjoint, cotangent_of, is_residual, reads
from recurra.passes.cut import Sections, cut, cut_loop, restricted, section
from recurra.passes.opened import opened
from recurra.passes.place import Target, dependents, is_summed_in_loop, place, place_loop
from recurra.passes.rates import leaf_rates

H, I = Dim.named("H"), Dim.named("I")  # noqa: E741 - the input size
X, STATE = leaf("input", "x", (I,)), leaf("state", "h", (H,))
W, U = leaf("parameter", "W", (H, I)), leaf("parameter", "U", (H, H))
B = leaf("parameter", "b", (H,))

FUSED = Target(fuses=True, pays_per_operation=False)
ALL = pytest.mark.parametrize("name", cells.names())
LEAN = pytest.mark.parametrize("lean", [False, True], ids=["", "lean"])


@cache
def planned(name: str, lean: bool = False) -> Plan:
    return plan(cells.get(name).equations, Target(spares_memory=lean))


def sections_of(graph: Graph) -> Sections:
    return cut(graph, place(graph, leaf_rates(graph), Target()))


def products(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes() if node.op in ("matvec", "outer")]


def ops(graph: Graph) -> set[str]:
    return {node.op for node in graph.nodes()}


def read_by(products: Iterable[Node]) -> list[str]:
    """What the products multiply: a leaf's name, or the operation that computes it."""
    operands = [product.inputs[1] for product in products]
    return [node.name if node.op == "input" else node.op for node in operands]


# ---- cut by rate ---------------------------------------------------------------------------------


@pytest.mark.medium
def test_cell_is_cut_by_rate() -> None:
    @cell(context="v")
    def f(x, h, v, t, W, U, V, b):
        once = tanh(b)
        early = V @ v + once
        return tanh(early + W @ x * cos(t) + U @ h)

    graph = forward_graph(f.equations)
    found = sections_of(graph)
    V, v = leaf("parameter", "V", (H, Dim.named("C"))), leaf("context", "v", (Dim.named("C"),))
    once = leaf("made once", "once", (H,))
    assert (found.once.inputs, found.once.output_nodes) == ((B,), (apply("tanh", B),))
    assert found.once.leaves == (once,)
    assert found.context.output_nodes == (apply("add", once, apply("matvec", V, v)),)
    (early,) = found.context.leaves
    assert (early.attr("kind"), early.shape) == ("made for a sequence", (H,))
    assert set(found.context.inputs) == {V, v, once}
    (sequence,) = found.sequence.leaves
    assert (sequence.attr("kind"), sequence.shape) == ("made for a step", (H,))
    assert {node.op for node in found.sequence.nodes()} == {"matvec", "cos", "mul", "add"}
    assert set(found.sequence.inputs) == {W, X, leaf("step", "t", ()), early}
    assert set(found.step.inputs) == {sequence, U, STATE}
    assert ops(found.step) == {"matvec", "add", "tanh"}


@pytest.mark.medium
def test_numbers_and_transposes_are_not_carried_between_sections() -> None:
    @cell(sizes={"U": ("H", "H")})
    def f(x, h, W, U):
        return 0.5 * tanh(W @ x) + layer_norm(U.T @ h)

    sections = sections_of(forward_graph(f.equations))
    assert sections.once.outputs == ()
    assert [node.op for node in sections.sequence.output_nodes] == ["mul"]
    # the size H, the eps and the transpose are at hand in the step itself
    assert {"size", "const", "transpose"} <= ops(sections.step)


@pytest.mark.medium
def test_section_names_only_what_it_reads() -> None:
    u = apply("tanh", STATE)
    found = section([apply("mul", u, 2.0), u], known={u, X, STATE})
    assert found.inputs == (u,)
    assert found.outputs == (("v0", apply("mul", u, 2.0)), ("v1", u))


@pytest.mark.medium
def test_nothing_can_look_behind_a_cut() -> None:
    u = apply("tanh", STATE)
    with pytest.raises(AssertionError, match="which are no leaves"):
        verify_part(section([apply("mul", u, 2.0)], known={u}), Stage.PRIMITIVE)
    found = planned("gru")
    made = {leaf for part in (found.once, found.sequence) for leaf in part.graph.leaves}
    assert made <= {*found.sequence.graph.inputs, *found.step.graph.inputs}
    assert all(not leaf.inputs for leaf in made)
    fused = plan(cells.gru.equations, FUSED)
    assert {leaf.name for leaf in fused.step.kept.leaves} == {"r", "z", "h_tilde"}


@pytest.mark.medium
def test_leaves_at_cuts_say_what_sequences_share() -> None:
    @cell
    def f(x, h, t, W, U):
        return tanh(W @ x + U @ h) * cos(t)

    kinds = {leaf.shape: leaf.attr("kind") for leaf in plan(f.equations).sequence.graph.leaves}
    assert kinds == {(H,): "made for a step", (): "made for all at a step"}


@pytest.mark.medium
def test_a_part_may_be_asked_for_some_of_what_it_makes() -> None:
    found = planned("gru").once.graph
    some = restricted(found, found.leaves[1:])
    assert (some.leaves, some.output_nodes) == (found.leaves[1:], found.output_nodes[1:])
    assert set(some.inputs) < set(found.inputs)


@pytest.mark.medium
def test_a_plan_can_be_shown_with_what_stands_behind_its_leaves() -> None:
    found = planned("rnn")
    shown = opened(found)
    (outside,) = found.sequence.graph.output_nodes
    assert outside in shown.loop.body.inputs
    assert outside not in found.loop.body.inputs
    assert opened(shown).loop.body.outputs == shown.loop.body.outputs


@pytest.mark.medium
def test_gru_has_one_product_over_x_outside_and_two_over_the_state_inside() -> None:
    found = planned("gru")
    assert read_by(products(found.sequence.graph)) == ["x"]
    assert products(found.sequence.graph)[0].shape == (H * 3,)
    assert sorted(read_by(products(found.loop.body))) == ["h", "mul"]
    assert X not in found.loop.body.inputs


@pytest.mark.medium
def test_mut1_squashes_its_input_outside_the_loop() -> None:
    found = planned("mut1")
    outside, inside = found.sequence.graph, found.loop.body
    on_x = products(outside)
    assert read_by(on_x) == ["x"]
    assert on_x[0].shape == (H * 3,)
    assert "tanh" in ops(outside), "tanh(W_xh x)"
    assert "sigmoid" in ops(outside), "the update gate, which sees the input alone"
    assert sorted(read_by(products(inside))) == ["h", "mul"]
    assert len([node for node in inside.nodes() if node.op == "tanh"]) == 1


@pytest.mark.medium
@pytest.mark.parametrize("name", ["lstm", "lstm_stacked", "torch_lstm"])
def test_lstm_has_one_product_outside_and_one_inside(name: str) -> None:
    found = planned(name)
    assert read_by(products(found.sequence.graph)) == ["x"]
    assert read_by(products(found.loop.body)) == ["h"]


@pytest.mark.medium
def test_parameters_in_torchs_stacks_are_not_copied() -> None:
    for name in ("torch_lstm_no_bias", "torch_gru_no_bias", "torch_rnn_tanh_no_bias"):
        assert planned(name).once.graph.outputs == ()


@pytest.mark.medium
def test_biases_join_the_hoisted_product() -> None:
    found = planned("rnn")
    (outside,) = found.sequence.graph.leaves
    b = leaf("parameter", "b_h", (H,))
    product = apply("matvec", leaf("parameter", "W_xh", (H, I)), X)
    assert found.sequence.graph.output_nodes == (apply("add", b, product),)
    U = leaf("parameter", "W_hh", (H, H))
    new = apply("tanh", apply("add", outside, apply("matvec", U, STATE)))
    assert found.loop.body.outputs[0] == ("h", new)


@pytest.mark.medium
def test_output_that_the_next_step_does_not_need_leaves_the_loop() -> None:
    @cell(output=True)
    def f(x, h, W, V):
        new = tanh(W @ x + h)
        return sigmoid(V @ (new * h) + x), new

    found = plan(f.equations)
    assert ops(found.loop.body) == {"tanh", "add"}
    assert ops(found.loop.after) == {"mul", "matvec", "add", "sigmoid"}
    assert [name for name, _ in found.loop.after.outputs] == ["output"]


@pytest.mark.medium
def test_cell_without_recurrence_has_an_empty_loop() -> None:
    @cell
    def f(x, h, W):
        return tanh(W @ x)

    found = plan(f.equations)
    assert found.loop.body.nodes() == ()
    assert ops(found.sequence.graph) == {"matvec", "tanh"}


@pytest.mark.medium
def test_table_needs_the_input_alone() -> None:
    @cell(context="v")
    def with_context(x, h, v, W, V):
        return tanh(W @ x + V @ v + h)

    @cell
    def with_step(x, h, t, W):
        return tanh(W @ x * cos(t) + h)

    @cell
    def plain(x, h, W):
        return tanh(W @ x + h)

    assert [plan(c.equations).table for c in (with_context, with_step, plain)] == [
        False,
        False,
        True,
    ]


# ---- loops ---------------------------------------------------------------------------------------


def loop_of(graph: Graph, target: Target | None = None, **options: Any) -> Loop:
    """A loop that carries the state h."""
    where = place_loop(graph, [STATE], [graph.output("h")], target or Target(), **options)
    return cut_loop(graph, {STATE: "h"}, where)


@pytest.mark.medium
def test_loop_body_is_cut_in_three() -> None:
    early = apply("tanh", B)
    new = apply("add", apply("matvec", U, STATE), early)
    late = apply("sigmoid", new)
    graph = Graph(inputs=(STATE, U, B), outputs=(("y", late), ("h", new)))
    loop = loop_of(graph)
    assert (loop.before.inputs, loop.before.output_nodes) == ((B,), (early,))
    assert loop.body.outputs[0] == ("h", new)
    assert set(loop.body.inputs) == {STATE, U, early}
    assert (loop.after.inputs, loop.after.outputs) == ((new,), (("y", late),))


@pytest.mark.medium
def test_lean_split_keeps_elementwise_work_inside() -> None:
    seen = leaf("given", "seen", (H,))
    factor = apply("mul", apply("sigmoid", seen), apply("tanh", B))
    new = apply("mul", factor, apply("add", STATE, apply("matvec", U, seen)))
    graph = Graph(inputs=(STATE, U, B, seen), outputs=(("h", new),))
    assert set(loop_of(graph).before.output_nodes) == {factor, apply("matvec", U, seen)}
    lean = loop_of(graph, Target(spares_memory=True), fixed={U, B})
    assert set(lean.before.output_nodes) == {apply("matvec", U, seen), apply("tanh", B)}


@pytest.mark.medium
@ALL
@LEAN
def test_sections_compute_every_node_once(name: str, lean: bool) -> None:
    found = opened(planned(name, lean))
    graphs = [found.once.graph, found.context.graph, found.sequence.graph]
    graphs += [found.loop.before, found.loop.body, found.loop.after]
    computed = [node for graph in graphs for node in graph.nodes() if node.op in WORK]
    assert len(computed) == len(set(computed))
    everything = {n for n in forward_graph(cells.get(name).equations).nodes() if n.op in WORK}
    assert set(computed) == everything


WORK = {"matvec", "tanh", "sigmoid", "relu", "mul"}


@pytest.mark.medium
@ALL
def test_lean_plan_hoists_products_alone(name: str) -> None:
    full, lean = opened(planned(name)), opened(planned(name, lean=True))
    assert products(lean.sequence.graph) == products(full.sequence.graph)
    assert products(lean.loop.body) == products(full.loop.body)
    # what a product reads has to be there before it
    read = topological([c for node in products(lean.sequence.graph) for c in node.inputs])
    made = [node for node in lean.sequence.graph.nodes() if node not in read]
    assert {node.op for node in made} <= {"matvec", "add"}


@pytest.mark.medium
def test_lean_plan_of_mut1_squashes_in_the_loop() -> None:
    inside = planned("mut1", lean=True).loop.body
    assert len([node for node in inside.nodes() if node.op == "tanh"]) == 2


# ---- adjoint -------------------------------------------------------------------------------------


@pytest.mark.medium
def test_adjoint_of_a_product() -> None:
    y = apply("matvec", U, STATE)
    graph = Graph(inputs=(U, STATE), outputs=(("y", y),))
    d = cotangent_of("y", y)
    found = adjoint(graph, {U: "total", STATE: None})
    assert found.outputs == (
        ("0", apply("outer", d, STATE)),
        ("1", apply("matvec", apply("transpose", U), d)),
    )
    assert set(found.inputs) == {U, STATE, d}


@pytest.mark.medium
def test_adjoint_reads_values_and_does_not_compute_them_again() -> None:
    y = apply("tanh", apply("matvec", U, STATE))
    graph = Graph(inputs=(U, STATE), outputs=(("y", y),))
    found = adjoint(graph, {STATE: None})
    assert reads(found) == (U, y)
    assert "tanh" not in ops(found)


@pytest.mark.medium
def test_uses_add_up_and_outputs_may_be_inputs() -> None:
    graph = Graph(inputs=(STATE,), outputs=(("y", STATE), ("z", apply("mul", STATE, STATE))))
    found = adjoint(graph, {STATE: None})
    d_y, d_z = cotangent_of("y", STATE), cotangent_of("z", STATE)
    product = apply("mul", d_z, STATE)
    total = found.output("0")
    assert set(found.inputs) == {STATE, d_y, d_z}
    assert {node for node in found.nodes() if node.op == "mul"} == {product}
    assert total.op == "add"


@pytest.mark.medium
def test_cotangents_are_summed_over_what_an_input_does_not_vary_with() -> None:
    s = leaf("parameter", "s", ())
    graph = Graph(inputs=(STATE, B, s), outputs=(("y", apply("mul", s, apply("add", STATE, B))),))
    found = adjoint(graph, {B: "total", s: "total", STATE: "total_time"})
    assert [node.op for _, node in found.outputs] == ["total", "total", "total_time"]
    assert found.output("1").shape == ()


@pytest.mark.medium
def test_what_nothing_depends_on_has_no_cotangent() -> None:
    graph = Graph(inputs=(STATE, B), outputs=(("y", apply("sign", STATE)),))
    assert adjoint(graph, {STATE: None, B: "total"}).outputs == ()


@pytest.mark.medium
def test_prefix_tells_sections_apart() -> None:
    graph = Graph(inputs=(STATE,), outputs=(("y", apply("tanh", STATE)),))
    found = adjoint(graph, {STATE: None}, prefix="once ")
    assert cotangent_of("once y", STATE) in found.inputs


@pytest.mark.medium
def test_slices_are_no_residuals() -> None:
    part = apply("slice", STATE, axis=0, start=Dim(), size=H)
    assert not is_residual(part)
    assert not is_residual(apply("expand", 0.0, shape=(H,)))
    assert not is_residual(STATE)
    assert is_residual(apply("tanh", STATE))
    assert is_residual(apply("concat", STATE, STATE, axis=0))


@pytest.mark.medium
def test_dependents() -> None:
    u, v = apply("tanh", STATE), apply("tanh", B)
    graph = Graph(inputs=(STATE, B), outputs=(("y", apply("add", u, v)), ("v", v)))
    assert dependents(graph, {STATE}) == {STATE, u, apply("add", u, v)}


# ---- the reverse loop ----------------------------------------------------------------------------


@pytest.mark.medium
@ALL
@LEAN
def test_reverse_loop_carries_cotangents_of_states_alone(name: str, lean: bool) -> None:
    of, found = cells.get(name), planned(name, lean)
    assert found.states == tuple(n for n in of.equations.inputs if n.attr("kind") == "state")
    carried = found.reverse.body.outputs[: len(of.states)]
    assert [node.shape for _, node in carried] == [state.shape for state in found.states]
    others = found.reverse.body.output_nodes[len(of.states) :]
    for node in others:  # but sums of rows of a memory, or of matrices of each sequence
        assert len(node.shape) < 2 or is_summed_in_loop(node), "a matrix is summed in the loop"


@pytest.mark.medium
@ALL
@LEAN
def test_weight_gradients_leave_the_loop(name: str, lean: bool) -> None:
    reverse = planned(name, lean).reverse
    sums = [node for node in reverse.body.nodes() if OPS[node.op].group is Group.ACCUMULATION]
    assert all(map(is_summed_in_loop, sums))  # of rows of a memory, which no one keeps
    in_step = planned(name, lean).step.graph.inputs  # none, where a cell is linear in its state
    if any(node.op == "input" and node.attr("kind") == "parameter" for node in in_step):
        assert ops(reverse.after) & {"outer", "total"}


@pytest.mark.medium
@ALL
@LEAN
def test_reverse_loop_has_no_more_products_than_the_forward_loop(name: str, lean: bool) -> None:
    found = planned(name, lean)
    reverse = [n for n in products(found.reverse.body) if not is_summed_in_loop(n)]
    assert len(reverse) <= len(products(found.loop.body))


@pytest.mark.medium
def test_weight_gradient_of_merged_matrices_is_one_product() -> None:
    found = planned("lstm")
    assert [node.shape for node in products(found.reverse.after)] == [(H * 4, H)]
    in_sequence = [n for n in found.sequence.adjoint.nodes() if n.op == "outer"]
    assert [node.shape for node in in_sequence] == [(H * 4, I)]


@pytest.mark.medium
@ALL
@LEAN
def test_residuals_are_values_of_the_step(name: str, lean: bool) -> None:
    found = planned(name, lean)
    assert set(found.residuals) <= {*found.step.kept.leaves, *found.states}
    assert set(found.step.kept.output_nodes) <= set(found.step.graph.nodes())
    assert len(set(found.residuals)) == len(found.residuals)
    known = set(found.step.adjoint.inputs)
    reverse = found.reverse
    assert set(reverse.before.inputs) <= known
    known.update(reverse.before.output_nodes)
    assert set(reverse.body.inputs) <= known
    assert set(reverse.after.inputs) <= known.union(reverse.body.output_nodes)


# ---- every graph of a plan is legal --------------------------------------------------------------


def check(of: Cell) -> None:
    verify(forward_graph(of.equations), Stage.PRIMITIVE)
    verify(forward_graph(of.equations, wide=False), Stage.PRIMITIVE)
    for found in (plan(of.equations), plan(of.equations, FUSED)):
        for part in (found.once, found.context, found.sequence, found.step):
            verify_part(part.graph, Stage.PRIMITIVE)
            verify_part(part.kept, Stage.PRIMITIVE)
            verify_part(part.adjoint, Stage.BACKWARD)
            seeds = {n for n in part.adjoint.inputs if n.attrs[:1] == (("kind", "cotangent"),)}
            assert seeds <= set(part.seeds)
            for index, node in part.adjoint.outputs:
                assert node.shape == part.wanted[int(index)].shape
        for loop, stage in ((found.loop, Stage.PRIMITIVE), (found.reverse, Stage.BACKWARD)):
            for graph in (loop.before, loop.body, loop.after):
                verify(graph, stage)


@pytest.mark.medium
@ALL
def test_plans_are_legal(name: str) -> None:
    check(cells.get(name))


GENERATORS = {
    "cells": random_cells.random_cell,
    "compositions": random_cells.random_composition,
    "memories": random_memories.random_memory_cell,
    "matrices": random_matrices.random_matrix_cell,
}


@pytest.mark.medium
@pytest.mark.parametrize("kind", GENERATORS)
def test_plans_of_random_cells_are_legal(kind: str) -> None:
    for seed in range(40):
        of = GENERATORS[kind](random.Random(seed))
        try:
            if kind == "cells":
                check(of)
            for low in (False, True):  # what compiled loops are planned for
                plan(of.equations, COMPILED, low=low)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}\n{random_cells.source_of(of)}") from error


@pytest.mark.medium
@ALL
def test_planning_is_pure(name: str) -> None:
    first, second = (plan(cells.get(name).equations) for _ in range(2))
    for part in ("once", "context", "sequence", "step"):
        a, b = getattr(first, part), getattr(second, part)
        assert (a.graph.outputs, a.adjoint.outputs) == (b.graph.outputs, b.adjoint.outputs)
    for loop in ("loop", "reverse"):
        for graph in ("before", "body", "after"):
            a, b = (getattr(getattr(p, loop), graph) for p in (first, second))
            assert (a.inputs, a.outputs) == (b.inputs, b.outputs)


@pytest.mark.medium
def test_transposed_matrix_trains() -> None:
    """The adjoint of W.T is W itself, which is not what the step was given."""

    @cell(sizes={"U": ("H", "H")})
    def f(x, h, W, U):
        return tanh(W @ x + U.T @ h + (U.T * 2.0) @ (h * h) + U @ tanh(h))

    check(f)


@pytest.mark.medium
def test_cut_concatenation_is_not_looked_into() -> None:
    """A rule that found the parts of a hoisted concatenation would read what is not at hand."""

    @cell
    def f(x, h, W):
        return concat(-x, -tanh(W @ x)) * h

    check(f)


@cell(state="h", memory="m", sizes={"W": ("H", "K"), "U": ("H", "I"), "V": ("H", "K")})
def rows_of_the_input(x, h, m, W, U, V):
    """Rows are made again of what the input alone decides, which the adjoint reads for no more."""
    score = tanh(W @ m + U @ x) @ h
    return tanh(V @ (softmax(score) @ m))


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("target", [Target(), FUSED, COMPILED])
def test_rows_that_are_made_again_read_what_is_computed_for_all_steps(
    target: Target, low: bool
) -> None:
    made = plan(rows_of_the_input.equations, target, low=low)
    verify_part(made.step.adjoint, Stage.BACKWARD)
