"""The layer on every cell and every form of sequence: one form is checked against another."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import recurra as rc
from recurra.backends import load
from recurra.lang import concat, tanh

T, B, IN, H = 5, 3, 4, 8
LENGTHS = torch.tensor([3, 5, 1])
# those that read a memory are in test_memories.py
WITHOUT_MEMORY = [name for name in rc.cells.names() if not rc.cells.get(name).memory]
WITH_INPUT = [name for name in WITHOUT_MEMORY if rc.cells.get(name).input is not None]


@rc.cell(state="h", context="v")
def captioner(x, h, v, W_xh, W_hh, W_vh, b_h):
    """An RNN that sees a context at every step."""
    return tanh(W_xh @ x + W_hh @ h + W_vh @ v + b_h)


@rc.cell(state="h", context=("u", "v"))
def two_contexts(x, h, u, v, W_xh, W_hh, W_uh, W_vh):
    """An RNN with two contexts, whose sizes are named after them."""
    return tanh(W_xh @ x + W_hh @ h + W_uh @ u + W_vh @ v)


@rc.cell(state="h", output=True)
def wide_output(x, h, W_xh, W_hh):
    """An RNN whose output is its old and new state side by side, 2H features."""
    new = tanh(W_xh @ x + W_hh @ h)
    return concat(new, h), new


@rc.cell(state="h", sizes={"x": "H"})
def unprojected(x, h, W_hh):
    """An RNN that adds the input as it is, so it must have the state's size."""
    return tanh(x + W_hh @ h)


@rc.cell(state="h")
def clock(x, h, t, W_xh, W_hh):
    """An RNN that reads the index of the step."""
    return tanh(W_xh @ x + W_hh @ h) / (1 + t)


def as_tuple(state: Any) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def random_state(layer: rc.Recurrent, batch_size: int = B) -> Any:
    dtype = next(layer.parameters()).dtype
    state = tuple(torch.randn(s, dtype=dtype) for s in layer.state_shapes(batch_size))
    return state[0] if len(state) == 1 else state


def sizes_of(cell: str) -> dict[str, int]:
    """Numbers for the size names that a registered cell has besides I and H."""
    return dict.fromkeys(set(rc.cells.get(cell).size_names) - {"I", "H"}, 2)


def make(cell: Any, num_layers: int = 1, **options: Any) -> rc.Recurrent:
    sizes = sizes_of(cell) if isinstance(cell, str) else {}
    if isinstance(cell, str) and any("I" in s.names for s in rc.cells.get(cell).state_sizes):
        num_layers = 1  # it keeps inputs as a state, and those of the next layer have another size
    return rc.Recurrent(cell, IN, H, num_layers, dtype=torch.float64, sizes=sizes, **options)


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def further(layer: rc.Recurrent) -> dict[str, Tensor]:
    """What the cell reads at each step besides x, [T, B, size]; above 0, as times are."""
    sizes = layer.further_sizes.items()
    return {name: inputs(T, B, *size).abs().requires_grad_() for name, size in sizes}


# --- the forms of a batch


