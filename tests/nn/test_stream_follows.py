"""A stream and what writes text give what the layer, called now, would give."""

import inspect
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import recurra as rc
from recurra.backends import cpu
from recurra.decoding import Sampler, generate
from recurra.errors import BackendError
from recurra.nn.stream import Stream

pytestmark = pytest.mark.medium

IN, H, V = 4, 6, 9
needs_compiler = pytest.mark.skipif(cpu.found_compiler() is None, reason="needs a C++ compiler")


def now(layer: rc.Recurrent, x_t: Tensor) -> Tensor:
    """The first step of the layer, called."""
    with torch.no_grad():
        return layer(x_t.unsqueeze(0))[0][0]


# ---- whatever changes the weights ----------------------------------------------------------------


def optimizers() -> Iterator[Any]:
    """Every optimizer of torch for dense parameters, in each of the ways in which it may run."""
    for name, kind in sorted(vars(torch.optim).items()):
        if not isinstance(kind, type) or not issubclass(kind, torch.optim.Optimizer):
            continue
        if name in ("Optimizer", "SparseAdam", "LBFGS", "Muon"):
            continue  # abstract; for other gradients; with a closure; for matrices alone
        known = inspect.signature(kind).parameters
        yield pytest.param(kind, {}, id=name)
        for way in ("foreach", "fused"):
            if way in known:
                yield pytest.param(kind, {way: True}, id=f"{name}-{way}")


@needs_compiler
@pytest.mark.parametrize(("kind", "options"), list(optimizers()))
def test_a_step_of_an_optimizer(kind: type[torch.optim.Optimizer], options: dict[str, Any]) -> None:
    model = rc.LanguageModel(V, embedding_size=IN, hidden_size=H, cell="torch_gru").eval()
    layer, x = model.recurrent, torch.randn(1, IN)
    ids = torch.tensor([[1]])
    stream, tokens = layer.stream(), model.stream()
    writer = model.token_writer(model.initial_state())
    assert writer is not None
    try:
        optimizer = kind(model.parameters(), lr=0.3, **options)  # pyright: ignore
    except RuntimeError as error:
        pytest.skip(f"not on this machine: {error}")
    for _ in range(2):
        before = stream(x)
        tokens(ids[0])
        writer.write(
            1, torch.zeros(1, dtype=torch.float64), temperature=0.0, top_k=None, top_p=None
        )
        (layer(x[None])[0].sum() + model(ids)[0].square().sum()).backward()
        optimizer.step()
        stream.reset()
        torch.testing.assert_close(stream(x), now(layer, x))
        assert not torch.equal(stream(x), before)
        for each in (tokens, writer):
            each.reset()
        with torch.no_grad():
            logits = model(ids)[0][0]
        torch.testing.assert_close(tokens(ids[0]), logits)
        written = writer.write(
            1, torch.zeros(1, dtype=torch.float64), temperature=0.0, top_k=None, top_p=None
        )
        assert written is not None
        assert written.ids == logits.argmax(-1).tolist()
        stream.reset()
        tokens.reset()
        writer.reset()


