"""`rc.trace`: every value by its name, of layers and models in all their forms."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import recurra as rc
from recurra import cell, cells, compose
from recurra.lang import sigmoid, tanh

T, B, I, H = 5, 3, 2, 4  # noqa: E741
FLOAT64 = torch.float64
EXACT = {"rtol": 0.0, "atol": 1e-12}


def layer_of(name: object, *args: int, **options: object) -> rc.Recurrent:
    sizes = args or (I, H)
    return rc.Recurrent(name, *sizes, dtype=FLOAT64, backend="reference", **options)  # type: ignore[arg-type]


def steps(*shape: int) -> Tensor:
    return torch.randn(*(shape or (T, B, I)), dtype=FLOAT64)


def lstm_by_hand(layer: rc.Recurrent, x: Tensor) -> dict[str, Tensor]:
    p = layer.parameters_of(0)
    h = c = x.new_zeros(x.shape[1], H)
    found: dict[str, list[Tensor]] = {name: [] for name in "ifogch"}
    for x_t in x:
        a = {k: x_t @ p[f"W_x{k}"].T + h @ p[f"W_h{k}"].T + p[f"b_{k}"] for k in "ifog"}
        i, f, o, g = *(a[k].sigmoid() for k in "ifo"), a["g"].tanh()
        c = f * c + i * g
        h = o * c.tanh()
        for name, value in zip("ifogch", (i, f, o, g, c, h), strict=True):
            found[name].append(value)
    return {name: torch.stack(values) for name, values in found.items()}


# ---- values --------------------------------------------------------------------------------------


def test_values_and_their_gradients_are_those_of_a_loop_by_hand() -> None:
    layer, x = layer_of("lstm"), steps().requires_grad_()
    t, expected = rc.trace(layer, x), lstm_by_hand(layer, x)
    assert t.names() == tuple(expected)
    for name, value in expected.items():
        torch.testing.assert_close(t[name], value, **EXACT)
        leaves = [x, *layer.parameters()]
        ours, theirs = (
            torch.autograd.grad(v.square().sum(), leaves, retain_graph=True, allow_unused=True)
            for v in (t[name], value)
        )
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_a_state_is_its_new_value_and_the_call_gives_what_it_gives() -> None:
    layer, x = layer_of("lstm"), steps()
    t = rc.trace(layer, x)
    y, (h, c) = layer(x)
    torch.testing.assert_close((t.h, t.h[-1], t.c[-1]), (y, h[0], c[0]), **EXACT)
    torch.testing.assert_close(t.result, (y, (h, c)), **EXACT)


def test_layers_and_directions_are_asked_for() -> None:
    layer, x = layer_of("gru", num_layers=2, bidirectional=True), steps()
    t, (y, state) = rc.trace(layer, x), layer(x)
    torch.testing.assert_close(t.layer(1).h, y[..., :H], **EXACT)
    torch.testing.assert_close(t.layer(1, reverse=True).h, y[..., H:], **EXACT)
    for place, (number, reverse) in enumerate(((0, False), (0, True), (1, False), (1, True))):
        last = t.layer(number, reverse=reverse).h[0 if reverse else -1]
        torch.testing.assert_close(last, state[place], **EXACT)
    lower = t.layer(0)
    assert lower.passage.given.x.shape == (T, B, I)
    assert t.layer(1).passage.given.x.shape == (T, B, 2 * H)


def test_a_layer_that_reads_from_the_end_has_one_direction() -> None:
    layer, x = layer_of("gru", reverse=True), steps()
    t = rc.trace(layer, x)
    torch.testing.assert_close(t.layer(0).h, layer(x)[0], **EXACT)
    torch.testing.assert_close(t.layer(0, reverse=True).h, t.h, **EXACT)


def test_two_layers_of_their_own_stand_as_one_of_both_ways() -> None:
    both = rc.Bidirectional(layer_of("lstm"), layer_of("gru", reverse=True))
    x = steps()
    t, (y, _) = rc.trace(both, x), both(x)
    torch.testing.assert_close(t.layer(0).h, y[..., :H], **EXACT)
    torch.testing.assert_close(t.layer(0, reverse=True).h, y[..., H:], **EXACT)
    assert t.o.shape == t.z.shape == (T, B, H)  # of the one that has it
    torch.testing.assert_close(t.part("backwards").h, y[..., H:], **EXACT)


def test_past_its_end_a_sequence_has_zeros() -> None:
    layer, x, lengths = layer_of("gru", bidirectional=True), steps(), torch.tensor([2, 5, 3])
    x[2:, 0] = float("nan")
    t, (y, _) = rc.trace(layer, x, lengths=lengths), layer(x, lengths=lengths)
    torch.testing.assert_close(t.layer(0).h, y[..., :H], **EXACT)
    torch.testing.assert_close(t.layer(0, reverse=True).h, y[..., H:], **EXACT)
    assert t.layer(0).z[2:, 0].eq(0).all()
    assert t.layer(0).z[:2, 0].ne(0).all()


def test_forms_of_batches_are_those_of_the_layer_and_values_have_time_first() -> None:
    layer, x = layer_of("lstm"), steps()
    expected = rc.trace(layer, x).f
    layer.batch_first = True
    t = rc.trace(layer, x.transpose(0, 1))
    torch.testing.assert_close(t.f, expected, **EXACT)
    assert t.result[0].shape == (B, T, H)
    torch.testing.assert_close(rc.trace(layer, x[:, 0]).f, expected[:, :1], **EXACT)
    assert rc.trace(layer, x[:, 0]).result[0].shape == (T, H)


@pytest.mark.parametrize("batch_first", [False, True])
def test_packed_sequences_are_in_the_callers_order(batch_first: bool) -> None:
    layer = layer_of("lstm", bidirectional=True, batch_first=batch_first)
    x, lengths = steps(), torch.tensor([2, 5, 3])
    given = x.transpose(0, 1) if batch_first else x
    packed = pack_padded_sequence(given, lengths, batch_first=batch_first, enforce_sorted=False)
    t, plain = rc.trace(layer, packed), rc.trace(layer, given, lengths=lengths)
    torch.testing.assert_close(t.layer(0).f, plain.layer(0).f, **EXACT)
    y, state = layer(packed)
    assert torch.equal(t.result[0].batch_sizes, y.batch_sizes)
    torch.testing.assert_close(t.result[0].data, y.data, **EXACT)
    torch.testing.assert_close(t.result[1], state, **EXACT)


@pytest.mark.medium
def test_what_a_module_packs_itself_is_in_the_order_before_it() -> None:
    class Packs(nn.Module):
        def __init__(self, rnn: nn.Module) -> None:
            super().__init__()
            self.rnn = rnn

        def forward(self, x: Tensor, lengths: Tensor) -> object:
            return self.rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))

    x, lengths = steps(), torch.tensor([2, 5, 3])
    drop_in = rc.LSTM(I, H, dtype=FLOAT64, backend="reference")
    both = rc.Bidirectional(layer_of("lstm"), layer_of("lstm", reverse=True))
    for rnn in (drop_in, both):
        module = Packs(rnn)
        t, plain = rc.trace(module, x, lengths), rc.trace(rnn, x, lengths=lengths)
        torch.testing.assert_close(t.layer(0).f, plain.layer(0).f, **EXACT)
        torch.testing.assert_close(t.result, module(x, lengths), **EXACT)


def test_states_learned_states_and_token_ids() -> None:
    layer = layer_of("gru", learned_state=True)
    nn.init.normal_(layer.get_parameter("first_h_l0"))
    ids, table = torch.randint(6, (T, B)), steps(6, I)
    torch.testing.assert_close(
        rc.trace(layer, ids, embedding=table).h, layer(table[ids])[0], **EXACT
    )
    hot = torch.randint(I, (T, B))
    torch.testing.assert_close(rc.trace(layer, hot).h, layer(hot)[0], **EXACT)
    state = steps(1, B, H)
    torch.testing.assert_close(rc.trace(layer, steps(), state).passage.given.states[0], state[0])


def test_layers_in_the_notation_of_torch() -> None:
    x = steps()
    for ours, theirs in ((rc.LSTM, nn.LSTM), (rc.GRU, nn.GRU), (rc.RNN, nn.RNN)):
        layer, other = ours(I, H, dtype=FLOAT64), theirs(I, H, dtype=FLOAT64)
        layer.load_state_dict(other.state_dict())
        torch.testing.assert_close(rc.trace(layer, x).h, other(x)[0], **EXACT)
    projected, other = (make(I, H, proj_size=2, dtype=FLOAT64) for make in (rc.LSTM, nn.LSTM))
    projected.load_state_dict(other.state_dict())
    t = rc.trace(projected, x)
    torch.testing.assert_close(t.h, other(x)[0], **EXACT)
    assert (t.h.shape[-1], t.h_1.shape[-1]) == (2, H)  # before it is projected


@torch.no_grad()
def test_gates_of_the_drop_ins_are_gates() -> None:
    x = 3.0 * steps()
    for options in ({}, {"bias": False}, {"proj_size": 2}, {"proj_size": 2, "bias": False}):
        t = rc.trace(rc.LSTM(I, H, dtype=FLOAT64, **options), x)
        assert [name for name in t.names() if name in "ifgoch"] == list("ifgoch")
        assert all(0.0 < t[gate].min() <= t[gate].max() < 1.0 for gate in "ifo")
        assert t.g.abs().max() < 1.0
        for gate in "ifo":
            torch.testing.assert_close(t[gate], t[f"{gate}_bar"].sigmoid(), **EXACT)
        torch.testing.assert_close(t.g, t.g_bar.tanh(), **EXACT)
    for bias in (True, False):
        t = rc.trace(rc.GRU(I, H, bias=bias, dtype=FLOAT64), x)
        assert all(0.0 < t[gate].min() <= t[gate].max() < 1.0 for gate in "rz")
        assert t.n.abs().max() < 1.0


def test_a_drop_in_has_the_gates_of_the_lstm_with_its_weights() -> None:
    drop_in, layer, x = rc.LSTM(I, H, dtype=FLOAT64), layer_of("lstm"), steps()
    p = drop_in.parameters_of(0)
    stacks = (p["weight_ih"], p["weight_hh"], p["bias_ih"] + p["bias_hh"])
    own = layer.parameters_of(0)
    with torch.no_grad():
        for name, stack in zip(("W_x{}", "W_h{}", "b_{}"), stacks, strict=True):
            for gate, rows in zip("ifgo", stack.chunk(4), strict=True):
                own[name.format(gate)].copy_(rows)
    ours, theirs = rc.trace(drop_in, x), rc.trace(layer, x)
    for name in "ifgoch":
        torch.testing.assert_close(ours[name], theirs[name], **EXACT)
    open_gate = {"f": 1.0}
    torch.testing.assert_close(
        rc.intervene(drop_in, x, replace=open_gate),
        rc.intervene(layer, x, replace=open_gate),
        **EXACT,
    )


def test_composed_cells_keep_their_names() -> None:
    made = compose.residual(compose.layer_norm(cells.lstm))
    layer, x = layer_of(made, H, H), steps(T, B, H)
    t = rc.trace(layer, x)
    torch.testing.assert_close(t.result, layer(x), **EXACT)
    assert t.f.shape == (T, B, H)


@pytest.mark.medium
def test_masks_and_dropout_are_drawn_as_in_any_call() -> None:
    layer = layer_of("zoneout(lstm, 0.3)", num_layers=2, dropout=0.5)
    x = steps()
    torch.manual_seed(3)
    expected = layer(x)
    torch.manual_seed(3)
    torch.testing.assert_close(rc.trace(layer, x).result, expected, **EXACT)
    layer.eval()
    torch.testing.assert_close(rc.trace(layer, x).result, layer(x), **EXACT)


def test_attention_weights_are_values_like_others() -> None:
    layer = layer_of("additive_attention_gru", I, H, sizes={"K": 3, "A": 2})
    x, memory, counts = steps(), steps(6, B, 3), torch.tensor([6, 2, 4])
    t = rc.trace(layer, x, memory=memory, memory_lengths=counts)
    assert t.alpha.shape == t.score.shape == (T, B, 6)
    torch.testing.assert_close(t.alpha.sum(-1), torch.ones(T, B, dtype=FLOAT64), **EXACT)
    assert t.score[:, 1, 2:].eq(0).all()
    assert t.alpha[:, 1, 2:].eq(0).all()
    torch.testing.assert_close(t.h, layer(x, memory=memory, memory_lengths=counts)[0], **EXACT)


@pytest.mark.medium
def test_matrix_states_numbers_and_matrices_of_parameters() -> None:
    @cell(state="h", sizes={"a": "1"})
    def scaled(x, h, W, U, a):
        rate = sigmoid(a)
        skew = U - U.T
        return tanh(W @ x + rate * (skew @ h))

    t = rc.trace(layer_of(scaled), steps())
    assert (t.rate.shape, t.skew.shape) == ((T, B, 1), (T, H, H))
    layer = layer_of("delta_net")
    x = steps()
    t = rc.trace(layer, x)
    assert t.S.shape[:2] == (T, B)
    assert t.S.dim() == 4
    torch.testing.assert_close(t.S[-1], layer(x)[1][0], **EXACT)


def test_what_is_read_besides_x() -> None:
    layer, x, gaps = layer_of("time_aware_lstm"), steps(), steps(T, B, 1).abs()
    name = layer.cell.further[0]
    t = rc.trace(layer, x, **{name: gaps})
    torch.testing.assert_close(t.h, layer(x, **{name: gaps})[0], **EXACT)

    @cell(state="h", context="v")
    def shown(x, h, v, W, U, V):
        seen = tanh(V @ v)
        return tanh(W @ x + U @ h + seen)

    layer, v = rc.Recurrent(shown, I, H, dtype=FLOAT64, sizes={"C": 3}), steps(B, 3)
    t = rc.trace(layer, x, context=v)
    torch.testing.assert_close(t.h, layer(x, context=v)[0], **EXACT)
    assert t.seen.shape == (T, B, H)


# ---- models --------------------------------------------------------------------------------------


def test_a_language_model() -> None:
    model = rc.LanguageModel(7, hidden_size=H, num_layers=2, dtype=FLOAT64, batch_first=True)
    ids = torch.randint(7, (B, T))
    t = rc.trace(model, ids)
    torch.testing.assert_close(t.result, model(ids), **EXACT)
    assert t.layer(1).c.shape == (T, B, H)
    torch.testing.assert_close(t.layer(0).passage.given.x, model.embedding(ids).transpose(0, 1))


def test_classifiers_and_taggers_read_as_they_do() -> None:
    ids, lengths = torch.randint(6, (T, B)), torch.tensor([5, 2, 3])
    model = rc.Classifier(vocab_size=6, num_classes=2, hidden_size=H, dtype=FLOAT64).eval()
    t = rc.trace(model, ids, lengths)
    torch.testing.assert_close(t.result, model(ids, lengths), **EXACT)
    assert {place.part for place in t.passages} == {"recurrent"}
    tagger = rc.Tagger(vocab_size=6, num_labels=3, hidden_size=H, dtype=FLOAT64).eval()
    t = rc.trace(tagger, ids, lengths)
    torch.testing.assert_close(t.result, tagger(ids, lengths), **EXACT)


@pytest.mark.medium
def test_the_attention_map_of_a_translator() -> None:
    model = rc.Translator(6, 5, embedding_size=3, hidden_size=H, dtype=FLOAT64).eval()
    source, target = torch.randint(6, (6, B)), torch.randint(5, (T, B))
    counts = torch.tensor([6, 2, 4])
    t = rc.trace(model, source, target, counts)
    torch.testing.assert_close(t.result, model(source, target, counts), **EXACT)
    assert t.alpha.shape == (T + 1, B, 6)  # of the decoder: nothing else has it
    assert t.alpha[:, 1, 2:].eq(0).all()
    with pytest.raises(AttributeError, match=r"t\.part\('encoder'\)\.layer\(0\)\.h"):
        t.h  # noqa: B018
    assert t.part("decoder").h.shape == (T + 1, B, H)
    assert "alpha" in rc.trace(model, source, target, part="decoder").names()


def test_a_forecast_that_is_fed_back_goes_on_behind_what_was_read() -> None:
    model = rc.Forecaster(1, 3, T, decoding="recursive", hidden_size=H, dtype=FLOAT64).eval()
    x = steps(T, B, 1)
    t = rc.trace(model, x)
    torch.testing.assert_close(t.result.raw, model(x).raw, **EXACT)
    assert t.h.shape == (T + 2, B, H)  # the last forecast is fed to none
    assert t.call(0).h.shape == (T, B, H)


def test_a_layer_that_is_called_again_goes_on() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = layer_of("gru")

        def forward(self, x: Tensor) -> Tensor:
            first, state = self.rnn(x[:2])
            return torch.cat([first, self.rnn(x[2:], state)[0]])

    module, x = Twice(), steps()
    t = rc.trace(module, x)
    torch.testing.assert_close(t.h, module.rnn(x)[0], **EXACT)
    torch.testing.assert_close(t.call(1).h, t.h[2:], **EXACT)
    assert "in 2 calls" in repr(t)


# ---- what it is to hold --------------------------------------------------------------------------


def test_it_shows_itself_and_offers_its_names() -> None:
    t = rc.trace(layer_of("gru"), steps())
    assert repr(t) == "Trace\n  layer 0: " + ", ".join(f"{n} [5, 3, 4]" for n in t.names())
    assert {"z", "r", "layer"} <= set(dir(t))
    assert copy.copy(t).names() == t.names()
    with torch.no_grad():
        kept = rc.trace(layer_of("gru").requires_grad_(False), steps(), keep="z")
    assert kept.names() == ("z",)
    assert torch.equal(pickle.loads(pickle.dumps(kept)).z, kept.z)


@pytest.mark.parametrize("within", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("name", ["gru", "qrnn_fo"])  # a state of the latter is x as it is
def test_what_is_handed_out_has_memory_of_its_own(name: str, within: type) -> None:
    layer = layer_of(name)
    for T, lengths in ((T_, n) for T_ in (0, 1, 3) for n in (None, torch.tensor([T_, T_, 0]))):
        with within():
            x, state = steps(T, B, I), [steps(1, B, *each) for each in layer.own_shapes()]
            given = state[0] if len(state) == 1 else tuple(state)
            t = rc.trace(layer, x, given, lengths)
            y, ends = t.result
            ends = [ends] if isinstance(ends, Tensor) else list(ends)
            passage = t.passage
            out = [y, *ends, *(t[each] for each in t.names()), passage.y, *passage.states]
            held = [x, *state]
        assert [each.shape for each in passage.states] == [each.shape[1:] for each in state]
        places = [each.untyped_storage().data_ptr() for each in (*held, *out) if each.numel()]
        assert len(set(places)) == len(places)


def test_other_calls_run_as_ever_and_so_do_calls_after_one_that_failed() -> None:
    layer, x = layer_of("lstm"), steps()
    with pytest.raises(ZeroDivisionError):
        rc.intervene(layer, x, f=lambda v, s: v * (1 // (2 - s)))
    before = layer(x)
    rc.trace(layer, x)
    torch.testing.assert_close(layer(x), before)


def test_mistakes_are_told_in_a_line() -> None:
    layer, x = layer_of("lstm"), steps()
    t = rc.trace(layer, x)
    with pytest.raises(AttributeError, match=r"value of lstm, got 'forget'\. Use one of i, f, o"):
        t.forget  # noqa: B018
    with pytest.raises(KeyError, match="got 'forget'"):
        t["forget"]
    with pytest.raises(ValueError, match=r"expected one of layer 0, got layer\(1\)"):
        t.layer(1)
    with pytest.raises(ValueError, match=r"expected a part of '', got 'encoder'"):
        t.part("encoder")
    with pytest.raises(ValueError, match=r"a call of 0 to 0, got 1"):
        t.call(1)
    with pytest.raises(ValueError, match=r"value of lstm, got 'z'\. Use one of i, f"):
        rc.trace(layer, x, keep=("f", "z"))
    with pytest.raises(TypeError):
        rc.trace("lstm", x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"recurrent layers of recurra, got LSTM\. rc\.RNN"):
        rc.trace(nn.LSTM(I, H), x)
    with pytest.raises(ValueError, match=r"expected part as one of '', got 'decoder'"):
        rc.trace(layer, x, part="decoder")
    with pytest.raises(ValueError, match="expected"):  # what the layer itself says
        rc.trace(layer, steps(T, B, 7))
    model = nn.ModuleDict({"rnn": layer, "other": nn.Identity()})
    model.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"ran none of 'rnn'"):
        rc.trace(model, x)


def test_what_is_ambiguous_says_how_to_ask() -> None:
    t = rc.trace(layer_of("gru", num_layers=2, bidirectional=True), steps())
    with pytest.raises(AttributeError) as caught:
        t.z  # noqa: B018
    assert str(caught.value) == (
        "Trace: expected to know which z, got 4 of them. Say t.layer(0).z, "
        "t.layer(0, reverse=True).z, t.layer(1).z, t.layer(1, reverse=True).z"
    )
    with pytest.raises(ValueError, match="expected one layer and direction, got layer 0, layer 0"):
        t.passage  # noqa: B018


def test_a_trace_is_gone_through_by_the_names_of_its_values() -> None:
    t = rc.trace(rc.Recurrent("gru", 3, 4), torch.randn(5, 2, 3))
    assert [*t] == [*t.names()]
    assert "z" in t
    assert "q" not in t
    assert {name: t[name].shape for name in t}["h"] == (5, 2, 4)
