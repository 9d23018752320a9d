"""Layers that read from the end, a different cell each way, and learned first states."""

import copy

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import recurra as rc
from recurra.lang import cell, tanh
from recurra.nn import Bidirectional

T, B, I = 6, 3, 4  # noqa: E741 - the input size
LENGTHS = torch.tensor([4, 6, 1])


def both() -> Bidirectional:
    torch.manual_seed(0)
    return Bidirectional(
        rc.Recurrent("lstm", I, 5, dtype=torch.float64),
        rc.Recurrent("gru", I, 3, reverse=True, dtype=torch.float64),
    )


def test_each_way_is_its_layer() -> None:
    layer, x = both(), torch.randn(T, B, I, dtype=torch.float64)
    y, ((h, c), g) = layer(x)
    assert y.shape == (T, B, layer.output_size) == (T, B, 8)
    assert (h.shape, c.shape, g.shape) == ((1, B, 5), (1, B, 5), (1, B, 3))
    one_way = copy.deepcopy(layer.backwards)
    one_way.reverse = False
    torch.testing.assert_close(y[..., 5:], one_way(x.flip(0))[0].flip(0))
    torch.testing.assert_close(y[..., :5], layer.forwards(x)[0])
    again, _ = layer(x, ((h, c), g))
    assert not torch.allclose(again, y)


def test_ragged_and_packed() -> None:
    layer, x = both(), torch.randn(T, B, I, dtype=torch.float64)
    y, state = layer(x, lengths=LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(y[:length, b], layer(x[:length, b : b + 1])[0][:, 0])
    packed, of_packed = layer(pack_padded_sequence(x, LENGTHS, enforce_sorted=False))
    torch.testing.assert_close(pad_packed_sequence(packed)[0], y)
    torch.testing.assert_close(of_packed, state)


def test_one_cell_for_both_ways_is_the_same_thing() -> None:
    torch.manual_seed(0)
    layer = rc.Recurrent("gru", I, 5, bidirectional=True)
    twin = Bidirectional(rc.Recurrent("gru", I, 5), rc.Recurrent("gru", I, 5, reverse=True))
    twin.forwards.load_state_dict({n: v for n, v in layer.state_dict().items() if "rev" not in n})
    twin.backwards.load_state_dict(
        {n.removesuffix("_reverse"): v for n, v in layer.state_dict().items() if "rev" in n}
    )
    x = torch.randn(T, B, I)
    torch.testing.assert_close(twin(x, lengths=LENGTHS)[0], layer(x, lengths=LENGTHS)[0])


def test_ids_stand_for_rows_of_one_embedding() -> None:
    layer = both()
    ids = torch.randint(7, (T, B))
    table = torch.randn(7, I, dtype=torch.float64, requires_grad=True)
    y, state = layer(ids, lengths=LENGTHS, embedding=table)
    wanted, wanted_state = layer(table[ids], lengths=LENGTHS)
    torch.testing.assert_close((y, state), (wanted, wanted_state))
    gradients = [torch.autograd.grad(out.sum(), table) for out in (y, wanted)]
    torch.testing.assert_close(*gradients)
    one_hot = torch.nn.functional.one_hot(ids % I, I).double()
    torch.testing.assert_close(layer(ids % I)[0], layer(one_hot)[0])


@cell(context="v")
def told(x, h, v, W, U, V):
    """An RNN that is told something all the time."""
    return tanh(W @ x + U @ h + V @ v)


def test_context_is_for_the_layers_that_read_one() -> None:
    sizes = {"C": 2}
    reads = rc.Recurrent(told, I, 5, sizes=sizes)
    x, v = torch.randn(T, B, I), torch.randn(B, 2)
    layer = Bidirectional(reads, rc.Recurrent("gru", I, 3, reverse=True))
    torch.testing.assert_close(layer(x, context=v)[0][..., :5], reads(x, context=v)[0])
    twice = Bidirectional(reads, rc.Recurrent(told, I, 5, sizes=sizes, reverse=True))
    y, state = twice(x, twice.initial_state(B), context=v)
    torch.testing.assert_close(y, twice(x, context=(v,))[0])
    assert not torch.allclose(y, twice(x, state, context=v)[0])
    with pytest.raises(ValueError, match="1 context tensors"):
        layer(x)
    with pytest.raises(ValueError, match="expected no context"):
        both()(x.double(), context=v)


def test_what_it_says_of_itself() -> None:
    layer = both()
    assert (layer.input_size, layer.batch_first) == (I, False)
    ahead, _, back = layer.explain().partition("\n\nbackwards: Recurrent(gru)")
    assert ahead.startswith("forwards: Recurrent(lstm): backend ")
    assert "backend" in back
    with pytest.raises(ValueError, match=r"Bidirectional.stream: .* Stream its `forwards` layer"):
        layer.stream(2)
    with pytest.raises(ValueError, match="a pair, one of each layer, got 3"):
        layer(torch.randn(T, B, I, dtype=torch.float64), (None, None, None))


def test_mistakes() -> None:
    layer = rc.Recurrent("gru", I, 5)
    with pytest.raises(ValueError, match="one with reverse=True"):
        Bidirectional(layer, layer)
    with pytest.raises(ValueError, match="layers of one input_size"):
        Bidirectional(layer, rc.Recurrent("gru", I + 1, 5, reverse=True))
    with pytest.raises(ValueError, match="reverse=True or bidirectional=True, got both"):
        rc.Recurrent("gru", I, 5, bidirectional=True, reverse=True)
    with pytest.raises(ValueError, match="got reverse=True"):
        rc.Recurrent("gru", I, 5, reverse=True).stream()


# ---- learned first states ------------------------------------------------------------------------


def test_first_states_are_learned() -> None:
    torch.manual_seed(0)
    layer = rc.Recurrent("lstm", I, 5, 2, bidirectional=True, learned_state=True)
    x = torch.randn(T, B, I)
    zeros = tuple(torch.zeros(4, B, 5) for _ in range(2))
    torch.testing.assert_close(layer(x)[0], layer(x, zeros)[0])  # where they begin
    layer(x)[0].sum().backward()
    assert layer.first_c_l1_reverse.grad is not None
    assert layer.first_h_l0.grad.count_nonzero() == 5
    with torch.no_grad():
        layer.first_h_l1_reverse.fill_(0.5)
    h, c = layer.initial_state(B)
    assert torch.equal(h[3], torch.full((B, 5), 0.5))
    assert c.count_nonzero() == 0
    torch.testing.assert_close(layer(x)[0], layer(x, (h, c))[0])
    layer.reset_parameters()
    assert layer.first_h_l1_reverse.count_nonzero() == 0


def test_streams_start_from_what_was_learned() -> None:
    layer = rc.Recurrent("gru", I, 5, learned_state=True)
    torch.nn.init.normal_(layer.first_h_l0)
    x = torch.randn(T, 2, I)
    stream = layer.stream(2)
    steps = torch.stack([stream(x_t) for x_t in x])
    torch.testing.assert_close(steps, layer(x)[0], rtol=1e-5, atol=1e-6)