@pytest.mark.parametrize("cell", WITH_INPUT)
def test_ragged_batch_equals_each_sequence_alone(cell: str) -> None:
    layer = make(cell, 2, bidirectional=True)
    x, state = inputs(T, B, IN).requires_grad_(), random_state(layer)
    more = further(layer)
    y, final = layer(x, state, LENGTHS, **more)
    assert y.shape == (T, B, layer.output_size)
    scalar, scalar_alone = torch.zeros(2, dtype=torch.float64)
    for b, length in enumerate(LENGTHS.tolist()):
        alone = tuple(s[:, b] for s in as_tuple(state))
        own = {name: each[:length, b] for name, each in more.items()}
        y_b, final_b = layer(x[:length, b], alone[0] if len(alone) == 1 else alone, **own)
        torch.testing.assert_close(y[:length, b], y_b)
        assert torch.equal(y[length:, b], torch.zeros_like(y[length:, b]))
        for got, wanted in zip(as_tuple(final), as_tuple(final_b), strict=True):
            torch.testing.assert_close(got[:, b], wanted)
            scalar, scalar_alone = scalar + got[:, b].sum(), scalar_alone + wanted.sum()
        cotangent = torch.randn_like(y_b)
        scalar = scalar + (y[:length, b] * cotangent).sum()
        scalar_alone = scalar_alone + (y_b * cotangent).sum()
    sources = [x, *layer.parameters()]
    for got, wanted in zip(
        torch.autograd.grad(scalar, sources),
        torch.autograd.grad(scalar_alone, sources),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("cell", WITH_INPUT)
def test_packed_equals_lengths(cell: str) -> None:
    layer = make(cell, 2, bidirectional=True)
    x, state, more = inputs(T, B, IN), random_state(layer), further(layer)
    y, final = layer(x, state, LENGTHS, **more)
    packed, *others = (
        pack_padded_sequence(each, LENGTHS, enforce_sorted=False) for each in (x, *more.values())
    )
    y_packed, final_packed = layer(packed, state, **dict(zip(more, others, strict=True)))
    assert isinstance(y_packed, PackedSequence)
    torch.testing.assert_close(pad_packed_sequence(y_packed)[0], y)
    for got, wanted in zip(as_tuple(final_packed), as_tuple(final), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("lengths", [LENGTHS, LENGTHS.tolist(), LENGTHS.int()])
def test_batch_first_and_kinds_of_lengths(lengths: Any) -> None:
    layer = make("lstm", 2, bidirectional=True)
    twin = copy.deepcopy(layer)
    twin.batch_first = True
    x, state = inputs(T, B, IN), random_state(layer)
    y, (h, c) = layer(x, state, LENGTHS)
    y_first, (h_first, c_first) = twin(x.transpose(0, 1), state, lengths)
    torch.testing.assert_close(y_first.transpose(0, 1), y)
    torch.testing.assert_close((h_first, c_first), (h, c))


def test_layers_and_directions_are_composed_as_documented() -> None:
    layer = make("lstm", 2, bidirectional=True)
    x, (h, c) = inputs(T, B, IN), random_state(layer)
    y, (h_final, c_final) = layer(x, (h, c))
    read = x
    for k in range(2):
        outputs = []
        for d, suffix in enumerate(("", "_reverse")):
            single = rc.Recurrent("lstm", read.shape[-1], H, dtype=torch.float64)
            weights = {
                f"{name}_l0": layer.get_parameter(f"{name}_l{k}{suffix}")
                for name in layer.cell.parameters
            }
            single.load_state_dict(weights, strict=True)
            index = slice(2 * k + d, 2 * k + d + 1)
            seen = read.flip(0) if d else read
            out, (h_1, c_1) = single(seen, (h[index], c[index]))
            outputs.append(out.flip(0) if d else out)
            torch.testing.assert_close((h_1, c_1), (h_final[index], c_final[index]))
        read = torch.cat(outputs, dim=-1)
    torch.testing.assert_close(y, read)


@pytest.mark.parametrize("cell", WITHOUT_MEMORY)
def test_state_carries_on_where_it_was_left(cell: str) -> None:
    has_input = rc.cells.get(cell).input is not None
    layer = rc.Recurrent(cell, IN if has_input else 0, H, dtype=torch.float64, sizes=sizes_of(cell))
    x = inputs(T, B, IN) if has_input else inputs(T, B, 0)
    state, more = random_state(layer), further(layer)
    y, final = layer(x, state, **more)
    y_1, middle = layer(x[:2], state, **{name: each[:2] for name, each in more.items()})
    rest = {name: each[2:] for name, each in more.items()}
    y_2, final_2 = layer(x[2:], middle, **rest, **({"start": 2} if layer.cell.step else {}))
    torch.testing.assert_close(torch.cat([y_1, y_2]), y)
    for got, wanted in zip(as_tuple(final_2), as_tuple(final), strict=True):
        torch.testing.assert_close(got, wanted)


def test_default_state_is_zeros() -> None:
    layer = make("lstm", 2)
    x = inputs(T, B, IN)
    torch.testing.assert_close(layer(x), layer(x, layer.initial_state(B)))


# --- token ids


@pytest.mark.parametrize("bidirectional", [False, True])
def test_token_ids_with_embedding(bidirectional: bool) -> None:
    layer = make("gru", 2, bidirectional=bidirectional)
    ids = torch.randint(7, (T, B))
    embedding = inputs(7, IN).requires_grad_()
    y, _ = layer(ids, lengths=LENGTHS, embedding=embedding)
    wanted, _ = layer(embedding[ids], lengths=LENGTHS)
    torch.testing.assert_close(y, wanted)
    cotangent = torch.randn_like(y)
    sources = [embedding, *layer.parameters()]
    for got, want in zip(
        torch.autograd.grad(y, sources, cotangent),
        torch.autograd.grad(wanted, sources, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


def test_token_ids_without_embedding_are_one_hot() -> None:
    layer = make("lstm")
    ids = torch.randint(IN, (T, B))
    one_hot = torch.nn.functional.one_hot(ids, IN).double()
    torch.testing.assert_close(layer(ids), layer(one_hot))


def test_token_ids_in_every_form() -> None:
    layer = make("gru")
    ids, embedding = torch.randint(7, (T, B)), inputs(7, IN)
    y, final = layer(ids, lengths=LENGTHS, embedding=embedding)
    packed = pack_padded_sequence(ids, LENGTHS, enforce_sorted=False)
    y_packed, final_packed = layer(packed, embedding=embedding)
    torch.testing.assert_close(pad_packed_sequence(y_packed)[0], y)
    torch.testing.assert_close(final_packed, final)
    y_1, _ = layer(ids[:, 1], embedding=embedding)
    torch.testing.assert_close(y_1, y[:, 1])
    layer.batch_first = True
    y_first, _ = layer(ids.T, lengths=LENGTHS, embedding=embedding)
    torch.testing.assert_close(y_first.transpose(0, 1), y)


# --- cells of the user's own


def test_context_reaches_every_layer_and_direction() -> None:
    layer = rc.Recurrent(captioner, IN, H, 2, bidirectional=True, sizes={"C": 2})
    x, v = torch.randn(T, B, IN), torch.randn(B, 2, requires_grad=True)
    y, final = layer(x, context=v)
    alone, final_1 = layer(x[:, 1], context=v[1])
    torch.testing.assert_close(y[:, 1], alone)
    torch.testing.assert_close(final[:, 1], final_1)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    y_packed, _ = layer(packed, context=v)
    y_lengths, _ = layer(x, lengths=LENGTHS, context=(v,))
    torch.testing.assert_close(pad_packed_sequence(y_packed)[0], y_lengths)
    (d_v,) = torch.autograd.grad(y.sum(), v)
    assert d_v.abs().min() > 0


def test_several_contexts() -> None:
    layer = rc.Recurrent(two_contexts, IN, H, sizes={"C_u": 2, "C_v": 3})
    y, _ = layer(torch.randn(T, B, IN), context=(torch.randn(B, 2), torch.randn(B, 3)))
    assert y.shape == (T, B, H)


def test_output_size_that_is_not_the_hidden_size() -> None:
    layer = rc.Recurrent(wide_output, IN, H, 2, bidirectional=True)
    y, final = layer(torch.randn(T, B, IN))
    assert layer.output_size == y.shape[-1] == 4 * H
    assert layer.W_xh_l1.shape == (H, 4 * H)
    assert final.shape == (4, B, H)


def test_input_size_that_the_cell_ties_to_the_hidden_size() -> None:
    layer = rc.Recurrent(unprojected, H, H, 2)
    assert layer(torch.randn(T, B, H))[0].shape == (T, B, H)
    with pytest.raises(ValueError, match=r"layer 0 to read H = 8 features.*got 4"):
        rc.Recurrent(unprojected, IN, H)
    with pytest.raises(ValueError, match=r"layer 1 to read H = 8 features.*got 16"):
        rc.Recurrent(unprojected, H, H, 2, bidirectional=True)


def test_step_index_counts_from_zero_in_each_call() -> None:
    layer = rc.Recurrent(clock, IN, H)
    x = torch.zeros(2, B, IN)
    ones = torch.ones(1, B, H)
    with torch.no_grad():
        layer.W_hh_l0.copy_(torch.eye(H))
    y, _ = layer(x, ones)
    torch.testing.assert_close(y[0], torch.tanh(ones[0]))
    torch.testing.assert_close(y[1], torch.tanh(y[0]) / 2)


# --- a module like any other


def test_parameter_names_and_initial_values() -> None:
    layer = rc.Recurrent("lstm", IN, H, 2, bidirectional=True)
    names = set(layer.state_dict())
    assert {"W_xi_l0", "W_xi_l0_reverse", "W_hf_l1", "b_f_l1_reverse"} <= names
    assert len(names) == 4 * len(layer.cell.parameters)
    for name, parameter in layer.named_parameters():
        if name.startswith("b_f"):
            assert torch.equal(parameter, torch.ones(H))
        else:
            assert 0 < parameter.abs().max() <= H**-0.5
    before = layer.W_xi_l0.clone()
    layer.reset_parameters()
    assert not torch.equal(before, layer.W_xi_l0)


@pytest.mark.parametrize("way", ["pickle", "torch.save", "deepcopy"])
def test_copies_compute_the_same(way: str) -> None:
    layer = make("peephole_lstm", 2, bidirectional=True)
    x = inputs(T, B, IN)
    expected, _ = layer(x)
    if way == "pickle":
        twin = pickle.loads(pickle.dumps(layer))
    elif way == "deepcopy":
        twin = copy.deepcopy(layer)
    else:
        buffer = io.BytesIO()
        torch.save(layer, buffer)
        buffer.seek(0)
        twin = torch.load(buffer, weights_only=False)
    torch.testing.assert_close(twin(x)[0], expected)
    assert twin.cell is layer.cell
    assert twin.W_xi_l0 is not layer.W_xi_l0


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float64, 1e-12)]
)
def test_to_another_dtype(dtype: torch.dtype, tolerance: float) -> None:
    layer = make("lstm", 2)
    x = inputs(T, B, IN)
    wanted, _ = layer(x)
    y, (h, c) = copy.deepcopy(layer).to(dtype)(x.to(dtype))
    assert y.dtype == h.dtype == c.dtype == dtype
    difference = (y.double() - wanted).norm() / wanted.norm()
    assert difference < tolerance


def test_meta_device_then_materialised() -> None:
    layer = rc.Recurrent("gru", IN, H, device="meta")
    assert layer(torch.empty(T, B, IN, device="meta"))[0].shape == (T, B, H)
    layer.to_empty(device="cpu")
    layer.reset_parameters()
    assert layer(torch.randn(T, B, IN))[0].isfinite().all()


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    layer = make("lstm", 2, bidirectional=True)
    x = inputs(T, B, IN)
    wanted, _ = layer(x, lengths=LENGTHS)
    y, (h, _) = layer.cuda()(x.cuda(), lengths=LENGTHS)
    assert y.is_cuda
    assert h.is_cuda
    torch.testing.assert_close(y.cpu(), wanted)


def test_autocast_takes_low_precision_and_carries_the_state() -> None:
    layer = rc.Recurrent("gru", IN, H, 2)
    x = torch.randn(T, B, IN)
    wanted, _ = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer(x.bfloat16())
        again, _ = layer(x.bfloat16(), state)
    assert (y.float() - wanted).norm() / wanted.norm() < 2e-2
    again.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_dropout_works_between_layers_in_training_only() -> None:
    layer = make("gru", 2, dropout=1.0)
    x = inputs(T, B, IN)
    y, _ = layer(x)
    twin = rc.Recurrent("gru", H, H, dtype=torch.float64)
    weights = {f"{n}_l0": layer.get_parameter(f"{n}_l1") for n in layer.cell.parameters}
    twin.load_state_dict(weights)
    torch.testing.assert_close(y, twin(torch.zeros(T, B, H, dtype=torch.float64))[0])
    layer.eval()
    kept, _ = layer(x)
    layer.dropout = 0.0
    torch.testing.assert_close(kept, layer.train()(x)[0])


def test_dropout_on_one_layer_warns() -> None:
    with pytest.warns(UserWarning, match=r"dropout=0.5 does nothing with num_layers=1"):
        rc.Recurrent("gru", IN, H, dropout=0.5)


# --- the edges


def test_nan_reaches_later_steps_of_its_own_sequence_only() -> None:
    layer = make("lstm", 2)
    x = inputs(T, B, IN)
    clean, _ = layer(x)
    x[2, 1, 0] = torch.nan
    y, (h, c) = layer(x)
    torch.testing.assert_close(y[:2], clean[:2])
    torch.testing.assert_close(y[:, [0, 2]], clean[:, [0, 2]])
    assert y[2:, 1].isnan().all()
    assert h[:, 1].isnan().all()
    assert c[:, 1].isnan().all()
    assert h[:, [0, 2]].isfinite().all()


def test_nan_past_the_length_is_not_read() -> None:
    layer = make("gru", 2, bidirectional=True)
    x = inputs(T, B, IN)
    clean, state = layer(x, lengths=LENGTHS)
    x[3:, 0] = torch.nan
    y, state_nan = layer(x, lengths=LENGTHS)
    torch.testing.assert_close((y, state_nan), (clean, state))


@pytest.mark.parametrize("form", ["features", "ids", "batch_first"])
def test_no_steps_give_no_output_and_the_state_as_it_was(form: str) -> None:
    layer = make("lstm", 2, bidirectional=True, batch_first=form == "batch_first")
    h, c = random_state(layer)
    h.requires_grad_()
    shape = {"features": (0, B, IN), "ids": (0, B), "batch_first": (B, 0, IN)}[form]
    x = torch.zeros(shape, dtype=torch.int64) if form == "ids" else inputs(*shape)
    y, (h_final, c_final) = layer(x, (h, c))
    assert y.shape == ((B, 0, 2 * H) if form == "batch_first" else (0, B, 2 * H))
    assert y.dtype == torch.float64
    torch.testing.assert_close((h_final, c_final), (h, c))
    h_final.sum().backward()
    assert torch.equal(h.grad, torch.ones_like(h))


def test_empty_batch() -> None:
    y, state = make("gru")(inputs(T, 0, IN))
    assert y.shape == (T, 0, H)
    assert state.shape == (1, 0, H)


def test_cell_without_input() -> None:
    layer = rc.Recurrent("dynamical_system", 0, H)
    state = torch.randn(1, B, H)
    y, final = layer(torch.empty(T, B, 0), state)
    s = state[0]
    for t in range(T):
        s = torch.tanh(s @ layer.W_l0.T + layer.b_l0)
        torch.testing.assert_close(y[t], s)
    torch.testing.assert_close(final[0], s)


# --- what it says of itself


def test_explain_names_backend_and_each_shape_once() -> None:
    layer = make("gru", 3, bidirectional=True)
    text = layer.explain()
    chosen = load(layer.cell).name
    assert text.startswith(f"Recurrent(gru): backend {chosen} (asked for: auto)")
    assert text.count("layer 0, both directions\n") == 1
    assert text.count("layers 1, 2, both directions\n") == 1
    assert text.count("I = 4, H = 8") == text.count("I = 16, H = 8") == 1


def test_repr_shows_what_is_not_default() -> None:
    assert repr(rc.Recurrent("gru", IN, H)) == "Recurrent(gru, input_size=4, hidden_size=8)"
    layer = rc.Recurrent("torch_lstm_projected", IN, H, 2, batch_first=True, sizes={"P": 3})
    assert "num_layers=2, batch_first=True, sizes={'P': 3}" in repr(layer)


def test_explain_gives_the_numbers_of_every_size_when_asked() -> None:
    layer = make("gru", 3)
    assert layer.explain().count("in the time loop, each step:") == 1
    assert layer.explain(details=True).count("in the time loop, each step:") == 2
    nn.utils.parametrizations.weight_norm(layer, "W_xh_l0")
    assert "a parameter is computed from others at each call" in layer.explain()


class Doubling(nn.Module):
    """Doubles a weight, and counts how often."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return 2 * weight


@pytest.mark.parametrize("name", ["weight_ih_l0", "bias_ih_l0", "weight_hh_l1_reverse"])
@pytest.mark.parametrize("steps", [1, 5])
def test_a_parametrized_weight_is_computed_once_a_call(name: str, steps: int) -> None:
    layer, doubling = rc.GRU(IN, H, 2, bidirectional=True), Doubling()
    nn.utils.parametrize.register_parametrization(layer, name, doubling)
    x = torch.randn(steps, 3, IN)
    for given in (None, layer.initial_state(3)):
        doubling.count = 0
        layer(x, given)
        assert doubling.count == 1
