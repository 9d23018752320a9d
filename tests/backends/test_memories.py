"""Cells with memories on the reference backend, against the eager oracle, in float64."""

import pytest
import torch

from memory_cells import CELLS, SIZES, additive, afterwards, everything, located
from oracle import Case, Eager, assert_same, reference_results, results
from recurra import compose
from recurra.backends import ReferenceBackend, within_memory
from recurra.ir import is_rows
from recurra.lang import Cell
from recurra.passes import plan
from recurra.passes.opened import opened

pytestmark = pytest.mark.medium

TOLERANCE = 1e-11
each_cell = pytest.mark.parametrize("of", CELLS, ids=lambda of: of.name)
CASES = {
    "plain": Case(sizes=SIZES),
    "whole memories": Case(sizes=SIZES, whole_memories=True),
    "ragged": Case(sizes=SIZES, lengths=(4, 1, 2)),
    "ragged, reverse": Case(sizes=SIZES, lengths=(1, 4, 0), reverse=True, B=3),
    "one of each": Case(sizes=SIZES, T=1, B=1, positions=1),
    "one position": Case(sizes=SIZES, positions=1),
    "one-hot ids": Case(sizes=SIZES, ids="one-hot"),
    "ids": Case(sizes=SIZES, ids="embedding", lengths=(2, 4, 1)),
    "many positions": Case(sizes=SIZES, positions=9, B=5),
    "all sizes equal": Case(T=4, B=4, positions=4, sizes=dict.fromkeys(SIZES, 4)),
}


def check(of: Cell, case: Case) -> None:
    expected = results(Eager(of, case.sizes), case.tensors(of))
    for name, found in reference_results(of, case):
        assert_same(found, expected, TOLERANCE, f"{of.name}, {name}")


@each_cell
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_the_oracle(of: Cell, case: Case) -> None:
    """Memories are ragged, NaN past their ends: outputs, states over positions, all gradients."""
    if case.lengths and 0 in case.lengths:
        case = Case(**{**vars(case), "lengths": (1, 4, 2)})
    check(of, case)


@each_cell
def test_low_memory(of: Cell) -> None:
    case = Case(sizes=SIZES, lengths=(4, 1, 2))
    expected = results(Eager(of, case.sizes), case.tensors(of))
    found = results(ReferenceBackend(of, memory="low"), case.tensors(of))
    assert_same(found, expected, TOLERANCE)


@pytest.mark.parametrize("of", [located, additive], ids=lambda of: of.name)
def test_composed(of: Cell) -> None:
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
            "memory": tuple(next(given) for _ in inputs.memory),
            "parameters": {name: next(given) for name in inputs.parameters},
        }
        y, finals = type(inputs)(**{**vars(inputs), **moved}).run(ReferenceBackend(of))
        return (y * y).sum() + sum((f * f).sum() for f in finals)

    assert torch.autograd.gradgradcheck(loss, tuple(leaves.values()), fast_mode=True)


def test_a_call_may_have_any_number_of_positions() -> None:
    """S is a size of the call: one executor, whatever it is."""
    backend = ReferenceBackend(additive)
    for S in (3, 1, 7):
        case = Case(sizes=SIZES, positions=S)
        expected = results(Eager(additive, SIZES), case.tensors(additive))
        assert_same(results(backend, case.tensors(additive)), expected, TOLERANCE)
    assert len(backend._executors) == 1


# ---- where it is computed ------------------------------------------------------------------------


def test_what_depends_on_the_memory_alone_is_computed_once_a_sequence() -> None:
    made = plan(additive.equations)
    assert [node.op for node in made.context.graph.output_nodes] == ["rows_product"]
    assert all(node.op != "rows_product" for node in made.loop.body.nodes())


@each_cell
def test_no_rows_are_there_for_all_steps_at_once(of: Cell) -> None:
    made = opened(plan(of.equations))
    given = {*made.loop.body.inputs, *made.context.graph.output_nodes, *made.residuals}
    for part in (made.sequence.graph, made.loop.before, made.loop.after, made.reverse.before):
        rows = [n for n in part.nodes() if is_rows(n.shape) and n not in given and n.inputs]
        assert not rows, rows


def test_attention_that_no_step_reads_leaves_the_loop() -> None:
    made = plan(afterwards.equations)
    assert {node.op for node in made.loop.after.nodes()} >= {"rows_dot", "weighted_sum", "exp"}
    assert all(node.op != "weighted_sum" for node in made.loop.body.nodes())


def test_the_gradient_of_a_memory_that_is_read_is_one_product() -> None:
    made = plan(afterwards.equations)
    assert sum(node.op == "outer_time" for node in made.reverse.after.nodes()) >= 1
    assert all(not is_rows(node.shape) for node in made.reverse.body.output_nodes)


def test_a_softmax_is_not_masked_twice() -> None:
    body = plan(additive.equations).loop.body
    assert sum(node.op == "where" for node in body.nodes()) == 1


def test_memories_must_be_of_one_length() -> None:
    inputs = Case(sizes=SIZES, whole_memories=True).tensors(everything)
    k, u = inputs.memory
    run = within_memory(everything, ReferenceBackend(everything).run)
    with pytest.raises(ValueError, match="memories and states over positions of one length"):
        run(inputs.x, inputs.states, inputs.parameters, memory=(k, u[:, :2]))
