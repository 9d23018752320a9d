"""Memories in the language: what is over positions, how it prints, and what mistakes say."""

from collections.abc import Callable
from typing import Any

import pytest

from memory_cells import CELLS, SIZES, additive, everything, located
from oracle import written
from recurra import cell, compose
from recurra.errors import CellError
from recurra.ir import POSITIONS
from recurra.lang import Cell, concat, layer_norm, softmax, split, tanh, windows
from recurra.lang import sum as total
from recurra.lang.document import cell_of_document, document_of, same_equations

each_cell = pytest.mark.parametrize("of", CELLS, ids=lambda of: of.name)


def shape(of: Cell, name: str) -> list[str]:
    leaves = {node.name: node.shape for node in of.equations.inputs}
    return [str(dim) for dim in leaves[name]]


# ---- sizes ---------------------------------------------------------------------------------------


def test_a_memory_has_vectors_of_size_k() -> None:
    assert additive.memory == ("m",)
    assert shape(additive, "m") == ["S", "K"]
    assert shape(additive, "U_a") == ["A", "K"]
    assert additive.size_names == ("I", "H", "K", "A")


def test_several_memories_have_sizes_of_their_own() -> None:
    assert shape(everything, "k") == ["S", "H"]  # by what it is multiplied with
    assert shape(everything, "u") == ["S", "K_u"]


def test_sizes_may_say_the_size_of_a_memory() -> None:
    @cell(memory="m", sizes={"m": "D"})
    def reads(x, h, m, W, C):
        return tanh(W @ x + h + C @ (softmax(total(m * m)) @ m))

    assert shape(reads, "m") == ["S", "D"]


def test_a_state_may_have_a_number_for_each_position() -> None:
    assert located.state_sizes[1] == POSITIONS
    assert "S" not in located.size_names


def test_s_is_a_name_like_others_without_a_memory() -> None:
    @cell(state=("h", "s"), sizes={"s": "S"})
    def slow(x, h, s, W, V, U):
        return tanh(W @ x + U @ s), 0.9 * s + V @ x

    assert slow.size_names == ("I", "H", "S")


# ---- printing ------------------------------------------------------------------------------------


def test_as_text() -> None:
    text = str(everything)
    assert "memory      k [S, H]\n                u [S, K_u]\n" in text
    assert "    q, w = split(U @ k, 2)\n" in text
    assert "pooled = mean(u, dim=0) + max(u, dim=0) + sum(u * beta, dim=0)" in text
    assert "score = tanh(W @ h + V @ m + U @ (Q @ windows(a, 3)) + b) @ v" in str(located)


def test_as_latex() -> None:
    latex = additive.latex()
    assert r"\mathrm{score}_t &= \tanh(W_a h_{t-1} + U_a m) v" in latex
    assert r"C (\alpha_t^{\top} m)" in latex


def test_as_picture() -> None:
    svg = additive.graph().svg
    assert ">softmax<" in svg
    assert "inside" not in svg


@each_cell
def test_what_is_printed_is_the_cell_again(of: Cell) -> None:
    """Its lines in a function are the same graph."""
    sizes: dict[str, Any] = {}
    for node in of.equations.inputs:
        kind, dims = node.attr("kind"), tuple(map(str, node.shape))
        if kind == "parameter":
            sizes[node.name] = dims if len(dims) > 1 else dims[0]
        elif kind in ("state", "memory", "context"):
            sizes[node.name] = dims[-1]
    options = {"state": of.states, "memory": of.memory, "context": of.context}
    again = cell(**options, sizes=sizes, output=of.options.output)(written(of))
    assert again.equations.outputs == of.equations.outputs


@each_cell
def test_as_a_document(of: Cell) -> None:
    document = document_of(of)
    again = cell_of_document(document)
    assert same_equations(again, of)
    assert again.memory == of.memory
    assert not any("inside" in line for line in document["steps"])


def test_in_another_cell() -> None:
    """A cell that reads a memory, as a part of another one's equations."""

    @cell(memory="n", sizes={"v": "A"})
    def outer(x, h, n, W_a, U_a, v, W, U, C, b):
        return h + additive(tanh(x), h, n, W_a, U_a, v, W, U, C, b)

    assert shape(outer, "n") == ["S", "K"]
    assert [node.op for node in outer.equations.nodes()].count("positions_softmax") == 1


