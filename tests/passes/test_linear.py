"""Which cells are linear in their state."""

import pytest

from recurra import cells
from recurra.lang import cell, concat, relu, sigmoid, split, tanh, where
from recurra.passes import is_linear

LINEAR = {"mingru", "minlstm", "qrnn_fo", "qrnn_ifo", "rg_lru", "sru", "trnn", "tgru", "tlstm"}


def test_of_the_registry() -> None:
    assert {name for name in cells.names() if is_linear(cells.get(name).equations)} == LINEAR


@cell(state=("a", "b"))
def chain(x, a, b, W):
    """The second state reads the first, which is known by then; the other way round it is not."""
    new = 0.5 * a + W @ x
    return new, tanh(a) * b + new


@cell(state=("a", "b"))
def circle(x, a, b, W):
    return 0.5 * a + b, 0.5 * b + a + W @ x


@cell
def squared(x, h, W):
    return h * h + W @ x


@cell
def through_a_matrix(x, h, W, U):
    return W @ x + U @ h


@cell
def gated_by_itself(x, h, W):
    return where(h > 0, h, W @ x)


@cell
def gated_by_the_input(x, h, W, V):
    return where(V @ x > 0, -h / (2 + tanh(W @ x)), h - W @ x)


@cell
def rectified(x, h, W):
    return relu(h) + W @ x


@cell
def divided(x, h, W):
    return sigmoid(W @ x) / h


@cell
def moved(x, h, W):
    a, b = split(h, 2)
    return concat(b, a) + W @ x


@pytest.mark.parametrize("of", [chain, gated_by_the_input])
def test_linear(of) -> None:
    assert is_linear(of.equations)


@pytest.mark.parametrize(
    "of", [circle, squared, through_a_matrix, gated_by_itself, rectified, divided, moved]
)
def test_not_linear(of) -> None:
    assert not is_linear(of.equations)
