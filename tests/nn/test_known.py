"""Calls like one before go straight to what runs them: the same numbers, and every rule holds.

Letters: T time, B batch, I input, H hidden.
"""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

import recurra as rc
from known_at_once import know_at_once
from oracle import slow_beyond_the_core
from recurra import cells
from recurra.backends.cpu import KnownCall, found_compiler
from recurra.backends.runtime.backend import PlannedBackend
from recurra.errors import BackendError

pytestmark = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")

T, B, IN, H = 6, 3, 4, 8
KINDS = [rc.RNN, rc.LSTM, rc.GRU]
LAYERS: dict[str, Callable[[], rc.Recurrent]] = {
    "LSTM": lambda: rc.LSTM(IN, H),
    "GRU, batch first": lambda: rc.GRU(IN, H, batch_first=True),
    "RNN": lambda: rc.RNN(IN, H),
    "gru": lambda: rc.Recurrent("gru", IN, H),
    "lstm, reverse": lambda: rc.Recurrent("lstm", IN, H, reverse=True),
    "lstm, little memory": lambda: rc.Recurrent("lstm", IN, H, memory="low"),
    "layer-normalised": lambda: rc.Recurrent("layer_norm(lstm)", IN, H),
    "GRU, both ways": lambda: rc.GRU(IN, H, bidirectional=True),
    "LSTM, two layers": lambda: rc.LSTM(IN, H, num_layers=2),
    "RNN, two layers, both ways, batch first": lambda: rc.RNN(
        IN, H, num_layers=2, bidirectional=True, batch_first=True
    ),
    "lstm, both ways, little memory": lambda: rc.Recurrent(
        "lstm", IN, H, bidirectional=True, memory="low"
    ),
}


def state_of(layer: rc.Recurrent, B: int = B) -> tuple[Tensor, ...]:
    """A random first state."""
    return tuple(torch.randn(shape, requires_grad=True) for shape in layer.state_shapes(B))


