"""`compose.showing` and `compose.deep_output`: what a cell gives out besides its state."""

import pickle

import pytest
import torch

import recurra as rc
from oracle import Case, Eager, assert_same, reference_results, results
from recurra import compose
from recurra.errors import CellError
from recurra.lang.document import cell_of_document, document_of, same_equations

SIZES = {"I": 3, "H": 4, "K": 5, "A": 2, "O": 6}


@pytest.mark.medium
@pytest.mark.parametrize("name", ["gru", "lstm", "attend(gru)", "conditional_gru", "pointer_lstm"])
def test_deep_output_equals_the_oracle(name: str) -> None:
    if name == "pointer_lstm":
        with pytest.raises(CellError, match="output are vectors of features"):
            compose.deep_output(name)
        return
    made = compose.deep_output(name)
    case = Case(sizes=SIZES, lengths=(4, 1, 2))
    expected = results(Eager(made, SIZES), case.tensors(made))
    for way, found in reference_results(made, case):
        assert_same(found, expected, 1e-11, way)


@pytest.mark.medium
@pytest.mark.parametrize("name", ["attend(gru)", "conditional_gru", "coverage_gru"])
def test_weights_of_attention_are_shown_and_the_states_are_the_cells_own(name: str) -> None:
    cell = compose.showing(name, "alpha")
    sizes = {"K": 5} if "K" in cell.size_names else None
    layer = rc.Recurrent(cell, 3, 4, sizes=sizes)
    plain = rc.Recurrent(name, 3, 4, sizes=sizes)
    plain.load_state_dict(layer.state_dict())
    x, m = torch.randn(6, 2, 3), torch.randn(5, 2, sizes["K"] if sizes else 4)
    alpha, state = layer(x, memory=m, memory_lengths=[5, 3])
    assert alpha.shape == (6, 2, 5)
    torch.testing.assert_close(alpha.sum(2), torch.ones(6, 2))
    assert not alpha[:, 1, 3:].any()
    torch.testing.assert_close(state, plain(x, memory=m, memory_lengths=[5, 3])[1])


@pytest.mark.medium
def test_several_values_stand_beside_one_another() -> None:
    cell = compose.showing("attend(gru)", ["r", "read"])
    layer = rc.Recurrent(cell, 3, 4, sizes={"K": 5})
    y, _ = layer(torch.randn(2, 2, 3), memory=torch.randn(3, 2, 5))
    assert y.shape == (2, 2, 4 + 5)


def test_a_decoder_that_reads_the_mean_of_its_memory() -> None:
    """Of a memory of one vector that vector, at each step, as Cho et al. have it."""
    layer = rc.Recurrent(compose.attend("gru", "mean"), 3, 4, sizes={"K": 5}, dtype=torch.float64)
    plain = rc.Recurrent("gru", 3 + 5, 4, dtype=torch.float64)
    plain.load_state_dict(layer.state_dict())
    x, m = torch.randn(6, 2, 3).double(), torch.randn(4, 2, 5).double()
    given = torch.cat([x, m.mean(0).expand(6, 2, 5)], 2)
    torch.testing.assert_close(layer(x, memory=m), plain(given))
    given = torch.cat([x, torch.stack([m[:, 0].mean(0), m[:2, 1].mean(0)]).expand(6, 2, 5)], 2)
    torch.testing.assert_close(layer(x, memory=m, memory_lengths=[4, 2]), plain(given))


def test_they_compose_are_kept_and_spelled() -> None:
    made = compose.showing(compose.deep_output("attend(lstm, 'dot')"), "alpha")
    assert same_equations(pickle.loads(pickle.dumps(made)), made)
    assert same_equations(cell_of_document(document_of(made)), made)
    layer = rc.Recurrent("deep_output(gru)", 3, 4)
    assert layer.output_size == 3
    assert "o = tanh(W_o @ concat(" in str(layer.cell)


def test_names_that_are_not_there() -> None:
    with pytest.raises(CellError, match=r"showing: expected a value of gru, one of .*got 'alpha'"):
        compose.showing("gru", "alpha")


@pytest.mark.medium
def test_a_plan_of_several_threads_is_explained_for_a_cell_that_reads_a_memory() -> None:
    """A product with a memory has no size before a call."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert "2 threads" in rc.Recurrent("additive_attention_gru", 3, 4).explain()
    finally:
        torch.set_num_threads(threads)
