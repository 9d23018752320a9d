"""What loops count of their own time."""

import pytest
import torch

import recurra as rc
from recurra.backends import cpu
from recurra.backends.cpu import found_compiler
from recurra.backends.cpu.abi import PARTS
from recurra.errors import BackendError

pytestmark = [
    pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler"),
    pytest.mark.medium,
]


@pytest.mark.parametrize("memory", ["normal", "low"])
def test_shares_are_of_a_whole_and_belong_to_their_pass(memory: str) -> None:
    layer = rc.Recurrent("gru", 64, 64, memory=memory)
    x, state = torch.randn(50, 16, 64), layer.initial_state(16)
    assert isinstance(state, torch.Tensor)
    passes = cpu.measure(layer.cell, x, (state[0],), layer.parameters_of(0), low=memory == "low")
    for spent in passes:
        assert tuple(spent.parts) == PARTS
        assert sum(spent.parts.values()) == pytest.approx(1)
        assert 0 <= spent.outside < 1
        assert spent.ms > 0
        assert spent.parts["elementwise"] > 0
        assert spent.parts["packing"] > 0
    forward, backward = passes
    assert forward.parts["products before steps"] > 0
    assert forward.parts["after steps"] == 0, "nothing is summed on the way forward"
    assert backward.parts["after steps"] > 0


def test_parts_follow_the_work() -> None:
    """A wide input is multiplied before the steps; of a cell with no product in its steps nothing
    is counted there."""
    layer = rc.Recurrent("indrnn", 256, 16)
    state = layer.initial_state(8)
    assert isinstance(state, torch.Tensor)
    x = torch.randn(50, 8, 256)
    forward, _ = cpu.measure(layer.cell, x, (state[0],), layer.parameters_of(0))
    assert forward.parts["products"] == 0
    assert forward.parts["products before steps"] > forward.parts["elementwise"]


def test_explain_runs_and_says_it() -> None:
    layer = rc.Recurrent("lstm", 8, 12, 2, bidirectional=True)
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    said = layer.explain(measured=(20, 4))
    assert "measured, 20 steps of 4 sequences" in said
    assert said.count("outside the loop") == 2, "the first layer alone"
    assert layer.explain(measured=True, details=True).count("outside the loop") == 4
    assert "outside the loop" not in layer.explain()
    assert all(map(torch.equal, before, layer.parameters()))
    assert all(parameter.grad is None for parameter in layer.parameters())


@pytest.mark.medium
@pytest.mark.parametrize("name", ["additive_attention_gru", "coverage_gru"])
def test_a_cell_that_reads_a_memory_is_measured_with_one(name: str) -> None:
    said = rc.Recurrent(name, 3, 4).explain(measured=(6, 2))
    assert said.count("outside the loop") == 2


def test_what_is_not_compiled_is_not_measured() -> None:
    for backend in ("reference", "native"):
        assert "not measured" in rc.Recurrent("lstm", 3, 4, backend=backend).explain(measured=True)
    assert "not measured" in rc.GRU(3, 4, dtype=torch.float64).explain(measured=True)
    layer, state = rc.Recurrent("gru", 3, 4, dtype=torch.float64), torch.zeros(2, 4).double()
    x = torch.zeros(5, 2, 3, dtype=torch.float64)
    with pytest.raises(BackendError, match="expected float32 or bfloat16 on the CPU"):
        cpu.measure(layer.cell, x, (state,), layer.parameters_of(0))
    with pytest.raises(ValueError, match="expected steps >= 1"):
        rc.Recurrent("gru", 3, 4).explain(measured=(0, 4))