def form(states: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """As a layer takes it."""
    return states[0] if len(states) == 1 else states


def results(
    layer: rc.Recurrent, x: Tensor, states: tuple[Tensor, ...] | None, *, finals: bool = True
) -> list[Tensor]:
    """Outputs, final states, and the gradients of all that went in."""
    y, last = layer(x, None if states is None else form(states))
    ends = (last,) if isinstance(last, Tensor) else last
    total = y.square().sum() + (sum(end.sin().sum() for end in ends) if finals else 0)
    leaves = [x, *(states or ()), *layer.parameters()]
    return [y, *ends, *torch.autograd.grad(total, leaves)]


def sequence(layer: rc.Recurrent) -> Tensor:
    """A random input."""
    shape = (B, T, IN) if layer.batch_first else (T, B, IN)
    return torch.randn(shape, requires_grad=True)


def known(layer: rc.Recurrent) -> list[KnownCall]:
    """What the layer remembers and goes by."""
    calls = layer._known._calls.values() if layer._known else ()
    return [call for each in calls if each is not None for call, _ in each]


def warm(layer: rc.Recurrent, x: Tensor) -> Tensor:
    """What such a call gives, which is known from now on."""
    for _ in range(3):
        y = layer(x)[0]
    assert known(layer)
    return y


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("given", [False, True], ids=["from zeros", "from a state"])
def test_a_known_call_gives_the_same_bits(name: str, given: bool) -> None:
    layer = LAYERS[name]()
    x, states = sequence(layer), state_of(layer) if given else None
    for finals in (True, False):
        first = results(layer, x, states, finals=finals)
        with torch.no_grad():
            plain = layer(x, form(states) if states else None)[0]
        for _ in range(3):
            again = results(layer, x, states, finals=finals)
            for a, b in zip(first, again, strict=True):
                assert torch.equal(a, b)
                assert a.stride() == b.stride()
            with torch.no_grad():
                assert torch.equal(layer(x, form(states) if states else None)[0], plain)


CELLS = [
    cell.name
    for cell in map(cells.get, cells.names())
    if not (cell.memory or cell.context or cell.further)
]


@pytest.mark.medium
@pytest.mark.parametrize("name", slow_beyond_the_core(CELLS))
def test_known_calls_of_every_cell(name: str) -> None:
    cell = cells.get(name)
    layer = rc.Recurrent(cell, 0 if cell.input is None else H, H).eval()
    x, weights = torch.randn(T, B, layer.input_size), list(layer.parameters())
    for states in (None, tuple(state.detach() for state in state_of(layer))):
        given = None if states is None else form(states)

        def called(steps: int = T, given: Any = given) -> tuple[Tensor, ...]:
            y, last = layer(x[:steps], given)
            ends = (last,) if isinstance(last, Tensor) else last
            if not torch.is_grad_enabled():
                return y, *ends
            total = y.square().sum() + sum(end.sin().sum() for end in ends)
            found = torch.autograd.grad(total, weights, allow_unused=True)
            return tuple(each for each in (y, *ends, *found) if each is not None)

        first = called()
        with torch.no_grad():
            few, whole = called(2), called()
        for _ in range(3):
            assert all(map(torch.equal, called(), first))
            with torch.no_grad():
                assert all(map(torch.equal, called(2), few))
                assert all(map(torch.equal, called(), whole))


@pytest.mark.parametrize("name", ["LSTM", "GRU, both ways"])
def test_lengths_that_are_all_steps_are_as_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = LAYERS[name]()
    x, whole = sequence(layer), torch.full((B,), T)

    def both(lengths: Tensor | None) -> list[Tensor]:
        y, last = layer(x, lengths=lengths)
        ends = (last,) if isinstance(last, Tensor) else last
        total = y.square().sum() + sum(end.sin().sum() for end in ends)
        return [y, *ends, *torch.autograd.grad(total, [x, *layer.parameters()])]

    first = both(whole)
    others = [both(torch.tensor([T, T - 1, T])) for _ in range(3)]
    assert not known(layer)
    for _ in range(3):
        assert all(map(torch.equal, both(whole), first))
    assert known(layer)
    assert all(map(torch.equal, both(torch.tensor([T, T - 1, T])), others[0]))
    for wrong in ([T, T], [T, T, T + 1], [[T, T, T]]):
        with pytest.raises(ValueError, match="lengths"):
            layer(x, lengths=torch.tensor(wrong))
    with pytest.raises(TypeError, match="lengths"):
        layer(x, lengths=whole.double())
    monkeypatch.setattr(PlannedBackend, "run", _never)
    assert all(map(torch.equal, both(None), first))
    assert all(map(torch.equal, both(whole), first))


@pytest.mark.parametrize("name", [name for name in LAYERS if "lay" in name or "both" in name])
def test_a_state_of_other_places_is_told(name: str) -> None:
    layer = LAYERS[name]()
    x, states = sequence(layer), state_of(layer)
    for _ in range(3):
        layer(x, form(states))
    for wrong in (
        tuple(state[:-1] for state in states),
        tuple(torch.cat([state, state]) for state in states),
        tuple(state[0] for state in states),
    ):
        with pytest.raises(ValueError, match="state"):
            layer(x, form(wrong))


@pytest.mark.parametrize("name", LAYERS)
def test_a_state_of_zeros_that_take_no_memory(name: str) -> None:
    layer = LAYERS[name]()
    x, shapes = sequence(layer), layer.state_shapes(B)
    y = layer(x)[0]
    for _ in range(3):
        assert torch.equal(layer(x, form(tuple(map(torch._efficientzerotensor, shapes))))[0], y)


def test_layers_that_learn_apart() -> None:
    """Of two directions, or layers, one may be frozen, and each is followed by itself."""
    layer = rc.LSTM(IN, H, num_layers=2, bidirectional=True)
    x = torch.randn(T, B, IN)
    for name, weight in layer.named_parameters():
        weight.requires_grad_(name.endswith("l1_reverse"))
    y = warm(layer, x)
    layer(x)[0].sum().backward()
    learned = {name for name, weight in layer.named_parameters() if weight.grad is not None}
    assert learned == {n for n, _ in layer.named_parameters() if n.endswith("l1_reverse")}
    layer.weight_hh_l0_reverse.requires_grad_(True)
    assert torch.equal(layer(x)[0], y)
    layer(x)[0].sum().backward()
    assert layer.weight_hh_l0_reverse.grad is not None
    with torch.no_grad():
        layer.get_parameter("weight_hh_l0").mul_(2)
    fresh = rc.LSTM(IN, H, num_layers=2, bidirectional=True)
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x)[0], fresh(x)[0])
    assert not torch.equal(layer(x)[0], y)


