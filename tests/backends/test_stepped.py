"""The equations run as they are written: each value by its name, kept and replaced."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from named import Stepped, check_values
from oracle import Case, fitted, results
from random_cells import random_case, random_cell, source_of
from random_matrices import random_matrix_cell
from random_memories import random_memory_case, random_memory_cell
from recurra import cells
from recurra.backends.reference.stepped import run_stepped
from recurra.lang import Cell, cell, tanh
from recurra.show.values import named_values

SIZES = {"I": 3, "H": 4, "P": 2, "C": 4, "R": 5, "K": 6, "A": 4, "Q": 2}


def patch(v: Any, s: int) -> Any:
    """What is put in the place of a value: of what is positive, or between 0 and 1, likewise."""
    return 0.6 * v + 0.1 * (1.0 + math.cos(s + 1.0))


def patched_in_turn(cell: Cell, case: Case) -> None:
    """Each value of a cell replaced by itself."""
    for name in named_values(cell.equations):
        check_values(cell, case, f"{cell.name}, {name} replaced", {name: patch})


@pytest.mark.parametrize("name", cells.names())
def test_each_value_of_each_cell_is_what_its_lines_have(name: str) -> None:
    check_values(fitted(cells.get(name), SIZES), Case(T=3, B=2, sizes=SIZES))


@pytest.mark.parametrize("name", ["lstm", "gru", "ntm", "mlstm", "coverage_gru"])
def test_past_the_ends_of_sequences_and_memories_values_are_zero(name: str) -> None:
    cell = fitted(cells.get(name), SIZES)
    for reverse in (False, True):
        check_values(cell, Case(T=4, B=3, sizes=SIZES, lengths=(2, 4, 1), reverse=reverse))


@pytest.mark.parametrize("ids", ["one-hot", "embedding"])
@pytest.mark.parametrize("name", ["lstm", "gru_d", "cfn", "qrnn_fo", "mamba"])
def test_token_ids_are_the_vectors_that_they_stand_for(name: str, ids: str) -> None:
    check_values(fitted(cells.get(name), SIZES), Case(T=3, B=2, sizes=SIZES, ids=ids))


@pytest.mark.medium
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_replaced_value_is_read_wherever_it_was(name: str) -> None:
    patched_in_turn(cells.get(name), Case(T=3, B=2, sizes=SIZES, lengths=(3, 2)))


@pytest.mark.medium
def test_what_is_past_the_end_of_a_memory_is_not_replaced() -> None:
    patched_in_turn(
        fitted(cells.get("additive_attention_gru"), SIZES),
        Case(T=2, B=3, sizes=SIZES, positions=4),
    )


def test_an_output_that_was_a_state_before_the_step() -> None:
    @cell(state=("h", "s"), output=True)
    def late(x, h, s, W, U):
        n = tanh(W @ x + U @ h)
        return h, n, s + h

    case = Case(T=3, B=2, sizes=SIZES, lengths=(3, 2))
    for reverse in (False, True):
        check_values(late, replace(case, reverse=reverse))
    patched_in_turn(late, case)


def test_a_vector_that_a_matrix_is_made_of_is_one_for_all_sequences() -> None:
    @cell(sizes={"d": "H"})
    def scaled(x, h, U, A, d):
        e = tanh(d)
        return tanh(U @ x + (A * e) @ h)

    patched_in_turn(scaled, Case(T=3, B=2, sizes=SIZES))
    own = Stepped(scaled, {"e": lambda v, s: v * torch.arange(1.0, 3.0).double()[:, None]})
    case = Case(T=3, B=2, sizes=SIZES)
    with pytest.raises(
        ValueError, match=r"e: expected one value for all sequences.*got 2 sequences"
    ):
        results(own, case.tensors(scaled))


@pytest.mark.slow
@pytest.mark.parametrize("name", cells.names())
def test_each_value_of_each_cell_can_be_replaced(name: str) -> None:
    patched_in_turn(fitted(cells.get(name), SIZES), Case(T=3, B=2, sizes=SIZES, lengths=(3, 2)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("make", "case_of", "count"),
    [
        (random_cell, random_case, 100),
        (random_matrix_cell, random_case, 20),
        (random_memory_cell, random_memory_case, 20),
    ],
)
def test_random_cells(make: Any, case_of: Any, count: int) -> None:
    for seed in range(count):
        rng = random.Random(seed)
        cell = make(rng)
        case = case_of(cell, rng)
        if case.T == 0:
            continue
        check_values(cell, case, f"seed {seed}, {case}\n{source_of(cell)}")
        name = rng.choice(list(named_values(cell.equations)))
        check_values(cell, case, f"seed {seed}, {name}, {case}\n{source_of(cell)}", {name: patch})


def test_no_steps_give_values_of_no_steps() -> None:
    cell, x = cells.lstm, torch.zeros(0, 2, 3)
    parameters = {
        name: torch.zeros([d.evaluate({"I": 3, "H": 4}) for d in shape])
        for name, shape in cell.parameters.items()
    }
    done = run_stepped(cell, x, (torch.ones(2, 4), torch.ones(2, 4)), parameters)
    assert {value.shape for value in done.values.values()} == {(0, 2, 4)}
    assert done.y.shape == (0, 2, 4)
    assert all(torch.equal(final, torch.ones(2, 4)) for final in done.finals)


def test_only_what_is_asked_for_is_kept() -> None:
    cell = cells.gru
    inputs = Case(T=2, B=2, sizes={"I": 3, "H": 4}).tensors(cell)
    done = run_stepped(cell, inputs.x, inputs.states, inputs.weights(), keep=("z",))
    assert list(done.values) == ["z"]
