"""Composers: what the equations become, and what a layer does with them."""

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import recurra as rc
from compiled import Call, compare
from oracle import Case, Eager, assert_same, in_part_slow, reference_results, results
from recurra import cells, compose
from recurra.backends.cpu import found_compiler
from recurra.compose.spelling import resolved
from recurra.errors import CellError
from recurra.lang import Cell, cell, layer_norm, matrix_exp, sigmoid, sum, tanh
from recurra.lang.cell import recomposed, restored

SIZES = {"I": 3, "H": 8, "P": 2, "C": 4}

# one of each, in the forms that their options give
COMPOSED: dict[str, Cell] = {
    "layer_norm": compose.layer_norm(cells.gru),
    "layer_norm of each product": compose.layer_norm(cells.lstm, each_product=True),
    "layer_norm of one matrix": compose.layer_norm(cells.torch_lstm),
    "zoneout": compose.zoneout(cells.lstm, 0.3),
    "zoneout of the memory": compose.zoneout(cells.lstm, 0.3, states=["c"]),
    "recurrent_dropout": compose.recurrent_dropout(cells.lstm, 0.4),
    "recurrent_dropout of a GRU": compose.recurrent_dropout(cells.gru, 0.4),
    "variational_dropout": compose.variational_dropout(cells.gru, 0.4, of_input=0.2),
    "weight_drop": compose.weight_drop(cells.lstm, 0.5),
    "weight_drop of blocks": compose.weight_drop(cells.slstm, 0.5, ["R_z", "W_z"]),
    "residual": compose.residual(cells.mgu),
    "highway": compose.highway(cells.lstm),
    "peephole": compose.peephole(cells.lstm),
    "all at once": compose.zoneout(
        compose.weight_drop(
            compose.variational_dropout(compose.highway(compose.layer_norm(cells.lstm)), 0.2), 0.3
        ),
        0.1,
    ),
}
MASKED = [name for name, of in COMPOSED.items() if of.masks]
each = pytest.mark.parametrize("name", COMPOSED)
# of whose kind another one compiles daily
SLOWLY_COMPILED = {
    *("layer_norm of each product", "layer_norm of one matrix", "zoneout of the memory"),
    *("recurrent_dropout of a GRU", "weight_drop", "residual"),
}


def lines(of: Cell) -> list[str]:
    return [line.strip() for line in str(of).partition("\n\n")[2].splitlines()]


def layer_of(of: Cell, **options: object) -> rc.Recurrent:
    torch.manual_seed(0)
    tied = all("I" not in dim.names for shape in of.parameters.values() for dim in shape)
    return rc.Recurrent(of, 8 if tied else 5, 8, **options)  # type: ignore[arg-type]


# ---- the equations -------------------------------------------------------------------------------


def test_layer_norm_of_sums() -> None:
    @cell(state="h", init={"gain_W_xh": 1.0})
    def written(x, h, W_xh, W_hh, b_h, gain_W_xh):
        return tanh(layer_norm(W_xh @ x + W_hh @ h, gain_W_xh) + b_h)

    made = compose.layer_norm(cells.rnn)
    assert made.equations.outputs == written.equations.outputs
    assert made.init == written.init


def test_layer_norm_of_each_product() -> None:
    assert lines(COMPOSED["layer_norm of each product"])[0] == (
        "i = sigmoid(layer_norm(W_xi @ x, gain_W_xi) + layer_norm(W_hi @ h, gain_W_hi) + b_i)"
    )
    assert "h = o * tanh(layer_norm(c, gain_c, bias_c))" in lines(
        COMPOSED["layer_norm of each product"]
    )
    plain = compose.layer_norm(cells.lstm, each_product=True, memory=False)
    assert "h = o * tanh(c)" in lines(plain)


def test_layer_norm_over_all_gates_of_a_stacked_matrix() -> None:
    made = COMPOSED["layer_norm of one matrix"]
    assert [str(d) for d in made.parameters["gain_weight_ih"]] == ["4H"]


