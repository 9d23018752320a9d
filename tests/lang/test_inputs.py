"""`inputs=`: what a cell is given anew at each step besides x."""

import pickle
import warnings
from typing import Any

import pytest

from recurra import compose
from recurra.errors import CellError, CellWarning
from recurra.ir import Dim
from recurra.lang import Cell, cell, exp, replace, tanh
from recurra.lang.document import cell_of_document, document_of, same_equations

I, H = Dim.named("I"), Dim.named("H")  # noqa: E741


@cell(inputs=("x", "dt", "m", "mask"), sizes={"dt": 1})
def timed(x, h, dt, m, mask, W, U, V, b):
    """Reads a number, a vector of its own size and one as wide as x."""
    h = exp(-dt) * h
    return tanh(W @ (mask * x) + U @ h + V @ m + b)


def test_roles_and_sizes() -> None:
    assert (timed.input, timed.further) == ("x", ("dt", "m", "mask"))
    assert timed.further_shapes == {"dt": (), "m": (Dim.named("I_m"),), "mask": (I,)}
    assert timed.size_names == ("I", "H", "I_m")
    assert timed.usual_sizes(3, 5) == {}  # what is given has its size already
    assert timed.parameters["V"] == (H, Dim.named("I_m"))


def test_sizes_that_are_said() -> None:
    @cell(inputs=("x", "m", "n"), sizes={"m": "H", "n": "2 * I"})
    def said(x, h, m, n, W, V):
        return tanh(W @ x + V @ n + m * h)

    assert said.further_shapes == {"m": (H,), "n": (I * 2,)}


def test_print_latex_and_picture() -> None:
    head, _, lines = str(timed).partition("\n\n")
    assert "input       x, mask [I]\n                dt scalar\n                m [I_m]" in head
    assert "h = exp(-dt) * h" in lines
    assert r"\mathrm{dt}_t" in timed.latex()
    assert r"\mathrm{mask}_t \odot x_t" in timed.latex()
    assert "mask" in timed.graph().svg


def test_true_times_may_be_called_t() -> None:
    @cell(inputs=("x", "t"), sizes={"t": 1})
    def at_times(x, h, t, W):
        return tanh(W @ x + t * h)

    assert (at_times.step, at_times.further) == (None, ("t",))


def test_x_may_stand_behind_a_state() -> None:
    @cell(inputs=("u", "v"))
    def late(h, u, v, W, V):
        return tanh(W @ u + V @ v + h)

    assert (late.input, late.further) == ("u", ("v",))


@pytest.mark.parametrize(
    "of",
    [
        timed,
        compose.zoneout(timed, 0.1),
        compose.layer_norm(compose.residual(timed)),
        compose.variational_dropout(timed, 0.2),
        replace(timed, "without_b", b=0.0),
    ],
    ids=lambda of: of.name,
)
def test_composed_pickled_and_written_down(of: Cell) -> None:
    assert of.further == timed.further
    for again in (pickle.loads(pickle.dumps(of)), cell_of_document(document_of(of))):
        assert same_equations(again, of)
        assert again.further_shapes == of.further_shapes


def test_in_another_cell() -> None:
    @cell(inputs=("x", "gap"), sizes={"gap": 1, "m": "R"})
    def around(x, h, gap, m, W, U, V, b):
        return timed(x, h, gap, m, x, W, U, V, b)

    assert around.further_shapes == {"gap": ()}
    assert around.parameters["m"] == (Dim.named("R"),)


def reads(x: Any, h: Any, dt: Any, W: Any) -> Any:
    return tanh(W @ x + dt * h)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"inputs": ("x", "gap")}, r"expected an argument for the input 'gap', got \(x, h, dt, W"),
        ({"inputs": ("x", "dtt")}, r"Did you mean 'dt'\?"),
        ({"inputs": "dt"}, r"expected 'x' first.*got \('dt',\)\. Write inputs=\('x', 'dt'\)"),
        ({"inputs": ("x", "h")}, "each state, context, memory and input, got 'h', "),
        ({"inputs": ("x", "dt"), "context": "dt"}, "got 'dt', twice"),
        ({"inputs": ("x", "dt"), "sizes": {"dt": ("1", "2")}}, "expected one size"),
        ({"inputs": ("x", "dt"), "init": {"dt": 1.0}}, "init: expected one of W, got 'dt'"),
    ],
)
def test_mistakes(options: Any, says: str) -> None:
    with pytest.raises(CellError, match=says) as caught:
        cell(**options)(reads)
    assert len(str(caught.value).splitlines()) == 2  # and the user's line


@pytest.mark.parametrize("name", ["state", "lengths", "context", "embedding", "start", "out"])
def test_names_that_a_call_has(name: str) -> None:
    scope = {"tanh": tanh}
    exec(f"def f(x, h, {name}, W):\n    return tanh(W @ x + {name} * h)\n", scope)
    with pytest.raises(CellError, match=f"names? that calls of a layer have free, got '{name}'"):
        cell(inputs=("x", name))(scope["f"])


def test_what_nothing_reads_is_said() -> None:
    with pytest.warns(CellWarning, match="nothing reads the input m"):

        @cell(inputs=("x", "m"))
        def unread(x, h, m, W):
            return tanh(W @ x + h)


def test_a_vector_where_inputs_stand_is_told_of_inputs() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cell(reads)
    (said,) = caught
    assert "For a second input write inputs=('x', 'dt')" in str(said.message)
