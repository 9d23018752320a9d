"""Random cells that read a memory, through the oracle chain, and compiled."""

import random
from dataclasses import replace

import pytest

from compiled import compare
from oracle import check_reference
from random_cells import random_call, source_of
from random_memories import random_memory_case, random_memory_cell
from recurra.backends.cpu import found_compiler
from recurra.ir import positions
from recurra.lang.document import cell_of_document, document_of, same_equations


def check(seed: int, cases: int) -> None:
    """Eager, autograd and adjoint agree for the cell of this seed; its document is the cell."""
    rng = random.Random(seed)
    of = random_memory_cell(rng)
    if not of.arrays:
        assert same_equations(cell_of_document(document_of(of)), of), source_of(of)
    for _ in range(cases):
        case = random_memory_case(of, rng)
        check_reference(of, case, f"seed {seed}, {case}\n{source_of(of)}")


@pytest.mark.medium
@pytest.mark.parametrize("first", range(0, 60, 10))
def test_random_cells(first: int) -> None:
    for seed in range(first, first + 10):
        check(seed, cases=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(1000, 2000, 100))
def test_many_random_cells(first: int) -> None:
    for seed in range(first, first + 100):
        check(seed, cases=2)


# ---- compiled against the reference --------------------------------------------------------------

needs_compiler = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")


def check_compiled(seed: int) -> None:
    rng = random.Random(seed)
    of = random_memory_cell(rng)
    call = replace(random_call(of, rng), case=random_memory_case(of, rng))
    compare(of, call, f"seed {seed}\n{source_of(of)}", strict=False)


@needs_compiler
@pytest.mark.medium
@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, 5, 5))
def test_compiled_cells(first: int) -> None:
    for seed in range(first, first + 5):
        check_compiled(seed)


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(20_000, 21_000, 50))
@pytest.mark.usefixtures("builds_quickly")
def test_many_compiled_cells(first: int) -> None:
    for seed in range(first, first + 50):
        check_compiled(seed)


@pytest.mark.medium
def test_generator_reaches_all_that_is_over_positions() -> None:
    drawn = [random_memory_cell(random.Random(seed)) for seed in range(100)]
    reached = {node.op for of in drawn for node in of.equations.nodes()}
    in_the_language = {op.name for op in positions.TABLE if op.text.find("total") < 0}
    only_inside = {"weighted_sum", "sum_rows", "max_rows", "windows", "overlaps"}
    assert in_the_language - only_inside <= reached
    assert any(len(of.memory) == 2 for of in drawn)
    assert any("S" in map(str, of.state_sizes) for of in drawn)


@pytest.mark.parametrize("seed", [936, 1663])
def test_generator_names_sizes_that_the_language_would_take_otherwise(seed: int) -> None:
    random_memory_cell(random.Random(seed))  # of dead code, and of a vector beside numbers