def test_dropout_between_layers_is_drawn_anew_and_not_in_evaluation() -> None:
    layer, x = rc.LSTM(IN, H, num_layers=2, dropout=0.5), torch.randn(T, B, IN)
    drawn = [layer(x)[0] for _ in range(4)]
    assert not known(layer)
    assert not any(torch.equal(drawn[0], each) for each in drawn[1:])
    assert torch.equal(warm(layer.eval(), x), layer(x)[0])


def _never(*_: object, **__: object) -> None:
    raise AssertionError("a call that is known went the long way")


@pytest.mark.parametrize("name", ["LSTM", "GRU, batch first", "RNN", "GRU, both ways"])
def test_of_a_known_call_nothing_is_decided_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = LAYERS[name]()
    x, states = sequence(layer), state_of(layer)
    for _ in range(2):
        first = results(layer, x, states)
        with torch.no_grad():
            layer(x)

    monkeypatch.setattr(PlannedBackend, "run", _never)
    for a, b in zip(first, results(layer, x, states), strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        layer(x)


@pytest.mark.parametrize("name", LAYERS)
def test_what_comes_of_a_known_call_shares_memory_with_nothing(name: str) -> None:
    layer = LAYERS[name]()
    x, states = sequence(layer), state_of(layer)
    for _ in range(3):
        found = results(layer, x, states)
    given = [x, *states, *layer.parameters()]
    begins = [each.untyped_storage().data_ptr() for each in (*found, *given)]
    assert len(set(begins)) == len(begins)
    assert all(each.untyped_storage().nbytes() == each.nbytes for each in found)
    outputs = found[: 1 + len(states)]  # the gradient of x is turned by who turned x
    assert not any(each._is_view() for each in outputs)
    y, _ = layer(x)
    expected = torch.autograd.grad(y.relu().sum(), list(layer.parameters()))
    y, last = layer(x)
    for end in (last,) if isinstance(last, Tensor) else last:
        end.detach_().zero_()
    torch.testing.assert_close(
        torch.autograd.grad(y.relu_().sum(), list(layer.parameters())), expected
    )


@pytest.mark.parametrize("shape", [(T, IN), (0, B, IN), (T, 0, IN)], ids=str)
def test_one_sequence_and_none_are_never_known(shape: tuple[int, ...]) -> None:
    layer, x = rc.LSTM(IN, H), torch.randn(shape)
    first = layer(x)[0]
    for _ in range(3):
        assert torch.equal(layer(x)[0], first)
    assert not known(layer)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2}], ids=str)