def test_each_product_of_one_matrix_has_its_own_gain() -> None:
    made = compose.layer_norm(cells.rhn)
    gains = [name for name in made.parameters if name.startswith("gain_")]
    assert gains == ["gain_W_h", "gain_W_t", "gain_R_h", "gain_R_t", "gain_R_h_2", "gain_R_t_2"]


def test_a_gain_is_called_after_the_first_parameter_of_a_matrix() -> None:
    made = compose.layer_norm(turning, each_product=True)
    assert [name for name in made.parameters if name.startswith("gain_")] == ["gain_W", "gain_A"]


@cell(state="h")
def turning(x, h, W, A):
    return tanh(W @ x + matrix_exp(0.5 * (A - A.T)) @ h)


def test_zoneout_keeps_the_new_memory_for_the_output() -> None:
    assert lines(COMPOSED["zoneout"])[-1] == (
        "return zoneout_h * h + (1 - zoneout_h) * h_new, zoneout_c * c + (1 - zoneout_c) * c_new"
    )
    assert "h_new = o * tanh(c_new)" in lines(COMPOSED["zoneout"])
    assert list(COMPOSED["zoneout of the memory"].masks) == ["zoneout_c"]


def test_recurrent_dropout_spares_what_is_kept() -> None:
    assert "c = f * c + i * g" in lines(COMPOSED["recurrent_dropout"])
    dropped = [line for line in lines(COMPOSED["recurrent_dropout"]) if "drop_g" in line]
    assert dropped == ["g = tanh(W_xg @ x + W_hg @ h + b_g) * drop_g"]
    of_torch = lines(compose.recurrent_dropout(cells.torch_lstm, 0.4))
    assert "g = tanh(g_bar) * drop_g" in of_torch


def test_variational_dropout_is_on_what_products_read() -> None:
    found = lines(COMPOSED["variational_dropout"])
    assert found[0] == "r = sigmoid(W_xr @ (x * drop_x) + W_hr @ (h * drop_h) + b_r)"
    assert "W_hh @ (r * (h * drop_h))" in found[2]
    assert found[-1] == "return z * h + (1 - z) * h_tilde"


def test_weight_drop_is_on_recurrent_matrices() -> None:
    assert set(COMPOSED["weight_drop"].masks) == {f"drop_W_h{gate}" for gate in "ifog"}
    assert "i = sigmoid(W_xi @ x + W_hi * drop_W_hi @ h + b_i)" in lines(COMPOSED["weight_drop"])


def test_residual_and_highway_tie_the_sizes() -> None:
    for name in ("residual", "highway"):
        of = COMPOSED[name]
        sizes = {str(d) for shape in of.parameters.values() for d in shape}
        assert sizes == {"H"}
        with pytest.raises(ValueError, match="expected layer 0 to read H = 8 features"):
            rc.Recurrent(of, 5, 8)
    assert lines(COMPOSED["residual"])[-1].startswith("return x + ")
    masked = compose.residual(compose.variational_dropout(cells.gru, 0.2))
    assert {str(d) for mask in masked.masks.values() for d in mask.shape} == {"H"}
    layer = rc.Recurrent(COMPOSED["highway"], 8, 8, 3)
    assert torch.equal(layer.b_gate_l2, torch.full((8,), -2.0))


@pytest.mark.medium
def test_peephole_makes_the_peephole_lstm() -> None:
    layer, made = layer_of(cells.peephole_lstm), layer_of(COMPOSED["peephole"])
    made.load_state_dict(layer.state_dict())
    x = torch.randn(6, 4, 5)
    torch.testing.assert_close(made(x), layer(x))
    of_torch = lines(compose.peephole(cells.torch_lstm))
    assert {f"{k} = sigmoid({k}_bar + p_{k} * c)" for k in "ifo"} <= set(of_torch)


