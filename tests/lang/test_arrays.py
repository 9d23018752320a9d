"""Constant arrays: matrices and vectors of numpy's or torch's in the equations of a cell."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from recurra import cells, compose
from recurra.errors import CellError
from recurra.ir import Dim
from recurra.lang import Cell, cell, concat, mean, sigmoid, tanh
from recurra.lang.document import cell_of_document, document_of, same_equations

TURN = np.array([[0.8, 0.6], [-0.6, 0.8]])
DRIVE = torch.tensor([1.0, 0.25])


def turning(step: np.ndarray = TURN, drive: Any = DRIVE) -> Cell:
    @cell(state=("h", "m"), sizes={"m": 2})
    def turn(x, h, m, W, U, V, b):
        m = step @ m + drive * mean(x)
        return tanh(W @ x + U @ h + V @ m + b), m

    return turn


def test_a_closure_and_a_global_keep_their_names() -> None:
    @cell(state=("h", "m"), sizes={"m": 2})
    def of_globals(x, h, m, W, U, V):
        m = TURN @ m + DRIVE * mean(x)
        return tanh(W @ x + U @ h + V @ m), m

    assert {name: array.shape for name, array in of_globals.arrays.items()} == {
        "TURN": (2, 2),
        "DRIVE": (2,),
    }
    assert set(turning().arrays) == {"step", "drive"}
    assert set(of_globals.parameters) == {"W", "U", "V"}


def test_a_default_value_is_a_constant_that_can_be_changed() -> None:
    @cell(state=("h", "m"), sizes={"m": "units"})
    def of_arguments(x, h, m, W, V, A=TURN, units=2):
        m = A @ m
        return tanh(W @ x + V @ m + h), m

    assert np.array_equal(of_arguments.arrays["A"], TURN)
    assert of_arguments.constants == {"units": 2}
    wider = of_arguments.with_constants(A=np.eye(3), units=3)
    assert np.array_equal(wider.arrays["A"], np.eye(3))
    assert wider.state_sizes == (Dim.named("H"), Dim.of(3))
    with pytest.raises(ValueError, match=r"expected one of \['A', 'units'\], got 'B'"):
        of_arguments.with_constants(B=1)


def test_arrays_computed_in_the_equations() -> None:
    @cell(sizes={"h": 3})
    def computed(x, h, W, order=3):
        ranks = np.arange(order)
        return np.diag(1.0 / (1 + ranks)) @ h + W @ x * ranks

    assert list(computed.arrays) == ["array", "ranks"]
    assert computed.arrays["ranks"].tolist() == [0.0, 1.0, 2.0]
    assert list(computed.with_constants(order=3).arrays) == ["array", "ranks"]


def test_equal_arrays_are_one() -> None:
    @cell(sizes={"h": 2})
    def twice(x, h, W):
        return np.eye(2) @ (torch.eye(2) @ h) + W @ x

    assert list(twice.arrays) == ["array"]


def test_arrays_that_nothing_reads_are_gone() -> None:
    @cell(sizes={"h": 2})
    def unread(x, h, W, A=TURN):
        A @ h
        return tanh(W @ x + h)

    assert unread.arrays == {}


@pytest.mark.parametrize(
    "write",
    [
        lambda A, v: A @ v,
        lambda A, v: np.dot(A, v),
        lambda A, v: np.matmul(A, v),
        lambda A, v: torch.as_tensor(A) @ v,
        lambda A, v: torch.matmul(torch.as_tensor(A), v),
        lambda A, v: A.astype(np.float32).astype(np.float64) @ v,
    ],
)
def test_ways_to_write_a_product(write: Callable[..., Any]) -> None:
    of = cell(sizes={"h": 2})(lambda x, h, W: write(np.eye(2), h) + W @ x)
    (array,) = of.arrays.values()
    assert np.array_equal(array, np.eye(2))
    assert [node.op for node in of.equations.nodes()].count("matvec") == 2


def test_a_mask_of_a_matrix() -> None:
    mask = np.triu(np.ones((4, 4)))

    @cell(sizes={"h": 4})
    def masked(x, h, W, U, b):
        return tanh(W @ x + (mask * U) @ h + b)

    assert masked.parameters["U"] == (Dim.of(4), Dim.of(4))
    assert "mask * U @ h" in str(masked)


def test_print_latex_and_picture() -> None:
    of = turning()
    assert "    constant    step [2, 2]\n                drive [2]\n" in str(of)
    assert "m = step @ m + drive * mean(x)" in str(of)
    assert r"\mathrm{step} m_{t-1} + \mathrm{drive}\," in of.latex()
    assert "step" in of.graph().svg


@pytest.mark.parametrize(
    "of",
    [
        turning(),
        compose.zoneout(turning(), 0.1),
        compose.residual(compose.layer_norm(turning())),
        compose.weight_drop(turning(), 0.2),
        cells.lmu.with_constants(order=4),
    ],
    ids=lambda of: of.name,
)
def test_composed_pickled_and_written_down(of: Cell) -> None:
    for again in (pickle.loads(pickle.dumps(of)), cell_of_document(document_of(of))):
        assert same_equations(again, of)
        assert list(again.arrays) == list(of.arrays)


def test_cells_with_other_numbers_are_others() -> None:
    assert same_equations(turning(), turning())
    assert not same_equations(turning(), turning(TURN.T.copy()))
    assert document_of(turning()) != document_of(turning(TURN.T.copy()))


def test_in_another_cell() -> None:
    inner = cell_of_document(document_of(turning()))

    @cell(state=("h", "m"), sizes={"m": 2})
    def around(x, h, m, W, U, V, b, R):
        h, m = inner(x, h, m, W, U, V, b)
        return h * sigmoid(R @ concat(x, m)), m

    assert sorted(map(np.ndim, around.arrays.values())) == [1, 2]
    assert around.parameters["R"] == (Dim.named("H"), Dim.named("I") + Dim.of(2))


def test_what_is_taken_is_a_copy() -> None:
    own = TURN.copy()
    of = turning(own)
    own[:] = 0
    assert np.array_equal(of.arrays["step"], TURN)
    with pytest.raises(ValueError, match="read-only"):
        of.arrays["step"][0, 0] = 1


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.ones((2, 2, 2)), r"a vector or a matrix, got ndarray of shape \(2, 2, 2\)"),
        (np.zeros((0, 2)), "a vector or a matrix"),
        (np.eye(2) * 1j, "of real numbers.*complex128"),
        (np.array([["a", "b"]]), "of real numbers"),
        (np.array([[1.0, np.nan]]), "of finite numbers, got nan or inf"),
        (torch.nn.Parameter(torch.eye(2)), "that is not learned.*Make it an argument of the cell"),
        (np.eye(3), r"expected A with 2 columns, to multiply h, got 3"),
    ],
)
def test_mistakes(array: Any, says: str) -> None:
    with pytest.raises(CellError, match=says) as caught:
        cell(sizes={"h": 2})(lambda x, h, W, A=array: A @ h + W @ x)
    assert "test_arrays.py" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda arrays: arrays.update(step="AAAA"), "the numbers of an array"),
        (lambda arrays: arrays.update(step="!"), "the numbers of an array"),
        (lambda arrays: arrays.update(other=arrays["step"]), "arrays as recurra writes them"),
        (lambda arrays: arrays.pop("drive"), "expected text"),
        (lambda arrays: arrays.update(step="AAAAAAAA8H8=" * 4), "the numbers of an array"),
    ],
)
def test_documents_that_are_none(change: Callable[[dict[str, Any]], Any], says: str) -> None:
    document = document_of(turning())
    change(document["arrays"])
    with pytest.raises(ValueError, match=says):
        cell_of_document(document)
