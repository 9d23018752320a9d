"""Runs as operators: under torch.compile, and wherever torch or its users take a layer."""

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, library
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import recurra as rc
import traced
from recurra import backends
from recurra.backends import ReferenceBackend
from recurra.backends.cpu import found_compiler
from recurra.backends.watching import is_watched
from recurra.errors import BackendError
from traced import SCENARIOS, TOLERANCE, Scenario, assert_close, flat, leaves_of, results

BACKENDS = [
    pytest.param(
        "cpu", marks=pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")
    ),
    "reference",
]
each_backend = pytest.mark.parametrize("backend", BACKENDS)


# ---- in a process of their own -------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracer() -> Iterator[Callable[..., None]]:
    """Runs a function of `traced` in a process without jaxtyping's wrappers."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda function, *args: pool.submit(function, *args).result(timeout=110)


@pytest.mark.medium
@pytest.mark.parametrize("name", SCENARIOS)
def test_compile_gives_one_graph_that_agrees(tracer: Callable[..., None], name: str) -> None:
    tracer(traced.compiled_like_eager, name)


@pytest.mark.medium
def test_compile_to_code(tracer: Callable[..., None]) -> None:
    """torch's own code generator reuses memory, which would show in what is shared."""
    tracer(traced.compiled_like_eager, "two layers, both directions", "inductor")


@pytest.mark.medium
@pytest.mark.parametrize("dynamic", [None, True])
def test_compile_for_many_shapes(tracer: Callable[..., None], dynamic: bool | None) -> None:
    tracer(traced.compiled_for_many_shapes, dynamic)


@pytest.mark.medium
@pytest.mark.parametrize(
    "function",
    [
        traced.compiled_with_changed_values,
        traced.layers_that_differ_in_one_thing,
        traced.compiled_language_model,
        traced.compiled_classifier,
        traced.compiled_under_autocast,
        traced.compiled_checkpoint,
        traced.compiled_second_derivative_is_refused,
        traced.compiled_in_bfloat16,
        traced.compiled_dtype_is_refused,
        traced.compiled_padding,
        traced.compiled_empty_batch,
        traced.compiled_torch_class,
        traced.exported,
        traced.exported_with_further_inputs,
    ],
    ids=lambda function: function.__name__,
)
def test_compile(tracer: Callable[..., None], function: Callable[[], None]) -> None:
    tracer(function)


@pytest.mark.medium
@each_backend
@pytest.mark.parametrize("way", ["compile", "export"])
def test_traced_ids_outside_the_vocabulary(
    tracer: Callable[..., None], backend: str, way: str
) -> None:
    tracer(traced.ids_outside_the_vocabulary, backend, way)


@pytest.mark.medium
@each_backend
def test_traced_parameter_that_was_replaced(tracer: Callable[..., None], backend: str) -> None:
    tracer(traced.replaced_parameter_is_refused, backend)


def in_fresh_process(function: Callable[..., None], *args: Any) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(function, *args).result(timeout=110)


@pytest.mark.medium
@each_backend
@pytest.mark.parametrize(
    "function", [traced.forked_loader, traced.forked_bare], ids=lambda function: function.__name__
)
def test_forked(function: Callable[[str], None], backend: str) -> None:
    in_fresh_process(function, backend)


@pytest.mark.medium
@pytest.mark.timeout(330)  # two processes that compile everything, beside another test
@pytest.mark.parametrize(
    "compiled",
    [
        pytest.param(False, id="eager"),
        pytest.param(True, id="compiled", marks=pytest.mark.slow),
    ],
)
def test_data_parallel(tmp_path: Path, compiled: bool) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        ranks = [
            pool.submit(traced.data_parallel, rank, str(tmp_path), compiled) for rank in (0, 1)
        ]
        for rank in ranks:
            rank.result(timeout=300)


# ---- the operators themselves --------------------------------------------------------------------


