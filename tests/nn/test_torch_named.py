"""RNN, LSTM and GRU equal torch.nn's: outputs, states, gradients, state_dict, call and messages."""

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import recurra as rc
from recurra.nn import torch_named

# torch's own remark about which of its implementations it took
pytestmark = [
    pytest.mark.medium,
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),
]

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


@pytest.mark.parametrize("form", ["plain", "sorted", "ragged", "lengths"])
def test_dropout_draws_as_torch_does(form: str) -> None:
    """Between layers torch drops features of the whole output, packed if it is, and so do we."""
    layer, expected = pair("gru", IN, H, 3, dropout=0.5, bidirectional=True)
    lengths = torch.tensor([2, 5, 1, 5, 2, 3])
    if form == "sorted":
        lengths = lengths.sort(descending=True).values
    x = torch.randn(T, len(lengths), IN)
    packed = x if form == "plain" else pack_padded_sequence(x, lengths, enforce_sorted=False)
    torch.manual_seed(5)
    y, state = layer(x, lengths=lengths) if form == "lengths" else layer(packed)
    torch.manual_seed(5)
    wanted, wanted_state = expected(packed)
    if form == "lengths":
        wanted, _ = nn.utils.rnn.pad_packed_sequence(wanted)
    if isinstance(y, PackedSequence):
        y, wanted = y.data, wanted.data
    torch.testing.assert_close((y, state), (wanted, wanted_state), rtol=1e-5, atol=1e-5)