def test_composing_twice_finds_new_names() -> None:
    twice = compose.zoneout(compose.zoneout(cells.rnn, 0.1), 0.2)
    assert set(twice.masks) == {"zoneout_h", "zoneout_h_2"}


def test_the_random_masks_are_shown() -> None:
    text = str(COMPOSED["all at once"])
    assert "random, each step" in text
    assert "random, each sequence" in text
    assert "random, each call" in text
    assert r"\mathrm{zoneout}_{h,t}" in COMPOSED["zoneout"].latex()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: compose.zoneout(cells.lstm, 1.0), "expected a probability in 0..1, got 1.0"),
        (lambda: compose.zoneout(cells.lstm, 0.1, ["m"]), "expected states of lstm, got 'm'"),
        (
            lambda: compose.recurrent_dropout(cells.rnn),
            "recurrent_dropout: expected a value of rnn",
        ),
        (lambda: compose.recurrent_dropout(cells.gru, of="k"), "got k. Give of= one of"),
        (lambda: compose.weight_drop(cells.gru, matrices=["b_r"]), "got b_r. Give some of W_xr"),
        (lambda: compose.peephole(cells.gru), "peephole: expected a state 'c' and gates i, f, o"),
        (
            lambda: compose.peephole(cells.hgrn2, "S", ["o"]),
            "peephole: expected a state that is a vector, got S [H, H/4]",
        ),
        (lambda: compose.residual(cells.dynamical_system), "which has none"),
        (lambda: compose.variational_dropout(cells.gru, -0.1), "in 0..1, got -0.1"),
    ],
)
def test_mistakes(make: Callable[[], Cell], message: str) -> None:
    with pytest.raises(CellError) as caught:
        make()
    assert message in str(caught.value)


# ---- running -------------------------------------------------------------------------------------


@pytest.mark.medium
@each
def test_reference_equals_the_written_equations(name: str) -> None:
    of = COMPOSED[name]
    for case in (Case(sizes=SIZES), Case(sizes=SIZES, lengths=(4, 1, 2), reverse=True)):
        expected = results(Eager(of, case.sizes), case.tensors(of))
        for way, found in reference_results(of, case):
            assert_same(found, expected, 1e-9, f"{name}, {way}, {case}")


@pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")
@pytest.mark.medium
@pytest.mark.parametrize("name", in_part_slow({n: n for n in COMPOSED}, SLOWLY_COMPILED))
def test_compiled_equals_reference(name: str) -> None:
    of = COMPOSED[name]
    sizes = {**SIZES, "I": 9, "H": 20}
    for case in (
        Case(T=7, B=5, sizes=sizes, lengths=(7, 1, 3, 2, 7)),
        Case(T=4, B=1, sizes=sizes, reverse=True),
        Case(T=5, B=3, sizes=sizes, ids="embedding"),
    ):
        strict = "blocks" not in name  # slstm divides by a random state
        compare(of, Call(case=case, threads=2), strict=strict)


@pytest.mark.medium
@each
def test_it_is_one_recurrence(name: str) -> None:
    text = layer_of(COMPOSED[name]).explain()
    assert text.count("in the time loop, each step:") == 1
    assert text.count("backward, each step:") == 1
    assert f"cell {COMPOSED[name].name}:" in text