class Watching(TorchDispatchMode):
    """Sees every operation, and counts ours."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "recurra":
            self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["lstm", "reference", "ids, a table", "passed on"])
def test_whatever_watches_sees_operators(name: str) -> None:
    layer, args, options = SCENARIOS[name].make()
    leaves = leaves_of(layer, (args, options))
    expected = results(layer, leaves, *args, **options)
    with Watching() as mode:
        found = results(layer, leaves, *args, **options)
    assert_close(found, expected, TOLERANCE)
    assert mode.seen == ["recurra::forward", "recurra::backward"]


def arguments(backend: str, name: str) -> tuple[Any, ...]:
    """What the forward operator is called with for one layer of a scenario."""
    scenario = SCENARIOS[name]
    layer, (x, state), options = scenario.make()
    assert layer.num_layers == layer.num_directions == 1
    states = [s.detach()[0].clone() for s in flat((x, state))[1:]] if state is not None else []
    states = states or [s[0] for s in layer.first_states(scenario.B)]
    keys = backends.traced_keys(layer.cell, backend)
    leaves = [x, *states, *options.get("context", ()), *layer.parameters_of(0).values()]
    leaves += [options["embedding"]] if "embedding" in options else []
    leaves = [v.detach().requires_grad_(v.is_floating_point()) for v in leaves]
    active = None
    if "lengths" in options:
        active = (torch.arange(x.shape[0])[:, None] < options["lengths"]).unsqueeze(-1)
    return leaves, active, keys.split("|")[0], None, False, 0, True


@pytest.mark.medium
@each_backend
@pytest.mark.parametrize("name", ["lstm", "one-hot ids", "ids, a table", "context", "passed on"])
def test_torchs_own_checks_of_an_operator(backend: str, name: str) -> None:
    """Schema, fake shapes, autograd registration, and nothing returned that shares memory."""
    given = arguments(backend, name)
    library.opcheck(
        torch.ops.recurra.forward.default,
        given,
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )
    with torch.no_grad():
        y, finals, kept = torch.ops.recurra.forward(*given)
    needs = [leaf.requires_grad for leaf in given[0]]
    call = (*given[:-1], kept, torch.ones_like(y), [None for _ in finals], needs)
    library.opcheck(
        torch.ops.recurra.backward.default, call, test_utils=("test_schema", "test_faketensor")
    )
    memory = [value.untyped_storage().data_ptr() for value in (*given[0], y, *finals, *kept)]
    assert len(set(memory)) == len(memory)


def test_fake_tensors_leave_nothing_behind() -> None:
    layer = rc.Recurrent("gru", 3, 5)
    x = torch.randn(4, 2, 3)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y, _ = layer(mode.from_tensor(x))
    assert y.shape == (4, 2, 5)
    assert torch.isfinite(layer(x)[0]).all()


@each_backend
def test_second_derivative(backend: str) -> None:
    layer, (x, _), _ = Scenario(cell="gru", layer={"backend": backend}).make()
    with Watching():
        y, _ = layer(x)
    if backend == "cpu":
        with pytest.raises(BackendError, match="backend='reference'"):
            torch.autograd.grad(y.sum(), x, create_graph=True)
        return
    expected = []
    for output in (y, layer(x)[0]):
        (first,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        expected.append(torch.autograd.grad(first.pow(2).sum(), [x, layer.W_hh_l0]))
    assert_close(expected[0], expected[1], TOLERANCE)


def test_unknown_key_says_what_to_do() -> None:
    with pytest.raises(BackendError, match="trace it again"):
        torch.ops.recurra.forward([torch.zeros(1, 1, 1)], None, "cpu:none:0", None, False, 0, False)


@pytest.mark.medium
def test_key_is_that_of_the_equations() -> None:
    keys = {ReferenceBackend(rc.cells.get(name)).key for name in rc.cells.names()}
    assert len(keys) == len(rc.cells.names())

    @rc.cell
    def leaky(x, h, W, alpha=0.1):
        return alpha * h + rc.lang.tanh(W @ x)

    constants = [
        ReferenceBackend(leaky.with_constants(alpha=alpha)).key for alpha in (0.1, 0.2, 0.1)
    ]
    assert constants[0] == constants[2] != constants[1]
    assert is_watched() is False


# ---- in eager mode -------------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [False, True])
@each_backend
def test_checkpoint(backend: str, reentrant: bool) -> None:
    layer, (x, _), _ = Scenario(layer={"backend": backend, "num_layers": 2}).make()
    leaves = leaves_of(layer, x)

    def run(x: Tensor) -> tuple[Tensor, ...]:  # flat, because torch looks no deeper
        return tuple(flat(layer(x)))

    def checkpointed(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, *states = checkpoint(run, x, use_reentrant=reentrant)
        return y, tuple(states)

    assert_close(results(checkpointed, leaves, x), results(layer, leaves, x), TOLERANCE)


@each_backend
def test_modes_without_gradients(backend: str) -> None:
    """A first call in inference mode leaves nothing that a later one with gradients trips over."""

    @rc.cell
    def fresh(x, h, W, U):
        return rc.lang.tanh(0.5 * (W @ x) + U @ h) + 1.0

    layer = rc.Recurrent(fresh, 3, 5, backend=backend)
    x = torch.randn(4, 2, 3, requires_grad=True)
    with torch.inference_mode():
        inferred = layer(x)[0]
        assert inferred.is_inference()
    with torch.no_grad():
        assert not layer(x)[0].requires_grad
    y, _ = layer(x)
    torch.testing.assert_close(inferred.clone(), y.detach())
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=backend == "reference")
    assert torch.isfinite(first).all()


def test_autocast_runs_and_is_close() -> None:
    layer, args, _ = Scenario(sizes=(8, 8)).make()
    leaves = leaves_of(layer, args)
    exact = results(layer, leaves, *args)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(layer, leaves, *args)
    assert [v.dtype for v in found] == [v.dtype for v in exact]
    assert_close(found, exact, 2e-2)


@pytest.mark.medium
@each_backend
def test_threads(backend: str) -> None:
    """Four threads, on one layer and on layers of their own, whose cells nobody has run yet."""

    def make(scale: float) -> rc.Recurrent:
        @rc.cell
        def of_a_thread(x, h, W, U, V, b, scale=scale):
            z = rc.lang.sigmoid(V @ x + W @ h)
            return z * h + (1 - z) * rc.lang.tanh(scale * (V @ x) + U @ (z * h) + b)

        torch.manual_seed(1)
        return rc.Recurrent(of_a_thread, 8, 8, 2, backend=backend)

    inputs = [torch.randn(7 + i % 2, 3, 8) for i in range(4)]
    shared, own = make(1.5), [make(1.0 + i) for i in range(4)]
    found: list[list[Tensor]] = [[] for _ in inputs]
    start = threading.Barrier(4)

    def gradients(layer: rc.Recurrent, x: Tensor) -> list[Tensor]:
        y, h = layer(x)
        return [y, h, *torch.autograd.grad(y.sum() + h.pow(2).sum(), list(layer.parameters()))]

    def work(i: int) -> None:
        start.wait()
        for _ in range(5):
            found[i] = gradients(shared, inputs[i]) + gradients(own[i], inputs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, x in enumerate(inputs):
        assert_close(found[i], gradients(shared, x) + gradients(own[i], x), 1e-6)


@pytest.mark.medium
@each_backend
def test_one_thread_and_more_agree(backend: str) -> None:
    layer = rc.Recurrent("gru", 16, 32, backend=backend)
    x = torch.randn(5, 9, 16)
    before = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(results(layer, leaves_of(layer, ()), x))
    finally:
        torch.set_num_threads(before)
    assert_close(found[1], found[0], 1e-6)


@each_backend
def test_copies_of_a_layer(backend: str) -> None:
    layer, (x, _), _ = Scenario(layer={"backend": backend}).make()
    expected = results(layer, leaves_of(layer, x), x)  # a layer that has run holds no pointers
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_close(results(other, leaves_of(other, x), x), expected, 1e-6)
        with torch.no_grad():
            next(other.parameters()).add_(1.0)
    assert_close(results(layer, leaves_of(layer, x), x), expected, 1e-6)
