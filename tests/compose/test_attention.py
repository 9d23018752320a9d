"""`compose.attend`: any cell reads a memory beside its input."""

import pickle

import pytest
import torch

import recurra as rc
from oracle import Case, Eager, assert_same, reference_results, results
from recurra import cells, compose
from recurra.errors import CellError
from recurra.lang.document import cell_of_document, document_of, same_equations

pytestmark = pytest.mark.medium

SCORES = ("additive", "dot", "scaled_dot", "general")
SIZES = {"I": 3, "H": 4, "K": 5, "A": 2, "C": 2}


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_stacked", "scrn", "torch_gru", "mut1"])
def test_equals_the_oracle(name: str, score: str) -> None:
    """What it prints, run on plain tensors: values and all gradients."""
    made = compose.attend(name, score)
    case = Case(sizes=SIZES, lengths=(4, 1, 2))
    expected = results(Eager(made, SIZES), case.tensors(made))
    for way, found in reference_results(made, case):
        assert_same(found, expected, 1e-11, way)


def test_is_the_cell_on_an_input_with_what_was_read() -> None:
    """Of a memory of one vector that vector is read, whatever the scores are."""
    attending = rc.Recurrent(compose.attend("lstm"), 3, 4, sizes={"K": 5}, dtype=torch.float64)
    plain = rc.Recurrent("lstm", 3 + 5, 4, dtype=torch.float64)
    own = {k: v for k, v in attending.state_dict().items() if k in plain.state_dict()}
    plain.load_state_dict(own)
    x, m = torch.randn(6, 2, 3).double(), torch.randn(1, 2, 5).double()
    found = attending(x, memory=m)
    torch.testing.assert_close(found, plain(torch.cat([x, m.expand(6, 2, 5)], 2)))


def test_as_it_prints() -> None:
    text = str(compose.attend(cells.gru))
    assert "memory      m [S, K]" in text
    assert "alpha = softmax(tanh(W_a @ h + U_a @ m) @ v_a)" in text
    assert "read = alpha @ m" in text
    assert "W_xr, W_xz, W_xh [H, I + K]" in text
    assert "memory      m [S, H]" in str(compose.attend(cells.gru, "dot"))


def test_composes_and_is_kept() -> None:
    made = compose.zoneout(compose.attend("lstm", "general"), 0.1)
    assert made.memory == ("m",)
    assert same_equations(pickle.loads(pickle.dumps(made)), made)
    assert same_equations(cell_of_document(document_of(made)), made)


def test_by_its_spelling() -> None:
    layer = rc.Recurrent("attend(lstm, 'dot')", 3, 4)
    y, _ = layer(torch.randn(2, 2, 3), memory=torch.randn(5, 2, 4))
    assert y.shape == (2, 2, 4)


def test_names_that_the_cell_has_already() -> None:
    """Its memory is called m unless the cell has an m, as GRU-D has for what was seen."""
    made = compose.attend("gru_d")
    assert made.memory == ("m_2",)
    assert made.inputs == ("x", "m", "delta")


@pytest.mark.parametrize(
    ("base", "options", "said"),
    [
        ("dynamical_system", {}, "got dynamical_system, which has no input."),
        ("coverage_gru", {}, "got coverage_gru, which reads m."),
        (
            "lstm",
            {"score": "dott"},
            "expected one of additive, dot, scaled_dot, general, mean as score",
        ),
        ("lstm", {"state": "s"}, "got 's'. Use state= one of h, c."),
        ("mlstm", {}, "a vector, got 'C'. Use state= one of n, m."),
        ("delta_net", {}, "a vector, got 'S'. Such a cell cannot attend."),
    ],
)
def test_mistakes(base: str, options: dict, said: str) -> None:
    with pytest.raises(CellError) as caught:
        compose.attend(base, **options)
    assert said in str(caught.value)
