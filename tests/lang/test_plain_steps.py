"""One step on plain tensors of cells that have all of the language, against the oracle."""

import inspect
import random
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

import matrix_cells
import memory_cells
from oracle import Case, Eager
from random_cells import random_case, random_cell, random_composition, source_of
from random_matrices import random_matrix_cell
from random_memories import random_memory_case, random_memory_cell
from recurra import compose
from recurra.lang import Cell


def check(of: Cell, case: Case, message: str = "") -> None:
    """A plain call gives what the oracle gives for one step of one sequence, gradients too."""
    given = case.tensors(of)
    y, finals = given.run(Eager(of, case.sizes))
    scalars = {leaf.name for leaf in of.equations.inputs if not leaf.shape}

    def one(name: str, value: Tensor) -> Tensor:
        return value.reshape(()) if name in scalars else value

    arguments = inspect.signature(of.function).parameters
    values = {n: one(n, v) for n, v in given.weights().items() if n in arguments}
    values |= {n: one(n, v[0]) for n, v in zip(of.states, given.states, strict=True)}
    values |= {n: one(n, v[0, 0]) for n, v in zip(of.further, given.further, strict=True)}
    values |= {n: v[0] for n, v in zip(of.memory, given.memory, strict=True)}
    names = [node.name for node in of.equations.inputs if node.name in of.masks]
    context = [v[0] for v in given.context]
    values |= dict(zip(of.context, context, strict=True))
    for name, mask in zip(names, given.masks, strict=True):
        each = of.masks[name].each
        values[name] = one(
            name, mask[0, 0] if each == "step" else mask[0] if each == "sequence" else mask
        )
    if of.input is not None:
        values[of.input] = given.x[0, 0]
    if of.step is not None:
        values[of.step] = torch.tensor(float(case.start), dtype=torch.float64)
    found = of(**values)
    found = list(found) if isinstance(found, tuple) else [found]
    expected = [y[0, 0], *(final[0] for final in finals)]
    expected = expected if of.options.output else expected[1:]
    leaves = list(given.leaves().values())
    gradients = []
    for results in (found, expected):
        generator = torch.Generator().manual_seed(5)
        total = torch.zeros((), dtype=torch.float64)
        for value in results:
            weight = torch.randn(value.numel(), generator=generator, dtype=torch.float64)
            total = total + (weight * value.reshape(-1)).sum()
        needed: Sequence[Tensor | None] = [None] * len(leaves)  # of a cell that gives constants
        if total.requires_grad:
            needed = torch.autograd.grad(total, leaves, allow_unused=True)
        gradients.append([torch.zeros(()) if g is None else g for g in needed])
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(
            value.reshape(-1), wanted.reshape(-1), rtol=1e-11, atol=1e-11,
            msg=lambda text: f"{text}\n{message}",
        )  # fmt: skip
    for own, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(
            own.expand_as(wanted), wanted.expand_as(own), rtol=1e-9, atol=1e-9,
            msg=lambda text: f"{text}\n{message}",
        )  # fmt: skip


@pytest.mark.parametrize("of", memory_cells.CELLS, ids=lambda of: of.name)
def test_memories(of: Cell) -> None:
    case = Case(T=1, B=1, sizes=memory_cells.SIZES)
    check(of, case)
    check(compose.replace(of, "by_its_graph"), case)


@pytest.mark.parametrize("of", matrix_cells.CELLS, ids=lambda of: of.name)
def test_matrices(of: Cell) -> None:
    case = Case(T=1, B=1, sizes=matrix_cells.SIZES)
    check(of, case)
    check(compose.replace(of, "by_its_graph"), case)


DRAWN: dict[str, Callable[[random.Random], Cell]] = {
    "vectors": random_cell,
    "compositions": random_composition,
    "memories": random_memory_cell,
    "matrices": random_matrix_cell,
}


def check_drawn(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    of = DRAWN[kind](rng)
    case = random_memory_case(of, rng) if kind == "memories" else random_case(of, rng)
    case = Case(T=1, B=1, sizes=case.sizes, start=case.start, seed=case.seed)
    check(of, case, f"{kind}, seed {seed}, {case}\n{source_of(of)}")


@pytest.mark.medium
@pytest.mark.parametrize("kind", DRAWN)
def test_random_cells(kind: str) -> None:
    for seed in range(20):
        check_drawn(kind, seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", DRAWN)
def test_many_random_cells(kind: str) -> None:
    for seed in range(1000, 2000):
        check_drawn(kind, seed)
