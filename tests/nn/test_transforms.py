"""What watches or transforms operations: a layer gives what is right, or says what to do instead.

Each way is taken on every backend; torch.nn's layer with the same weights, in float64, says what is
right. Letters: T time, B batch.
"""

import contextlib
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad, functional
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.tensorboard import SummaryWriter

import recurra as rc
from recurra.backends.cpu import found_compiler
from recurra.errors import BackendError

# what torch warns of in its own code, where it traces and where it differentiates forwards
pytestmark = [
    pytest.mark.medium,
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
]
compiled = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")
BACKENDS = ["auto", pytest.param("cpu", marks=compiled), "reference"]
KINDS = {"GRU": (rc.GRU, nn.GRU), "LSTM": (rc.LSTM, nn.LSTM)}
Layer = nn.Module


def output(layer: Layer, x: Tensor) -> Tensor:
    return layer(x)[0]


def loss(layer: Layer, x: Tensor) -> Tensor:
    return output(layer, x).square().sum()


def parameters(layer: Layer) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in layer.named_parameters()}


def of_parameters(layer: Layer, x: Tensor) -> Callable[[dict[str, Tensor]], Tensor]:
    return lambda p: functional_call(layer, p, (x,))[0].square().sum()


def by_forward_mode(layer: Layer, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        y = output(layer, forward_ad.make_dual(x, torch.ones_like(x)))
        tangent = forward_ad.unpack_dual(y).tangent
    assert tangent is not None, "a tangent was dropped"
    return tangent


def without_gradients(layer: Layer, x: Tensor) -> Tensor:
    with torch.no_grad():
        return by_forward_mode(layer, x)


def of_a_frozen_layer(layer: Layer, x: Tensor) -> Tensor:
    return by_forward_mode(layer.requires_grad_(False), x)


def tangents_of_weights(layer: Layer, x: Tensor) -> Tensor:
    given = parameters(layer)
    primal = (given,)
    tangent = ({name: torch.ones_like(p) for name, p in given.items()},)
    return jvp(of_parameters(layer, x), primal, tangent)[1]


def batched_cotangents(layer: Layer, x: Tensor) -> tuple[Tensor, ...]:
    x = x.clone().requires_grad_()
    y = output(layer, x)
    seeds = torch.stack([torch.ones_like(y), torch.cos(torch.arange(y.numel())).to(y).view_as(y)])
    inputs = [x, *layer.parameters()]
    return torch.autograd.grad(y, inputs, seeds, is_grads_batched=True)


def vectorized_cotangents(layer: Layer, x: Tensor) -> tuple[Tensor, ...]:
    x = x.clone().requires_grad_()
    y, state = layer(x)
    last = state[0] if isinstance(state, tuple) else state
    inputs = [x, *layer.parameters()]
    seeds = torch.stack(
        [torch.ones_like(last), torch.cos(torch.arange(last.numel())).to(y).view_as(last)]
    )
    return vmap(lambda d: torch.autograd.grad((y, last), inputs, (d[-1:].expand_as(y), d)))(seeds)


def recorded(layer: Layer, x: Tensor) -> Tensor:
    return make_fx(lambda v: output(layer, v))(x)(x)


def recorded_gradient(layer: Layer, x: Tensor) -> Tensor:
    return make_fx(grad(lambda v: loss(layer, v)))(x)(x)


def profiled(layer: Layer, x: Tensor) -> Tensor:
    with torch.autograd.profiler.profile():
        return output(layer, x)


class Marked(Tensor):
    """A subclass that torch carries through every operation."""


def of_a_subclass(layer: Layer, x: Tensor) -> Tensor:
    y, state = layer(x.as_subclass(Marked))
    assert isinstance(y, Marked)
    assert all(isinstance(s, Marked) for s in (state if isinstance(state, tuple) else (state,)))
    return y.as_subclass(Tensor)


# ---- ways that are right -------------------------------------------------------------------------

# what compiled loops do themselves
COMPILED: dict[str, Callable[[Layer, Tensor], Any]] = {
    "grad": lambda layer, x: grad(lambda v: loss(layer, v))(x),
    "grad of parameters": lambda layer, x: grad(of_parameters(layer, x))(parameters(layer)),
    "vjp": lambda layer, x: vjp(lambda v: output(layer, v), x)[1](
        torch.ones_like(output(layer, x))
    ),
    "jacrev": lambda layer, x: jacrev(lambda v: output(layer, v)[-1])(x),
    "jacobian": lambda layer, x: functional.jacobian(lambda v: output(layer, v)[-1], x),
    "jacobian, vectorized": lambda layer, x: functional.jacobian(
        lambda v: output(layer, v)[-1], x, vectorize=True
    ),
    "cotangents in a batch": batched_cotangents,
    "cotangents, by vmap": vectorized_cotangents,
    "make_fx": recorded,
    "profiler": profiled,
    "subclass": of_a_subclass,
}
# what takes operations that torch can transform, as "auto" chooses them
PLAIN: dict[str, Callable[[Layer, Tensor], Any]] = {
    "forward mode": by_forward_mode,
    "forward mode, no_grad": without_gradients,
    "forward mode, frozen": of_a_frozen_layer,
    "forward mode, weights": tangents_of_weights,
    "jvp": lambda layer, x: jvp(lambda v: output(layer, v), (x,), (torch.ones_like(x),)),
    "jacfwd": lambda layer, x: jacfwd(lambda v: output(layer, v)[-1])(x),
    "jacobian, forward mode": lambda layer, x: functional.jacobian(
        lambda v: output(layer, v)[-1], x, vectorize=True, strategy="forward-mode"
    ),
    "hessian": lambda layer, x: hessian(lambda v: loss(layer, v))(x),
    "make_fx of grad": recorded_gradient,
}
# torch.nn's layers do not do this one
OTHERWISE = {PLAIN["jacobian, forward mode"]: COMPILED["jacobian"]}
# nor these: a loop over examples says what is right
OVER_EXAMPLES: dict[str, Callable[[Layer, Tensor], Any]] = {
    "vmap": lambda layer, x: vmap(lambda v: output(layer, v))(x),
    "vmap, no_grad": lambda layer, x: torch.no_grad()(vmap(lambda v: output(layer, v)))(x),
    "gradients of each example": lambda layer, x: vmap(grad(lambda v: loss(layer, v)))(x),
    "of each model": lambda layer, x: vmap(
        lambda p: functional_call(layer, p, (x[0],))[0], randomness="error"
    )({name: torch.stack([p, 2 * p]) for name, p in parameters(layer).items()}),
}


def each(ways: dict[str, Callable[[Layer, Tensor], Any]]) -> list[Any]:
    """The names of the ways; those that record a graph take long."""
    slower = pytest.mark.medium
    return [pytest.param(way, marks=slower if "make_fx" in way else ()) for way in ways]


def pair(kind: str, backend: str) -> tuple[nn.Module, nn.Module]:
    ours, theirs = KINDS[kind][0](3, 4, backend=backend), KINDS[kind][1](3, 4).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(ours, dict):
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(ours, (tuple, list)):
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    else:
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-4, atol=2e-5)


