"""Empty batches have a graph, and what lies past a sequence's length is not read."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from recurra.lang import Cell
from recurra.nn import Bidirectional

T, B, IN, H, V = 5, 3, 4, 8, 7
BACKENDS = ["auto", "reference"]
CELLS = ["gru", "lstm", "mut1", "qrnn_fo", "indrnn", "slstm", "tlstm"]
LENGTHS = torch.tensor([3, 0, 5])


def tensors(result: Any) -> list[Tensor]:
    return list(torch.utils._pytree.tree_leaves(result))


def gradients(layer: nn.Module, result: Any, *others: Tensor) -> list[Tensor]:
    """Of a sum that depends on every number of the result."""
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros(())
    for value in tensors(result):
        total = total + (value * torch.randn(value.shape, generator=generator)).sum()
    return list(torch.autograd.grad(total, [*others, *layer.parameters()]))


# ---- no sequences, no steps ----------------------------------------------------------------------


def made(cell: str | Cell, backend: str, **options: Any) -> rc.Recurrent:
    return rc.Recurrent(cell, IN, H, backend=backend, **options)


LAYERS: dict[str, Callable[[str], nn.Module]] = {
    "recurrent": lambda on: made("lstm", on, num_layers=2, bidirectional=True),
    "learned state": lambda on: made("gru", on, learned_state=True),
    "low memory": lambda on: made("mut1", on, memory="low"),
    "composed": lambda on: made(rc.compose.zoneout(rc.cells.gru, 0.2), on),
    "both ways": lambda on: Bidirectional(made("lstm", on), made("gru", on, reverse=True)),
    "RNN": lambda on: rc.RNN(IN, H, 2, dropout=0.5, backend=on),
    "LSTM": lambda on: rc.LSTM(IN, H, proj_size=2, backend=on),
    "GRU": lambda on: rc.GRU(IN, H, bidirectional=True, backend=on),
}


@pytest.mark.parametrize("shape", [(T, 0), (0, B), (0, 0)])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_batch_has_gradients_of_zero(
    backend: str, kind: str, shape: tuple[int, int]
) -> None:
    layer = LAYERS[kind](backend)
    x = torch.randn(*shape, IN, requires_grad=True)
    y, state = layer(x)
    assert y.shape[:2] == shape
    assert all(h.shape[1] == shape[1] for h in tensors(state))
    names = ["x", *(name for name, _ in layer.named_parameters())]
    for name, gradient in zip(names, gradients(layer, (y, state), x), strict=True):
        # what a learned state is after no steps, is learned
        assert gradient.any() == (name == "first_h_l0" and shape == (0, B)), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_batch_of_ids_and_what_comes_with_it(backend: str) -> None:
    layer = rc.GRU(IN, H, backend=backend)
    table = torch.randn(V, IN, requires_grad=True)
    state = layer.initial_state(0)
    assert state.shape == (1, 0, H)
    state.requires_grad_()
    ids = torch.empty(T, 0, dtype=torch.int64)
    y, final = layer(ids, state, lengths=[], embedding=table)
    for gradient in gradients(layer, (y, final), table, state):
        assert not gradient.any()
    with pytest.raises(ValueError, match="batch_size >= 0, got -1"):
        layer.initial_state(-1)


def test_torch_gives_the_same_for_an_empty_batch() -> None:
    layer, theirs = rc.LSTM(IN, H), nn.LSTM(IN, H)
    x = torch.empty(T, 0, IN)
    torch.testing.assert_close(layer(x), theirs(x))


def test_the_state_after_no_steps_is_a_tensor_of_its_own() -> None:
    layer = rc.GRU(IN, H)
    state = torch.randn(1, B, H)
    _, final = layer(torch.empty(0, B, IN), state)
    final.zero_()
    assert state.any()


# ---- past a length -------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [-100, -1, V, 10**9])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_ids_past_a_length_are_not_looked_up(backend: str, one_hot: bool, padding: int) -> None:
    layer = rc.Recurrent("gru", V if one_hot else IN, H, 2, bidirectional=True, backend=backend)
    table = None if one_hot else torch.randn(V, IN, requires_grad=True)
    sources = [] if table is None else [table]
    ids = torch.randint(V, (T, B))
    wanted = layer(ids, lengths=LENGTHS, embedding=table)
    padded = torch.where(torch.arange(T)[:, None] < LENGTHS, ids, padding)
    got = layer(padded, lengths=LENGTHS, embedding=table)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    torch.testing.assert_close(gradients(layer, got, *sources), gradients(layer, wanted, *sources))
    padded[2, 0] = padding
    with pytest.raises(ValueError, match=rf"token ids in 0\.\.6 .*got {padding}"):
        layer(padded, lengths=LENGTHS, embedding=table)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sequence_of_length_0_is_as_if_it_were_not_there(backend: str, cell: str) -> None:
    """Beside others: y is zero, the state stays, nothing flows to x, NaN in it goes nowhere."""
    layer = rc.Recurrent(cell, IN, H, bidirectional=True, backend=backend)
    x = torch.randn(T, B, IN)
    x[:, 1] = torch.nan
    x.requires_grad_()
    first = tuple(torch.randn(shape) for shape in layer.state_shapes(B))
    whole = first[0] if len(first) == 1 else first
    y, state = layer(x, whole, lengths=LENGTHS)
    assert not y[:, 1].any()
    for h, begun in zip(tensors(state), first, strict=True):
        assert torch.equal(h[:, 1], begun[:, 1])
    others = [0, 2]
    kept = [y[:, others], *(h[:, others] for h in tensors(state))]
    d_x, *of_parameters = gradients(layer, kept, x)
    assert not d_x[:, 1].any()

    rest = x.detach()[:, others].requires_grad_()
    part = tuple(h[:, others] for h in first)
    wanted = layer(rest, part[0] if len(part) == 1 else part, lengths=LENGTHS[others])
    torch.testing.assert_close(kept, tensors(wanted))
    torch.testing.assert_close([d_x[:, others], *of_parameters], gradients(layer, wanted, rest))


@pytest.mark.parametrize("form", ["features", "ids"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_all_sequences_of_length_0(backend: str, form: str) -> None:
    layer = rc.LSTM(IN, H, bidirectional=True, backend=backend)
    x = torch.full((T, 1, IN), torch.nan) if form == "features" else torch.full((T, 1), -100)
    first = tuple(torch.randn(2, 1, H) for _ in range(2))
    y, state = layer(x, first, lengths=[0])
    assert not y.any()
    torch.testing.assert_close(state, first, rtol=0, atol=0)
    for gradient in gradients(layer, (y, state)):
        assert not gradient.any()
