"""torch's own kernels, held against the reference as every backend is."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from recurra import backends
from recurra.backends import NativeBackend
from recurra.backends.native import form_of
from recurra.errors import BackendError
from recurra.lang import Cell, sigmoid, tanh

pytestmark = pytest.mark.medium

T, B, IN, H = 5, 4, 3, 6
LENGTHS = [5, 0, 3, 1]
WITH_KERNEL = sorted(name for name in rc.cells.names() if form_of(rc.cells.get(name).equations))


def test_gru_that_resets_before_the_product_is_told_so() -> None:
    with pytest.raises(BackendError, match=r"reset gate acts before the product .*'torch_gru'"):
        rc.Recurrent("gru", IN, H, backend="native")
    for name in ("mut1", "mgu"):
        with pytest.raises(BackendError, match=f"got '{name}'. Use backend='auto'"):
            rc.Recurrent(name, IN, H, backend="native")


def test_torch_has_kernels_for_these_cells_of_the_registry() -> None:
    assert {name for name in WITH_KERNEL if not name.startswith("torch_")} == {
        *("driven_system", "irnn", "lstm", "lstm_np", "lstm_stacked", "rnn", "rnn_relu")
    }
    own = [name for name in rc.cells.names() if name.startswith("torch_")]
    assert set(own) <= set(WITH_KERNEL)


def results(layer: rc.Recurrent, x: Tensor, **options: Any) -> dict[str, Tensor]:
    """y, the final states, and the gradients of a function of all of them."""
    x = x.clone().requires_grad_(x.is_floating_point())
    y, state = layer(x, **options)
    states = (state,) if isinstance(state, Tensor) else state
    found = {"y": y, **{f"state {i}": each for i, each in enumerate(states)}}
    total = y.new_zeros(())
    for value in found.values():
        weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype, device=value.device)
        total = total + (value * weights.view_as(value)).sum()
    total.backward()
    found |= {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    if x.grad is not None:
        found["x"] = x.grad
    return found


def twins(cell: Any, *given: Any, **options: Any) -> tuple[rc.Recurrent, rc.Recurrent]:
    """Layers of the same weights on torch's kernel and on the reference."""
    torch.manual_seed(0)
    native = rc.Recurrent(cell, *given, backend="native", **options)
    reference = rc.Recurrent(cell, *given, backend="reference", **options)
    reference.load_state_dict(native.state_dict())
    return native, reference


@pytest.mark.medium
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
@pytest.mark.parametrize("way", ["forward", "reverse", "both"])
@pytest.mark.parametrize("name", WITH_KERNEL)
def test_registry(name: str, way: str, lengths: list[int] | None) -> None:
    options = {"bidirectional": way == "both", "reverse": way == "reverse"}
    native, reference = twins(name, IN, H, 2, dtype=torch.float64, **options)
    x = torch.randn(T, B, IN, dtype=torch.float64)
    if lengths is not None:
        for b, length in enumerate(lengths):
            x[length:, b] = torch.nan  # is not looked at
    found, wanted = (results(layer, x, lengths=lengths) for layer in (native, reference))
    if lengths is not None:
        found["x"], wanted["x"] = (torch.nan_to_num(each["x"]) for each in (found, wanted))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", ["lstm", "torch_gru", "rnn"])
def test_float32_state_and_batch_first(name: str) -> None:
    native, reference = twins(name, IN, H, batch_first=True)
    x = torch.randn(B, T, IN)
    state = native.initial_state(B)
    state = torch.ones_like(state) if isinstance(state, Tensor) else [s + 1 for s in state]
    found, wanted = (results(layer, x, state=state) for layer in (native, reference))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("embedded", [False, True])
def test_token_ids(embedded: bool) -> None:
    native, reference = twins("lstm", IN, H, dtype=torch.float64)
    ids = torch.randint(IN, (T, B))
    embedding = torch.randn(IN, IN, dtype=torch.float64) if embedded else None
    found, wanted = (results(each, ids, embedding=embedding) for each in (native, reference))
    torch.testing.assert_close(found, wanted)


def test_dropout_between_layers_is_torchs() -> None:
    ours, theirs = rc.LSTM(IN, H, 3, dropout=0.5, backend="native"), nn.LSTM(IN, H, 3, dropout=0.5)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, IN)
    drawn = []
    for layer in (ours, theirs):
        torch.manual_seed(3)
        drawn.append(layer(x)[0])
    torch.testing.assert_close(*drawn)
    assert not torch.equal(ours(x)[0], drawn[0])
    torch.testing.assert_close(ours.eval()(x)[0], theirs.eval()(x)[0])


# ---- cells of one's own --------------------------------------------------------------------------


@rc.cell(state="h")
def other_notation(x, h, W, U, b, V, R, c, M, P, d, e):
    """A GRU with z and 1 - z exchanged, whose reset gate follows its product."""
    z = sigmoid(b - V @ x - U @ h)
    r = sigmoid(R @ h + W @ x + c)
    return h + z * (tanh(M @ x + d + r * (P @ h + e)) - h)


@rc.cell(state=("memory", "out"), output=True)
def states_in_another_order(x, memory, out, W, U, V, R, A, E, G, S, b):
    """An LSTM with its memory first, one bias, and a gate scaled by another parameter."""
    memory = (
        sigmoid(W @ x + U @ out) * tanh(A @ x + E @ out) + sigmoid(V @ x + R @ out + b) * memory
    )
    out = sigmoid(G @ x + S @ out) * tanh(memory)
    return out, memory, out