def check(way: Callable[[Layer, Tensor], Any], kind: str, backend: str, refused: bool) -> None:
    for steps in (2, 6):
        ours, theirs = pair(kind, backend)
        x = torch.randn(steps, 2, 3)
        if refused and backend == "cpu":
            with pytest.raises(BackendError, match="Use backend='reference'"):
                way(ours, x)
            continue
        with torch.no_grad() if way is profiled else torch.enable_grad():
            assert_same(way(ours, x), OTHERWISE.get(way, way)(theirs, x.double()))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", each(COMPILED))
def test_it_is_right_on_every_backend(way: str, kind: str, backend: str) -> None:
    check(COMPILED[way], kind, backend, refused=False)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", each(PLAIN))
def test_it_is_right_on_plain_operations(way: str, kind: str, backend: str) -> None:
    check(PLAIN[way], kind, backend, refused=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", OVER_EXAMPLES)
def test_many_at_once_are_each_by_itself(way: str, kind: str, backend: str) -> None:
    ours, _ = pair(kind, backend)
    alone, _ = pair(kind, "reference")
    alone.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 2, 3)
    if backend == "cpu":
        with pytest.raises(BackendError, match=r"got torch\.func\.vmap\. Use backend='reference'"):
            OVER_EXAMPLES[way](ours, x)
        return
    got = OVER_EXAMPLES[way](ours, x)
    if way == "of each model":
        each = [output(alone, x[0])]
        with torch.no_grad():
            for p in alone.parameters():
                p.mul_(2)
        each.append(output(alone, x[0]))
    elif way == "gradients of each example":
        each = [grad(lambda v: loss(alone, v))(v) for v in x]
    else:
        each = [output(alone, v) for v in x]
    torch.testing.assert_close(got, torch.stack(each))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("memory", ["normal", "low"])