def test_dropout_of_a_ragged_batch_has_gradients() -> None:
    layer, expected = pair("lstm", IN, H, 2, dropout=0.5)
    x = torch.randn(T, B, IN, requires_grad=True)
    found = []
    for each in (layer, expected):
        torch.manual_seed(5)
        y, _ = each(pack_padded_sequence(x, LENGTHS, enforce_sorted=False))
        found.append(torch.autograd.grad(y.data.sum(), [x, *each.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


# ---- what programs read and ask ------------------------------------------------------------------

OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.25},
    {"bias": False, "num_layers": 3},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_all_that_torch_has_is_there_with_its_values(kind: str, options: dict[str, Any]) -> None:
    layer, expected = pair(kind, IN, H, **options)
    assert [name for name in dir(expected) if not hasattr(layer, name)] == []
    for name, value in vars(expected).items():
        if isinstance(value, int | float | str) or name in ("_all_weights", "_flat_weights_names"):
            assert getattr(layer, name) == value, name
    assert all(map(torch.equal, layer._flat_weights, expected._flat_weights))
    for ours, theirs in zip(layer.all_weights, expected.all_weights, strict=True):
        assert all(map(torch.equal, ours, theirs))
    own = [p for names in layer._all_weights for p in map(layer.get_parameter, names)]
    assert all(a is b for a, b in zip(own, layer._flat_weights, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_lists_of_weights_follow_what_becomes_of_the_weights(kind: str) -> None:
    layer = pair(kind, IN, H, 2)[0]
    fresh = nn.Parameter(torch.zeros_like(layer.weight_hh_l1))
    layer.weight_hh_l1 = fresh
    for each in (layer, copy.deepcopy(layer), layer.double()):
        assert all(a is b for a, b in zip(each._flat_weights, each.parameters(), strict=True))
        assert not each._weights_have_changed()
    assert layer._flat_weights[0].dtype == torch.float64


@pytest.mark.parametrize("kind", KINDS)
def test_checks_that_programs_call_by_name(kind: str) -> None:
    layer, expected = pair(kind, IN, H, 2, bidirectional=True)
    x, state = torch.randn(T, B, IN), initial_state(layer)
    order = torch.tensor([2, 0, 1])
    for each in (layer, expected):
        each.check_input(x, None)
        each.check_forward_args(x, state, None)
        for wrong in (x[0], x[..., 1:]):
            with pytest.raises(RuntimeError, match="input"):
                each.check_input(wrong, None)
        cut: Any = state[:, 1:] if isinstance(state, Tensor) else (state[0], state[1][:, 1:])
        with pytest.raises(RuntimeError, match="Expected hidden"):
            each.check_forward_args(x, cut, None)
    assert layer.get_expected_hidden_size(x, None) == expected.get_expected_hidden_size(x, None)
    if kind.startswith("lstm"):
        assert layer.get_expected_cell_size(x, None) == expected.get_expected_cell_size(x, None)
    torch.testing.assert_close(
        layer.permute_hidden(state, order), expected.permute_hidden(state, order)
    )
    assert layer.permute_hidden(state, None) is state


class Both(rc.LSTM, nn.LSTM):
    """For a library that asks for an nn.LSTM."""


def test_what_isinstance_says() -> None:
    for made in (rc.RNN(IN, H), rc.LSTM(IN, H), rc.GRU(IN, H)):
        assert isinstance(made, nn.RNNBase)
        assert not isinstance(made, nn.RNN | nn.LSTM | nn.GRU)  # torch.compile refuses those
    both = Both(IN, H, 2, bidirectional=True)
    assert isinstance(both, nn.LSTM)
    assert repr(both) == "Both(4, 6, num_layers=2, bidirectional=True)"
    expected = nn.LSTM(IN, H, 2, bidirectional=True)
    both.load_state_dict(expected.state_dict())
    x = torch.randn(T, B, IN)
    for twin in (both, copy.deepcopy(both), pickle.loads(pickle.dumps(both))):
        assert isinstance(twin, Both)
        torch.testing.assert_close(twin(x), expected(x), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # torch.ao is deprecated, and says so
def test_quantization_says_that_it_leaves_the_layer(caplog: pytest.LogCaptureFixture) -> None:
    torch_named._announce_not_quantized.cache_clear()
    model = nn.Sequential(nn.Linear(IN, IN), rc.LSTM(IN, H))
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear, nn.LSTM})
    assert "Quantized" in repr(quantized[0])
    assert [record.name for record in caplog.records] == ["recurra"]
    assert "load its state_dict into torch.nn.LSTM" in caplog.text
    x = torch.randn(T, B, IN)
    torch.testing.assert_close(quantized[1](x), model[1](x))


# ---- wrong arguments -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plainly() -> Iterator[Callable[..., None]]:
    """Runs a function in a process without jaxtyping's wrappers, which check types themselves."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda function, *args: pool.submit(function, *args).result(timeout=110)


@pytest.mark.parametrize(
    "options",
    [
        {"bias": 0},
        {"bias": "True"},
        {"batch_first": "False"},
        {"batch_first": 1},
        {"hidden_size": 0},
        {"hidden_size": -1},
        {"hidden_size": 2.5},
        {"input_size": 0},
        {"input_size": "4"},
        {"num_layers": 0},
        {"num_layers": -2},
        {"dropout": -0.1},
        {"dropout": 1.5},
        {"dropout": True},
        {"dropout": "0.5"},
        {"proj_size": -1},
        {"proj_size": 6},
        {"proj_size": 9},
        {"nonlinearity": "garbage"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_wrong_arguments_are_what_torch_says(
    plainly: Callable[..., None], kind: str, options: dict[str, Any]
) -> None:
    plainly(wrong_arguments, kind, options)


def wrong_arguments(kind: str, options: dict[str, Any]) -> None:
    """The same exception, and torch's words in the message."""
    arguments = {"input_size": IN, "hidden_size": H, **options}
    with pytest.raises((TypeError, ValueError)) as theirs:
        getattr(nn, kind)(**arguments)
    if kind != "RNN" and "nonlinearity" in options:
        return  # an argument that there is not
    with pytest.raises(type(theirs.value)) as ours:
        getattr(rc, kind)(**arguments)
    (name,) = options
    assert str(ours.value).startswith(f"{kind}: expected ")
    words = str(theirs.value).split(" representing")[0].split(": garbage")[0].split(" '")[0]
    assert words in str(ours.value), name


def test_flags_of_any_layer_are_true_or_false(plainly: Callable[..., None]) -> None:
    plainly(wrong_flags)


def wrong_flags() -> None:
    for flag in ("bidirectional", "batch_first", "learned_state", "reverse"):
        wrong: dict[str, Any] = {flag: "False"}
        with pytest.raises(TypeError, match=rf"expected {flag} to be True or False, got 'False'"):
            rc.Recurrent("gru", IN, H, **wrong)
    assert rc.GRU(IN, H, bidirectional=1).num_directions == 2  # as torch.nn takes it


def test_tensors_of_other_sizes_are_what_torch_says() -> None:
    layer, expected = pair("lstm", IN, H)
    x, (h, c) = torch.randn(T, B, IN), initial_state(layer)
    wrong: list[tuple[Any, ...]] = [
        (x[..., 1:],),
        (x[None],),
        (x.double(),),
        (x, (h[:, 1:], c)),
        (x, (h, c[..., 1:])),
        (x[:, 0], (h, c)),
        (x, (h[:, 0], c[:, 0])),
        (x, (h.double(), c)),
    ]
    for arguments in wrong:
        with pytest.raises((ValueError, RuntimeError)) as theirs:
            expected(*arguments)
        with pytest.raises(type(theirs.value), match=r"^LSTM: expected "):
            layer(*arguments)


# ---- autocast ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_under_autocast_are_those_of_torch(kind: str, dtype: torch.dtype) -> None:
    layer, expected = pair(kind, IN, H, dtype=dtype)
    x = torch.randn(T, B, IN, dtype=dtype)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    with torch.autocast("cpu", torch.bfloat16):
        (y, state), (wanted, wanted_state) = layer(x), expected(x)
        torch.testing.assert_close(y, wanted, rtol=3e-2, atol=3e-2)
        if kind != "lstm_projected":  # of which torch.nn's c stays float32
            torch.testing.assert_close(state, wanted_state, rtol=3e-2, atol=3e-2)
        # of all forms alike, where torch.nn's LSTM gives float32 for what is packed
        for again in (layer(packed)[0].data, layer(x[:, 0])[0], layer(x, state)[0]):
            assert again.dtype == y.dtype
