"""memory="low": the same results from less that is kept."""

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

import recurra as rc
from compiled import Call, compare
from oracle import Case, assert_same, fitted, registry, results
from recurra import cells
from recurra.backends import ReferenceBackend, load
from recurra.backends.cpu import TARGET, found_compiler
from recurra.passes import plan
from recurra.passes.opened import opened

CASES = {
    "several chunks": Call(case=Case(T=9, B=7, lengths=(9, 1, 3, 9, 2, 8, 9)), chunk_rows=20),
    "longest first": Call(case=Case(T=9, B=7, lengths=(8, 8, 7, 3, 2, 2, 1)), chunk_rows=20),
    "ids": Call(case=Case(T=6, B=5, ids="embedding", vocabulary=7), threads=2),
    "bfloat16": Call(case=Case(T=5, B=3, reverse=True), dtype=torch.bfloat16),
}


@pytest.mark.medium
@pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize(("name", "call"), registry(CASES))
def test_compiled_cells_agree_with_the_reference(name: str, call: Call) -> None:
    of = cells.get(name)
    if of.input is None and call.case.ids is not None:
        pytest.skip("the cell takes no input")
    sizes = {**dict.fromkeys(of.size_names, 4), **call.case.sizes}
    case = Case(**{**vars(call.case), "sizes": sizes})
    low = Call(**{**vars(call), "case": case, "memory": "low"})
    # dividing by a random state, by a random length; a clock that jumps where rounding takes it
    is_rough = name in ("slstm", "gated_delta_net", "phased_lstm")
    compare(fitted(of, sizes), low, strict=not is_rough)


@pytest.mark.parametrize("name", ["lstm", "mut1", "torch_gru"])
@pytest.mark.parametrize("ids", [None, "one-hot", "embedding"])
def test_the_reference_agrees_with_itself(name: str, ids: str | None) -> None:
    of, case = cells.get(name), Case(T=5, B=4, lengths=(5, 1, 3, 2), ids=ids)
    expected = results(ReferenceBackend(of), case.tensors(of))
    found = results(ReferenceBackend(of, memory="low"), case.tensors(of))
    assert_same(found, expected, 1e-12)


@pytest.mark.parametrize("name", cells.names())
def test_only_states_are_kept(name: str) -> None:
    program = plan(cells.get(name).equations, TARGET, low=True)
    states = {*program.states, *(node for _, node in program.step.graph.outputs)}
    assert set(program.step.kept.output_nodes) <= states


def test_what_follows_from_little_arithmetic_is_not_kept() -> None:
    program = plan(cells.lstm.equations, TARGET)
    kept = [node.op for node in opened(program).residuals]
    assert sorted(kept) == ["add", "input", "input", "sigmoid", "sigmoid", "sigmoid", "tanh"]


def kept_bytes(layer: rc.Recurrent, x: Tensor) -> int:
    """What a forward pass keeps besides the input and the parameters, each memory once."""
    given = {x.untyped_storage().data_ptr()}
    given |= {p.untyped_storage().data_ptr() for p in layer.parameters()}
    kept: dict[int, int] = {}

    def note(value: Tensor) -> Tensor:
        memory = value.untyped_storage()
        if memory.data_ptr() not in given:
            kept[memory.data_ptr()] = memory.nbytes()
        return value

    with saved_tensors_hooks(note, lambda value: value):
        layer(x)
    return sum(kept.values())


@pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")
def test_less_than_half_is_kept() -> None:
    x = torch.randn(40, 8, 3)
    normal, low = (
        kept_bytes(rc.Recurrent("lstm", 3, 64, memory=memory), x) for memory in ("normal", "low")
    )
    assert 0 < low < normal / 2


def test_another_word_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"memory: expected 'normal' or 'low', got 'tiny'"):
        load(cells.rnn, memory="tiny")
