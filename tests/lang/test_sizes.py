"""Size inference: what every parameter, state, context and output gets from the equations."""

import re
from typing import Any

import pytest
import torch

import recurra
from recurra import cells, compose
from recurra.errors import CellError
from recurra.lang import (
    Cell,
    Dim,
    cell,
    chunk,
    concat,
    exp,
    expand,
    layer_norm,
    mean,
    sigmoid,
    split,
    sum,
    tanh,
    where,
)
from recurra.lang.symbols import language_names


def shapes(of: Cell) -> dict[str, tuple[str, ...]]:
    return {name: tuple(map(str, shape)) for name, shape in of.parameters.items()}


def test_matrix_and_vector() -> None:
    @cell
    def f(x, h, W, U, b):
        return tanh(W @ x + U @ h + b)

    assert shapes(f) == {"W": ("H", "I"), "U": ("H", "H"), "b": ("H",)}
    assert f.input == "x"
    assert f.states == ("h",)
    assert f.state_sizes == (Dim.named("H"),)
    assert f.output_size == Dim.named("H")
    assert f.size_names == ("I", "H")


def test_sizes_follow_from_later_lines() -> None:
    @cell
    def f(x, h, W, b, V):
        u = W @ x
        v = u * b
        return tanh(V @ h + v)

    assert shapes(f) == {"W": ("H", "I"), "b": ("H",), "V": ("H", "H")}


