"""Compiled loops with matrices of each sequence, against the reference in float64.

The cells of the registry that have matrices are in test_cpu.py.
"""

import random

import pytest
import torch

from compiled import Call, compare
from matrix_cells import CELLS, SIZES, in_heads, per_head, selective, written
from oracle import Case, in_part_slow
from random_cells import random_call, source_of
from random_matrices import random_matrix_cell
from recurra import cells, compose
from recurra.backends import load
from recurra.backends.cpu import TARGET, found_compiler
from recurra.backends.cpu.schedule import schedule
from recurra.lang import Cell
from recurra.passes import plan
from recurra.passes.opened import opened

pytestmark = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")

WIDE = {"I": 19, "H": 36, "P": 18, "Q": 33, "C": 33}
CALLS = {
    "plain": Call(case=Case(sizes=SIZES), inference=True),
    "ragged": Call(case=Case(sizes=SIZES, T=5, B=4, lengths=(4, 1, 5, 2))),
    "longest first": Call(case=Case(sizes=SIZES, T=5, B=4, lengths=(5, 4, 2, 1))),
    "ragged, reverse": Call(case=Case(sizes=SIZES, lengths=(1, 4, 2), reverse=True, start=7)),
    "one of each": Call(case=Case(sizes=SIZES, T=1, B=1)),
    "one sequence, two threads": Call(case=Case(sizes=WIDE, T=5, B=1), threads=2),
    "many sequences": Call(case=Case(sizes=WIDE, T=3, B=9), threads=2, chunk_rows=18),
    "shared columns": Call(
        case=Case(sizes=WIDE, T=4, B=7, lengths=(4, 3, 3, 1, 4, 2, 4)),
        threads=2,
        cache_bytes=0,
        chunk_rows=9,
    ),
    "ids": Call(case=Case(sizes=SIZES, ids="embedding", lengths=(2, 4, 1)), inference=True),
    "all sizes equal": Call(case=Case(T=4, B=4, sizes=dict.fromkeys(SIZES, 4))),
    "low memory": Call(case=Case(sizes=SIZES, lengths=(4, 1, 2)), memory="low"),
    "bfloat16": Call(case=Case(sizes=WIDE, B=5, lengths=(4, 1, 2, 3, 4)), dtype=torch.bfloat16),
}
each_cell = pytest.mark.parametrize("of", CELLS, ids=lambda of: of.name)


@pytest.mark.medium
@each_cell
@pytest.mark.parametrize("call", in_part_slow(CALLS, {"one of each", "ids", "longest first"}))
def test_equals_the_reference(of: Cell, call: Call) -> None:
    # what is rounded grows in these: matrices times matrices, rows of two numbers normalised
    compare(of, call, strict=False)


@pytest.mark.medium
@pytest.mark.parametrize("of", [written, in_heads], ids=lambda of: of.name)
def test_composed(of: Cell) -> None:
    made = compose.zoneout(compose.layer_norm(of), 0.3)
    compare(made, Call(case=Case(sizes=SIZES, lengths=(4, 1, 2))), strict=False)


@pytest.mark.medium
@pytest.mark.parametrize("seed", range(4))
def test_random_cells(seed: int) -> None:
    _check_random(seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(1000, 1300, 50))
@pytest.mark.usefixtures("builds_quickly")
def test_many_random_cells(first: int) -> None:
    for seed in range(first, first + 50):
        _check_random(seed)


def _check_random(seed: int) -> None:
    rng = random.Random(seed)
    of = random_matrix_cell(rng)
    call = random_call(of, rng)
    try:
        compare(of, call, strict=False)
    except Exception as error:  # what it was is not in torch's own words
        raise AssertionError(f"seed {seed}, {call}\n{source_of(of)}") from error


# ---- how it is computed --------------------------------------------------------------------------


def test_a_matrix_is_written_and_read_in_one_pass() -> None:
    made = plan(cells.mlstm.equations, TARGET)
    scheduled = schedule(made.loop.body, made.states, len(made.states))
    groups = [nodes for phase in scheduled.phases for nodes in phase.rows.values()]
    [of_matrix] = [nodes for nodes in groups if nodes[0].shape == cells.mlstm.state_shapes[0]]
    assert [node.op for node in of_matrix] == ["mul", "mul", "add", "rows_dot"]


@pytest.mark.medium
def test_of_matrices_only_states_are_kept() -> None:
    for of in (cells.mlstm, cells.delta_net, cells.gated_delta_net, selective):
        made = opened(plan(of.equations, TARGET))
        kept = [node for node in made.residuals if len(node.shape) == 2]
        assert set(kept) <= {*made.states, *made.loop.body.output_nodes[: len(made.states)]}


def test_rows_of_a_vector_are_not_copied() -> None:
    made = plan(per_head.equations, TARGET)
    scheduled = schedule(made.loop.body, made.states, len(made.states))
    copied = [node.op for phase in scheduled.phases for node, _ in (*phase.gathers, *phase.copies)]
    assert "rows" not in copied
    assert "flatten" not in copied


@pytest.mark.medium
def test_auto_compiles_them() -> None:
    assert load(in_heads).explain(SIZES).startswith("cell in_heads")
