"""Compiled loops of cells that read a memory, against the reference in float64."""

import pytest
import torch

from compiled import Call, compare
from memory_cells import CELLS, SIZES, located
from oracle import Case, assert_same, in_part_slow, results
from recurra import cells, compose
from recurra.backends import ReferenceBackend
from recurra.backends.cpu import CpuBackend, found_compiler
from recurra.lang import Cell

pytestmark = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")

WIDE = {"I": 19, "H": 35, "K": 33, "A": 50, "F": 17, "K_u": 33, "C": 33}
CALLS = {
    "plain": Call(case=Case(sizes=SIZES)),
    "whole memories": Call(case=Case(sizes=SIZES, whole_memories=True), inference=True),
    "ragged": Call(case=Case(sizes=SIZES, T=5, B=4, lengths=(4, 1, 5, 2))),
    "longest first": Call(case=Case(sizes=SIZES, T=5, B=4, lengths=(5, 4, 2, 1))),
    "ragged, reverse": Call(case=Case(sizes=SIZES, lengths=(1, 4, 2), reverse=True)),
    "one of each": Call(case=Case(sizes=SIZES, T=1, B=1, positions=1)),
    "one sequence, two threads": Call(case=Case(sizes=WIDE, T=5, B=1, positions=9), threads=2),
    "many sequences": Call(case=Case(sizes=WIDE, T=3, B=9, positions=5), threads=2, chunk_rows=18),
    "shared columns": Call(
        case=Case(sizes=WIDE, T=4, B=7, positions=3, lengths=(4, 3, 3, 1, 4, 2, 4)),
        threads=2,
        cache_bytes=0,
        chunk_rows=9,
    ),
    "ids": Call(case=Case(sizes=SIZES, ids="embedding", lengths=(2, 4, 1)), inference=True),
    "all sizes equal": Call(case=Case(T=4, B=4, positions=4, sizes=dict.fromkeys(SIZES, 4))),
    "all equal, ragged": Call(
        case=Case(T=4, B=4, positions=4, sizes=dict.fromkeys(SIZES, 4), lengths=(4, 2, 1, 3))
    ),
    "low memory": Call(case=Case(sizes=SIZES, lengths=(4, 1, 2)), memory="low"),
    "bfloat16": Call(case=Case(sizes=WIDE, B=5, lengths=(4, 1, 2, 3, 4)), dtype=torch.bfloat16),
    "frozen memory": Call(case=Case(sizes=SIZES), frozen=("memory 0", "memory 1")),
}
each_cell = pytest.mark.parametrize("of", CELLS, ids=lambda of: of.name)


@pytest.mark.medium
@each_cell
@pytest.mark.parametrize("call", in_part_slow(CALLS, {"one of each", "ids", "longest first"}))
def test_equals_the_reference(of: Cell, call: Call) -> None:
    compare(of, call, strict=call.dtype is torch.float32)


@pytest.mark.medium
def test_rows_that_are_alike_have_a_gradient_as_one_row() -> None:
    """Where no parameter, input or memory decides them: a matrix times a number everywhere."""
    of = compose.replace(cells.location_attention_gru, "alike", f=0.75)
    sizes = {"I": 3, "H": 4, "K": 3, "A": 5, "Q": 2}
    compare(of, Call(case=Case(T=3, B=2, sizes=sizes, positions=4)))
    read = compose.replace(cells.scaled_dot_attention_gru, "alike", values=0.75)
    compare(read, Call(case=Case(T=3, B=2, sizes={"I": 3, "H": 4, "K": 3, "A": 5}, positions=4)))


@pytest.mark.medium
def test_how_many_positions_there_are_is_no_part_of_a_library() -> None:
    """One cell, whatever its memory's length: what is printed is the same."""
    backend, sources = CpuBackend(located), set()
    for S in (1, 3, 40):
        case = Case(sizes=SIZES, positions=S)
        found = results(backend, case.tensors(located, torch.float32))
        assert_same(found, results(ReferenceBackend(located), case.tensors(located)), 2e-5)
        (executor,) = backend._executors.values()
        sources |= {loop.source for loop in executor.loops.loops}
    assert len(sources) == 2, "a forward loop and a reverse one"
