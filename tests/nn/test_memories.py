"""Layers that are called with a memory: forms of it, lengths, streams, traces, mistakes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import recurra as rc
from memory_cells import SIZES, additive, everything, located, of_the_input
from recurra.cells import registry
from recurra.lang import Cell
from recurra.nn.stack import one_or_all

T, B, S = 6, 2, 7
LENGTHS = [7, 3]


def layer_of(of: Cell, **options: Any) -> rc.Recurrent:
    torch.manual_seed(0)
    own = {name: SIZES[name] for name in of.size_names if name not in ("I", "H")}
    return rc.Recurrent(of, SIZES["I"], SIZES["H"], sizes=own, **options)


def inputs(of: Cell) -> tuple[torch.Tensor, Any]:
    torch.manual_seed(1)
    memory = tuple(torch.randn(S, B, dim.evaluate(SIZES)) for dim in of.memory_sizes)
    return torch.randn(T, B, SIZES["I"]), memory[0] if len(memory) == 1 else memory


def parts(given: Any) -> tuple[torch.Tensor, ...]:
    return (given,) if isinstance(given, torch.Tensor) else given


def test_all_forms_of_a_memory_are_the_same() -> None:
    layer, (x, m) = layer_of(additive), inputs(additive)
    y, h = layer(x, memory=m, memory_lengths=LENGTHS)
    first = layer_of(additive, batch_first=True)
    y2, h2 = first(x.transpose(0, 1), memory=m.transpose(0, 1), memory_lengths=LENGTHS)
    torch.testing.assert_close(y2.transpose(0, 1), y)
    y3, h3 = layer(x[:, 1], memory=m[:3, 1])  # one sequence, without a batch
    torch.testing.assert_close(y3, y[:, 1])
    packed = pack_padded_sequence(m, LENGTHS)
    torch.testing.assert_close(layer(x, memory=packed), (y, h))
    torch.testing.assert_close(h2, h)
    torch.testing.assert_close(h3, h[:, 1])


def test_of_packed_inputs_memories_are_in_the_order_of_the_caller() -> None:
    layer, (x, m) = layer_of(located), inputs(located)
    _, expected = layer(x, lengths=[3, 5], memory=m, memory_lengths=[3, 7])
    packed = pack_padded_sequence(x, torch.tensor([3, 5]), enforce_sorted=False)
    _, found = layer(packed, memory=m, memory_lengths=[3, 7])
    torch.testing.assert_close(found, expected)


def test_what_is_past_the_end_is_not_looked_at() -> None:
    layer, (x, m) = layer_of(located), inputs(located)
    with torch.no_grad():
        y, (h, a) = layer(x, memory=m, memory_lengths=LENGTHS)
        m[3:, 1] = float("nan")
        torch.testing.assert_close(layer(x, memory=m, memory_lengths=LENGTHS), (y, (h, a)))
    assert a.shape == (1, B, S)
    assert not a[0, 1, 3:].any()
    m.requires_grad_()
    layer(x, memory=m, memory_lengths=LENGTHS)[0].sum().backward()
    assert m.grad is not None
    assert torch.isfinite(m.grad).all()
    assert not m.grad[3:, 1].any()


def test_going_on_from_a_state_over_positions() -> None:
    layer, (x, m) = layer_of(located), inputs(located)
    options = {"memory": m, "memory_lengths": LENGTHS}
    whole, last = layer(x, **options)
    first, state = layer(x[:2], **options)
    second, end = layer(x[2:], state, **options)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end, last)
    begun = layer.initial_state(B, positions=S)
    torch.testing.assert_close(layer(x, begun, **options)[0], whole)


@pytest.mark.medium
@pytest.mark.parametrize("of", [additive, located, everything], ids=lambda of: of.name)
@pytest.mark.parametrize("batch_first", [False, True])
def test_stream(of: Cell, batch_first: bool) -> None:
    layer, (x, m) = layer_of(of, batch_first=batch_first), inputs(of)
    if batch_first:
        m = m.transpose(0, 1) if of.memory_sizes[1:] == () else tuple(v.transpose(0, 1) for v in m)
    options = {"memory": m, "memory_lengths": LENGTHS}
    whole, last = layer(x.transpose(0, 1) if batch_first else x, **options)
    stream = layer.stream(B, **options)
    steps = [stream(x_t) for x_t in x]
    torch.testing.assert_close(torch.stack(steps), whole.transpose(0, 1) if batch_first else whole)
    torch.testing.assert_close(stream.state, last)
    stream.reset()
    torch.testing.assert_close(stream(x[0]), steps[0])
    assert "compiled, a step a call" in stream.explain()


def test_a_stream_sees_weights_that_were_multiplied_with_its_memory() -> None:
    layer, (x, m) = layer_of(additive), inputs(additive)
    stream = layer.stream(B, memory=m, memory_lengths=LENGTHS)
    before = stream(x[0])
    with torch.no_grad():
        layer.parameters_of(0)["U_a"].mul_(-3.0)
    stream.reset()
    after, _ = layer(x, memory=m, memory_lengths=LENGTHS)
    torch.testing.assert_close(stream(x[0]), after[0])
    assert not torch.equal(before, after[0])


@pytest.mark.medium
@pytest.mark.parametrize("of", [additive, located, everything], ids=lambda of: of.name)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_stream_begins_again_with_other_sequences(of: Cell, backend: str) -> None:
    """Of more or fewer sequences and positions, with the weights as they were packed."""
    layer, (x, m) = layer_of(of, backend=backend), inputs(of)
    stream = layer.stream(B, memory=m, memory_lengths=LENGTHS)
    stream(x[0])
    packed = stream._stepper
    for rows, positions in (([1, 0, 1, 1], S), ([1], 2), ([0, 1], S)):
        lengths = [min(LENGTHS[row], positions) for row in rows]
        others = one_or_all(tuple(each[:positions, rows] for each in parts(m)))
        options = {"memory": others, "memory_lengths": lengths}
        stream.reset(batch_size=len(rows), **options)
        whole, last = layer(x[:, rows], **options)
        for x_t, y_t in zip(x[:, rows], whole, strict=True):
            torch.testing.assert_close(stream(x_t), y_t.detach())
        torch.testing.assert_close(stream.state, last)
    assert stream._stepper is packed
    with pytest.raises(ValueError, match="Pass memory="):
        stream.reset(batch_size=2)


@pytest.mark.medium
@pytest.mark.parametrize("of", [additive, located, everything], ids=lambda of: of.name)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_stream_goes_on_with_some_of_its_sequences(of: Cell, backend: str) -> None:
    layer, (x, m) = layer_of(of, backend=backend), inputs(of)
    whole, last = layer(x, memory=m, memory_lengths=LENGTHS)
    stream = layer.stream(B, memory=m, memory_lengths=LENGTHS)
    stream(x[0])
    rows = torch.tensor([1, 1, 1])  # of the shorter memory alone
    stream.select(rows)
    assert stream._constants.positions == LENGTHS[1] < S
    for x_t, y_t in zip(x[1:], whole[1:], strict=True):
        expected = y_t[rows].detach()
        found = stream(x_t[rows])
        torch.testing.assert_close(found, expected[:, : found.shape[1]])
    for found, expected in zip(parts(stream.state), parts(last), strict=True):
        torch.testing.assert_close(found, expected[:, rows, : found.shape[2]].detach())
    stream.select(torch.tensor([2]))
    assert stream.batch_size == 1
    with pytest.raises(ValueError, match=r"expected rows \[1 or more\]"):
        stream.select(torch.zeros(0, dtype=torch.int64))


def test_what_begins_again_sees_every_change_of_the_weights() -> None:
    """Also of one number that nobody counts, for the memory's products too."""
    layer, (x, m) = layer_of(additive), inputs(additive)
    options = {"memory": m, "memory_lengths": LENGTHS}
    stream = layer.stream(B, **options)
    stream(x[0])
    for name in layer.parameters_of(0):
        layer.parameters_of(0)[name].data.view(-1)[1] += 2.0
        stream.reset(batch_size=B, **options)
        whole, _ = layer(x, **options)
        torch.testing.assert_close(stream(x[0]), whole[0].detach())


