"""A stream step by step equals the layer on the whole sequence."""

import pytest
import torch

import recurra as rc
from recurra.lang import tanh

T, B, IN, H = 5, 3, 4, 6


@rc.cell(state="h")
def clock(x, h, t, W_xh, W_hh):
    """An RNN that reads the index of the step."""
    return tanh(W_xh @ x + W_hh @ h) / (1 + t)


@rc.cell(state="h", context="v")
def contextual(x, h, v, W_xh, W_hh, W_vh):
    """An RNN that sees a context at every step."""
    return tanh(W_xh @ x + W_hh @ h + W_vh @ v)


@pytest.mark.parametrize("cell", ["gru", "lstm", "mut1", "naive_memory"])
def test_steps_equal_the_whole_sequence(cell: str) -> None:
    layer = rc.Recurrent(cell, IN, H, 2, batch_first=True, dropout=0.5)
    x = torch.randn(B, T, IN)
    stream = layer.stream(B)
    steps = [stream(x[:, t]) for t in range(T)]
    y, state = layer.eval()(x)
    torch.testing.assert_close(torch.stack(steps, dim=1), y)
    torch.testing.assert_close(stream.state, state)
    assert not steps[0].requires_grad


def test_reset_starts_from_zeros_or_from_a_state() -> None:
    layer = rc.Recurrent("lstm", IN, H)
    x = torch.randn(T, 1, IN)
    stream = layer.stream()
    first = stream(x[0])
    stream(x[1])
    stream.reset()
    assert torch.equal(stream.state[0], torch.zeros(1, 1, H))
    torch.testing.assert_close(stream(x[0]), first)
    y, _ = layer(x)
    _, prefix = layer(x[:3])
    stream.reset(prefix)
    torch.testing.assert_close(stream(x[3]), y[3])


def test_token_ids_and_context() -> None:
    layer = rc.Recurrent(contextual, IN, H, sizes={"C": 2})
    embedding, v, ids = torch.randn(7, IN), torch.randn(B, 2), torch.randint(7, (T, B))
    stream = layer.stream(B, context=v, embedding=embedding)
    steps = torch.stack([stream(ids[t]) for t in range(T)])
    torch.testing.assert_close(steps, layer(ids, context=v, embedding=embedding)[0])


def test_step_index_counts_on_and_reset_starts_it_again() -> None:
    layer = rc.Recurrent(clock, IN, H)
    x = torch.randn(T, 1, IN)
    stream = layer.stream()
    for _ in range(2):
        steps = torch.stack([stream(x[t]) for t in range(T)])
        torch.testing.assert_close(steps, layer(x)[0])
        stream.reset()


def test_stream_follows_the_weights() -> None:
    layer = rc.Recurrent("rnn", IN, H)
    stream = layer.stream()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    assert torch.equal(stream(torch.randn(1, IN)), torch.zeros(1, H))


def test_what_cannot_stream() -> None:
    with pytest.raises(ValueError, match=r"Recurrent\(gru\).stream: expected a unidirectional"):
        rc.Recurrent("gru", IN, H, bidirectional=True).stream()
    with pytest.raises(ValueError, match="expected batch_size >= 1, got 0"):
        rc.Recurrent("gru", IN, H).stream(0)


def test_wrong_steps_and_states() -> None:
    stream = rc.Recurrent("gru", IN, H).stream(B)
    with pytest.raises(ValueError, match=r"of batch 3, got shape \(5, 3, 4\).*one step at a time"):
        stream(torch.randn(T, B, IN))
    with pytest.raises(ValueError, match=r"features .* of batch 3, got shape \(1, 4\)"):
        stream(torch.randn(1, IN))
    with pytest.raises(ValueError, match=r"token ids \[batch\] of batch 3, got shape \(2,\)"):
        stream(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"token ids in 0..3"):
        stream(torch.tensor([0, 1, 4]))
    with pytest.raises(ValueError, match=r"state h of shape \(1, 3, 6\), got \(1, 1, 6\)"):
        stream.reset(torch.zeros(1, 1, H))
    assert repr(stream) == "Stream(Recurrent(gru), batch_size=3)"
