"""Random cells through the oracle chain, and the generator itself."""

import random
import statistics

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiled import Call, compare
from oracle import assert_same, check_reference, results
from random_cells import (
    define,
    random_call,
    random_case,
    random_cell,
    random_composition,
    reproduction,
    source_of,
)
from recurra.backends import ReferenceBackend
from recurra.backends.cpu import found_compiler
from recurra.errors import CellError
from recurra.ir import OPS, Group, matrices, positions
from recurra.lang import Cell
from recurra.passes import plan


def check(seed: int, cases: int) -> None:
    """Eager, autograd and adjoint agree for the cell of this seed."""
    rng = random.Random(seed)
    of = random_cell(rng)
    for _ in range(cases):
        case = random_case(of, rng)
        check_reference(of, case, f"seed {seed}, {case}\n{source_of(of)}")


@pytest.mark.medium
@pytest.mark.parametrize("first", range(0, 30, 10))
def test_random_cells(first: int) -> None:
    for seed in range(first, first + 10):
        check(seed, cases=1)


@pytest.mark.medium
@pytest.mark.parametrize("first", range(30, 150, 10))
def test_more_random_cells(first: int) -> None:
    for seed in range(first, first + 10):
        check(seed, cases=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(1000, 3000, 100))
def test_many_random_cells(first: int) -> None:
    for seed in range(first, first + 100):
        check(seed, cases=2)


# ---- compiled against the reference --------------------------------------------------------------

needs_compiler = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")


def check_compiled(of: Cell, call: Call) -> None:
    program = reproduction(of, call)
    try:
        compare(of, call, program, strict=False)
    except Exception as error:
        error.add_note(f"To reproduce it, run in tests/:\n\n{program}")
        raise


def check_drawn(rng: random.Random) -> None:
    of = random_cell(rng)
    check_compiled(of, random_call(of, rng))


def check_composed(rng: random.Random) -> None:
    of = random_composition(rng)
    check_compiled(of, random_call(of, rng))


# what is drawn from it shrinks: to fewer statements, simpler ones, and a small call
random_numbers = st.randoms(use_true_random=False)
# one example takes a second or two, most of it the C++ compiler's
FEW = settings(
    max_examples=8,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@needs_compiler
@pytest.mark.medium
@pytest.mark.timeout(900)
@FEW
@given(random_numbers)
def test_compiled_cells_that_shrink(rng: random.Random) -> None:
    check_drawn(rng)


@needs_compiler
@pytest.mark.medium
@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, 10, 5))
def test_compiled_cells(first: int) -> None:
    for seed in range(first, first + 5):
        check_drawn(random.Random(seed))


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(20_000, 22_000, 50))
@pytest.mark.usefixtures("builds_quickly")
def test_many_compiled_cells(first: int) -> None:
    for seed in range(first, first + 50):
        check_drawn(random.Random(seed))


@needs_compiler
@pytest.mark.medium
@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, 10, 5))
def test_composed_cells(first: int) -> None:
    for seed in range(first, first + 5):
        check_composed(random.Random(seed))


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(30_000, 31_000, 50))
@pytest.mark.usefixtures("builds_quickly")
def test_many_composed_cells(first: int) -> None:
    for seed in range(first, first + 50):
        check_composed(random.Random(seed))


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("builds_quickly")
@settings(FEW, max_examples=200, derandomize=False, print_blob=True)
@given(random_numbers)
def test_many_compiled_cells_that_shrink(rng: random.Random) -> None:
    check_drawn(rng)


@pytest.mark.slow
def test_failure_shrinks_to_a_small_cell_and_a_program_that_reproduces_it() -> None:
    failed: list[tuple[Cell, Call]] = []

    def fails(rng: random.Random) -> bool:
        of = random_cell(rng)
        if not any(node.op == "matvec" for node in of.equations.nodes()):
            return False
        failed.append((of, random_call(of, rng)))
        return True

    many = settings(FEW, max_examples=200)
    hypothesis.find(random_numbers, fails, settings=many, random=random.Random(0))
    of, call = failed[-1]
    # how far one shrinks varies a little from process to process
    drawn = [random_cell(random.Random(seed)) for seed in range(30)]
    usual = statistics.median(len(source_of(each).splitlines()) for each in drawn)
    assert len(source_of(of).splitlines()) <= 0.75 * usual, source_of(of)
    # the program, with the comparison that it ends in exchanged for one that takes note of it
    found: list[tuple[Cell, Call]] = []
    program = reproduction(of, call).replace("import Call, compare", "import Call")
    exec(program, {"compare": lambda *drawn, strict: found.append(drawn)})
    ((again, same),) = found
    assert again.equations.outputs == of.equations.outputs
    assert same == call


