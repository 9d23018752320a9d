"""Cells made of cells: `replace`."""

import pickle

import pytest
import torch

from oracle import Case, check_reference
from recurra import cells
from recurra.backends import load
from recurra.errors import CellError
from recurra.lang import Dim, cell, layer_norm, mean, replace, sigmoid, softmax, tanh

coupled = replace(cells.lstm, "coupled", f=lambda v: 1 - v.i)


@cell(state="h", sizes={"V": ("R", "H")})
def low_rank(x, h, W, V, U):
    low = tanh(V @ h)
    return tanh(W @ x + U * mean(softmax(low)) + h)


def test_the_change_stands_among_the_other_equations() -> None:
    assert str(coupled).partition("\n\n")[2].splitlines() == [
        "    i = sigmoid(W_xi @ x + W_hi @ h + b_i)",
        "    f = 1 - i",
        "    o = sigmoid(W_xo @ x + W_ho @ h + b_o)",
        "    g = tanh(W_xg @ x + W_hg @ h + b_g)",
        "    c = f * c + i * g",
        "    h = o * tanh(c)",
        "    return h, c",
    ]


def test_what_nothing_reads_any_more_is_gone() -> None:
    assert set(cells.lstm.parameters) - set(coupled.parameters) == {"W_xf", "W_hf", "b_f"}
    assert coupled.init == {}


def test_it_is_the_cell_that_one_would_write() -> None:
    @cell(state=("h", "c"))
    def written(x, h, c, W_xi, W_hi, b_i, W_xo, W_ho, b_o, W_xg, W_hg, b_g):
        i = sigmoid(W_xi @ x + W_hi @ h + b_i)
        o = sigmoid(W_xo @ x + W_ho @ h + b_o)
        c = (1 - i) * c + i * tanh(W_xg @ x + W_hg @ h + b_g)
        return o * tanh(c), c

    assert coupled.equations.outputs == written.equations.outputs


def test_numbers_leave_no_trivial_arithmetic() -> None:
    never_forgets = replace(cells.lstm, "never_forgets", f=1)
    assert "    c = c + i * g" in str(never_forgets).splitlines()
    assert never_forgets.equations.outputs == cells.lstm_1997.equations.outputs


def test_a_parameter_becomes_a_number() -> None:
    no_peepholes = replace(cells.peephole_lstm, "no_peepholes", p_i=0, p_f=0, p_o=0.0)
    assert no_peepholes.equations.outputs == cells.lstm.equations.outputs


def test_a_number_stands_for_a_vector_where_it_must() -> None:
    @cell(state="h")
    def base(x, h, W, U):
        a = tanh(W @ x)
        return layer_norm(a + h) + U @ a

    held = replace(base, "held", a=0.5)
    assert held.parameters.keys() == {"U"}
    y, _ = load(held, backend="reference").run(
        torch.zeros(2, 1, 3), (torch.tensor([[1.0, 3.0]]),), {"U": torch.eye(2)}
    )
    torch.testing.assert_close(y[0], torch.tensor([[-0.5, 1.5]]), atol=1e-4, rtol=0)
    fixed = replace(cells.lstm, "fixed", h=0.5)
    assert fixed.equations.output("h").shape == (Dim.named("H"),)


def test_old_and_new_value_of_one_name() -> None:
    late = replace(cells.lstm, "late", h=lambda v: v.o * tanh(v.old("c")))
    lines = [line.strip() for line in str(late).splitlines()]
    assert lines[-3:] == ["h = o * tanh(c)", "c = f * c + i * g", "return h, c"]
    early = replace(cells.lstm, "early", h=lambda v: v.o * tanh(v.c))
    assert early.equations.outputs == cells.lstm.equations.outputs