def test_stacked_gates() -> None:
    @cell(state=("h", "c"))
    def f(x, h, c, W, b):
        i, f, o, g = split(W @ concat(x, h) + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    # sizes in a sum stand in alphabetical order
    assert shapes(f) == {"W": ("4H", "H + I"), "b": ("4H",)}


def test_chunk_is_split() -> None:
    @cell
    def f(x, h, W):
        a, b = chunk(W @ x, 2)
        return a * h + b

    assert shapes(f) == {"W": ("2H", "I")}


def test_halves_of_a_state() -> None:
    @cell
    def f(x, h, W, V):
        a, b = split(h, 2)
        return concat(tanh(W @ a), tanh(V @ x) + b)

    assert shapes(f) == {"W": ("H/2", "H/2"), "V": ("H/2", "I")}
    with pytest.raises(ValueError, match=r"expected H/2 to be a whole number, got 5/2 with H = 5"):
        f.parameters["W"][0].evaluate({"H": 5})


def test_difference_of_sizes() -> None:
    @cell
    def f(x, h, a):
        return tanh(concat(x, a) + h)

    assert shapes(f) == {"a": ("H - I",)}
    assert f.parameters["a"][0].evaluate({"H": 5, "I": 3}) == 2
    with pytest.raises(ValueError, match="whole number"):
        f.parameters["a"][0].evaluate({"H": 3, "I": 5})


def test_projection() -> None:
    @cell(state=("r", "c"), sizes={"r": "P"})
    def f(x, r, c, W, U, V):
        c = tanh(W @ x + U @ r) + c
        return V @ c, c

    assert shapes(f) == {"W": ("H", "I"), "U": ("H", "P"), "V": ("P", "H")}
    assert f.state_sizes == (Dim.named("P"), Dim.named("H"))
    assert f.output_size == Dim.named("P")
    assert f.size_names == ("I", "H", "P")


def test_learned_scalar() -> None:
    @cell(sizes={"alpha": "1"})
    def f(x, h, alpha, W):
        return alpha * h + tanh(alpha + W @ x)

    assert shapes(f) == {"alpha": (), "W": ("H", "I")}


def test_scalar_state_and_output() -> None:
    @cell(state=("h", "count"), sizes={"count": "1"}, output=True)
    def f(x, h, count, W):
        h = tanh(W @ x + h / (1.0 + count))
        return sum(h), h, count + 1.0

    assert f.state_sizes == (Dim.named("H"), Dim.of(1))
    assert f.output_size == Dim.of(1)


def test_fixed_number_as_size() -> None:
    @cell(sizes={"key": "8"})
    def f(x, h, W, key):
        return h * sum((W @ x) * key)

    assert shapes(f) == {"W": ("8", "I"), "key": ("8",)}


def test_matrix_given_as_a_pair() -> None:
    @cell(sizes={"W": ("P", "I")})
    def f(x, h, W, V):
        return tanh(V @ (W @ x) + h)

    assert shapes(f) == {"W": ("P", "I"), "V": ("H", "P")}


def test_matrix_of_a_pair_used_elementwise() -> None:
    @cell(sizes={"W": ("H", "I"), "V": ("H", "I")})
    def f(x, h, W, V):
        return (W * tanh(V)) @ x + h

    assert shapes(f) == {"W": ("H", "I"), "V": ("H", "I")}


def test_transpose_and_product_of_matrices() -> None:
    @cell(sizes={"W": ("R", "I")})
    def f(x, h, W, U):
        return tanh((U @ W.T.T) @ x + h)

    assert shapes(f) == {"W": ("R", "I"), "U": ("H", "R")}


def test_open_context_is_called_c() -> None:
    @cell(context="v")
    def f(x, h, v, W, V):
        return tanh(W @ x + V @ v + h)

    assert shapes(f) == {"W": ("H", "I"), "V": ("H", "C")}
    assert f.context == ("v",)
    assert f.context_sizes == (Dim.named("C"),)
    assert f.size_names == ("I", "H", "C")


def test_several_open_contexts_keep_their_names() -> None:
    @cell(context=("v", "w"))
    def f(x, h, v, w, V, W):
        return tanh(V @ v + W @ w + h)

    assert f.context_sizes == (Dim.named("C_v"), Dim.named("C_w"))


def test_context_that_meets_a_state_has_its_size() -> None:
    @cell(context="v")
    def f(x, h, v, W):
        return tanh(W @ x + v * h)

    assert f.context_sizes == (Dim.named("H"),)
    assert f.size_names == ("I", "H")


def test_named_context() -> None:
    @cell(context="v", sizes={"v": "E"})
    def f(x, h, v, V):
        return tanh(V @ v + h)

    assert f.context_sizes == (Dim.named("E"),)


def test_input_of_the_states_size() -> None:
    @cell(sizes={"x": "H"})
    def f(x, h, b):
        return tanh(x + h * b)

    assert shapes(f) == {"b": ("H",)}
    assert f.size_names == ("I", "H")  # a layer has an input size all the same


def test_layer_norm_gives_its_parameters_their_size() -> None:
    @cell
    def f(x, h, W, g, b):
        return tanh(layer_norm(W @ x, g, b) + h)

    assert shapes(f) == {"W": ("H", "I"), "g": ("H",), "b": ("H",)}


def test_output_size_is_its_own() -> None:
    @cell(output=True)
    def f(x, h, W, V):
        h = tanh(W @ x + h)
        return concat(h, V @ h + x), h

    assert str(f.output_size) == "H + I"
    assert f.output_size.evaluate({"H": 5, "I": 3}) == 8


def test_no_input() -> None:
    @cell(state="s")
    def f(s, W):
        return tanh(W @ s)

    assert f.input is None
    assert shapes(f) == {"W": ("H", "H")}
    assert f.size_names == ("I", "H")


def test_context_first_is_the_input_of_nothing() -> None:
    @cell(state="s", context="v")
    def f(s, v, W):
        return tanh(W @ v + s)

    assert f.input is None
    assert f.context == ("v",)


def test_parameters_stand_in_the_order_of_the_signature() -> None:
    @cell(context="v", state=("h", "c"))
    def f(x, b, c, W, v, a, h):
        return tanh(W @ x + a) + h * c, c + v * b

    assert list(f.parameters) == ["b", "W", "a"]
    assert f.states == ("h", "c")


# ---- Dim -----------------------------------------------------------------------------------------


def test_dim_arithmetic_and_text() -> None:
    I, H = Dim.named("I"), Dim.named("H")  # noqa: E741 - the input size
    assert str(H * 4) == "4H"
    assert str(H / 2) == "H/2"
    assert str(H * 3 / 2) == "3H/2"
    assert str(H - I) == "H - I"
    assert str(I + H + Dim.of(2)) == "H + I + 2"
    assert str(Dim()) == "0"
    assert (I + H) - I == H
    assert (H - H).is_zero
    assert Dim.named("8") == Dim.of(8)


def test_dim_evaluates() -> None:
    dim = Dim.named("H") * 4 + Dim.of(1)
    assert dim.evaluate({"H": 5}) == 21
    with pytest.raises(ValueError, match=r"expected a number for H, got \{\}. Add it"):
        dim.evaluate({})


def test_dim_substitutes() -> None:
    dim = Dim.named("a") * 2 + Dim.named("b")
    assert dim.substitute({"a": Dim.named("H"), "b": Dim.named("H")}) == Dim.named("H") * 3
    assert dim.substitute({"z": Dim.of(1)}) is dim


# ---- sizes that are open for a while -------------------------------------------------------------


@pytest.mark.parametrize(
    "matrix",
    [
        lambda A, M: exp(A),
        lambda A, M: A * M,
        lambda A, M: 0.5 * A,
        lambda A, M: -A,
        lambda A, M: where(A > 0, A, 0.1 * A) + M,
        lambda A, M: (M @ A.T).T,
    ],
)
def test_what_is_made_of_parameters_alone_may_be_a_matrix(matrix: Any) -> None:
    @cell
    def f(x, h, W, A, M):
        return tanh(W @ x + matrix(A, M) @ h + 0 * (M @ h))

    assert f.parameters["A"] == (Dim.named("H"), Dim.named("H"))


def test_what_is_made_of_parameters_alone_may_be_a_vector() -> None:
    @cell
    def f(x, h, W, a, b):
        gain = exp(a) * b
        return W @ x + gain * h

    assert f.parameters["a"] == f.parameters["b"] == (Dim.named("H"),)


@pytest.mark.parametrize(
    "text", ["4H", "H/4", "3H/2", "H + I", "I - H", "4H + 3", "P", "8", "4 * H"]
)
def test_sizes_are_read_as_they_are_printed(text: str) -> None:
    assert str(Dim.parse(str(Dim.parse(text)))) == str(Dim.parse(text))
    assert Dim.parse(text).evaluate({"H": 4, "I": 7, "P": 8}) == {"H/4": 1, "3H/2": 6}.get(
        text, eval(re.sub(r"(\d)([A-Z])", r"\1*\2", text), {"H": 4, "I": 7, "P": 8})
    )


def test_numbers_are_sizes() -> None:
    @cell(sizes={"b": 4, "V": (4, "H")})
    def f(x, h, W, V, b):
        return tanh(W @ x + h * sum(V @ h + b))

    assert f.parameters["b"] == (Dim.of(4),)


# ---- sizes that a layer need not give ------------------------------------------------------------


def test_default_sizes() -> None:
    @cell(sizes={"b": "R", "V": ("R", "H")}, default_sizes={"R": "H/2 + 1"})
    def f(x, h, W, V, b):
        return tanh(W @ x + h * sum(V @ h + b))

    assert f.own_sizes(3, 5) == {"R": 3}
    assert f.own_sizes(3, 1) == {"R": 1}
    assert recurra.Recurrent(f, 3, 5).sizes == {"R": 3}
    assert recurra.Recurrent(f, 3, 5, sizes={"R": 2}).sizes == {"R": 2}
    assert compose.residual(f).own_sizes(3, 8) == {"R": 5}


@pytest.mark.parametrize("name", cells.names())
def test_every_cell_of_the_registry_needs_no_more_than_its_two_sizes(name: str) -> None:
    of = cells.get(name)
    assert set(of.own_sizes(3, 5)) == set(of.size_names) - {"I", "H"}


def test_sizes_that_occur_in_sums_alone() -> None:
    @cell(sizes={"h": "H + P", "b": "H + P"})
    def f(x, h, W, U, b):
        return tanh(W @ x + U @ h + b)

    for backend in ("reference", "cpu"):
        layer = recurra.Recurrent(f, 3, 4, sizes={"P": 2}, backend=backend)
        y, _state = layer(torch.randn(5, 2, 3))
        assert y.shape == (5, 2, 6)
        y.sum().backward()


def test_a_parameter_without_numbers_is_refused() -> None:
    @cell(sizes={"b": "H - I"})
    def f(x, h, W, b):
        return tanh(W @ x + h * sum(b))

    assert recurra.Recurrent(f, 3, 4).parameters_of(0)["b"].shape == (1,)
    with pytest.raises(ValueError, match=r"expected sizes above 0 for b \[H - I\], got \(0,\)"):
        recurra.Recurrent(f, 3, 3)


@pytest.mark.parametrize("size", ["H", 1, "I", "2 * H", ("H", "I")])
def test_a_scalar_may_be_spread(size: Any) -> None:
    @cell
    def f(x, h, W, U, V):
        spread = expand(mean(h), size) if not isinstance(size, tuple) else expand(0.5, size) @ x
        return tanh(W @ x + U @ h + V @ spread)

    columns = f.parameters["V"][1]
    assert columns == (Dim.named("H") if isinstance(size, tuple) else Dim.parse(str(size)))
    written = str(f)
    scope = {name: getattr(recurra.lang, name) for name in language_names()}
    exec(f"def f(x, h, W, U, V):\n{written.partition(chr(10) * 2)[2]}", scope)
    assert cell(scope["f"]).equations.outputs == f.equations.outputs


def test_a_scalar_is_spread_over_sizes_that_there_are() -> None:
    with pytest.raises(CellError, match="expected sizes that an input, state or parameter has"):
        cell(lambda x, h, W: W @ x + h * sum(expand(1.0, "Q")))
    with pytest.raises(CellError, match="expand: expected a scalar, or a vector of a number"):
        cell(lambda x, h, W: W @ x + expand(h, "H"))
    with pytest.raises(CellError, match="expand: expected a size such as 'P'"):
        cell(lambda x, h, W: W @ x + expand(1.0, "H H"))