@pytest.mark.medium
def test_calls_reach_every_kind() -> None:
    cells_of_seeds = [random_cell(random.Random(seed)) for seed in range(15)]
    rng = random.Random(0)
    of_calls = [random_call(of, rng) for of in cells_of_seeds for _ in range(20)]
    assert {0, 1, 41} <= {call.case.T for call in of_calls}
    assert {1, 35} <= {call.case.B for call in of_calls}
    assert {1, 17, 130, 2048} <= {n for call in of_calls for n in call.case.sizes.values()}
    assert {call.threads for call in of_calls} == {1, 2, 3}
    assert any(call.case.lengths and call.case.reverse for call in of_calls)
    assert {call.case.ids for call in of_calls} == {None, "one-hot", "embedding"}
    assert any(call.frozen for call in of_calls)
    assert any(call.strided and call.inference for call in of_calls)


# ---- the generator -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn() -> list[Cell]:
    return [random_cell(random.Random(seed)) for seed in range(160)]


@pytest.mark.medium
def test_seed_fixes_the_cell_and_the_case() -> None:
    for seed in range(20):
        first, second = random.Random(seed), random.Random(seed)
        a, b = random_cell(first), random_cell(second)
        assert source_of(a) == source_of(b)
        assert a.equations.outputs == b.equations.outputs
        case, again = random_case(a, first), random_case(b, second)
        assert case == again
        x, y = (c.tensors(a).leaves() for c in (case, again))
        for name in x:
            torch.testing.assert_close(x[name], y[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.medium
def test_generator_reaches_the_whole_language(drawn: list[Cell]) -> None:
    reached = {node.op for of in drawn for node in of.equations.nodes()}
    written = {
        op
        for op, row in OPS.items()
        if row.group not in (Group.ACCUMULATION, Group.LEAF) and op not in ("pad", "expand")
    }
    # which cells with a memory, and with matrix states, reach
    written -= {op.name for op in (*positions.TABLE, *matrices.TABLE)}
    assert written - reached == {"erf", "matrix_softmax"}  # what only composites are made of


@pytest.mark.medium
def test_generator_reaches_every_part_of_a_plan(drawn: list[Cell]) -> None:
    found = drawn[:80]
    plans = [plan(of.equations) for of in found]
    assert any(of.input is None for of in found)
    assert any(len(of.states) == 4 for of in found)
    assert any(of.context for of in found)
    assert any(len(of.further) == 2 for of in found)
    assert {1, 2} == {array.ndim for of in drawn for array in of.arrays.values()}
    assert any(shape == () for of in found for shape in of.further_shapes.values())
    assert any(of.step for of in found)
    assert any(of.constants for of in found)
    assert any(shape == () for of in found for shape in of.parameters.values())
    assert any(of.output_size != of.state_sizes[0] for of in found)
    for part in ("once", "context", "sequence"):
        assert any(getattr(p, part).graph.nodes() for p in plans), part
    assert any(p.loop.after.nodes() for p in plans)
    assert any(not p.loop.body.nodes() for p in plans)


@pytest.mark.medium
def test_float32_is_near_float64() -> None:
    """What is drawn is well conditioned, so that a float32 backend can be held to a tolerance."""
    for seed in range(30):
        rng = random.Random(seed)
        of = random_cell(rng)
        case, backend = random_case(of, rng), ReferenceBackend(of)
        narrow = results(backend, case.tensors(of, torch.float32))
        wide = results(backend, case.tensors(of))
        found = {name: value.double() for name, value in narrow.items()}
        assert_same(found, wide, 1e-4, f"seed {seed}\n{source_of(of)}")


@pytest.mark.medium
def test_errors_point_into_the_source() -> None:
    source = "@cell\ndef random_cell(x, h, W):\n    u = W @ x\n    return tanhh(u + h)\n"
    with pytest.raises(CellError, match="line 4, in random_cell") as caught:
        define(source)
    assert str(caught.value).endswith("\n    return tanhh(u + h)")