@pytest.mark.parametrize("steps", [2, 6])
def test_products_are_counted(steps: int, memory: str, backend: str) -> None:
    """As many as equations have: for each step, sequence and gate, of the input and of the state;
    backwards one for what comes in and one for the weights, each, and none for a frozen input."""
    layer = rc.Recurrent("lstm", 3, 4, backend=backend, memory=memory)
    x = torch.randn(steps, 2, 3)
    of_input, of_state = (2 * steps * 2 * 16 * size for size in (3, 4))
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        layer(x)
    assert forward.get_total_flops() == of_input + of_state
    with FlopCounterMode(display=False) as both:
        loss(layer, x).backward()
    again = of_input + of_state if memory == "low" else 0
    assert both.get_total_flops() == 2 * of_input + 3 * of_state + again
    with FlopCounterMode(display=False) as all_of_it:
        loss(layer, x.requires_grad_()).backward()
    assert all_of_it.get_total_flops() == 3 * of_input + 3 * of_state + again


def test_tokens_are_vectorized_too() -> None:
    """Gradients of each sentence, its ids within a batch, its lengths its own."""
    layer = rc.Recurrent("lstm", 4, 5, num_layers=2, bidirectional=True)
    table = torch.randn(7, 4)
    ids, lengths = torch.randint(0, 7, (3, 6, 2)), torch.tensor([[6, 2], [1, 6], [3, 4]])

    def loss_of(table: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        return layer(ids, lengths=lengths, embedding=table)[0].square().sum()

    together = vmap(grad(loss_of), in_dims=(None, 0, 0))(table, ids, lengths)
    alone = [grad(loss_of)(table, *each) for each in zip(ids, lengths, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.medium
@pytest.mark.parametrize("name", ["gru", "qrnn_fo", "lstm"])
def test_all_that_gradcheck_checks(name: str) -> None:
    """Forward mode, batches of cotangents, and second derivatives by both."""
    layer = rc.Recurrent(name, 2, 2, backend="reference", dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    given = (lambda v: layer(v)[0], (x,))
    assert torch.autograd.gradcheck(*given, check_batched_grad=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(*given, check_fwd_over_rev=True)


def test_a_second_derivative_by_torch_func_is_refused_where_it_is_taken() -> None:
    layer = rc.GRU(3, 4, backend="cpu")
    x = torch.randn(6, 2, 3)
    inner = grad(lambda v: loss(layer, v))
    assert inner(x).shape == x.shape
    with pytest.raises(BackendError, match="expected a first derivative"):
        grad(lambda v: inner(v).sum())(x)


# forward mode over a backward pass, of what was computed before it began
OVER_BACKWARD: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Any]] = {
    "jvp": lambda backward, d, tangent: jvp(backward, (d,), (tangent,)),
    "dual level": lambda backward, d, tangent: backward(forward_ad.make_dual(d, tangent)),
}


@pytest.mark.parametrize("calls", [1, 4], ids=["first call", "known call"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", OVER_BACKWARD)
def test_a_tangent_of_a_cotangent_is_refused_where_it_would_be_lost(
    way: str, backend: str, calls: int
) -> None:
    layer, x = rc.GRU(3, 4, backend=backend), torch.randn(6, 2, 3)
    for _ in range(calls):
        y = layer(x)[0]
        y.sum().backward(retain_graph=True)

    def backward(d: Tensor) -> Tensor:
        return torch.autograd.grad(y, layer.weight_hh_l0, d, retain_graph=True)[0]

    with forward_ad.dual_level() if way == "dual level" else contextlib.nullcontext():
        backward(torch.randn_like(y))
        with pytest.raises(BackendError, match="Call the layer inside too"):
            OVER_BACKWARD[way](backward, torch.randn_like(y), torch.randn_like(y))


def test_the_choice_of_plain_operations_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    layer = rc.Recurrent(rc.compose.residual(rc.cells.gru), 4, 4)
    for _ in range(2):
        jvp(lambda v: output(layer, v), (torch.zeros(6, 2, 4),), (torch.ones(6, 2, 4),))
    logged = [record.message for record in caplog.records]
    assert len(logged) == 1
    assert "forward-mode differentiation" in logged[0]


# ---- ways that are refused -----------------------------------------------------------------------


def by_tensorboard(layer: Layer, x: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SummaryWriter(log_dir=tempfile.mkdtemp()).add_graph(layer, x)


REFUSED: dict[str, Callable[[Layer, Tensor], Any]] = {
    "jit.trace": lambda layer, x: torch.jit.trace(layer, x),
    "jit.trace, no_grad": torch.no_grad()(lambda layer, x: torch.jit.trace(layer, x)),
    "jit.trace of a model": lambda layer, x: torch.jit.trace(nn.Sequential(layer), x),
    "jit.script": lambda layer, x: torch.jit.script(layer),
    "jit.script of a model": lambda layer, x: torch.jit.script(nn.Sequential(layer)),
    "add_graph": by_tensorboard,
    "onnx": lambda layer, x: torch.onnx.export(
        layer, (x,), tempfile.mkdtemp() + "/m", dynamo=False
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", REFUSED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_cannot_follow_a_loop_is_refused_with_the_way_out(way: str, backend: str) -> None:
    for steps in (2, 6):
        layer = rc.LSTM(3, 4, backend=backend)
        with pytest.raises(BackendError, match=r"Use torch\.export\.export, or "):
            REFUSED[way](layer, torch.randn(steps, 2, 3))


SYMBOLIC = """
import pytest, torch, recurra as rc
from recurra.errors import BackendError

class Tracer(torch.fx.Tracer):
    def is_leaf_module(self, m, module_qualified_name):
        return isinstance(m, rc.Recurrent) or super().is_leaf_module(m, module_qualified_name)

for layer in (rc.GRU(3, 4), rc.Recurrent("gru", 3, 4, backend="reference")):
    model = torch.nn.Sequential(layer)
    for traced in (layer, model):
        with pytest.raises(BackendError, match=r"Use torch\\.export\\.export, or a torch\\.fx"):
            torch.fx.symbolic_trace(traced)
    program = torch.fx.GraphModule(model, Tracer().trace(model))
    x = torch.randn(6, 2, 3)
    torch.testing.assert_close(program(x)[0], model(x)[0])
"""


@pytest.mark.medium
def test_symbolic_traces() -> None:
    """Refused, or with layers as leaves; by itself, where no wrapper looks at types."""
    subprocess.run([sys.executable, "-c", SYMBOLIC], check=True)
