"""How parameters start."""

import math

import pytest
import torch

import recurra as rc
from recurra.nn.initial import Opposite, chrono, identity, orthogonal, parse, uniform

I, H = 3, 8  # noqa: E741 - the input size


def layer_of(cell: str, **rules: object) -> rc.Recurrent:
    torch.manual_seed(0)
    return rc.Recurrent(cell, I, H, 2, init=rules)


def test_what_has_no_rule_is_uniform_in_one_over_root_h() -> None:
    torch.manual_seed(0)
    weights = rc.Recurrent("lstm", 100, 100).W_hi_l0.detach()
    assert weights.abs().max() <= 0.1
    assert weights.abs().max() > 0.099
    assert abs(float(weights.std()) - 0.1 / math.sqrt(3)) < 1e-3


def test_the_cells_own_rule() -> None:
    layer = layer_of("irnn")
    for parameter in (layer.W_hh_l0, layer.W_hh_l1):
        assert torch.equal(parameter, torch.eye(H))
    assert layer.b_h_l0.count_nonzero() == 0
    assert torch.equal(layer_of("lstm").b_f_l1, torch.ones(H))


def test_a_layers_rule_comes_before_the_cells() -> None:
    layer = layer_of("lstm", b_f=3, W_hi="orthogonal", W_xi=uniform(0.01))
    assert torch.equal(layer.b_f_l0, torch.full((H,), 3.0))
    torch.testing.assert_close(layer.W_hi_l0 @ layer.W_hi_l0.T, torch.eye(H))
    assert layer.W_xi_l1.abs().max() <= 0.01
    layer.reset_parameters()
    torch.testing.assert_close(layer.W_hi_l1 @ layer.W_hi_l1.T, torch.eye(H))


def test_stacked_matrices_are_filled_block_by_block() -> None:
    layer = layer_of("nas", U=orthogonal(gain=2.0))
    for block in layer.U_l0.chunk(8):
        torch.testing.assert_close(block @ block.T, 4 * torch.eye(H))
    half = layer_of("nas", U=identity(0.5)).U_l0
    assert torch.equal(half, 0.5 * torch.eye(H).repeat(8, 1))


def test_a_matrix_that_is_not_square_has_orthogonal_columns() -> None:
    wide = layer_of("rnn", W_xh="orthogonal").W_xh_l0  # [8, 3]
    torch.testing.assert_close(wide.T @ wide, torch.eye(I))


def test_chrono() -> None:
    layer = layer_of("lstm", b_f=chrono(50), b_i=Opposite("b_f"))
    remembered = layer.b_f_l0.exp()
    assert (remembered >= 1).all()
    assert (remembered <= 49).all()
    assert remembered.max() > 5
    assert torch.equal(layer.b_i_l0, -layer.b_f_l0)
    with pytest.raises(ValueError, match="chrono: expected a time of at least 3 steps, got 2"):
        chrono(2)


def test_any_function_of_the_parameter() -> None:
    assert torch.equal(layer_of("rnn", b_h=torch.nn.init.ones_).b_h_l0, torch.ones(H))


def test_rules_in_a_word() -> None:
    layer = layer_of("lstm", b_f=parse("chrono50"), b_i=parse("-b_f"), b_o=parse("-0.5"))
    assert 0 <= layer.b_f_l0.min() < layer.b_f_l0.max() <= math.log(49)
    assert torch.equal(layer.b_i_l0, -layer.b_f_l0)
    assert torch.equal(layer.b_o_l0, torch.full((H,), -0.5))
    layer = layer_of("lstm", W_hi=parse("identity0.5"), W_hf=parse("identity"))
    assert torch.equal(layer.W_hi_l0, 0.5 * torch.eye(H))
    assert torch.equal(layer.W_hf_l0, torch.eye(H))


@pytest.mark.parametrize("word", ["", "chrono", "chrono-3", "-3b", "1.4.1", "gamma2", "nan"])
def test_no_rule_in_a_word(word: str) -> None:
    with pytest.raises(ValueError, match=r"init: expected a number.*Use one of them: chrono400"):
        parse(word)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"W_f": 1.0}, r"init: expected one of W_xi, .*got 'W_f'"),
        ({"b_f": float("nan")}, r"init of b_f: expected a finite number, got nan"),
        ({"b_f": 1e39}, r"init of b_f: expected a number within float32, got 1e\+39"),
        ({"b_f": "forget"}, r"init of b_f: expected a number.*'orthogonal'.*got 'forget'"),
        ({"b_f": "orthogonal"}, r"init of b_f: expected a rule for the shape \(8,\)"),
        ({"b_f": Opposite("W_xi")}, r"init of b_f: expected the opposite of a parameter of its sh"),
        ({"b_f": Opposite("b")}, r"got 'b'"),
    ],
)
def test_wrong_rules(rules: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_of("lstm", **rules)