def test_sizes_constants_and_options_stay() -> None:
    slow = replace(cells.taugru, "slow", g=0.5)
    assert slow.state_sizes == (Dim.named("H"), Dim.named("H") * 5)
    assert slow.constants == {"delay": 5, "weight": 1.0}
    with pytest.raises(
        CellError, match=r"slow: expected the constants of taugru.*compose the cell"
    ):
        slow.with_constants(weight=2.0)
    heavy = replace(cells.taugru.with_constants(weight=2.0), "heavy", g=0.5)
    assert heavy.constants == {"delay": 5, "weight": 2.0}
    heads = replace(cells.slstm, "no_output_gate", o=1)
    assert heads.heads == {"R_z": 4, "R_i": 4, "R_f": 4}
    assert replace(cells.tlstm, "open", o=1).options.output


def test_it_is_replaced_again_and_used_in_a_cell() -> None:
    twice = replace(coupled, "twice", o=1)
    assert twice.name == "twice"
    assert "W_xo" not in twice.parameters

    @cell(state=("h", "c"))
    def residual(x, h, c, W_xi, W_hi, b_i, W_xg, W_hg, b_g, W):
        y, c = twice(x, h, c, W_xi, W_hi, b_i, W_xg, W_hg, b_g)
        return y + W @ x, c

    assert [str(size) for size in residual.parameters["W_xi"]] == ["H", "I"]


def test_it_survives_pickling_where_it_is_kept() -> None:
    assert pickle.loads(pickle.dumps(cells.lstm_cifg)).equations is not None
    again = pickle.loads(pickle.dumps(cells.taugru.with_constants(delay=2)))
    assert again.constants["delay"] == 2


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(CellError, match=r"expected a value or a parameter of lstm, got 'k'"):
        replace(cells.lstm, "odd", k=1)
    with pytest.raises(CellError, match="expected a value of lstm, got 'forget'"):
        replace(cells.lstm, "odd", f=lambda v: 1 - v.forget)
    with pytest.raises(CellError, match="a number for the parameter b_f, got a function"):
        replace(cells.lstm, "odd", b_f=lambda v: v.b_i)
    with pytest.raises(CellError, match="odd: expected an input, state or parameter of size R"):
        replace(low_rank, "odd", low=0.5)  # nothing says any more how long it is


@pytest.mark.parametrize(
    ("name", "value", "printed"),
    [
        ("window_lstm", "distance", "distance = expand(0.75, ('S', 'Q'))"),
        ("location_attention_gru", "alpha", "alpha = expand(0.75, 'S')"),
        ("fast_weights", "A", "A = outer(expand(0.75, 'H'), expand(1, 'H'))"),
        ("linear_transformer", "S", "S = outer(expand(0.75, 'H'), expand(1, 'H'), 4)"),
        ("delta_net", "each", "each = outer(expand(0.75, '4'), expand(1, 'H/4'))"),
    ],
)
def test_a_number_in_place_of_rows_is_rows(name: str, value: str, printed: str) -> None:
    made = replace(cells.get(name), "filled", **{value: 0.75})
    assert f"    {printed}\n" in str(made)
    check_reference(
        made, Case(T=2, B=2, sizes={"I": 4, "H": 8} | made.usual_sizes(4, 8)), str(made)
    )


def test_a_value_that_is_replaced_by_what_is_made_of_it() -> None:
    for f in (lambda v: 0.5 * v.f, lambda v: sigmoid(v.c)):
        with pytest.raises(CellError, match="the place of f as a function of values before it"):
            replace(cells.lstm, "odd", f=f)


def test_a_name_in_place_of_a_cell() -> None:
    with pytest.raises(TypeError, match=r"expected a cell, got str 'lstm'.*compose.replace"):
        replace("lstm", "odd", f=1)


@pytest.mark.medium
def test_cells_of_a_thousand_steps() -> None:
    """Nothing about a cell goes as deep as its equations are nested."""

    @cell
    def deep(x, h, W, b):
        for _ in range(1200):
            h = tanh(0.5 * h + b)
        return W @ x + h

    assert str(deep).count("tanh") == 1200
    assert deep.latex().count("tanh") == 1200
    again = replace(deep, "again", b=0.5)
    assert "b" not in again.parameters