def test_few_steps_of_several_layers_are_one_kernels(options: dict[str, Any]) -> None:
    """Whatever ran them at first runs them later: the bits stay."""
    layer, x = rc.GRU(IN, H, **options), torch.randn(T, B, IN)
    with torch.no_grad():
        for steps in (1, 2, 3, 4, 5, 6):
            first = layer(x[:steps])[0]
            assert all(torch.equal(layer(x[:steps])[0], first) for _ in range(3))


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_of_few_steps_gives_the_bits_of_a_longer_one(kind: type[rc.Recurrent]) -> None:
    layer, x = kind(IN, H), torch.randn(T, B, IN)
    with torch.no_grad():
        y = layer(x)[0]
        for steps in (1, 2, 3):
            for _ in range(4):
                assert torch.equal(layer(x[:steps])[0], y[:steps])
    assert len(known(layer)) == 3


def test_calls_that_tests_want_known_at_once_are(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, layer, other = know_at_once(monkeypatch), rc.GRU(IN, H), rc.GRU(IN, H, 2, dropout=0.5)
    for each in (layer, other, layer):
        each(torch.randn(T, B, IN))
    assert taken == [layer, layer]


# ---- cotangents of all kinds ---------------------------------------------------------------------

COTANGENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "expanded": lambda d: torch.ones(()).expand(d.shape),
    "batch first": lambda d: d.transpose(0, 1).contiguous().transpose(0, 1),
    "negative": lambda d: torch._neg_view(-d),
    "zeros without memory": lambda d: torch._efficientzerotensor(d.shape),
    "a part": lambda d: torch.cat([d, d])[T:],
}


@pytest.mark.medium
@pytest.mark.parametrize("name", COTANGENTS)
def test_cotangents_may_lie_otherwise_each_time(name: str) -> None:
    layer, d = rc.LSTM(IN, H), torch.randn(T, B, H)
    x, weights = sequence(layer), list(layer.parameters())
    warm(layer, x)
    torch.autograd.grad(layer(x)[0], weights, d)
    given = COTANGENTS[name](d)
    numbers = given.clone().contiguous()
    y, (h, c) = layer(x)
    for of, many in ((y, given), (h, given[:1]), (c, given[-1:])):
        plain = many.clone().contiguous()
        found = torch.autograd.grad(of, weights, many, retain_graph=True)
        expected = torch.autograd.grad(of, weights, plain, retain_graph=True)
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a, b)
    assert torch.equal(numbers, given.clone().contiguous())


def test_one_backward_pass_for_many_cotangents_and_none_of_the_second_order() -> None:
    layer = rc.GRU(IN, H)
    x, weights = sequence(layer), list(layer.parameters())
    warm(layer, x)
    y, h = layer(x)
    many, ends = torch.randn(2, T, B, H), torch.randn(2, 1, B, H)
    batched = torch.autograd.grad(
        (y, h), weights, (many, ends), is_grads_batched=True, retain_graph=True
    )
    for i in range(2):
        alone = torch.autograd.grad((y, h), weights, (many[i], ends[i]), retain_graph=True)
        torch.testing.assert_close([each[i] for each in batched], list(alone))
    with pytest.raises(BackendError, match="second derivatives"):
        torch.autograd.grad(y.sum(), weights, create_graph=True)


def test_cotangents_by_vmap() -> None:
    layer = rc.GRU(IN, H)
    x, weights, many = sequence(layer), list(layer.parameters()), torch.randn(2, T, B, H)
    warm(layer, x)
    y = layer(x)[0]
    for _ in range(2):  # without and with a backward pass that is known
        found = torch.func.vmap(lambda d: torch.autograd.grad(y, weights, d, retain_graph=True))(
            many
        )
        for i in range(2):
            alone = torch.autograd.grad(y, weights, many[i], retain_graph=True)
            assert all(torch.equal(each[i], a) for each, a in zip(found, alone, strict=True))


