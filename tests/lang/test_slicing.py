"""Parts of vectors and matrices by known bounds, and vectors of one number beside others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from oracle import Case, Eager, assert_same, reference_results, results
from recurra import Recurrent
from recurra.errors import CellError
from recurra.lang import Cell, cell, concat, detach, sign, split, sum, tanh
from recurra.lang.document import cell_of_document, document_of


@cell
def in_slices(x, h, W, U, b):
    z = W @ concat(x, h)
    first, last = (U @ h + z)[:3], h[-2:]
    return tanh(z * h[1] + concat(first, h[3:]) * b + last[0])


@cell
def in_parts(x, h, W, U, V, b):
    a, c, d = split(W @ x + U @ h, [3, "H", "H/2"])
    return tanh(c + V @ concat(d, a) + b)


@cell(state=("h", "s"), sizes={"s": 1})
def of_one(x, h, s, W, U, w, v):
    level = concat(s, s)[:1]
    return tanh(W @ x + level * h + U @ s), tanh(w @ h + v @ x)


@pytest.mark.parametrize("of", [in_slices, in_parts, of_one])
def test_slices_agree_with_torch_s_own(of: Cell) -> None:
    case = Case(sizes={"I": 3, "H": 6}, lengths=(4, 2, 3))
    expected = results(_Sized(of, case), case.tensors(of))
    for way, found in reference_results(of, case):
        assert_same(found, expected, 1e-9, f"{of.name}, {way}")


class _Sized(Eager):
    """The oracle, with torch's split in the place of ours and U @ s as a product with [1]."""

    def __init__(self, of: Cell, case: Case) -> None:
        super().__init__(of, case.sizes)
        H = case.sizes["H"]
        if of is in_parts:
            sizes = [3, H, H // 2]
            self.function.__globals__["split"] = lambda v, parts: torch.split(v, sizes)
        self.scalars -= {"s"}


@pytest.mark.parametrize("of", [in_slices, in_parts, of_one])
def test_slices_print_as_they_are_written(of: Cell) -> None:
    again = cell_of_document(document_of(of))
    assert again.equations.outputs == of.equations.outputs
    assert of.graph().svg


def test_bounds_in_text_and_latex() -> None:
    text = str(in_slices)
    for part in ("(U @ h + z)[:3]", "h[3:]", "h[-2:]", "z * h[1] + ", "last[0]"):
        assert part in text, text
    assert '[3:"H + 3"]' in str(in_parts)
    assert r"{h_{t-1}}_{[3:]}" in in_slices.latex()
    assert r"\,{h_{t-1}}_{[1]} + " in in_slices.latex()


def test_one_number_of_a_vector_prints_as_it_is_written() -> None:
    @cell
    def f(x, h, W, U, b):
        gate = x[:1]
        rest = concat(h[0] * h[-1], gate, (h + b)["H/2"], h[1:"H - 2"])
        return tanh(W @ x + U @ rest) * h[0] - gate[0]

    assert str(f).splitlines()[-3:] == [
        "    gate = x[:1]",
        '    rest = concat(h[0] * h[-1], gate, (h + b)["H/2"], h[1:-2])',
        "    return tanh(W @ x + U @ rest) * h[0] - gate[0]",
    ]
    assert "U @ s" in str(of_one)
    with pytest.raises(CellError, match=r"got concat\(h\[0\], h\[1:\]\) of shape"):

        @cell
        def g(x, h, W):
            return concat(h[0], h[1:]) @ x


def test_parts_of_matrices_and_of_open_parameters() -> None:
    @cell
    def f(x, h, W, U):
        return tanh(W[:, :"I"] @ x + W[:, "I":] @ h + U["H/2":, :].T @ h[:"H/2"])

    assert [str(size) for size in f.parameters["W"]] == ["H", "H + I"]
    assert [str(size) for size in f.parameters["U"]] == ["H", "H"]
    assert 'W[:, :"I"]' in str(f)


def test_bounds_beyond_a_layer_s_sizes() -> None:
    Recurrent(in_slices, 3, 4)
    with pytest.raises(ValueError, match=r"0 to 3 to lie within H, .*got H = 2. Choose larger"):
        Recurrent(in_slices, 3, 2)
    with pytest.raises(ValueError, match="expected H/2 to be a whole number, got 5/2 with H = 5"):
        Recurrent(in_parts, 3, 5)


def _fails(function: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(CellError) as caught:
        cell(**options)(function)
    return str(caught.value).partition("\n")[0]


def test_what_cannot_be_sliced() -> None:
    def by_value(x, h, W):
        return tanh(W @ x + h[: sum(x)])

    def in_steps(x, h, W):
        return tanh(W @ x + h[::2])

    def empty(x, h, W):
        return h + (W @ x)[3:3]

    def scalar(x, h, W):
        return h + W @ x + sum(h)[0]

    def number_of_matrix(x, h, W):
        return h + W[0, 1:] @ x

    def positions(x, h, m, W, U):
        return h + W @ x + sum(U @ m[:2], dim=0)

    def other_sizes(x, h, W):
        first, last = split(W @ x + h, ["H/2", "H/4"])
        return h + sum(first) + sum(last)

    def too_much(x, h, W):
        return h + (W @ x)[:"2H"]

    assert "got the value sum(x). Write v[:3]" in _fails(by_value)
    assert "expected neighbouring features, got a step of 2" in _fails(in_steps)
    assert "expected at least one feature of W @ x, got 0 from 3" in _fails(empty)
    assert "got 1 of sum(h), which is a scalar. Write v[:3]" in _fails(scalar)
    assert "Write W[2:3] for one row of it" in _fails(number_of_matrix)
    assert "Write m[:, :3] for features of each row" in _fails(positions, memory="m")
    assert "which has H, got H/2 + H/4 = 3H/4. Change" in _fails(other_sizes)
    assert "expected equal sizes, got [H] (h) and [2H]" in _fails(too_much)


def test_nothing_is_differentiated_through_detach() -> None:
    @cell
    def rounded(x, h, W, U):
        a = W @ x + U @ h
        return tanh(a + detach(sign(a) - a))  # straight through

    layer = Recurrent(rounded, 2, 3, dtype=torch.float64, backend="reference")
    x = torch.randn(5, 2, 2, dtype=torch.float64, requires_grad=True)
    y, _ = layer(x)
    assert set(y.detach().abs().flatten().tolist()) == {torch.tensor(1.0).double().tanh().item()}
    y.sum().backward()
    assert x.grad is not None
    (W, U), T = (p.detach() for p in layer.parameters()), x.shape[0]
    h, states = x.new_zeros(2, 3), []
    for t in range(T):
        h = torch.tanh(torch.sign(x[t].detach() @ W.T + h @ U.T))
        states.append(h)
    d_h = torch.zeros_like(h)
    for t in reversed(range(T)):
        d_a = (d_h + 1) * (1 - states[t] ** 2)
        torch.testing.assert_close(x.grad[t], d_a @ W)
        d_h = d_a @ U


def test_one_number_decides_no_size() -> None:
    @cell
    def f(x, h, W, U, V, b):
        level = V @ h + b
        return tanh(level * (W @ x) + h[:1] * (U @ h) + h)

    g = cell(sizes={"V": (1, "H")})(f.function)
    assert [str(size) for size in g.parameters["W"]] == ["H", "I"]
    assert [str(size) for size in g.parameters["U"]] == ["H", "H"]
    assert [str(size) for size in g.parameters["b"]] == ["1"]
