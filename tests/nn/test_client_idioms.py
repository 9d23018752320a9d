"""What programs do with torch.nn's layers, done with those that stand in for them.

Each idiom is run on both, from the same weights and seed, and gives the same.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, rnn

import recurra as rc
from known_at_once import know_at_once

pytestmark = [
    # torch's own remarks: what it took, and what it would rather have
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:RNN module weights:UserWarning"),
]

T, B, IN, H = 7, 4, 3, 6
KINDS = ["RNN", "LSTM", "GRU"]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True, params=["first calls", "known calls"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that are worked out, and calls that go straight to the loops from the first one on."""
    if request.param == "known calls":
        know_at_once(monkeypatch)


def both(kind: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    """Our layer and torch's, of the same weights."""
    args = args or (IN, H)
    layer, expected = getattr(rc, kind)(*args, **options), getattr(nn, kind)(*args, **options)
    expected.load_state_dict(layer.state_dict(), strict=True)
    return layer, expected


def same(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def states(state: Any) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def check(idiom: Callable[[Any], Any], *layers: Any) -> None:
    """The idiom gives the same results on both layers, and leaves the same weights."""
    found = []
    for layer in layers:
        torch.manual_seed(7)
        found.append(idiom(layer))
    same(*found)
    weights = [{name: p.detach() for name, p in layer.named_parameters()} for layer in layers]
    same(*weights)


def trained(layer: Any, model: Callable[..., Any] | None = None, steps: int = 3) -> list[Tensor]:
    """Outputs over some steps of training."""
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    outputs = []
    for _ in range(steps):
        y, _ = (model or layer)(torch.randn(T, B, IN))
        optimizer.zero_grad()
        y.square().mean().backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 0.1)
        optimizer.step()
        outputs.append(y.detach())
    return outputs


# ---- how weights start ---------------------------------------------------------------------------


@each_kind
def test_forget_bias_by_the_names_in_all_weights(kind: str) -> None:
    def idiom(layer: Any) -> Tensor:
        for names in layer._all_weights:
            for name in filter(lambda n: "bias" in n, names):
                bias = getattr(layer, name)
                n = bias.size(0)
                bias.data[n // 4 : n // 2].fill_(1.0)
        return layer(torch.randn(T, B, IN))[0]

    check(idiom, *both(kind, IN, H, 2, bidirectional=True))


@each_kind
def test_initialisation_by_name_by_isinstance_and_by_apply(kind: str) -> None:
    def by_name(layer: Any) -> Tensor:
        for name, parameter in layer.named_parameters():
            if "weight_hh" in name:
                nn.init.orthogonal_(parameter)
            elif "weight_ih" in name:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
        return layer(torch.randn(T, B, IN))[0]

    def by_class(layer: Any) -> Tensor:
        def begin(module: nn.Module) -> None:
            if isinstance(module, nn.RNNBase):
                for weights in module.all_weights:
                    for weight in weights:
                        nn.init.normal_(weight, std=0.1)

        model = nn.Sequential(nn.Linear(IN, IN), layer)
        model.apply(begin)
        return layer(torch.randn(T, B, IN))[0]

    for idiom in (by_name, by_class):
        check(idiom, *both(kind, IN, H, 2))


@pytest.mark.medium
@each_kind
def test_reset_parameters_draws_what_torch_draws(kind: str) -> None:
    check(lambda layer: layer.reset_parameters(), *both(kind, IN, H, 2, bias=False))


@each_kind
def test_weights_as_one_vector(kind: str) -> None:
    def idiom(layer: Any) -> Tensor:
        vector = nn.utils.parameters_to_vector(layer.parameters())
        nn.utils.vector_to_parameters(vector * 0.5, layer.parameters())
        return layer(torch.randn(T, B, IN))[0]

    check(idiom, *both(kind))


# ---- what is put in the place of weights ---------------------------------------------------------


class WeightDrop(nn.Module):
    """Drops recurrent weights: a raw parameter, and what is left of it set under the old name."""

    def __init__(self, module: Any, p: float) -> None:
        super().__init__()
        self.module, self.p = module, p
        raw = module._parameters.pop("weight_hh_l0")
        self.register_parameter("weight_hh_l0_raw", nn.Parameter(raw.data))
        self._set()

    def _set(self) -> None:
        raw = self.weight_hh_l0_raw
        dropped = nn.functional.dropout(raw, p=self.p, training=self.training)
        setattr(self.module, "weight_hh_l0", dropped)  # noqa: B010 - as it is done

    def forward(self, *args: Any) -> Any:
        self._set()
        return self.module(*args)


@pytest.mark.medium
@each_kind
def test_weight_drop_that_deletes_a_parameter_and_sets_it(kind: str) -> None:
    def idiom(layer: Any) -> list[Tensor]:
        dropped = WeightDrop(layer, 0.5)
        outputs = trained(dropped)
        outputs.append(dropped.eval()(torch.randn(T, B, IN))[0])
        return [*outputs, dropped.weight_hh_l0_raw.grad]

    check(idiom, *both(kind))


@each_kind
@pytest.mark.parametrize(
    "change",
    [
        lambda layer: nn.utils.weight_norm(layer, "weight_hh_l0"),
        lambda layer: nn.utils.spectral_norm(layer, "weight_hh_l0"),
        lambda layer: parametrizations.weight_norm(layer, "weight_hh_l0"),
        lambda layer: parametrizations.orthogonal(layer, "weight_hh_l0"),
        lambda layer: prune.l1_unstructured(layer, "weight_hh_l0", 0.3),
        lambda layer: prune.random_unstructured(layer, "bias_ih_l0", 0.3),
    ],
    ids=[
        "weight_norm",
        "spectral",
        "new weight_norm",
        "orthogonal",
        "prune",
        "bias",
    ],
)
def test_weights_that_torch_computes_from_others(kind: str, change: Callable[..., Any]) -> None:
    def idiom(layer: Any) -> list[Tensor]:
        changed = change(layer)
        return trained(layer if changed is None else changed)

    check(idiom, *both(kind))


@each_kind
def test_a_parametrization_that_is_taken_off_again(kind: str) -> None:
    def idiom(layer: Any) -> Tensor:
        parametrizations.weight_norm(layer, "weight_ih_l0")
        parametrize.remove_parametrizations(layer, "weight_ih_l0")
        assert isinstance(layer, nn.RNNBase)
        assert not parametrize.is_parametrized(layer)
        return layer(torch.randn(T, B, IN))[0]

    check(idiom, *both(kind))


class Counted(nn.Module):
    """Doubles a weight, and counts how often."""

    count = 0

    def forward(self, weight: Tensor) -> Tensor:
        self.count += 1
        return 2 * weight


@pytest.mark.parametrize("options", [{}, {"num_layers": 4, "bidirectional": True}])
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_hh_l0"])
@each_kind
def test_a_computed_weight_is_computed_once_a_call(
    kind: str, name: str, options: dict[str, Any]
) -> None:
    layer, counted = getattr(rc, kind)(IN, H, **options), Counted()
    parametrize.register_parametrization(layer, name, counted)
    counted.count = 0
    layer(torch.randn(T, B, IN))
    assert counted.count == 1


@each_kind
def test_functional_call_with_other_weights(kind: str) -> None:
    def idiom(layer: Any) -> list[Tensor]:
        others = {name: (2 * p).detach() for name, p in layer.named_parameters()}
        for value in others.values():
            value.requires_grad_()
        x = torch.randn(T, B, IN)
        y, _ = torch.func.functional_call(layer, others, (x,))
        return [y, layer(x)[0], *torch.autograd.grad(y.sum(), list(others.values()))]

    check(idiom, *both(kind))


# ---- results and states --------------------------------------------------------------------------


def repackage_hidden(h: Any) -> Any:
    """Cuts the graph, whatever a state is made of."""
    return h.detach() if isinstance(h, Tensor) else tuple(repackage_hidden(v) for v in h)


@pytest.mark.medium
@each_kind
def test_truncated_backpropagation(kind: str) -> None:
    def idiom(layer: Any) -> list[Tensor]:
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
        hidden, outputs = None, []
        for _ in range(4):
            y, hidden = layer(torch.randn(T, B, IN), hidden)
            hidden = repackage_hidden(hidden)
            optimizer.zero_grad()
            y.square().mean().backward()
            optimizer.step()
            outputs.append(y.detach())
        return outputs

    check(idiom, *both(kind, IN, H, 2))


@each_kind
def test_results_written_in_place(kind: str) -> None:
    def idiom(layer: Any) -> list[Tensor]:
        y, h = layer(torch.randn(T, B, IN))
        for state in states(h):
            state[:, 1] = 0  # an episode that is over
        again, last = layer(torch.randn(T, B, IN), h)
        for state in states(last):
            state.detach_()
        if kind != "LSTM":  # of which torch.nn does not allow it
            again[2] = 0
            again *= 2
            again.relu_()
        gradients = torch.autograd.grad((y + again).sum(), list(layer.parameters()))
        return [y, again, *states(last), *gradients]

    check(idiom, *both(kind, IN, H, 2))


@each_kind
def test_a_state_made_by_hand_and_reordered(kind: str) -> None:
    def idiom(layer: Any) -> Tensor:
        weight = next(layer.parameters())
        zeros = weight.new_zeros(2, B, H)
        h = (zeros, zeros) if layer.mode == "LSTM" else zeros
        _, h = layer(torch.randn(T, B, IN), h)
        order = torch.tensor([2, 0, 3, 1])
        moved = tuple(v.index_select(1, order) for v in states(h))
        return layer(torch.randn(T, B, IN), moved if layer.mode == "LSTM" else moved[0])[0]

    check(idiom, *both(kind, IN, H, 2))


# ---- ragged batches ------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_pack_and_pad(kind: str, batch_first: bool, enforce_sorted: bool) -> None:
    def idiom(layer: Any) -> list[Tensor]:
        x = torch.randn((B, T, IN) if batch_first else (T, B, IN))
        lengths = torch.tensor([6, 4, 4, 2] if enforce_sorted else [2, 6, 1, 6])
        packed = rnn.pack_padded_sequence(x, lengths, batch_first, enforce_sorted)
        y, h = layer(packed)
        padded, of = rnn.pad_packed_sequence(y, batch_first, padding_value=-1.0, total_length=9)
        assert torch.equal(of, lengths)
        each = rnn.pack_sequence([x[0, :2], x[1, :1]])
        return [padded, *states(h), *rnn.unpack_sequence(layer(each)[0])]

    check(idiom, *both(kind, IN, H, 2, bidirectional=True, batch_first=batch_first))


# ---- modules -------------------------------------------------------------------------------------


class First(nn.Module):
    """Of a pair the first, for nn.Sequential."""

    def forward(self, pair: Any) -> Tensor:
        return pair[0]


@each_kind
def test_inside_other_modules(kind: str) -> None:
    def idiom(layer: Any) -> Tensor:
        model = nn.Sequential(nn.Linear(IN, IN), layer, First(), nn.LayerNorm(H), nn.Linear(H, 2))
        assert [type(m).__name__ for m in model.children()][1] == kind
        layer.flatten_parameters()
        return model(torch.randn(T, B, IN))

    check(idiom, *both(kind))


@each_kind
def test_an_average_of_weights_beside_the_model(kind: str) -> None:
    def idiom(layer: Any) -> Tensor:
        shadow = copy.deepcopy(layer).requires_grad_(False)
        trained(layer)
        with torch.no_grad():
            for kept, now in zip(shadow.parameters(), layer.parameters(), strict=True):
                kept.lerp_(now, 0.1)
        average = torch.optim.swa_utils.AveragedModel(layer)
        average.update_parameters(layer)
        x = torch.randn(T, B, IN)
        return shadow(x)[0] + average(x)[0]

    check(idiom, *both(kind))


@each_kind
def test_hooks(kind: str) -> None:
    def idiom(layer: Any) -> list[Any]:
        seen: list[Any] = []
        handles = [
            layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,)),
            layer.register_forward_hook(lambda m, args, out: (out[0] + 1, out[1])),
            layer.register_full_backward_hook(lambda m, d_in, d_out: seen.append(d_in[0])),
            layer.weight_ih_l0.register_hook(lambda d: d * 3),
            layer._register_state_dict_hook(
                lambda m, d, prefix, meta: d.update(more=d["bias_ih_l0"])
            ),
        ]
        x = torch.randn(T, B, IN, requires_grad=True)
        y, _ = layer(x)
        y.sum().backward()
        assert "more" in layer.state_dict()
        for handle in handles:
            handle.remove()
        return [y, *seen, x.grad, layer.weight_ih_l0.grad]

    check(idiom, *both(kind))


