"""Cells with matrix states on the reference backend, against the eager oracle, in float64."""

import pytest
import torch

from matrix_cells import CELLS, SIZES, everything, in_heads, per_head, selective, written
from oracle import Case, Eager, assert_same, reference_results, results
from recurra import Recurrent, compose
from recurra.backends.reference import ReferenceBackend
from recurra.ir import has_own_rows, is_rows
from recurra.lang import Cell
from recurra.passes import plan
from recurra.passes.opened import opened

pytestmark = pytest.mark.medium

TOLERANCE = 1e-11
each_cell = pytest.mark.parametrize("of", CELLS, ids=lambda of: of.name)
CASES = {
    "plain": Case(sizes=SIZES),
    "ragged": Case(sizes=SIZES, lengths=(4, 1, 2)),
    "ragged, reverse": Case(sizes=SIZES, lengths=(1, 4, 2), reverse=True, B=3, start=7),
    "one of each": Case(sizes=SIZES, T=1, B=1),
    "one-hot ids": Case(sizes=SIZES, ids="one-hot"),
    "ids": Case(sizes=SIZES, ids="embedding", lengths=(2, 4, 1)),
    "all sizes equal": Case(T=4, B=4, sizes=dict.fromkeys(SIZES, 4)),
    "small": Case(T=2, B=2, sizes={**dict.fromkeys(SIZES, 1), "H": 2}),
}


def check(of: Cell, case: Case) -> None:
    expected = results(Eager(of, case.sizes), case.tensors(of))
    for name, found in reference_results(of, case):
        assert_same(found, expected, TOLERANCE, f"{of.name}, {name}")


@each_cell
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_the_oracle(of: Cell, case: Case) -> None:
    """Outputs, final states and all gradients, d(h0) too, whatever goes beside a matrix."""
    check(of, case)


@each_cell
def test_low_memory(of: Cell) -> None:
    case = Case(sizes=SIZES, lengths=(4, 1, 2))
    expected = results(Eager(of, case.sizes), case.tensors(of))
    found = results(ReferenceBackend(of, memory="low"), case.tensors(of))
    assert_same(found, expected, TOLERANCE)


@pytest.mark.parametrize("of", [written, in_heads, per_head], ids=lambda of: of.name)
def test_composed(of: Cell) -> None:
    """Zoneout draws a mask for each number of a matrix state."""
    check(compose.zoneout(compose.layer_norm(of), 0.3), Case(sizes=SIZES, lengths=(4, 1, 2)))


@each_cell
def test_second_derivatives(of: Cell) -> None:
    inputs = Case(T=2, B=2, sizes=SIZES, nan_padding=False).tensors(of)
    leaves = inputs.leaves()

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        given = iter(tensors)
        moved = {
            "x": next(given),
            "states": tuple(next(given) for _ in inputs.states),
            "context": tuple(next(given) for _ in inputs.context),
            "parameters": {name: next(given) for name in inputs.parameters},
        }
        y, finals = type(inputs)(**{**vars(inputs), **moved}).run(ReferenceBackend(of))
        return (y * y).sum() + sum((f * f).sum() for f in finals)

    assert torch.autograd.gradgradcheck(loss, tuple(leaves.values()), fast_mode=True)


# ---- where it is computed ------------------------------------------------------------------------


@each_cell
def test_no_matrices_are_there_for_all_steps_at_once_but_states(of: Cell) -> None:
    made = opened(plan(of.equations))
    given = {*made.loop.body.inputs, *made.residuals}
    for part in (made.sequence.graph, made.context.graph, made.loop.before, made.loop.after):
        rows = [n for n in part.nodes() if is_rows(n.shape) and n not in given and n.inputs]
        assert not rows, rows


def test_what_the_input_alone_decides_of_a_product_leaves_the_loop() -> None:
    made = plan(in_heads.equations)
    assert all(node.op != "matvec" for node in made.loop.body.nodes())


def test_the_gradient_of_a_matrix_beside_a_state_is_added_up_in_the_loop() -> None:
    body = plan(everything.equations).reverse.body
    assert any(node.op == "outer" for node in body.nodes())  # of W, right of a matrix
    made = plan(selective.equations).reverse
    assert any(node.op == "total_time" for node in made.body.nodes())  # of A, beside one
    assert all(node.op != "total_rows" for node in made.body.nodes())


def test_explain_counts_what_a_step_does_to_a_matrix() -> None:
    layer = Recurrent(in_heads, 3, 8)
    assert "each row of" in layer.explain()
    assert has_own_rows(in_heads.equations.output("C").shape)