def test_a_stream_of_a_layer_with_hooks_is_given_the_memory() -> None:
    layer, (x, m) = layer_of(located), inputs(located)
    whole, _ = layer(x, memory=m, memory_lengths=LENGTHS)
    layer.register_forward_hook(lambda module, args, output: (output[0] + 1.0, output[1]))
    stream = layer.stream(B, memory=m, memory_lengths=LENGTHS)
    torch.testing.assert_close(stream(x[0]), whole[0] + 1.0)


@pytest.mark.medium
def test_layers_directions_and_autocast() -> None:
    layer = layer_of(additive, num_layers=2, bidirectional=True)
    x, m = inputs(additive)
    y, h = layer(x, memory=m, memory_lengths=LENGTHS)
    assert y.shape == (T, B, 2 * SIZES["H"])
    assert h.shape == (4, B, SIZES["H"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, _ = layer(x, memory=m.bfloat16(), memory_lengths=LENGTHS)
        low.sum().backward()
    torch.testing.assert_close(low.float(), y, rtol=0.05, atol=0.05)


def test_two_cells_of_which_one_reads_the_memory() -> None:
    both = rc.Bidirectional(layer_of(additive), rc.Recurrent("gru", 3, 4, reverse=True))
    x, m = inputs(additive)
    y, _ = both(x, memory=m, memory_lengths=LENGTHS)
    expected, _ = both.forwards(x, memory=m, memory_lengths=LENGTHS)
    torch.testing.assert_close(y[..., :4], expected)


def test_no_steps_and_no_sequences() -> None:
    layer, (x, m) = layer_of(located), inputs(located)
    y, (h, a) = layer(x[:0], memory=m)
    assert (y.shape, a.shape) == ((0, B, 4), (1, B, S))
    over = layer_of(everything)
    x, m = inputs(everything)
    assert over(x[:0], memory=m)[0].shape == (0, B, S)
    y, (h, a) = layer(x[:, :0], memory=inputs(located)[1][:, :0])
    assert (y.shape, h.shape, a.shape) == ((T, 0, 4), (1, 0, 4), (1, 0, S))


@pytest.mark.parametrize("name", registry.FAMILIES["attention"].split())
def test_registered_cells(name: str) -> None:
    """Each sequence, with its own memory, is alone what it is in a batch, also cut in two."""
    torch.manual_seed(0)
    layer = rc.Recurrent(name, 3, 4, dtype=torch.float64)
    sizes = [dim.evaluate(layer.layer_sizes[0]) for dim in layer.cell.memory_sizes]
    x = torch.randn(T, B, 3).double()
    memories = tuple(torch.randn(S, B, size).double() for size in sizes)
    steps = [6, 4]
    y, state = layer(x, lengths=steps, memory=memories, memory_lengths=LENGTHS)
    states = state if isinstance(state, tuple) else (state,)
    for b, (n, k) in enumerate(zip(steps, LENGTHS, strict=True)):
        m = tuple(memory[:k, b] for memory in memories)
        own, last = layer(x[:n, b], memory=m)
        torch.testing.assert_close(y[:n, b, : own.shape[1]], own)
        assert not y[:n, b, own.shape[1] :].any()
        assert not y[n:, b].any()
        for whole, one in zip(states, last if isinstance(last, tuple) else (last,), strict=True):
            torch.testing.assert_close(whole[:, b, : one.shape[1]], one)
        first, middle = layer(x[:2, b], memory=m)
        second, end = layer(x[2:n, b], middle, memory=m)
        torch.testing.assert_close(torch.cat([first, second]), own)
        torch.testing.assert_close(end, last)


MISTAKES: dict[str, tuple[Callable[[Any, Any, Any], Any], str]] = {
    "no memory": (
        lambda layer, x, m: layer(x),
        "expected the memory m, got none. Pass memory=..., a tuple if there are several.",
    ),
    "batch": (
        lambda layer, x, m: layer(x, memory=m[:, :1]),
        r"expected memory m of shape \(S, 2, 5\), got \(7, 1, 5\)",
    ),
    "size": (
        lambda layer, x, m: layer(x, memory=m[..., :2]),
        r"got \(7, 2, 2\)\. .*: sizes=\{'K': 2\} of",
    ),
    "no positions": (lambda layer, x, m: layer(x, memory=m[:0]), "with one S >= 1 for all"),
    "dtype": (
        lambda layer, x, m: layer(x, memory=m.double()),
        "expected memory m of torch.float32, got torch.float64",
    ),
    "length 0": (
        lambda layer, x, m: layer(x, memory=m, memory_lengths=[0, 3]),
        r"expected memory_lengths in 1\.\.7, got 0. The memory has 7 positions",
    ),
    "length 8": (
        lambda layer, x, m: layer(x, memory=m, memory_lengths=[8, 3]),
        r"expected memory_lengths in 1\.\.7, got 8",
    ),
    "one length": (
        lambda layer, x, m: layer(x, memory=m, memory_lengths=[7]),
        r"expected memory_lengths of shape \(2,\), one for each sequence, got \(1,\)",
    ),
    "twice": (
        lambda layer, x, m: layer(x, memory=pack_padded_sequence(m, LENGTHS), memory_lengths=[7]),
        "expected no memory_lengths with a packed memory",
    ),
    "stream": (lambda layer, x, m: layer.stream(B), "expected the memory m, got none"),
    "one too many": (
        lambda layer, x, m: rc.Recurrent("gru", 3, 4)(x, memory=m),
        "expected no memory, got 1. Leave it out.",
    ),
    "lengths of none": (
        lambda layer, x, m: rc.Recurrent("gru", 3, 4)(x, memory_lengths=[1, 2]),
        "expected no memory_lengths for a cell without memory",
    ),
    "learned": (
        lambda layer, x, m: layer_of(located, learned_state=True),
        "expected learned_state=False for a cell with a state for each position",
    ),
    "layers": (
        lambda layer, x, m: layer_of(everything, num_layers=2),
        "expected num_layers=1 for a cell whose output is a number for each position",
    ),
    "output size": (
        lambda layer, x, m: layer_of(everything).output_size,
        "got one number for each position of a memory. Take the size of y.",
    ),
    "first state": (
        lambda layer, x, m: layer_of(located).initial_state(B),
        "expected positions for a cell with a state for each position of a memory, got none",
    ),
    "misspelt": (lambda layer, x, m: layer(x, memroy=m), "Did you mean 'memory'?"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    call, said = MISTAKES[name]
    layer, (x, m) = layer_of(additive), inputs(additive)
    with pytest.raises((ValueError, TypeError), match=said) as caught:
        call(layer, x, m)
    assert "\n" not in str(caught.value)


def test_explained() -> None:
    text = layer_of(additive).explain()
    assert "Recurrent(additive): backend cpu" in text
    assert "once a sequence: U_a [6, 5] @ each row of m" in text
    assert "the weighted sum of the rows of m [32, 5]" in text
    assert "numbers are those of memories of 32 vectors" in text


def test_a_context_beside_a_memory() -> None:
    layer, (x, m) = layer_of(of_the_input), inputs(of_the_input)
    y, _ = layer(x, memory=m, context=torch.randn(B, SIZES["H"]))
    assert y.shape == (T, B, SIZES["H"])
