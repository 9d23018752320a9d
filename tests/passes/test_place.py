"""place: when each value is computed, and the table that shows it."""

import random

import pytest

import random_cells
from recurra import cells
from recurra.backends.cpu import TARGET
from recurra.backends.table import table
from recurra.ir import OPS, Group, Node
from recurra.lang import Cell, cell, sigmoid, tanh
from recurra.passes import Plan, Target, When, plan
from recurra.passes.opened import opened

TARGETS = pytest.mark.parametrize(
    "target", [Target(), Target(spares_memory=True), TARGET], ids=["plain", "lean", "cpu"]
)


def when(found: Plan, op: str) -> set[When]:
    """When the values of an operation are computed, forward."""
    return {at for node, at in found.forward_when.items() if node.op == op}


@cell(context="v")
def mixed(x, h, v, W, U, V, b, g):
    """Something for every time of the forward pass, and two products with the state."""
    gate = sigmoid(W @ x + b) * tanh(V @ v)
    return gate * tanh(U @ h) + tanh(g) * h


def test_what_changes_rarely_is_computed_rarely() -> None:
    found = plan(mixed.equations)
    assert when(found, "sigmoid") == {When.EARLY}
    assert when(found, "tanh") == {When.ONCE, When.CONTEXT, When.STEP}
    assert when(found, "matvec") == {When.EARLY, When.CONTEXT, When.STEP}


def test_elementwise_work_stays_in_fused_loops_and_products_come_before_some_steps() -> None:
    found = plan(mixed.equations, TARGET)
    assert when(found, "sigmoid") == {When.STEP}
    assert When.BEFORE in when(found, "add")  # the product with its bias
    assert found.sequence.graph.output_nodes == tuple(
        node for node, at in found.forward_when.items() if at is When.BEFORE
    )


def test_gradients_of_weights_are_summed_after_some_steps() -> None:
    found = plan(cells.gru.equations, TARGET)
    assert found.tail is not None
    assert {found.backward_when[node] for _, node in found.tail} == {When.AFTER}
    plain = plan(cells.gru.equations)
    assert plain.tail is None
    late = [node for node, at in plain.backward_when.items() if at is When.LATE]
    assert "outer" in {node.op for node in late}


def test_products_of_what_was_kept_come_before_some_steps_of_the_reverse_loop() -> None:
    @cell
    def squared(x, h, W, U, C):
        return tanh(W @ x + C @ h) * (U @ x)

    found = plan(squared.equations, TARGET)
    early = found.reverse.before.output_nodes
    assert {found.backward_when[node] for node in early} <= {When.ONCE, When.BEFORE}
    assert all(node.op == "matvec" for node in early if found.backward_when[node] is When.BEFORE)


def of_seed(seed: int) -> Cell:
    return random_cells.random_cell(random.Random(seed))


@TARGETS
@pytest.mark.medium
@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_read_before_it_is_computed(target: Target, seed: int) -> None:
    found = opened(plan(of_seed(seed).equations, target))
    for where in (found.forward_when, found.backward_when):
        for node, at in where.items():
            if OPS[node.op].group is not Group.LEAF:
                assert all(where.get(read(child), When.ONCE) <= at for child in node.inputs), node


def read(node: Node) -> Node:
    """What is read where a value is: slices and transposes are ways to read another one."""
    while node.op in ("slice", "transpose"):
        (node,) = node.inputs
    return node


@pytest.mark.medium
@TARGETS
def test_every_value_of_the_table_is_computed_before_it_is_read(target: Target) -> None:
    for name in ("gru", "lstm", "mut1", "slstm"):
        lines = table(plan(cells.get(name).equations, target))
        known = {node.name for node in cells.get(name).equations.inputs}
        known |= {f"d_{name}" for name in ("output", *cells.get(name).states)}
        for line in lines:
            if "=" not in line:
                continue
            made, value = line[25:].split(" = ", 1)
            names = {word for word in _words(value) if word[0] in "vd" and word[-1].isdigit()}
            assert names <= known, line
            known |= set(_words(made))


def _words(text: str) -> list[str]:
    for sign in "()[],+-*/@:":
        text = text.replace(sign, " ")
    return [word for word in text.split() if word.isidentifier()]