def in_another_process(change: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        change()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def write_through_data(layer: rc.Recurrent) -> None:
    for parameter in layer.parameters():
        parameter.data.mul_(0.5)


def write_by_numpy(layer: rc.Recurrent) -> None:
    for parameter in layer.parameters():
        parameter.detach().numpy()[:] *= 0.5


def write_from_another_process(layer: rc.Recurrent) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("this system starts no process that shares what this one has")
    in_another_process(lambda: write_by_numpy(layer))


def swap(layer: rc.Recurrent) -> None:
    for parameter in layer.parameters():
        torch.utils.swap_tensors(parameter, nn.Parameter(torch.randn_like(parameter)))


def fused(layer: rc.Recurrent) -> None:
    """What a fused optimizer calls, without the optimizer."""
    weights = list(layer.parameters())
    torch._fused_sgd_(
        [w.detach() for w in weights],
        [torch.ones_like(w) for w in weights],
        [],
        weight_decay=0.0,
        momentum=0.0,
        lr=0.3,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=True,
    )


CHANGES: dict[str, Callable[[rc.Recurrent], object]] = {
    "data": write_through_data,
    "numpy": write_by_numpy,
    "another process": write_from_another_process,
    "swap_tensors": swap,
    "fused": fused,
    "load": lambda layer: layer.load_state_dict(rc.GRU(layer.input_size, H, 2).state_dict()),
    "assign": lambda layer: layer.load_state_dict(
        rc.GRU(layer.input_size, H, 2).state_dict(), assign=True
    ),
    "reset_parameters": lambda layer: layer.reset_parameters(),
    "float64": lambda layer: layer.double(),
    "bfloat16": lambda layer: layer.bfloat16(),
    "one number": lambda layer: layer.weight_hh_l1.data[3, 2].add_(3),
    "transposed": lambda layer: setattr(
        layer.weight_ih_l0, "data", layer.weight_ih_l0.data.t().contiguous().t()
    ),
    "frozen": lambda layer: layer.requires_grad_(False),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("change", list(CHANGES))
def test_any_other_change(change: str, shared: bool) -> None:
    layer = rc.Recurrent("torch_gru", IN, H, 2)  # torch.nn's own cannot be swapped
    if shared or change == "another process":
        layer.share_memory()
    stream, x = layer.stream(), torch.randn(1, IN)
    for _ in range(3):
        stream(x)
    stream.reset()
    CHANGES[change](layer)
    x = x.to(layer.weight_ih_l0.dtype)
    tolerance = 2e-2 if x.dtype is torch.bfloat16 else 1e-5
    torch.testing.assert_close(stream(x), now(layer, x), rtol=tolerance, atol=tolerance)


def test_the_state_moves_with_the_layer() -> None:
    layer = rc.LSTM(IN, H)
    stream, x = layer.stream(), torch.randn(3, 1, IN)
    for dtype in (torch.float32, torch.float64, torch.float32):
        layer.to(dtype)
        stream(x[0].to(dtype))
    _, state = layer(x[[0, 0, 0]])
    torch.testing.assert_close(stream.state, state)
    torch.testing.assert_close(stream(x[1]), layer(x[1:2], state)[0][0].detach())


@needs_compiler
def test_a_few_numbers_that_nobody_counts_are_found_in_time() -> None:
    layer = rc.GRU(100, 150)
    stream, x = layer.stream(), torch.randn(1, 100)
    stream(x)
    stepper = stream._stepper
    assert stepper is not None
    assert stepper.num_looks > 1
    layer.weight_hh_l0.data[77, 33] += 50
    for _ in range(stepper.num_looks):
        stream(x)
    stream.reset(h := torch.randn(1, 1, 150))
    found = stream(x)
    with torch.no_grad():
        torch.testing.assert_close(found, layer(x[None], h)[0][0])
    layer.weight_hh_l0.data[5, 6] += 50
    stream.reset(h)  # looks at all of it
    with torch.no_grad():
        torch.testing.assert_close(stream(x), layer(x[None], h)[0][0])


@needs_compiler
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
def test_a_whole_tensor_that_nobody_counts_is_found_at_once(name: str) -> None:
    """By whichever look comes next, also of a tensor that is a small part of all."""
    layer = rc.GRU(100, 144)  # biases of whole lines, fewer than there are looks
    stream, x, h = layer.stream(), torch.randn(1, 100), torch.randn(1, 1, 144)
    weight = layer.get_parameter(name)
    stream(x)
    assert stream._stepper is not None
    for _ in range(stream._stepper.num_looks + 1):
        stream.reset(h)  # which looks at all: before the change
        stream(x)
        h = torch.as_tensor(stream.state)
        weight.data.copy_(torch.randn_like(weight))
        with torch.no_grad():
            torch.testing.assert_close(stream(x), layer(x[None], h)[0][0])


@needs_compiler
def test_a_layer_of_inference_mode_is_compiled_and_seen_whole() -> None:
    with torch.inference_mode():
        layer = rc.GRU(100, 150)
    stream, x, h = layer.stream(), torch.randn(1, 100), torch.randn(1, 1, 150)
    stream(x)
    assert "compiled, a step a call" in stream.explain()
    for place in range(5):
        stream.reset(h)
        with torch.inference_mode():
            layer.weight_hh_l0[7 * place, 11 * place] += 50
            expected = layer(x[None], h)[0][0]
        torch.testing.assert_close(stream(x), expected.clone())


# ---- whatever else calling the layer does --------------------------------------------------------


class Twice(rc.GRU):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        y, state = super().forward(*args, **kwargs)
        return 2 * y, state


class Halved(rc.Recurrent):
    def run_layers(self, *args: Any, **kwargs: Any) -> Any:
        return halve_output(self, args, super().run_layers(*args, **kwargs))


def halve_output(module: nn.Module, args: Any, found: Any) -> Any:
    return found[0] / 2, found[1]


def hooked() -> rc.Recurrent:
    layer = rc.GRU(IN, H)
    layer.register_forward_hook(halve_output)
    return layer


def hooked_before() -> rc.Recurrent:
    layer = rc.GRU(IN, H)
    layer.register_forward_pre_hook(lambda module, args: (args[0] / 2, *args[1:]))
    return layer


def another_forward() -> rc.Recurrent:
    layer = rc.GRU(IN, H)
    layer.forward = lambda *args, **kwargs: halve_output(  # pyright: ignore
        layer, args, rc.GRU.forward(layer, *args, **kwargs)
    )
    return layer


def reparametrized(how: Callable[[nn.Module], object]) -> Callable[[], rc.Recurrent]:
    def make() -> rc.Recurrent:
        layer = rc.GRU(IN, H)
        how(layer)
        return layer

    return make


PARAMETRIZATIONS = nn.utils.parametrizations
LAYERS: dict[str, Callable[[], rc.Recurrent]] = {
    "forward": lambda: Twice(IN, H),
    "forward, batch first": lambda: Twice(IN, H, batch_first=True),
    "run_layers": lambda: Halved("gru", IN, H),
    "hook": hooked,
    "pre-hook": hooked_before,
    "instance": another_forward,
    "pruned": reparametrized(lambda m: prune.l1_unstructured(m, "weight_ih_l0", 0.5)),
    "weight_norm": reparametrized(lambda m: PARAMETRIZATIONS.weight_norm(m, "weight_hh_l0")),
    "spectral_norm": reparametrized(lambda m: PARAMETRIZATIONS.spectral_norm(m, "weight_hh_l0")),
    "orthogonal": reparametrized(lambda m: PARAMETRIZATIONS.orthogonal(m, "weight_hh_l0")),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=list(LAYERS))
def test_a_layer_that_does_more_than_its_class(
    make: Callable[[], rc.Recurrent], caplog: pytest.LogCaptureFixture
) -> None:
    layer, x = make(), torch.randn(3, 2, IN)
    stream = layer.stream(2)
    optimizer = torch.optim.SGD(layer.parameters(), 0.5)
    with caplog.at_level(logging.WARNING, "recurra"):
        for _ in range(2):
            stream.reset()
            steps = torch.stack([stream(x_t) for x_t in x])
            with torch.no_grad():
                layer.eval()
                ahead = x.transpose(0, 1) if layer.batch_first else x
                y, state = layer(ahead)
                layer.train()
            torch.testing.assert_close(steps, y.transpose(0, 1) if layer.batch_first else y)
            torch.testing.assert_close(stream.state, state)
            layer(ahead)[0].sum().backward()
            optimizer.step()
            stream.reset()
            first = stream(x[0])  # before the layer is called again
            with torch.no_grad():
                layer.eval()
                y = layer(ahead)[0]
                torch.testing.assert_close(first, y[:, 0] if layer.batch_first else y[0])
                layer.train()
    reason = stream.why_not_compiled()
    if reason is not None:
        assert caplog.text.count(reason) == 1
        assert reason in stream.explain()


def test_a_hook_that_comes_later_is_called() -> None:
    layer, x = rc.GRU(IN, H), torch.randn(1, IN)
    stream = layer.stream()
    plain = stream(x)
    stream.reset()
    with layer.register_forward_hook(halve_output):
        torch.testing.assert_close(stream(x), plain / 2)
    stream.reset()
    assert torch.equal(stream(x), plain)
    stream.reset()
    handle = nn.modules.module.register_module_forward_hook(
        lambda m, args, found: halve_output(m, args, found) if m is layer else None
    )
    torch.testing.assert_close(stream(x), plain / 2)
    handle.remove()


def test_a_forward_that_is_no_layers_is_refused() -> None:
    class Last(rc.GRU):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)[0][-1]

    with pytest.raises(ValueError, match=r"expected Last to return y \[1, 1, size\] and the state"):
        Last(IN, H).stream()(torch.randn(1, IN))


def embeddings() -> dict[str, nn.Module]:
    class Louder(nn.Embedding):
        def forward(self, input: Tensor) -> Tensor:
            return 3 * super().forward(input)

    pruned, hooked, normed = (nn.Embedding(V, IN) for _ in range(3))
    prune.l1_unstructured(pruned, "weight", 0.5)
    hooked.register_forward_hook(lambda module, args, found: found / 2)
    PARAMETRIZATIONS.weight_norm(normed)
    return {
        "plain": nn.Embedding(V, IN),
        "pruned": pruned,
        "hooked": hooked,
        "normed": normed,
        "max_norm": nn.Embedding(V, IN, max_norm=0.5),
        "padding_idx": nn.Embedding(V, IN, padding_idx=1),
        "another class": Louder(V, IN),
        "several": nn.Sequential(nn.Embedding(V, 2), nn.Linear(2, IN)),
    }


def decoders() -> dict[str, nn.Module]:
    class Louder(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 3 * super().forward(input)

    pruned, hooked = nn.Linear(H, V), nn.Linear(H, V)
    prune.l1_unstructured(pruned, "weight", 0.5)
    hooked.register_forward_hook(lambda module, args, found: found / 2)
    return {
        "plain": nn.Linear(H, V),
        "pruned": pruned,
        "hooked": hooked,
        "another class": Louder(H, V),
        "several": nn.Sequential(nn.Linear(H, 2), nn.Linear(2, V)),
    }


PAIRS = [(name, "plain") for name in embeddings()] + [("plain", name) for name in decoders()]


@pytest.mark.parametrize(("embedding", "decoder"), PAIRS)
def test_the_parts_of_a_stream_and_of_a_model_are_called(embedding: str, decoder: str) -> None:
    """Their modules in a row are the judge: for streams, models, their gradients and their text."""
    model = rc.LanguageModel(V, embedding_size=IN, hidden_size=H, cell="torch_gru")
    model.embedding, model.decoder = embeddings()[embedding], decoders()[decoder]
    alone = nn.GRU(IN, H)
    alone.load_state_dict(model.recurrent.state_dict())
    ids = torch.randint(V, (5, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(2):
        expected = model.decoder(alone(model.embedding(ids))[0])
        torch.testing.assert_close(model(ids)[0], expected)
        for stream in (
            model.stream(2),
            Stream(model.recurrent, 2, embedding=model.embedding, decoder=model.decoder),
        ):
            steps = torch.stack([stream(row) for row in ids])
            torch.testing.assert_close(steps, expected.detach())
        written = list(generate(model, [1], 20, sampler=Sampler(temperature=0)))
        with torch.no_grad():
            scores = model.decoder(alone(model.embedding(torch.tensor([[1, *written]]).T))[0])
        assert written == scores[:-1, 0].argmax(-1).tolist()
        weights = [*model.embedding.parameters(), *model.decoder.parameters()]
        found = torch.autograd.grad(model(ids)[0].square().sum(), weights)
        wanted = torch.autograd.grad(expected.square().sum(), weights)
        torch.testing.assert_close(found, wanted)
        optimizer.zero_grad()
        model(ids)[0].square().sum().backward()
        optimizer.step()
        alone.load_state_dict(model.recurrent.state_dict())


def test_a_model_with_a_forward_of_its_own_streams_what_it_gives() -> None:
    class Sharper(rc.LanguageModel):
        def forward(self, ids: Tensor, state: Any = None) -> Any:  # pyright: ignore
            logits, state = super().forward(ids, state)
            return 3 * logits, state

    model, ids = Sharper(V, embedding_size=IN, hidden_size=H), torch.randint(V, (4, 2))
    stream = model.stream(2)
    steps = torch.stack([stream(row) for row in ids])
    torch.testing.assert_close(steps, model(ids)[0].detach())
    assert "Sharper has its own forward" in stream.explain()


# ---- what is given and handed out ----------------------------------------------------------------


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_nothing_is_shared_with_the_caller(cell: str, backend: str) -> None:
    layer = rc.Recurrent(cell, IN, H, 2, backend=backend)
    x = torch.randn(4, 3, IN)
    first = layer(x)[1]
    given = first if isinstance(first, tuple) else (first,)
    expected = layer(x, first)[0]
    stream = layer.stream(3)
    stream.reset(first)
    with torch.no_grad():
        for tensor in given:
            tensor.zero_()
        for x_t, y in zip(x, expected, strict=True):
            y_t, state = stream(x_t), stream.state
            torch.testing.assert_close(y_t, y)
            y_t.zero_()
            for tensor in state if isinstance(state, tuple) else (state,):
                tensor.zero_()


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_context_is_copied(backend: str) -> None:
    layer = rc.Recurrent(attending, IN, H, sizes={"C": 2}, backend=backend)
    v, x = torch.randn(3, 2), torch.randn(2, 3, IN)
    expected = layer(x, context=v)[0].detach()
    stream = layer.stream(3, context=v)
    v.zero_()
    torch.testing.assert_close(torch.stack([stream(x_t) for x_t in x]), expected)


@rc.cell(state="h", context="v")
def attending(x, h, v, W_xh, W_hh, W_vh):  # pyright: ignore
    """An RNN that sees a context at every step."""
    return rc.lang.tanh(W_xh @ x + W_hh @ h + W_vh @ v)


def test_what_is_written_to_out_is_counted() -> None:
    stream, out = rc.GRU(IN, H).stream(), torch.zeros(1, H)
    weight = torch.ones(1, H, requires_grad=True)
    product = weight * out
    stream(torch.randn(1, IN), out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_views_with_the_negative_bit() -> None:
    layer, x = rc.GRU(IN, H), torch.randn(1, IN)
    stream = layer.stream()
    for _ in range(2):
        stream.reset()
        torch.testing.assert_close(stream(torch._neg_view(x)), now(layer, -x))


# ---- what traces and transforms ------------------------------------------------------------------


def jit_trace(stream: Stream, x: Tensor) -> object:
    return torch.jit.trace(lambda x_t: stream(x_t), x, check_trace=False)


def make_fx(stream: Stream, x: Tensor) -> object:
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(lambda x_t: stream(x_t))(x)


def fake(stream: Stream, x: Tensor) -> object:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode() as mode:
        return stream(mode.from_tensor(x))


def forward_mode(stream: Stream, x: Tensor) -> object:
    with torch.autograd.forward_ad.dual_level():
        return stream(torch.autograd.forward_ad.make_dual(x, x))


WATCHERS: dict[str, Callable[[Stream, Tensor], object]] = {
    "jit.trace": jit_trace,
    "make_fx": make_fx,
    "fake": fake,
    "vmap": lambda stream, x: torch.func.vmap(stream)(x[None]),
    "grad": lambda stream, x: torch.func.grad(lambda x_t: stream(x_t).sum())(x),
    "jvp": forward_mode,
}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # raised inside torch as well
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("how", WATCHERS.values(), ids=list(WATCHERS))
def test_what_would_record_a_step_is_refused(
    how: Callable[[Stream, Tensor], object], warm: bool, backend: str
) -> None:
    stream, x = rc.GRU(IN, H, backend=backend).stream(), torch.randn(1, IN)
    if warm:
        stream(x)
        stream.reset()
    with pytest.raises(BackendError, match=r"expected to be called by itself.*Use the layer"):
        how(stream, x)
    assert stream(x).isfinite().all()


@pytest.mark.parametrize("warm", [False, True])
def test_what_counts_and_compiles_steps_gets_what_is_right(warm: bool) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    layer, x = rc.GRU(IN, H), torch.randn(3, 1, IN)
    expected = layer(x)[0].detach()
    compiled = torch.compile(lambda stream, x_t: stream(x_t) + 1, backend="eager")
    stream = layer.stream()
    if warm:
        stream(x[0])
        stream.reset()
    with FlopCounterMode(display=False):
        torch.testing.assert_close(stream(x[0]), expected[0])
    torch.testing.assert_close(compiled(stream, x[1]), expected[1] + 1)
    torch.testing.assert_close(compiled(stream, x[2]), expected[2] + 1)