def test_weights_that_changed_before_the_backward_pass_are_told() -> None:
    layer = rc.LSTM(IN, H)
    x = sequence(layer)
    y = warm(layer, x)
    with torch.no_grad():
        layer.get_parameter("weight_hh_l0").add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_what_hooks_make_of_saved_tensors_is_read() -> None:
    layer = rc.LSTM(IN, H)
    x, weights = sequence(layer), list(layer.parameters())
    warm(layer, x)
    expected = torch.autograd.grad(layer(x)[0].sum(), weights)
    for lies in (lambda t: t.clone(), lambda t: torch.stack([t, t], -1)[..., 0]):
        with torch.autograd.graph.saved_tensors_hooks(lies, lies):
            y = layer(x)[0]
        for a, b in zip(torch.autograd.grad(y.sum(), weights), expected, strict=True):
            assert torch.equal(a, b)


def test_who_keeps_what_is_saved_is_given_as_many_tensors_at_each_call() -> None:
    layer = rc.LSTM(IN, H)
    x, weights, count = sequence(layer), list(layer.parameters()), []
    for _ in range(5):
        saved: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, saved=saved: saved.append(t) or t, lambda t: t
        ):
            layer(x)
        count.append([each.shape for each in saved])
        layer(x)
    assert known(layer)
    assert all(each == count[0] for each in count)
    expected = torch.autograd.grad(3 * layer(x)[0].square().sum(), weights)
    layer = copy.deepcopy(layer)  # whose calls become known between a run and its second run
    parts = [checkpoint(lambda: layer(x)[0].square().sum(), use_reentrant=False) for _ in range(3)]
    found = torch.autograd.grad(sum(parts), list(layer.parameters()))
    torch.testing.assert_close(found, expected)


# ---- what is no longer as it was -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_known_calls_follow_the_weights(kind: type[rc.Recurrent]) -> None:
    layer, x = kind(IN, H), torch.randn(T, B, IN)
    warm(layer, x)

    def expected() -> Tensor:
        fresh = kind(IN, H)
        fresh.load_state_dict(layer.state_dict())
        return fresh(x)[0]

    with torch.no_grad():
        layer.get_parameter("weight_hh_l0").mul_(2)
    assert torch.equal(layer(x)[0], expected())
    layer.get_parameter("weight_ih_l0").data = torch.randn(IN, len(layer.weight_ih_l0)).t()
    assert torch.equal(layer(x)[0], expected())
    layer.weight_hh_l0 = nn.Parameter(torch.randn_like(layer.weight_hh_l0))
    assert torch.equal(layer(x)[0], expected())
    swapped = {n: torch.randn_like(p) for n, p in layer.named_parameters()}
    found = torch.func.functional_call(layer, swapped, (x,))[0]
    layer.load_state_dict(swapped)
    assert torch.equal(found, expected())


def test_weights_that_no_longer_fit_are_told() -> None:
    layer, x = rc.LSTM(IN, H), torch.randn(T, B, IN)
    warm(layer, x)
    bias = layer.get_parameter("bias_ih_l0").data
    for wrong, error in ((bias[:-1], ValueError), (bias.double(), TypeError)):
        layer.get_parameter("bias_ih_l0").data = wrong
        with pytest.raises(error, match="parameter bias_ih_l0"):
            layer(x)
    layer.get_parameter("bias_ih_l0").data = bias
    with pytest.raises(TypeError, match=r"torch\.float64"):
        layer(x.double())
    with pytest.raises(ValueError, match="state"):
        layer(x, (torch.zeros(1, B, H), torch.zeros(1, B + 1, H)))


def test_a_layer_may_become_another_one_between_two_calls() -> None:
    layer, x = rc.LSTM(IN, H), torch.randn(T, B, IN)
    y = warm(layer, x)
    assert layer.double()(x.double())[0].dtype == torch.float64
    assert torch.equal(layer.float()(x)[0], y)
    parametrizations.weight_norm(layer, "weight_hh_l0")
    torch.testing.assert_close(layer(x)[0], y)
    layer.backend = "reference"
    torch.testing.assert_close(layer(x)[0], y)
    layer.backend, layer.reverse = "auto", True
    torch.testing.assert_close(layer(x.flip(0))[0].flip(0), y)


