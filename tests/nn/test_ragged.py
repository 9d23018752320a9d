"""Sequences of different lengths: each gets what it gets alone, whatever order they run in."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import recurra as rc
from recurra import compose
from recurra.nn import ragged

LENGTHS = torch.tensor([4, 9, 0, 11, 1, 9])
Make = Callable[[], Any]
LAYERS: dict[str, Make] = {
    "two layers, both ways": lambda: rc.Recurrent("gru", 5, 8, num_layers=2, bidirectional=True),
    "dropout": lambda: rc.Recurrent("lstm", 5, 8, num_layers=2, dropout=0.5),
    "packed dropout": lambda: rc.LSTM(5, 8, num_layers=2, dropout=0.5),
    "masks": lambda: rc.Recurrent(
        compose.variational_dropout(compose.zoneout("gru", 0.3), 0.4), 5, 8
    ),
    "reverse, learned state": lambda: rc.Recurrent("mut1", 5, 8, reverse=True, learned_state=True),
    "another way back": lambda: rc.Bidirectional(
        rc.Recurrent("gru", 5, 8), rc.Recurrent("rnn", 5, 8, reverse=True)
    ),
    "divides by a state": lambda: rc.Recurrent("slstm", 5, 8),
}


def put_in_order_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences are put in order however little it saves."""
    monkeypatch.setattr(ragged, "_SORTING", 0)
    monkeypatch.setattr(ragged, "_COPY", 0)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_order_always(monkeypatch)


def found(layer: Any, lengths: Tensor | None = LENGTHS) -> list[Tensor]:
    """y, the final states, and all gradients."""
    torch.manual_seed(3)
    x = torch.randn(11, 6, 5, requires_grad=True)
    layer.zero_grad(set_to_none=True)
    y, state = layer(x, lengths=lengths)
    states = state if isinstance(state, tuple) else (state,)
    weights = [torch.linspace(-1, 1, each.numel()).reshape(each.shape) for each in (y, *states)]
    pairs = zip((y, *states), weights, strict=True)
    torch.stack([(each * weight).sum() for each, weight in pairs]).sum().backward()
    grads = [p.grad for p in layer.parameters() if p.grad is not None]
    assert x.grad is not None
    return [y.detach(), *(each.detach() for each in states), x.grad, *grads]


@pytest.mark.medium
@pytest.mark.parametrize("make", LAYERS.values(), ids=list(LAYERS))
def test_order_changes_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    layer = make()
    expected = found(layer)
    put_in_order_always(monkeypatch)
    for ours, theirs in zip(found(layer), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-5)


@pytest.mark.usefixtures("always")
def test_each_sequence_gets_what_it_gets_alone() -> None:
    layer = rc.Recurrent("lstm", 5, 8, num_layers=2, bidirectional=True)
    x = torch.randn(11, 6, 5)
    y, (h, c) = layer(x, lengths=LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        alone, (h_alone, c_alone) = layer(x[:length, b : b + 1])
        torch.testing.assert_close(y[:length, b : b + 1], alone)
        assert not y[length:, b].any()
        torch.testing.assert_close(h[:, b : b + 1], h_alone)
        torch.testing.assert_close(c[:, b : b + 1], c_alone)


@pytest.mark.usefixtures("always")
def test_what_lies_past_the_ends_is_not_looked_at() -> None:
    layer = rc.GRU(5, 8)
    x = torch.randn(11, 6, 5)
    expected, _ = layer(x, lengths=LENGTHS)
    past = torch.arange(11)[:, None] >= LENGTHS
    dirty = x.masked_fill(past[..., None], torch.nan).requires_grad_()
    y, state = layer(dirty, lengths=LENGTHS)
    (y.sum() + state.sum()).backward()
    torch.testing.assert_close(y, expected)
    assert dirty.grad is not None
    assert not dirty.grad[past].any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.usefixtures("always")
def test_results_own_their_memory() -> None:
    layer = rc.GRU(5, 8)
    x = torch.randn(11, 6, 5, requires_grad=True)
    y, state = layer(x, lengths=LENGTHS)
    places = {each.untyped_storage().data_ptr() for each in (x, y, state)}
    assert len(places) == 3
    y.relu_()
    state[:, 0] = 0
    (y.sum() + state.sum()).backward()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_sequences_without_a_step_leave_gradients_finite(backend: str) -> None:
    """A cell that divides by a state which is zero before its first step."""
    layer = rc.Recurrent("slstm", 5, 8, backend=backend)
    torch.manual_seed(0)
    x = torch.randn(11, 6, 5, requires_grad=True)
    y, states = layer(x, lengths=LENGTHS)
    torch.stack([y.sum(), *(state.sum() for state in states)]).sum().backward()
    grads = [x.grad, *(p.grad for p in layer.parameters())]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_orders_gradients_are_copies_the_other_way() -> None:
    order = ragged.LongestFirst(torch.tensor([1, 4, 2]))
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(order.restored(order.arranged(x, 1), 1), x)
    assert torch.equal(order.arranged(x, 1)[:, 0], x[:, 1])
    assert torch.autograd.gradgradcheck(lambda x: order.arranged(x, 1), (x,))
    slow = torch.autograd.functional.jacobian(lambda x: order.arranged(x, 1).sum(0), x)
    fast = torch.autograd.functional.jacobian(
        lambda x: order.arranged(x, 1).sum(0), x, vectorize=True
    )
    torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize(
    ("kind", "orders"),
    [
        ({}, True),
        ({"dtype": torch.bfloat16}, True),
        ({"dtype": torch.float64}, False),
        ({"backend": "reference"}, False),
    ],
)
@pytest.mark.usefixtures("always")
def test_only_compiled_loops_leave_anything_out(
    kind: dict[str, Any], orders: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, made = rc.Recurrent("gru", 5, 8, **kind), []
    of = ragged.LongestFirst.of
    monkeypatch.setattr(ragged.LongestFirst, "of", lambda *given: made.append(given) or of(*given))
    x = torch.randn(11, 6, 5, dtype=kind.get("dtype", torch.float32))
    layer(x, lengths=LENGTHS)
    assert bool(made) == orders


def test_sequences_lie_as_they_are_where_order_does_not_pay() -> None:
    long, short = torch.tensor([100, 3, 100]), torch.tensor([5, 3, 5])
    assert ragged.LongestFirst.of(short, 5, 1000, 10) is None
    order = ragged.LongestFirst.of(long, 100, 1_000_000, 10)
    assert order is not None
    assert order.order.tolist() == [0, 2, 1]
    assert ragged.LongestFirst.of(torch.tensor([100, 100, 3]), 100, 1_000_000, 10) is None
    # one that is a little shorter than the others is not worth copies of all
    nearly = torch.tensor([350] + [400] * 63)
    assert ragged.LongestFirst.of(nearly, 400, 3 * 128 * 256, 256) is None
