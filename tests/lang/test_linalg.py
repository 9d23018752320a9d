"""Matrices made of parameters: what they are without sizes=, and what is computed of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from compiled import Call, compare
from oracle import Case, Eager, assert_same, reference_results, results
from recurra import Recurrent
from recurra.backends.cpu import found_compiler
from recurra.errors import CellError
from recurra.lang import (
    Cell,
    cell,
    diag,
    exp,
    eye,
    inverse,
    matrix_exp,
    mean,
    outer,
    sigmoid,
    softmax,
    solve,
    sum,
    tanh,
)
from recurra.lang.document import cell_of_document, document_of
from recurra.passes import plan

MASK = np.tril(np.ones((6, 6)))


@cell(state=("h", "c"), sizes={"h": 6, "c": 6, "d": 6, "g": 6})
def made_of_parameters(x, h, c, W, A, B, d, E, F, g, V):
    of_h = (exp(A) * MASK) @ h + (B - B.T) @ c
    c = tanh(softmax(E) @ of_h + (F * g) @ h + (V * d).T @ h)
    return tanh(W @ x + c + g), c


@cell(sizes={"d": "H"})
def orthogonal(x, h, W, A, d, S):
    skew = A - A.T
    turn = solve(eye("H") + skew, eye("H") - skew) * d
    return tanh(W @ x + turn @ h + matrix_exp(skew) @ (d * h) + softmax(S, dim=0) @ h)


@cell(sizes={"k": "R", "P": ("R", "H"), "Q": ("R", "H"), "S": ("H", "H")})
def in_sums(x, h, W, P, Q, S, b, k):
    regular = S @ S.T + 2 * eye("H")
    gate = sigmoid(sum(P.T * k, dim=1) + mean(Q, dim=0) + diag(regular) + b)
    return tanh(W @ x + gate * (inverse(regular) @ h) + solve(regular, b * h) + P.T @ (k * k))


CELLS = [made_of_parameters, orthogonal, in_sums]


def case_of(of: Cell) -> Case:
    return Case(sizes={"I": 3, "H": 6, **dict.fromkeys(of.size_names[2:], 2)}, lengths=(4, 2, 3))


@pytest.mark.parametrize("of", CELLS, ids=lambda of: of.name)
def test_matrices_of_parameters_agree_with_torch(of: Cell) -> None:
    case = case_of(of)
    expected = results(Eager(of, case.sizes), case.tensors(of))
    for way, found in reference_results(of, case):
        assert_same(found, expected, 1e-9, f"{of.name}, {way}")


@pytest.mark.medium
@pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("of", CELLS, ids=lambda of: of.name)
def test_matrices_of_parameters_in_compiled_loops(of: Cell) -> None:
    compare(of, Call(case=case_of(of)))


@pytest.mark.parametrize("of", CELLS, ids=lambda of: of.name)
def test_they_are_computed_once_a_call(of: Cell) -> None:
    program = plan(of.equations)
    loop = {node.op for node in program.loop.body.nodes() if len(node.shape) == 2}
    assert loop <= {"transpose"}
    once = {node.op for node in program.once.graph.nodes()}
    assert once & {"solve", "inverse", "exp", "matrix_exp", "matrix_softmax"}


@pytest.mark.parametrize("of", CELLS, ids=lambda of: of.name)
def test_they_print_and_are_saved(of: Cell) -> None:
    again = cell_of_document(document_of(of))
    assert again.equations.outputs == of.equations.outputs
    assert of.graph().svg
    assert r"\mathbf{I}" in orthogonal.latex()


@pytest.mark.medium
def test_second_derivatives() -> None:
    layer = Recurrent(orthogonal, 2, 3, dtype=torch.float64, backend="reference")
    x = torch.randn(2, 1, 2, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]

    def run(*values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))[0]

    values = tuple(p.detach().clone().requires_grad_() for p in layer.parameters())
    assert torch.autograd.gradcheck(run, values)
    assert torch.autograd.gradgradcheck(run, values)


@pytest.mark.medium
def test_streams_follow_the_parameters() -> None:
    layer = Recurrent(orthogonal, 3, 8)
    stream, x = layer.stream(), torch.randn(5, 1, 3)
    for _ in range(2):
        stream.reset()
        with torch.no_grad():
            expected, _ = layer(x)
            found = torch.stack([stream(x_t) for x_t in x])
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
            for parameter in layer.parameters():
                parameter.mul_(1.1)


def test_bfloat16() -> None:
    layer = Recurrent(orthogonal, 3, 8, backend="reference").to(torch.bfloat16)
    y, _ = layer(torch.randn(5, 2, 3, dtype=torch.bfloat16))
    assert y.isfinite().all()


def _fails(function: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(CellError) as caught:
        cell(**options)(function)
    return str(caught.value).partition("\n")[0]


def test_what_matrices_of_parameters_are_not() -> None:
    def of_state(x, h, W, A):
        return W @ x + inverse(A * sum(h)) @ h

    def not_square(x, h, W, U):
        return tanh(W @ x + h + matrix_exp(W) @ x)

    def largest(x, h, W):
        return tanh(W @ x + h + mean(W))

    def by_rows(x, h, W, b, U):
        return tanh(W @ x + b) + (W * b) @ x + U @ h

    def outer_product(x, h, W, u, v):
        return tanh(W @ x + matrix_exp(outer(u, v)) @ h)

    assert "expected matrices made of parameters alone" in _fails(of_state)
    said = "of parameters write u @ v.T, with sizes={'u': ('H', 1), 'v': ('H', 1)}"
    assert said in _fails(outer_product)
    assert "A vector has its size named: sizes={'d': ...}" in _fails(orthogonal.function)
    assert "expected a square matrix, got W of shape [H, I]" in _fails(not_square)
    assert "say sum(A, dim=1) for the sum of each row" in _fails(largest)
    assert "a number for each column; for each row write (W.T * b).T" in _fails(
        by_rows, sizes={"b": "H"}
    )


def test_a_singular_matrix_is_told_in_one_line() -> None:
    @cell(init={"U": 0.0})
    def regular(x, h, W, U):
        return tanh(W @ x + solve(U, h))

    layer = Recurrent(regular, 3, 4)
    said = r"inverse, of a matrix made of U: expected a matrix that has an inverse, got a singular"
    for call in (lambda: layer(torch.ones(1, 1, 3)), lambda: layer.stream()(torch.ones(1, 3))):
        with pytest.raises(RuntimeError, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match=r"solve: expected a matrix that has an inverse"):
        regular(torch.ones(3), torch.ones(4), torch.ones(4, 3), torch.zeros(4, 4))


def test_names_of_torch_and_numpy() -> None:
    def of(library: Any, diag: Any, exponential: Any) -> Cell:
        @cell
        def f(x, h, W, A, B, d):
            turn = library.solve(library.inv(A + exponential(B)), B)
            return tanh(W @ x + (turn + diag(d)) @ h)

        return f

    ours = of(torch.linalg, torch.diag, torch.matrix_exp).equations
    assert of(np.linalg, np.diag, torch.linalg.matrix_exp).equations.outputs == ours.outputs
    assert {"solve", "inverse", "diag", "matrix_exp"} <= {node.op for node in ours.nodes()}