def test_what_is_switched_on_is_seen() -> None:
    layer, x = rc.LSTM(IN, H), torch.randn(T, B, IN)
    y = warm(layer, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x)[0].dtype == torch.bfloat16
    many = torch.func.vmap(lambda each: layer(each)[0])(torch.stack([x, x]))
    torch.testing.assert_close(many[1], y)
    weights = {n: p.detach() for n, p in layer.named_parameters()}
    of = torch.func.grad(lambda w: torch.func.functional_call(layer, w, (x,))[0].sum())
    expected = torch.autograd.grad(y.sum(), list(layer.parameters()))
    torch.testing.assert_close(list(of(weights).values()), list(expected))
    with torch.inference_mode():
        assert all(layer(x)[0].is_inference() for _ in range(3))
    assert torch.equal(layer(x)[0], y)


def test_a_frozen_layer_has_no_graph_and_one_that_learns_again_has() -> None:
    layer, x = rc.GRU(IN, H), torch.randn(T, B, IN)
    warm(layer.requires_grad_(False), x)
    assert not layer(x)[0].requires_grad
    assert layer.requires_grad_(True)(x)[0].requires_grad
    layer.weight_hh_l0.requires_grad_(False)
    layer(x)[0].sum().backward()
    assert layer.weight_hh_l0.grad is None
    assert layer.weight_ih_l0.grad is not None


def test_a_copy_knows_nothing_and_computes_the_same() -> None:
    layer, x = rc.LSTM(IN, H), torch.randn(T, B, IN)
    y = warm(layer, x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert not known(other)
        assert all(torch.equal(other(x)[0], y) for _ in range(3))


# ---- who does something else on the way ----------------------------------------------------------


class Halved(rc.GRU):
    """Outputs are half of a GRU's."""

    def run_layers(self, *args: Any, **kwargs: Any) -> Any:
        y, states = super().run_layers(*args, **kwargs)
        return y / 2, states


class Doubled(rc.GRU):
    """Weights are twice those of a GRU."""

    def parameters_of(self, layer: int, direction: int = 0) -> dict[str, Tensor]:
        return {name: 2 * p for name, p in super().parameters_of(layer, direction).items()}


@pytest.mark.parametrize("kind", [Halved, Doubled])
def test_what_a_subclass_does_on_the_way_is_done_at_each_call(kind: type[rc.GRU]) -> None:
    layer, x = kind(IN, H), torch.randn(T, B, IN)
    plain = rc.GRU(IN, H)
    layer.load_state_dict(plain.state_dict())
    first, _ = layer(x)
    assert not torch.equal(first, plain(x)[0])
    for _ in range(4):
        torch.testing.assert_close(layer(x)[0], first, rtol=0, atol=0)


def test_a_cell_whose_parameters_are_in_another_order_is_another_one() -> None:
    @rc.cell
    def first(x, h, W, U, V):  # type: ignore[no-untyped-def]
        return rc.lang.tanh(W @ x + U @ h - 2 * (V @ h))

    @rc.cell
    def second(x, h, W, V, U):  # type: ignore[no-untyped-def]
        return rc.lang.tanh(W @ x + U @ h - 2 * (V @ h))

    layer, x = rc.Recurrent(first, IN, H), torch.randn(T, B, IN)
    y = warm(layer, x)
    layer.cell = second
    torch.testing.assert_close(warm(layer, x), y)
    layer.cell = first
    assert torch.equal(layer(x)[0], y)


def test_who_is_put_in_the_place_of_a_layers_run_sees_each_call() -> None:
    layer, x, seen = rc.GRU(IN, H), torch.randn(T, B, IN), []
    warm(layer, x)
    run = layer.run_layers
    layer.run_layers = lambda *args, **kwargs: seen.append(1) or run(*args, **kwargs)  # type: ignore
    for _ in range(3):
        layer(x)
    assert len(seen) == 3