@pytest.mark.parametrize("own", [other_notation, states_in_another_order])
def test_equations_are_known_however_they_are_written(own: Cell) -> None:
    native, reference = twins(own, IN, H, 2, dtype=torch.float64)
    x = torch.randn(T, B, IN, dtype=torch.float64)
    found, wanted = (results(layer, x, lengths=LENGTHS) for layer in (native, reference))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", ["gru", "peephole_lstm", "lstm_cifg", "mut1", "indrnn"])
def test_other_cells_are_refused(name: str) -> None:
    with pytest.raises(BackendError, match="expected a cell with the equations of"):
        rc.Recurrent(name, IN, H, backend="native")


def test_low_memory_is_refused() -> None:
    with pytest.raises(BackendError, match="expected memory='normal', got 'low'"):
        rc.Recurrent("lstm", IN, H, backend="native", memory="low")


# ---- what every backend keeps to -----------------------------------------------------------------


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 6])
@pytest.mark.parametrize("name", ["lstm", "torch_gru", "torch_lstm_projected"])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_results_share_no_memory(name: str, steps: int, gradients: bool) -> None:
    layer = rc.Recurrent(name, IN, H, 2, bidirectional=True, backend="native")
    x, first = torch.randn(steps, B, IN), layer.initial_state(B)
    with torch.set_grad_enabled(gradients):
        y, state = layer(x, first)
    states = (state,) if isinstance(state, Tensor) else state
    firsts = (first,) if isinstance(first, Tensor) else first
    tensors = [x, y, *states, *firsts, *layer.parameters()]
    pointers = [tensor.untyped_storage().data_ptr() for tensor in tensors]
    assert len(set(pointers)) == len(tensors)
    for value in (y, *states):
        assert not value._is_view()


def test_results_may_be_changed_in_place() -> None:
    layer = rc.LSTM(IN, H, 2, backend="native")
    x = torch.randn(T, B, IN)
    y, (h, c) = layer(x)
    (y.sum() + h.sum() + c.sum()).backward()
    wanted = [parameter.grad for parameter in layer.parameters()]
    layer.zero_grad()
    y, (h, c) = layer(x)
    total = y.sum() + h.sum() + c.sum()
    for value in (y, h, c):
        value.zero_()
    total.backward()
    torch.testing.assert_close([parameter.grad for parameter in layer.parameters()], wanted)


def test_second_derivatives_are_refused_and_say_what_has_them() -> None:
    layer = rc.LSTM(IN, H, backend="native")
    y, _ = layer(torch.randn(T, B, IN, requires_grad=True))
    with pytest.raises(BackendError, match="Use backend='reference'"):
        y.sum().backward(create_graph=True)


def test_gradients_by_torch_func() -> None:
    native, reference = twins("lstm", IN, H, dtype=torch.float64)
    x = torch.randn(T, B, IN, dtype=torch.float64)

    def of(layer: rc.Recurrent) -> Any:
        def loss(parameters: Any) -> Tensor:
            return torch.func.functional_call(layer, parameters, x)[0].square().sum()

        return torch.func.grad(loss)(dict(layer.named_parameters()))

    torch.testing.assert_close(of(native), of(reference))
    with pytest.raises(BackendError, match="got torch"):
        torch.func.vmap(lambda each: native(each)[0])(x[None])


def test_a_call_that_is_traced_is_refused() -> None:
    with pytest.raises(BackendError, match="expected a call that is not traced"):
        backends.traced_keys(rc.cells.lstm, "native")


def test_no_steps_and_no_sequences() -> None:
    layer = rc.LSTM(IN, H, backend="native")
    state = (torch.randn(1, B, H), torch.randn(1, B, H))
    y, (h, _) = layer(torch.randn(0, B, IN), state)
    assert y.shape == (0, B, H)
    assert torch.equal(h, state[0])
    assert layer(torch.randn(T, 0, IN))[0].shape == (T, 0, H)
    run = NativeBackend(layer.cell).run
    y, finals = run(torch.randn(0, B, IN), (state[0][0], state[1][0]), layer.parameters_of(0))
    assert y.shape == (0, B, H)
    assert torch.equal(finals[1], state[1][0])


def test_explain_says_what_runs() -> None:
    said = rc.Recurrent("lstm", IN, H, backend="native").explain()
    assert "backend native (asked for: native)" in said
    assert "torch's own kernel of LSTM" in said
    assert "put together from the cell's" in said
    assert "its weights are the cell's own" in rc.LSTM(IN, H, backend="native").explain()


# ---- what auto chooses ---------------------------------------------------------------------------


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(backends.choose, "found_compiler", lambda: None)
    backends.choose._automatic.cache_clear()
    yield
    backends.choose._automatic.cache_clear()


@pytest.mark.usefixtures("no_compiler")
def test_auto_takes_the_kernel_where_nothing_is_compiled(caplog: pytest.LogCaptureFixture) -> None:
    layer, theirs = rc.GRU(IN, H), nn.GRU(IN, H)
    layer.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, IN)
    with caplog.at_level(logging.WARNING, "recurra"):
        assert torch.equal(layer(x)[0], theirs(x)[0])
    assert not caplog.records
    assert "backend native (asked for: auto)" in layer.explain()
    with caplog.at_level(logging.WARNING, "recurra"):
        rc.Recurrent("gru", IN, H)(x)
    assert "runs on the reference backend: no C++ compiler" in caplog.text


@pytest.mark.usefixtures("no_compiler")
def test_auto_keeps_float64_on_the_cpu_to_the_reference() -> None:
    layer = rc.GRU(IN, H, dtype=torch.float64)
    y, _ = layer(torch.randn(T, B, IN, dtype=torch.float64, requires_grad=True))
    y.sum().backward(create_graph=True)
