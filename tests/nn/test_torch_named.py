"""RNN, LSTM and GRU equal torch.nn's: outputs, states, gradients, state_dict, call and messages."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import recurra as rc

# torch's own remark about which of its implementations it took
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")

T, B, IN, H = 5, 3, 4, 6
LENGTHS = torch.tensor([3, 5, 1])
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "rnn": (rc.RNN, nn.RNN, {}),
    "rnn_relu": (rc.RNN, nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (rc.LSTM, nn.LSTM, {}),
    "lstm_projected": (rc.LSTM, nn.LSTM, {"proj_size": 3}),
    "gru": (rc.GRU, nn.GRU, {}),
}


def pair(kind: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    """Our layer and torch's, of the same weights."""
    ours, theirs, own = KINDS[kind]
    layer, expected = ours(*args, **own, **options), theirs(*args, **own, **options)
    layer.load_state_dict(expected.state_dict(), strict=True)
    return layer, expected


def as_tuple(state: Any) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def initial_state(layer: Any) -> Any:
    """A random state with gradient, of the form that torch.nn takes."""
    parameter = next(layer.parameters())
    state = tuple(
        torch.randn(shape, dtype=parameter.dtype, requires_grad=True)
        for shape in layer.state_shapes(B)
    )
    return state[0] if len(state) == 1 else state


def results(layer: Any, x: Tensor, hx: Any, form: str, batch_first: bool) -> list[Tensor]:
    """Output, final states, and every gradient from a cotangent on both."""
    given: Any = x
    if form != "plain":
        lengths = LENGTHS.sort(descending=True).values if form == "sorted" else LENGTHS
        given = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=form == "sorted")
    y, state = layer(given, hx)
    assert isinstance(y, PackedSequence) == (form != "plain")
    data = y.data if isinstance(y, PackedSequence) else y
    generator = torch.Generator().manual_seed(1)
    scalar = torch.zeros((), dtype=x.dtype)
    for value in (data, *as_tuple(state)):
        cotangent = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        scalar = scalar + (value * cotangent).sum()
    sources = [x, *as_tuple(hx), *layer.parameters()]
    return [data, *as_tuple(state), *torch.autograd.grad(scalar, sources)]


def compare_with_torch(
    kind: str, form: str, dtype: torch.dtype, tolerance: float, **options: Any
) -> None:
    layer, expected = pair(kind, IN, H, dtype=dtype, **options)
    batch_first = layer.batch_first
    shape = (B, T, IN) if batch_first else (T, B, IN)
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    hx = initial_state(layer)
    got = results(layer, x, hx, form, batch_first)
    wanted = results(expected, x, hx, form, batch_first)
    assert len(got) == len(wanted)
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "form",
    ["plain", *(pytest.param(form, marks=pytest.mark.medium) for form in ("sorted", "ragged"))],
)
@pytest.mark.parametrize(
    ("num_layers", "bidirectional", "batch_first", "bias"),
    list(itertools.product([1, 2], [False, True], [False, True], [False, True])),
)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_torch_in_single_precision(
    kind: str, num_layers: int, bidirectional: bool, batch_first: bool, bias: bool, form: str
) -> None:
    compare_with_torch(
        kind,
        form,
        torch.float32,
        1e-5,
        num_layers=num_layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        bias=bias,
    )


@pytest.mark.parametrize("form", ["plain", "ragged"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_torch_in_double_precision(
    kind: str, bias: bool, bidirectional: bool, form: str
) -> None:
    options = {"num_layers": 2, "bias": bias, "bidirectional": bidirectional}
    compare_with_torch(kind, form, torch.float64, 1e-10, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_moves_both_ways(kind: str) -> None:
    layer, expected = pair(kind, IN, H, 2, bidirectional=True)
    fresh = copy.deepcopy(expected)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    fresh.load_state_dict(layer.state_dict(), strict=True)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor)
    assert list(layer.state_dict()) == list(expected.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_draws_the_same_weights(kind: str) -> None:
    ours, theirs, own = KINDS[kind]
    torch.manual_seed(3)
    layer = ours(IN, H, 2, bidirectional=True, **own)
    torch.manual_seed(3)
    expected = theirs(IN, H, 2, bidirectional=True, **own)
    for got, wanted in zip(layer.parameters(), expected.parameters(), strict=True):
        assert torch.equal(got, wanted)


def test_torch_positional_arguments_and_attributes() -> None:
    layer = rc.LSTM(IN, H, 2, False, True, 0.25, True, 3)
    expected = nn.LSTM(IN, H, 2, False, True, 0.25, True, 3)
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout")
    for name in (*names, "bidirectional", "proj_size"):
        assert getattr(layer, name) == getattr(expected, name)
    assert rc.RNN(IN, H, 1, "relu", False).nonlinearity == "relu"
    assert rc.GRU(IN, H, 1, False, True).batch_first
    assert [[w.shape for w in ws] for ws in layer.all_weights] == [
        [w.shape for w in ws] for ws in expected.all_weights
    ]
    layer.flatten_parameters()
    assert repr(layer) == (
        "LSTM(4, 6, proj_size=3, num_layers=2, bias=False, batch_first=True, dropout=0.25, "
        "bidirectional=True)"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_one_sequence_without_a_batch(kind: str) -> None:
    layer, expected = pair(kind, IN, H, 2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(T, IN, dtype=torch.float64)
    y, state = layer(x)
    wanted_y, wanted_state = expected(x)
    torch.testing.assert_close(y, wanted_y, rtol=1e-10, atol=1e-10)
    for got, wanted in zip(as_tuple(state), as_tuple(wanted_state), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)
    again, _ = layer(input=x, hx=state)  # torch's keywords; the state has no batch either
    torch.testing.assert_close(again, expected(x, wanted_state)[0], rtol=1e-10, atol=1e-10)


def test_packed_output_has_the_indices_of_the_input() -> None:
    layer, expected = pair("gru", IN, H)
    packed = pack_padded_sequence(torch.randn(T, B, IN), LENGTHS, enforce_sorted=False)
    y, wanted = layer(packed)[0], expected(packed)[0]
    for got, want in zip(y[1:], wanted[1:], strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_equal_a_packed_sequence(kind: str) -> None:
    layer, expected = pair(kind, IN, H, 2, bidirectional=True, batch_first=True)
    x = torch.randn(B, T, IN)
    y, state = layer(x, lengths=LENGTHS)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    wanted, wanted_state = expected(packed)
    wanted, _ = nn.utils.rnn.pad_packed_sequence(wanted, batch_first=True)
    torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-5)
    for got, want in zip(as_tuple(state), as_tuple(wanted_state), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_dropout_draws_as_torch_does() -> None:
    """Between layers torch drops features of the whole output at once, and so do we."""
    layer, expected = pair("gru", IN, H, 3, dropout=0.5)
    x = torch.randn(T, B, IN)
    torch.manual_seed(5)
    y, _ = layer(x)
    torch.manual_seed(5)
    wanted, _ = expected(x)
    torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-5)


def test_wrong_nonlinearity_and_projection() -> None:
    with pytest.raises(ValueError, match=r"LSTM: expected proj_size below hidden_size = 6, got 6"):
        rc.LSTM(IN, H, proj_size=6)
    with pytest.raises(ValueError, match=r"LSTM: expected hidden_size >= 1, got 0"):
        rc.LSTM(IN, 0)
