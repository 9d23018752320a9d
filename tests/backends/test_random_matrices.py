"""Random cells with matrix states, through the oracle chain of the reference."""

import random

import pytest

from oracle import check_reference
from random_cells import random_case, source_of
from random_matrices import random_matrix_cell
from recurra.ir import matrices
from recurra.lang.document import cell_of_document, document_of, same_equations


def check(seed: int, cases: int) -> None:
    """Eager, autograd and adjoint agree for the cell of this seed; its document is the cell."""
    rng = random.Random(seed)
    of = random_matrix_cell(rng)
    assert same_equations(cell_of_document(document_of(of)), of), source_of(of)
    for _ in range(cases):
        case = random_case(of, rng)
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


@pytest.mark.medium
def test_generator_reaches_all_that_there_is_of_matrices() -> None:
    drawn = [random_matrix_cell(random.Random(seed)) for seed in range(100)]
    reached = {node.op for of in drawn for node in of.equations.nodes()}
    in_the_language = {op.name for op in matrices.TABLE if "total" not in op.text}
    assert in_the_language <= reached
    assert any(len(shape) == 2 and shape[0].blocks > 1 for of in drawn for shape in of.state_shapes)