def run(layer: rc.Recurrent, x: Tensor, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return layer(x)[0]


@pytest.mark.medium
@pytest.mark.parametrize("name", MASKED)
def test_masks_are_drawn_in_training_and_seeds_reproduce_them(name: str) -> None:
    layer = layer_of(COMPOSED[name], num_layers=2)
    x = torch.randn(6, 4, layer.input_size)
    assert torch.equal(run(layer, x), run(layer, x))
    assert not torch.allclose(run(layer, x), run(layer, x, seed=2))
    layer.eval()
    assert torch.equal(run(layer, x), run(layer, x, seed=2))


@pytest.mark.medium
@pytest.mark.parametrize("name", MASKED)
def test_evaluation_is_the_cell_with_means(name: str) -> None:
    of = COMPOSED[name]
    assert not of.evaluation.masks
    assert of.evaluation is of.evaluation
    layer = layer_of(of).eval()
    x = torch.randn(5, 2, layer.input_size)
    y, _ = layer(x)
    stream = layer.stream(2)
    steps = torch.stack([stream(x_t) for x_t in x])
    torch.testing.assert_close(steps, y, rtol=1e-5, atol=1e-6)


@pytest.mark.medium
def test_dropout_in_evaluation_is_the_cell_itself() -> None:
    for name, base in (
        ("recurrent_dropout", cells.lstm),
        ("variational_dropout", cells.gru),
        ("weight_drop", cells.lstm),
    ):
        layer, plain = layer_of(COMPOSED[name]).eval(), layer_of(base)
        plain.load_state_dict(layer.state_dict())
        x = torch.randn(5, 2, 5)
        torch.testing.assert_close(layer(x)[0], plain(x)[0])


def test_zoneout_keeps_that_share_of_units() -> None:
    layer = layer_of(compose.zoneout(cells.rnn, 0.3))
    torch.manual_seed(3)
    y, _ = layer(torch.randn(200, 50, 5))
    kept = (y[1:] == y[:-1]).float().mean()
    assert abs(float(kept) - 0.3) < 0.01


def test_a_mask_of_a_sequence_stays() -> None:
    """With an identity for a step, what is dropped is zero at every step."""

    @cell(state="h")
    def reads(x, h, W):
        return sigmoid(W @ x) + 0 * h

    of = compose.variational_dropout(reads, 0.5)
    layer = rc.Recurrent(of, 8, 8)
    with torch.no_grad():
        layer.W_l0.copy_(torch.eye(8))
    torch.manual_seed(0)
    y, _ = layer(torch.full((9, 30, 8), 3.0))
    dropped = y == 0.5
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert abs(float(dropped.float().mean()) - 0.5) < 0.15


def test_gradients_reach_dropped_weights_alone_where_they_were_kept() -> None:
    layer = layer_of(compose.weight_drop(cells.rnn, 0.5))
    torch.manual_seed(0)
    layer(torch.randn(6, 4, 5))[0].sum().backward()
    gradient = layer.W_hh_l0.grad
    assert gradient is not None
    share = float((gradient == 0).float().mean())
    assert 0.2 < share < 0.8


@pytest.mark.medium
def test_under_torch_compile() -> None:
    """In a process of its own: what checks types here cannot be traced."""
    program = (
        "import torch, recurra as rc\n"
        "layer = rc.Recurrent(rc.compose.zoneout(rc.cells.lstm, 0.3), 5, 8)\n"
        "x = torch.randn(4, 3, 5)\n"
        "compiled = torch.compile(layer, fullgraph=True, backend='aot_eager')\n"
        "compiled(x)[0].sum().backward()\n"
        "assert not torch.equal(compiled(x)[0], compiled(x)[0])\n"
        "layer.eval()\n"
        "torch.testing.assert_close(compiled(x)[0], layer(x)[0])\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)


@pytest.mark.medium
def test_a_saved_model_makes_its_cell_again(tmp_path: Path) -> None:
    of = COMPOSED["all at once"]
    torch.manual_seed(0)
    model = rc.LanguageModel(11, embedding_size=8, hidden_size=8, cell=of).eval()
    model.save(tmp_path)
    again = rc.load(tmp_path)
    ids = torch.randint(11, (5, 3))
    torch.testing.assert_close(again(ids)[0], model(ids)[0])
    assert str(again.recurrent.cell) == str(of)
    assert again.recurrent.cell.masks == of.masks


def test_a_saved_model_of_an_own_cell_composed_keeps_its_equations(tmp_path: Path) -> None:
    @cell(state="h")
    def own(x, h, W, U):
        return tanh(W @ x + U @ h)

    of = compose.zoneout(own, 0.2)
    rc.LanguageModel(11, embedding_size=8, hidden_size=8, cell=of).save(tmp_path)
    loaded = rc.load(tmp_path).recurrent.cell
    assert (str(loaded), loaded.masks) == (str(of), of.masks)
    assert rc.load(tmp_path, cell=of).recurrent.cell is of


# ---- pickled -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPOSED)
def test_a_composed_cell_is_pickled_as_how_it_was_made(name: str) -> None:
    made = COMPOSED[name]
    again = pickle.loads(pickle.dumps(made))
    assert (again.name, again.masks, again.init) == (made.name, made.masks, made.init)
    assert again.parameters == made.parameters
    assert str(again) == str(made)


@pytest.mark.medium
def test_a_layer_of_a_composed_cell_is_pickled_and_saved() -> None:
    made = compose.zoneout(compose.layer_norm(cells.gru), 0.1)
    layer, x = rc.Recurrent(made, 3, 4).eval(), torch.randn(5, 2, 3)
    file = io.BytesIO()
    torch.save(layer, file)
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        torch.testing.assert_close(twin(x), layer(x))
    # all that torch has to be told to trust
    named = [rc.Recurrent, restored, recomposed, compose.zoneout, compose.layer_norm]
    with torch.serialization.safe_globals(named):
        file.seek(0)
        twin = torch.load(file, weights_only=True)
    torch.testing.assert_close(twin(x), layer(x))


def test_what_is_pickled_under_a_name_must_be_a_cell() -> None:
    with pytest.raises(pickle.UnpicklingError, match="expected a cell in math under the name sin"):
        restored("math", "sin", {})


# ---- what is returned as it is, and what a composer takes ----------------------------------------


@cell(state=("h", "b0"), sizes={"b": "H", "b0": "H"}, output=True)
def returns_a_parameter(x, h, b0, W, U, b, s):
    new = tanh(W @ x + U @ h + b0) + s
    return new, new, b


COMPOSERS: dict[str, Callable[[Cell], Cell]] = {
    "layer_norm": compose.layer_norm,
    "zoneout": lambda of: compose.zoneout(of, 0.1, states=["h"]),
    "recurrent_dropout": lambda of: compose.recurrent_dropout(of, 0.1, of="new"),
    "variational_dropout": compose.variational_dropout,
    "weight_drop": compose.weight_drop,
    "highway": compose.highway,
    "residual": compose.residual,
    "replace": lambda of: compose.replace(of, "other", s=0.5),
}


@pytest.mark.parametrize("name", COMPOSERS)
def test_a_parameter_that_is_returned_is_kept(name: str) -> None:
    made = COMPOSERS[name](returns_a_parameter)
    assert "b" in made.parameters
    b = next(node for node in made.equations.inputs if node.name == "b")
    assert made.equations.output("b0") is b


@pytest.mark.parametrize("name", [*compose.__all__])
def test_composers_take_the_name_of_a_cell(name: str) -> None:
    composer = getattr(compose, name)
    more = {"replace": ("other",), "showing": ("f",)}.get(name, ())
    options = {"i": 1} if name == "replace" else {}
    by_name = composer("lstm", *more, **options)
    assert str(by_name) == str(composer(cells.lstm, *more, **options))
    with pytest.raises(ValueError, match=r"got 'LSMT'. Did you mean lstm"):
        composer("LSMT", *more, **options)


def test_composers_take_nothing_else() -> None:
    with pytest.raises(
        TypeError, match=r"compose.zoneout: expected a cell or the name of one, got"
    ):
        resolved("compose.zoneout", 3)


@pytest.mark.parametrize("composer", [compose.residual, compose.highway])
def test_a_scalar_output_has_no_way_around_it(composer: Callable[..., Cell]) -> None:
    @cell(output=True)
    def summed(x, h, W):
        return sum(h), tanh(W @ x + h)

    with pytest.raises(CellError, match=r"got summed, whose output is a scalar. Return a vector"):
        composer(summed)
