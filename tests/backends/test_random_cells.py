"""Random cells through the oracle chain, and the generator itself."""

import random

import pytest
import torch

from oracle import Eager, assert_same, reference_results, results
from random_cells import define, random_case, random_cell, source_of
from recurra.backends import ReferenceBackend
from recurra.errors import CellError
from recurra.ir import OPS, Group
from recurra.lang import Cell
from recurra.passes import plan


def check(seed: int, cases: int) -> None:
    """Eager, autograd and adjoint agree for the cell of this seed."""
    rng = random.Random(seed)
    of = random_cell(rng)
    for _ in range(cases):
        case = random_case(of, rng)
        message = f"seed {seed}, {case}\n{source_of(of)}"
        expected = results(Eager(of, case.sizes), case.tensors(of))
        try:
            for way, found in reference_results(of, case):
                assert_same(found, expected, 1e-9, f"{way}, {message}")
        except RuntimeError as error:  # torch's own words do not name the cell
            raise AssertionError(message) from error


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


# ---- the generator -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn() -> list[Cell]:
    return [random_cell(random.Random(seed)) for seed in range(120)]


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
    assert written - reached == {"expm1", "erf"}, "which only composites are made of"


@pytest.mark.medium
def test_generator_reaches_every_part_of_a_plan(drawn: list[Cell]) -> None:
    found = drawn[:80]
    plans = [plan(of.equations) for of in found]
    assert any(of.input is None for of in found)
    assert any(len(of.states) == 4 for of in found)
    assert any(of.context for of in found)
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
