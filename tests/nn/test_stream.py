"""A stream step by step equals the layer on the whole sequence."""

import copy
import logging
import pickle

import pytest
import torch
from torch import nn

import recurra as rc
from recurra.backends import cpu
from recurra.errors import BackendError, BuildError
from recurra.lang import tanh
from recurra.nn.stream import Stream

T, B, IN, H = 5, 3, 4, 6


def parts(state: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (state,) if isinstance(state, torch.Tensor) else state


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


@pytest.mark.parametrize("cell", ["lstm", "gru", "mut1"])
@pytest.mark.parametrize("sizes", [(3, 8), (5, 44), (64, 128)])  # of columns, whole panels or not
def test_steps_of_float32_are_those_of_the_sequence_to_the_bit(
    cell: str, sizes: tuple[int, int]
) -> None:
    layer = rc.Recurrent(cell, *sizes, 2, backend="cpu").eval()
    for batch in (1, 2, 3, 7):
        x = torch.randn(23, batch, sizes[0])
        stream = layer.stream(batch)
        steps = torch.stack([stream(x_t) for x_t in x])
        y, state = layer(x)
        assert torch.equal(steps, y)
        pairs = zip(parts(stream.state), parts(state), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_sequence_of_float32_among_others_is_that_alone_to_the_bit(cell: str) -> None:
    layer = rc.Recurrent(cell, IN, 44, backend="cpu").eval()
    lengths = [23, 9, 23, 1, 17, 2, 23]
    x = torch.randn(23, len(lengths), IN)
    y, _ = layer(x, lengths=lengths)
    for b, length in enumerate(lengths):
        assert torch.equal(y[:length, b], layer(x[:length, b : b + 1])[0][:, 0])


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


# ---- compiled ------------------------------------------------------------------------------------

needs_compiler = pytest.mark.skipif(cpu.found_compiler() is None, reason="needs a C++ compiler")


@needs_compiler
def test_the_first_step_compiles() -> None:
    stream = rc.Recurrent("gru", IN, H, 2).stream()
    assert "will be compiled by the first step" in stream.explain()
    stream(torch.randn(1, IN))
    assert "compiled, a step a call" in stream.explain()


@needs_compiler
@pytest.mark.medium
def test_a_context_and_a_decoder() -> None:
    layer, decoder = rc.Recurrent(contextual, IN, H, 2, sizes={"C": 2}), nn.Linear(H, 5)
    x, v = torch.randn(T, B, IN), torch.randn(B, 2)
    stream = Stream(layer, B, context=v, decoder=decoder)
    logits = torch.stack([stream(x[t]) for t in range(T)])
    torch.testing.assert_close(logits, decoder(layer(x, context=v)[0]))
    assert "compiled, a step a call" in stream.explain()


@needs_compiler
def test_what_a_cell_cannot_is_logged_once_for_all_its_streams(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cell = rc.cells.mlstm.with_constants(heads=2)
    with caplog.at_level(logging.WARNING, "recurra"):
        for _ in range(2):
            layer = rc.Recurrent(cell, IN, 4)
            for _ in range(2):
                layer.stream()(torch.zeros(1, IN))
    assert caplog.text.count("is not compiled") == 1


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_many_layers_sizes_and_the_state_on_the_way(backend: str) -> None:
    layer = rc.LSTM(IN, H, 3, proj_size=2, backend=backend)
    x = torch.randn(T, B, IN)
    stream = layer.stream(B)
    for t in range(T):
        y_t = stream(x[t])
        y, state = layer(x[: t + 1])
        torch.testing.assert_close(y_t, y[t])
        torch.testing.assert_close(stream.state, state)


@needs_compiler
def test_every_change_of_the_weights_is_seen() -> None:
    layer = rc.Recurrent("gru", IN, H, 2)
    stream, x = layer.stream(), torch.randn(1, IN)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    other = rc.Recurrent("gru", IN, H, 2)

    def optimize() -> None:
        layer(x.unsqueeze(0))[0].sum().backward()
        optimizer.step()

    def edit() -> None:
        with torch.no_grad():
            layer.W_xh_l1[0, 0] += 1

    def edit_in_inference_mode() -> None:
        with torch.inference_mode():
            layer.W_xz_l0.mul_(0.5)

    def move() -> None:
        layer.W_xh_l0.data = torch.randn(H, IN)

    def replace() -> None:
        layer.b_h_l1 = nn.Parameter(torch.randn(H))

    changes = [optimize, edit, edit_in_inference_mode, move, replace]
    changes.append(lambda: layer.load_state_dict(other.state_dict()))
    for change in changes:
        before = stream(x)
        stream.reset()
        change()
        after = stream(x)
        torch.testing.assert_close(after, layer(x.unsqueeze(0))[0][0].detach())
        assert not torch.equal(after, before)
        stream.reset()
    assert stream.why_not_compiled() is None


def test_the_state_survives_a_change_in_how_steps_run() -> None:
    layer = rc.Recurrent("lstm", IN, H)
    x = torch.randn(T, 1, IN)
    stream, expected = layer.stream(), layer(x)[0]
    for t in range(T):
        if t % 2:
            with torch.autocast("cpu"):
                y_t = stream(x[t])
            torch.testing.assert_close(y_t.float(), expected[t], rtol=0.05, atol=0.05)
        else:
            torch.testing.assert_close(stream(x[t]), expected[t], rtol=0.05, atol=0.05)


@pytest.mark.medium
def test_features_and_ids_may_follow_each_other() -> None:
    layer = rc.Recurrent("gru", IN, H)
    stream, ids = layer.stream(B), torch.tensor([0, 2, 3])
    hot = nn.functional.one_hot(ids, IN).float()
    steps = torch.stack([stream(ids), stream(hot), stream(ids)])
    torch.testing.assert_close(steps, layer(hot.expand(3, B, IN))[0])


def test_inputs_of_any_strides_and_outputs_in_place() -> None:
    layer = rc.Recurrent("gru", IN, H)
    x = torch.randn(IN, B, T)
    expected, _ = layer(x.permute(2, 1, 0))
    stream, y, wide = layer.stream(B), torch.empty(B, H), torch.empty(H, B)
    for t in range(T):
        out = y if t % 2 else wide.t()
        assert stream(x[:, :, t].t(), out=out) is out
        torch.testing.assert_close(out, expected[t])
    with pytest.raises(ValueError, match=r"out of shape \(3, 6\) and torch.float32, got \(3, 5\)"):
        stream(x[:, :, 0].t(), out=torch.empty(B, 5))


def test_an_output_is_not_written_again() -> None:
    stream = rc.Recurrent("rnn", IN, H).stream()
    first = stream(torch.randn(1, IN))
    kept = first.clone()
    stream(torch.randn(1, IN))
    assert torch.equal(first, kept)


def test_streams_in_inference_mode() -> None:
    layer = rc.Recurrent("gru", IN, H)
    x = torch.randn(T, 1, IN)
    with torch.inference_mode():
        stream = layer.stream()
        steps = torch.stack([stream(x_t) for x_t in x])
    torch.testing.assert_close(steps, layer(x)[0])
    stream.reset()
    torch.testing.assert_close(stream(x[0]), layer(x)[0][0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype: torch.dtype) -> None:
    layer = rc.Recurrent("lstm", IN, H, dtype=dtype)
    x = torch.randn(T, 1, IN, dtype=dtype)
    stream, (y, state) = layer.stream(), layer(x)
    steps = torch.stack([stream(x_t) for x_t in x])
    tolerance = 2e-2 if dtype is torch.bfloat16 else 1e-12
    torch.testing.assert_close(steps, y, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(stream.state, state, rtol=tolerance, atol=tolerance)
    assert ("not compiled" in stream.explain()) is (dtype is torch.float64)


def test_a_layer_that_moves_to_float64_is_not_compiled_any_more() -> None:
    layer = rc.Recurrent("gru", IN, H)
    stream = layer.stream()
    stream(torch.randn(1, IN))
    layer.double()
    stream.reset()
    x = torch.randn(1, IN, dtype=torch.float64)
    torch.testing.assert_close(stream(x), layer(x.unsqueeze(0))[0][0].detach())
    assert "torch.float64" in stream.explain()


def test_parametrized_weights_are_computed_at_each_step() -> None:
    layer = rc.Recurrent("rnn", IN, H)
    nn.utils.parametrizations.weight_norm(layer, "W_xh_l0")
    stream, x = layer.stream(), torch.randn(1, IN)
    assert "computed from others" in stream.explain()
    torch.testing.assert_close(stream(x), layer(x.unsqueeze(0))[0][0].detach())


def test_what_cannot_be_built_runs_as_the_layer_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise BuildError("no room on the disk")

    monkeypatch.setattr(cpu, "Stepper", broken)
    monkeypatch.setattr(cpu, "obstacle", lambda tensors: None)
    x = torch.randn(T, 1, IN)
    layer = rc.Recurrent("gru", IN, H)
    stream = layer.stream()
    with caplog.at_level(logging.WARNING, "recurra"):
        steps = torch.stack([stream(x_t) for x_t in x])
    torch.testing.assert_close(steps, layer(x)[0])
    assert caplog.text.count("no room on the disk") == 1
    assert "no room on the disk" in stream.explain()
    layer.backend = "cpu"
    with pytest.raises(BackendError, match="no room"):
        layer.stream()(x[0])


@pytest.mark.parametrize("through", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_goes_on_by_itself(through) -> None:
    layer = rc.Recurrent("gru", IN, H)
    x = torch.randn(T, 1, IN)
    expected, _ = layer(x)
    stream = layer.stream()
    stream(x[0])
    other: Stream = through(stream)
    for one in (stream, other):
        torch.testing.assert_close(one(x[1]), expected[1])
        torch.testing.assert_close(one(x[2]), expected[2])


def test_a_decoder_ends_each_step() -> None:
    layer, decoder = rc.Recurrent("gru", IN, H), nn.Linear(H, 7, bias=False)
    embedding, ids = nn.Embedding(5, IN), torch.randint(5, (T, B))
    for backend in ("auto", "reference"):
        layer.backend = backend
        stream = Stream(layer, B, embedding=embedding, decoder=decoder)
        steps = torch.stack([stream(row) for row in ids])
        y, state = layer(ids, embedding=embedding.weight)
        torch.testing.assert_close(steps, decoder(y).detach())
        torch.testing.assert_close(stream.state, state.detach())
    with torch.no_grad():
        decoder.weight.zero_()
        embedding.weight.zero_()
    assert not stream(ids[0]).any()


@needs_compiler
def test_weights_of_a_float32_layer_in_bfloat16() -> None:
    layer = rc.Recurrent("gru", 33, 70, 2)
    x = torch.randn(T, B, 33)
    stream = layer.stream(B, weights=torch.bfloat16)
    steps = torch.stack([stream(x_t) for x_t in x])
    torch.testing.assert_close(steps, layer(x)[0].detach(), rtol=2e-2, atol=2e-2)
    assert steps.dtype == torch.float32
    assert not torch.equal(steps[0], layer(x)[0][0])
    with pytest.raises(
        ValueError, match=r"weights of torch.float32 or torch.bfloat16, got torch.f"
    ):
        layer.stream(weights=torch.float64)
