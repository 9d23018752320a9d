"""Lyapunov exponents as a loss: known values, gradients against finite differences, any cell."""

import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from recurra.insight.flossing import exponents_of, first_exponents, flossing_loss, watched
from recurra.insight.linearized import Linearized

T, B, IN, H = 12, 3, 2, 5


@rc.cell(state="h")
def linear(x, h, W, U):  # pyright: ignore
    """A linear recurrence, whose exponents are those of a matrix."""
    return W @ x + U @ h


def read_of(layer: rc.Recurrent, x: Tensor, **options: object):  # pyright: ignore
    with watched([layer]) as reads:
        layer(x, **options)
    (read,) = reads
    return read


def layer_of(cell: object, hidden: int = H, **options: object) -> rc.Recurrent:
    torch.manual_seed(0)
    return rc.Recurrent(cell, IN, hidden, dtype=torch.float64, **options)  # pyright: ignore


@pytest.mark.medium
def test_of_a_linear_cell_they_are_the_logarithms_of_its_eigenvalues() -> None:
    layer = layer_of(linear, 4, backend="reference")
    basis = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    eigenvalues = torch.tensor([1.3, -0.9, 0.6, 0.2], dtype=torch.float64)
    with torch.no_grad():
        layer.U_l0.copy_(basis @ torch.diag(eigenvalues) @ basis.T)
    x = torch.randn(300, 1, IN, dtype=torch.float64)
    (found,) = exponents_of(read_of(layer, x), 4, steps=300)
    torch.testing.assert_close(found[0], eigenvalues.abs().log(), rtol=0, atol=0.02)
    assert found.sum().item() == pytest.approx(eigenvalues.abs().log().sum().item(), rel=1e-10)


def test_the_first_of_many_are_the_largest() -> None:
    layer = layer_of("rnn", 6)
    x = torch.randn(60, B, IN, dtype=torch.float64)
    read = read_of(layer, x)
    (all_of_them,), (two,) = exponents_of(read, 6), exponents_of(read, 2)
    assert two.shape == (B, 2)
    torch.testing.assert_close(two.mean(0), all_of_them.mean(0)[:2], rtol=0, atol=0.05)


@pytest.mark.medium
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_gradients_are_those_of_finite_differences(cell: str) -> None:
    layer = layer_of(cell)
    read = read_of(layer, torch.randn(T, B, IN, dtype=torch.float64))
    parameters = list(layer.parameters())
    loss, _ = flossing_loss([read], 3)
    found = torch.autograd.grad(loss, parameters)
    torch.manual_seed(1)
    for parameter, gradient in zip(parameters, found, strict=True):
        direction, step = torch.randn_like(parameter), 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * step)
            values.append(flossing_loss([read], 3)[0].item())
            with torch.no_grad():
                parameter.sub_(direction, alpha=sign * step)
        expected = (values[0] - values[1]) / (2 * step)
        assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_what_lies_past_a_sequences_end_does_not_count() -> None:
    layer = layer_of("gru")
    x = torch.randn(T, 2, IN, dtype=torch.float64)
    lengths = torch.tensor([T, 7])
    (both,) = exponents_of(read_of(layer, x, lengths=lengths), H)
    (short,) = exponents_of(read_of(layer, x[:7, 1:]), H)
    torch.testing.assert_close(both[1], short[0])


def test_each_layer_and_direction_has_its_own() -> None:
    layer = layer_of("gru", num_layers=2, bidirectional=True)
    ids = torch.randint(IN, (T, B))
    embedding = torch.randn(9, IN, dtype=torch.float64)
    found = exponents_of(read_of(layer, ids, embedding=embedding), 2)
    assert [each.shape for each in found] == [(B, 2)] * 4
    assert len({each.mean().item() for each in found}) == 4
    loss, exponents = flossing_loss([read_of(layer, ids, embedding=embedding)], 2)
    assert exponents.shape == (4, 2)
    expected = torch.stack([each.square().sum(-1).mean() for each in found]).mean()
    torch.testing.assert_close(loss, expected)


def test_watching_changes_nothing_that_is_computed() -> None:
    layer = layer_of("lstm")
    x = torch.randn(T, B, IN, dtype=torch.float64)
    expected, _ = layer(x)
    with watched([layer]) as reads:
        y, _ = layer(x)
        layer(x)
    assert torch.equal(y, expected)
    assert y.requires_grad
    assert len(reads) == 1
    assert "run_layers" not in vars(layer)


@pytest.mark.medium
def test_steps_of_it_bring_the_exponents_to_zero() -> None:
    layer = layer_of("rnn", 8)
    read = read_of(layer, torch.randn(30, B, IN, dtype=torch.float64))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
    first, last = None, torch.zeros(())
    for _ in range(25):
        loss, last = flossing_loss([read], 2)
        first = last if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert first is not None
    assert first.abs().max() > 0.3
    assert last.abs().max() < 0.1


def test_a_cell_that_forgets_all_has_a_finite_loss() -> None:
    layer = layer_of("rnn")
    nn.init.zeros_(layer.W_hh_l0)
    loss, _ = flossing_loss([read_of(layer, torch.randn(T, B, IN, dtype=torch.float64))], 2)
    assert torch.isfinite(loss)


def test_states_of_every_shape_are_one_vector() -> None:
    layer = layer_of("lstm", 2)
    x = torch.randn(T, B, IN, dtype=torch.float64)
    run = Linearized(layer, (0, 0), x, [state[0] for state in layer.first_states(B)])
    assert first_exponents(run, 99).shape == (B, 4)