def test_composed() -> None:
    made = compose.zoneout(located, 0.1)
    assert made.memory == ("m",)
    assert made.masks["zoneout_a"].shape == (POSITIONS,)
    assert made.evaluation.memory == ("m",)


# ---- mistakes ------------------------------------------------------------------------------------


def complaint(function: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(CellError) as caught:
        cell(memory="m", **options)(function)
    return str(caught.value).splitlines()[0].partition(f", in {function.__name__}: ")[2]


def test_numbers_are_no_matrix_operand() -> None:
    def f(x, h, m, W, V):
        return h + W @ x + V @ softmax(m @ h)

    assert complaint(f) == (
        "@: expected a matrix of parameters and rows of a memory, got the numbers "
        "softmax(m @ h), of which a call has as many as its memory. Use numbers @ rows, or "
        "matrix @ rows."
    )


def test_a_vector_stands_right_of_rows() -> None:
    def f(x, h, m, W):
        return h + W @ x + softmax(h @ m) @ m

    assert complaint(f) == (
        "@: expected a matrix left of the rows m, got the vector h. Write m @ h, a number for "
        "each row."
    )


def test_rows_times_a_matrix_is_written_the_other_way_round() -> None:
    def f(x, h, m, W, V):
        y = W @ x + V @ h
        return y + softmax(total(m @ V)) @ m

    assert "got the matrix V. Write V.T @ m, which multiplies each row." in complaint(f)


def test_rows_have_no_transpose() -> None:
    def f(x, h, m, W):
        return h + W @ x + m.T @ softmax(m @ h)

    assert complaint(f) == (
        "expected a matrix, got m. The sum of its rows, weighted by a, is a @ m."
    )


def test_two_sizes_that_differ() -> None:
    def f(x, h, m, W):
        return h + W @ x + softmax(m @ x) @ m

    said = complaint(f, sizes={"m": "H"})
    assert "expected equal sizes in m @ x, got I and H." in said


def test_numbers_and_features_are_not_added() -> None:
    def f(x, h, m, W):
        return h + W @ x + softmax(m @ h)

    assert "+: expected equal sizes, got [H] (h + W @ x) and [S] (softmax(m @ h))" in complaint(f)


def test_a_parameter_has_no_number_for_each_position() -> None:
    def f(x, h, m, W, b):
        return h + W @ x + softmax(m @ h + b) @ m

    assert complaint(f).startswith(
        "expected sizes that a layer has, got b of shape [S]: S is the number of vectors in the "
        "memory of a call, which states alone can have beside memories"
    )


def test_a_state_is_of_the_size_that_it_has() -> None:
    def f(x, h, a, m, W):
        return tanh(W @ x + h), softmax(m @ h)

    said = complaint(f, state=("h", "a"))
    assert "expected the new state a of shape [H], got [S] (softmax(m @ h))." in said


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda m, h: concat(m, h), "concat: expected a vector of features, got m of shape [S, ?]"),
        (lambda m, h: split(m @ h, 2)[0], "split: expected a vector of features, got m @ h"),
        (lambda m, h: layer_norm(m @ h), "layer_norm: expected a vector of features, got m @ h"),
        (lambda m, h: softmax(m, dim=0), "softmax: expected numbers, got m of shape [S, ?]"),
        (lambda m, h: total(m, dim=1), "sum: expected dim=0 (the positions) or -1, got 1."),
        (lambda m, h: windows(h, 3), "windows: expected a number for each position of a memory"),
        (lambda m, h: windows(m @ h, 4), "windows: expected an odd whole number as width, got 4."),
    ],
)
def test_functions_of_features(write: Callable[..., Any], said: str) -> None:
    def f(x, h, m, W):
        write(m, h)
        return h + W @ x + m @ h

    assert complaint(f).startswith(said)


def test_a_memory_is_an_argument_and_is_read() -> None:
    def without(x, h, W):
        return h + W @ x

    assert "expected an argument for the memory 'm', got (x, h, W)." in complaint(without)

    def unread(x, h, m, W):
        return h + W @ x

    with pytest.warns(match="nothing reads the memory m"):
        cell(memory="m")(unread)


def test_sizes_of_the_tests_are_those_of_the_cells() -> None:
    for of in CELLS:
        assert {*of.size_names} <= {*SIZES}