@each_kind
def test_replicas_of_data_parallelism(kind: str) -> None:
    def idiom(layer: Any) -> Tensor:
        replica = layer._replicate_for_data_parallel()
        replica._parameters = dict(layer._parameters)
        assert replica._flat_weights is not layer._flat_weights
        replica.flatten_parameters()
        return replica(torch.randn(T, B, IN))[0]

    check(idiom, *both(kind))


@each_kind
def test_shared_memory_and_other_dtypes(kind: str) -> None:
    layer, expected = both(kind)
    layer.share_memory()
    assert all(p.is_shared() for p in layer.parameters())
    x = torch.randn(T, B, IN)
    for dtype, tolerance in ((torch.bfloat16, 0.05), (torch.float16, 0.01)):
        ours, theirs = copy.deepcopy(layer).to(dtype), copy.deepcopy(expected).to(dtype)
        y, wanted = ours(x.to(dtype))[0], theirs(x.to(dtype))[0]
        assert y.dtype == dtype
        torch.testing.assert_close(y, wanted, rtol=tolerance, atol=tolerance)


@each_kind
def test_weights_that_are_shared_frozen_or_replaced(kind: str) -> None:
    def tied(layer: Any) -> list[Tensor]:
        layer.weight_hh_l1 = layer.weight_hh_l0
        layer.bias_ih_l0.requires_grad_(False)
        layer.weight_ih_l0 = nn.Parameter(torch.randn_like(layer.weight_ih_l0))
        return trained(layer)

    check(tied, *both(kind, IN, H, 2))


@each_kind
def test_a_subclass_that_calls_forward(kind: str) -> None:
    def subclass(base: Any) -> Any:
        class Residual(base):
            def __init__(self, *args: Any, scale: float = 1.0, **options: Any) -> None:
                super().__init__(*args, **options)
                self.scale = nn.Parameter(torch.tensor(scale))
                self.register_buffer("calls", torch.zeros(()))

            def forward(self, input: Tensor, hx: Any = None) -> Any:
                self.calls += 1
                y, state = super().forward(input, hx)
                return y * self.scale + input, state

        return Residual

    layers = [subclass(getattr(module, kind))(H, H, scale=0.5) for module in (rc, nn)]
    layers[1].load_state_dict(layers[0].state_dict())
    check(lambda layer: layer(torch.randn(T, B, H))[0], *layers)
    assert layers[0].calls == 1
