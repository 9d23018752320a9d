"""What of a loop's work is one pass over the features, and what of it needs memory."""

import pytest
import torch

from compiled import Call, compare
from oracle import Case, fitted
from recurra import cells
from recurra.backends.cpu import CpuBackend, found_compiler
from recurra.backends.cpu.backend import TARGET
from recurra.backends.cpu.printer import print_loop
from recurra.backends.cpu.schedule import Schedule, schedule, size_names
from recurra.ir import Node
from recurra.lang import Cell, cell, layer_norm, sqrt, tanh
from recurra.lang import max as largest
from recurra.lang import sum as total
from recurra.passes import plan


@cell(state="h")
def normed(x, h, W, U, a, b):
    return tanh(layer_norm(W @ x + U @ h, a, b))


@cell(state="h")
def unit(x, h, W, U):
    v = W @ x + U @ h
    return v / sqrt(total(v * v))


@cell(state="h")
def by_parts(x, h, W, U):
    v = layer_norm(W @ x + U @ h)
    return tanh(v * total(v[:3]) + largest(v))


def _forward(of: Cell) -> Schedule:
    made = plan(of.equations, TARGET)
    return schedule(made.loop.body, made.states, len(made.states))


def _in_scratch(scheduled: Schedule, op: str) -> list[Node]:
    return [
        node
        for node, place in scheduled.places.items()
        if node.op == op and place.kind == "scratch" and node.shape
    ]


def test_sums_are_in_the_pass_that_computes_what_they_sum() -> None:
    scheduled = _forward(normed)
    assert not any(phase.reductions for phase in scheduled.phases)
    sums = [n for phase in scheduled.phases for g in phase.groups.values() for n in g]
    assert [node.op for node in sums].count("sum") == 2
    assert not _in_scratch(scheduled, "mul")  # the squares are in no memory


def test_sum_of_a_part_waits_for_the_whole() -> None:
    scheduled = _forward(by_parts)
    apart = [node.op for phase in scheduled.phases for node in phase.reductions]
    assert apart == ["sum"]
    together = [n.op for phase in scheduled.phases for g in phase.groups.values() for n in g]
    assert "max" in together


def test_sequences_follow_each_other_in_the_memory_between_two_products() -> None:
    scheduled = _forward(normed)
    assert len(scheduled.phases) > 2
    (stretch,) = scheduled.stretches
    assert stretch == scheduled.phases
    (product,) = scheduled.phases[0].products
    place = scheduled.places[product.node]
    assert scheduled.passing == set(range(len(scheduled.scratch))) - {place.index}


def test_features_that_threads_share_have_memory_of_their_own() -> None:
    scheduled = _forward(cells.gru)
    assert scheduled.unit is not None
    assert not scheduled.passing
    assert [len(phases) for phases in scheduled.stretches] == [1] * len(scheduled.phases)


def test_normalisations_divide_once() -> None:
    scheduled = _forward(unit)
    printed = print_loop("run", scheduled, size_names(scheduled.graph, (), ()), skip=False)
    assert "splat(1.0f / *(" in printed
    assert "divided(" in printed
    assert " / s" not in printed


@pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")
def test_a_vector_of_zeros_has_no_direction() -> None:
    inputs = Case(T=1, B=2, sizes={"I": 5, "H": 21}).tensors(unit, torch.float32)
    x = inputs.x.detach().clone()
    x[:, 1] = 0.0
    states = (torch.zeros(2, 21, dtype=torch.float32, device="cpu"),)
    y, _ = CpuBackend(unit).run(x, states, inputs.parameters)
    torch.testing.assert_close(y[0, 0].norm(), torch.ones((), dtype=torch.float32, device="cpu"))
    assert y[0, 1].isnan().all()


@pytest.mark.medium
@pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")
def test_sums_of_widths_that_fill_no_vector() -> None:
    for H in (3, 16, 21, 40):
        case = Case(T=3, B=4, sizes={"I": 5, "H": H})
        for of in (normed, by_parts):
            compare(fitted(of, case.sizes), Call(case=case))
