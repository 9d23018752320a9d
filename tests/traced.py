"""What `tests/backends/test_operators.py` runs in processes of its own.

torch.compile cannot trace through the wrappers that jaxtyping puts around every function of ours in
a test run, and forks and process groups want a process that may be lost.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset

import recurra as rc
from memory_cells import everything, located
from recurra.lang import cos, exp, mean, tanh, where

TOLERANCE = 2e-5


@rc.cell
def stepped(x, h, t, W, U, b):
    """A cell that reads the index of its step."""
    new = tanh(W @ x + U @ h + b * cos(0.5 * t))
    return where(t < 3, new, 0.5 * (h + new))


@rc.cell(context=("u", "v"))
def two_contexts(x, h, u, v, W, U, V, M):
    """A cell with two inputs that stay constant through time."""
    once = tanh(V @ v)
    return tanh(W @ x + U @ u + once * h) + M @ h * mean(u)


@rc.cell(inputs=("x", "dt", "m"), sizes={"dt": 1})
def timed(x, h, dt, m, W, U, V):
    """A cell that reads a number and a vector at each step besides x."""
    return tanh(W @ x + U @ h * exp(-0.5 * dt) + V @ m)


@rc.cell(state=("h", "c", "d"))
def passes_states_on(x, h, c, d, W):
    """A cell whose states come back as others went in, or unchanged."""
    return tanh(W @ x + c), h, d


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A layer, and what it is called with."""

    cell: Any = "lstm"
    sizes: tuple[int, int] = (3, 5)
    layer: dict[str, Any] = field(default_factory=dict)
    T: int = 6
    B: int = 4
    ids: int | None = None
    embedding: int | None = None
    lengths: tuple[int, ...] | None = None
    context: tuple[int, ...] = ()
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    with_state: bool = False
    memory: tuple[int, ...] = ()

    def make(self) -> tuple[rc.Recurrent, tuple[Any, ...], dict[str, Any]]:
        """The layer, and fresh arguments that may have gradients."""
        torch.manual_seed(0)
        layer = rc.Recurrent(self.cell, *self.sizes, **self.layer)
        shape = (self.B, self.T) if layer.batch_first else (self.T, self.B)
        if self.ids is None:
            x = torch.randn(*shape, self.sizes[0], requires_grad=True)
        else:
            x = torch.randint(self.ids, shape)
        options: dict[str, Any] = {}
        state = None
        if self.with_state:
            states = layer.initial_state(self.B)
            each = (states,) if isinstance(states, Tensor) else states
            each = tuple(torch.randn_like(s).requires_grad_() for s in each)
            state = each[0] if len(each) == 1 else each
        if self.lengths is not None:
            options["lengths"] = torch.tensor(self.lengths)
        if self.context:
            options["context"] = tuple(
                torch.randn(self.B, size, requires_grad=True) for size in self.context
            )
        for name, size in self.inputs.items():
            options[name] = torch.randn(*shape, *size, requires_grad=True)
        if self.memory:
            memory = tuple(torch.randn(7, self.B, size, requires_grad=True) for size in self.memory)
            options["memory"] = memory
            options["memory_lengths"] = torch.tensor([7, 3, 1, 5][: self.B])
        if self.embedding is not None:
            options["embedding"] = torch.randn(self.embedding, self.sizes[0], requires_grad=True)
        return layer, (x, state), options


LOCATED_SIZES = {"K": 5, "A": 2, "F": 3}
SCENARIOS = {
    "lstm": Scenario(with_state=True),
    "reference": Scenario(layer={"backend": "reference"}, with_state=True),
    "short": Scenario(T=1, B=1),
    "two layers, both directions": Scenario(
        cell="gru", layer={"num_layers": 2, "bidirectional": True}, lengths=(6, 2, 3, 1)
    ),
    "batch first": Scenario(cell="mut1", layer={"batch_first": True}, lengths=(6, 2, 3, 1)),
    "one-hot ids": Scenario(cell="gru", sizes=(7, 5), ids=7, lengths=(6, 2, 3, 1)),
    "ids, a table": Scenario(cell="gru", ids=7, embedding=7),
    "ids, no table": Scenario(cell="gru", ids=70, embedding=70),
    "stepped": Scenario(cell=stepped, layer={"bidirectional": True}),
    "context": Scenario(cell=two_contexts, layer={"sizes": {"C_u": 2, "C_v": 4}}, context=(2, 4)),
    "further inputs": Scenario(
        cell=timed,
        layer={"num_layers": 2, "batch_first": True, "sizes": {"I_m": 2}},
        lengths=(6, 2, 3, 1),
        inputs={"dt": (), "m": (2,)},
    ),
    "memory": Scenario(cell=located, layer={"sizes": LOCATED_SIZES}, memory=(5,)),
    "two memories": Scenario(
        cell=everything, layer={"sizes": {"K_u": 5, "A": 2}}, sizes=(3, 4), memory=(4, 5)
    ),
    "constant arrays": Scenario(cell="lmu(order=3, theta=5.0)", lengths=(6, 2, 3, 1)),
    "low memory": Scenario(cell="gru", layer={"memory": "low"}, lengths=(6, 2, 3, 1)),
    "low memory, a table": Scenario(cell="lstm", ids=7, embedding=7, layer={"memory": "low"}),
    "no input": Scenario(cell="driven_system", with_state=True),
    "passed on": Scenario(cell=passes_states_on, with_state=True),
}


def leaves_of(layer: nn.Module, arguments: Any) -> list[Tensor]:
    """Everything that has a gradient."""
    flat: list[Tensor] = []
    stack = [arguments]
    while stack:
        item = stack.pop()
        if isinstance(item, Tensor):
            flat += [item] if item.requires_grad else []
        elif isinstance(item, dict | tuple | list):
            stack.extend(item.values() if isinstance(item, dict) else item)
    return [*layer.parameters(), *flat]


def flat(output: Any) -> list[Tensor]:
    """y and the states."""
    y, state = output
    return [y, state] if isinstance(state, Tensor) else [y, *state]


def results(call: Callable[..., Any], leaves: Sequence[Tensor], *args: Any, **kwargs: Any) -> Any:
    """Outputs, and gradients for cotangents on all of them."""
    for leaf in leaves:
        leaf.grad = None
    outputs = flat(call(*args, **kwargs))
    weighted = [
        (v * torch.linspace(-1, 1, v.numel()).view_as(v)).sum() for v in outputs if v.requires_grad
    ]
    torch.stack(weighted).sum().backward()
    gradients = [torch.zeros_like(v) if v.grad is None else v.grad.clone() for v in leaves]
    return [*(v.detach() for v in outputs), *gradients]


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor], tol: float) -> None:
    """Each within `tol` of what is expected, relative to the largest number in it."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        largest = float(theirs.detach().abs().max()) if theirs.numel() else 0.0
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tol * (1 + largest))


# ---- torch.compile -------------------------------------------------------------------------------


def graph_counter() -> Any:
    """A backend that counts graphs; to import it takes longer than to collect all tests."""
    from torch._dynamo.testing import CompileCounterWithBackend

    return CompileCounterWithBackend("aot_eager")


def compiled_like_eager(name: str, backend: str = "aot_eager") -> None:
    """One graph, with one operator for each layer and direction, that gives what eager gives."""
    torch._dynamo.reset()
    layer, args, options = SCENARIOS[name].make()
    graphs: list[torch.fx.GraphModule] = []
    inner = torch._dynamo.lookup_backend(backend)

    def watch(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return inner(graph, inputs)

    compiled = torch.compile(layer, fullgraph=True, backend=watch)
    leaves = leaves_of(layer, (args, options))
    expected = results(layer, leaves, *args, **options)
    assert_close(results(compiled, leaves, *args, **options), expected, TOLERANCE)
    assert_close(results(compiled, leaves, *args, **options), expected, TOLERANCE)
    (graph,) = graphs  # once for both calls
    operators = [n for n in graph.graph.nodes if n.target is torch.ops.recurra.forward]
    assert len(operators) == layer.num_layers * layer.num_directions
    with torch.no_grad():
        without = flat(compiled(*args, **options))
    assert_close(without, expected[: len(without)], TOLERANCE)


def compiled_for_many_shapes(dynamic: bool | None) -> None:
    """Other numbers of steps and sequences: right ones, and soon without another graph."""
    torch._dynamo.reset()
    counter = graph_counter()
    layer = rc.Recurrent("lstm", 3, 5)
    compiled = torch.compile(layer, fullgraph=True, backend=counter, dynamic=dynamic)
    counts = []
    for T, B in ((6, 4), (6, 4), (7, 4), (8, 5), (9, 20), (30, 7), (31, 8), (50, 33)):
        x, lengths = torch.randn(T, B, 3), torch.randint(1, T + 1, (B,))
        leaves = leaves_of(layer, ())
        expected = results(layer, leaves, x, lengths=lengths)
        assert_close(results(compiled, leaves, x, lengths=lengths), expected, TOLERANCE)
        counts.append(counter.frame_count)
    assert counts[1] == counts[0]
    assert counts[-1] == counts[3]


def compiled_with_changed_values() -> None:
    """What a graph was traced with is not what it computes with: parameters, ids, lengths."""
    torch._dynamo.reset()
    layer = rc.Recurrent("gru", 5, 6)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        ids, lengths = torch.randint(5, (4, 3)), torch.randint(1, 5, (3,))
        leaves = leaves_of(layer, ())
        expected = results(layer, leaves, ids, lengths=lengths)
        assert_close(results(compiled, leaves, ids, lengths=lengths), expected, TOLERANCE)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(0.1)


def layers_that_differ_in_one_thing() -> None:
    """A graph that was traced for one layer is not taken for another, however alike they are."""
    torch._dynamo.reset()

    @rc.cell
    def same(x, h, W, scale=1.0):
        return tanh(scale * (W @ x) + h)

    x = torch.randn(4, 2, 3)
    counter = graph_counter()
    cells = [same, same.with_constants(scale=2.0), same]
    for graphs, (cell, backend) in enumerate(product(cells, ("auto", "reference"))):
        layer = rc.Recurrent(cell, 3, 3, backend=backend)
        compiled = torch.compile(layer, fullgraph=True, backend=counter)
        assert_close(flat(compiled(x)), flat(layer(x)), TOLERANCE)
        assert counter.frame_count == min(graphs + 1, 4)


def compiled_language_model() -> None:
    """Embedding, layers with dropout off, decoder and loss in one graph."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = rc.LanguageModel(11, embedding_size=4, hidden_size=6, num_layers=2)
    ids = torch.randint(11, (7, 3))

    def loss(run: Callable[..., Any]) -> list[Tensor]:
        model.zero_grad()
        logits, _ = run(ids[:-1])
        value = nn.functional.cross_entropy(logits.flatten(0, 1), ids[1:].flatten())
        value.backward()
        return [value.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    expected = loss(model)
    found = loss(torch.compile(model, fullgraph=True, backend="aot_eager"))
    assert_close(found, expected, TOLERANCE)


def compiled_classifier() -> None:
    """Words and their spelling, layers, pooling of every kind and loss in one graph."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    for kind in ("characters", "ngrams"):
        options = {"embedding_size": 4, "subword_size": 4, "hidden_size": 6, "bidirectional": True}
        pooling = "last+mean+max+attention"
        model = rc.Classifier(
            3, vocab_size=11, subwords=kind, num_pieces=9, pooling=pooling, **options
        )
        ids, pieces = torch.randint(11, (7, 3)), torch.randint(-1, 9, (7, 3, 2)).sort(-1, True)[0]
        lengths, target = torch.tensor([7, 2, 4]), torch.tensor([0, 2, 1])
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        found = []
        for run in (model, compiled):
            model.zero_grad()
            loss = nn.functional.cross_entropy(run(ids, lengths, pieces=pieces), target)
            loss.backward()
            gradients = (p.grad for p in model.parameters() if p.grad is not None)
            found.append([loss.detach(), *(gradient.clone() for gradient in gradients)])
        assert_close(found[1], found[0], TOLERANCE)


def compiled_under_autocast() -> None:
    """Runs, keeps the dtypes of eager, and is close to float32."""
    torch._dynamo.reset()
    layer, args, options = Scenario(sizes=(8, 8)).make()
    leaves = leaves_of(layer, args)
    exact = results(layer, leaves, *args)
    with torch.autocast("cpu", torch.bfloat16):
        eager = flat(layer(*args, **options))
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        traced = flat(compiled(*args, **options))
    for ours, theirs in zip(traced, eager, strict=True):
        assert ours.dtype == theirs.dtype
    assert_close(traced, eager, 1e-3)
    torch.stack([value.sum() for value in traced]).sum().backward()
    assert_close([value.float() for value in traced], exact[: len(traced)], 2e-2)


def compiled_checkpoint() -> None:
    """A checkpointed layer inside a graph."""
    torch._dynamo.reset()
    layer, (x, _), _ = Scenario(cell="gru").make()

    def run(x: Tensor) -> Any:
        return checkpoint(layer, x, use_reentrant=False)

    leaves = leaves_of(layer, x)
    found = results(torch.compile(run, fullgraph=True, backend="aot_eager"), leaves, x)
    assert_close(found, results(layer, leaves, x), TOLERANCE)


def compiled_second_derivative_is_refused() -> None:
    """torch says so itself for compiled graphs; what matters is that nothing wrong comes out."""
    torch._dynamo.reset()
    layer, (x, _), _ = Scenario(cell="gru").make()
    y, _ = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        torch.autograd.grad(first.sum(), x)


def compiled_in_bfloat16() -> None:
    """Outputs and gradients in the dtype of the layer, as in eager mode."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer = rc.GRU(3, 5, num_layers=2, dtype=torch.bfloat16)
    x = torch.randn(6, 4, 3, dtype=torch.bfloat16, requires_grad=True)
    leaves = [*layer.parameters(), x]
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    found, expected = results(compiled, leaves, x), results(layer, leaves, x)
    assert {value.dtype for value in found} == {torch.bfloat16}
    assert_close(found, expected, TOLERANCE)


def compiled_dtype_is_refused() -> None:
    """A backend asked for by name does not run what it cannot, traced or not."""
    torch._dynamo.reset()
    layer = rc.GRU(3, 5, dtype=torch.float64, backend="cpu")
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    for call in (layer, torch.compile(layer, fullgraph=True, backend="aot_eager")):
        with pytest.raises(Exception, match="expected float32 or bfloat16 on the CPU"):
            call(x)


def compiled_padding() -> None:
    """Lengths are checked when a graph runs; what lies past them is not looked at."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    for backend in ("auto", "reference"):
        layer = rc.Recurrent("gru", 5, 6, bidirectional=True, backend=backend)
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        ids = torch.randint(5, (4, 3))
        leaves = leaves_of(layer, ())
        for given in ((4, 0, 2), (1, 4, 0), (0, 0, 0)):
            lengths = torch.tensor(given)
            padded = torch.where(torch.arange(4)[:, None] < lengths, ids, -100)
            expected = results(layer, leaves, ids, lengths=lengths)
            assert_close(results(layer, leaves, padded, lengths=lengths), expected, 0)
            assert_close(results(compiled, leaves, padded, lengths=lengths), expected, TOLERANCE)
        for wrong in (-3, 5, 1_000_000):
            for call in (layer, compiled):
                with pytest.raises(ValueError, match=rf"lengths in 0\.\.4, got {wrong}"):
                    call(ids, lengths=torch.tensor([4, wrong, 2]))


def compiled_empty_batch() -> None:
    """No sequences, no steps: empty results, and gradients of zero."""
    torch._dynamo.reset()
    layer = rc.Recurrent("lstm", 3, 5, 2, bidirectional=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for shape in ((6, 0), (0, 4), (6, 4)):
        x = torch.randn(*shape, 3, requires_grad=True)
        leaves = [*layer.parameters(), x]
        expected = results(layer, leaves, x)
        assert_close(results(compiled, leaves, x), expected, TOLERANCE)
    with torch.no_grad():
        assert compiled(torch.empty(6, 0, 3))[0].shape == (6, 0, 10)


class Embedded(nn.Module):
    """A layer on token ids: one-hot, or rows of an embedding."""

    def __init__(self, backend: str, embedded: bool) -> None:
        super().__init__()
        self.layer = rc.GRU(7, 4, backend=backend)
        self.embedding = nn.Parameter(torch.randn(7, 7)) if embedded else None

    def forward(self, ids: Tensor) -> Tensor:
        return self.layer(ids, embedding=self.embedding)[0]


def ids_outside_the_vocabulary(backend: str, way: str) -> None:
    """A trace has no values to look at: the operator does. As many ids as rows, and fewer, are
    looked up in other ways."""
    for embedded, shape in product((False, True), ((8, 2), (4, 1))):
        module, good = Embedded(backend, embedded), torch.randint(7, shape)
        if way == "compile":
            run: Any = torch.compile(module, backend="eager", dynamic=False)
        else:
            run = torch.export.export(module, (good,)).module()
        torch.testing.assert_close(run(good), module(good))
        for wrong in (-1, -100, 7, 100_000, 2**40, -(2**62)):
            ids = good.clone()
            ids[-1, 0] = wrong
            with pytest.raises(ValueError, match=r"token ids in 0\.\.6.*got -?\d+"):
                run(ids).sum().backward()


def replaced_parameter_is_refused(backend: str) -> None:
    """Where a layer is traced its parameters are looked at too."""
    layer, x = rc.LSTM(3, 4, backend=backend), torch.randn(6, 2, 3)
    layer.weight_hh_l0 = nn.Parameter(layer.weight_hh_l0.detach().double())
    with pytest.raises(Exception, match="parameter weight_hh_l0"):
        torch.compile(layer, backend="eager", fullgraph=True)(x)
    with pytest.raises(Exception, match="parameter weight_hh_l0"):
        torch.export.export(layer, (x,))


class Both(rc.LSTM, nn.LSTM):
    """Also an instance of a class that torch.compile leaves outside its graphs."""


def compiled_torch_class() -> None:
    """Right outside the graph, and inside it where torch is told to take it."""
    layer, x = Both(3, 5, 2, bidirectional=True), torch.randn(6, 4, 3, requires_grad=True)
    leaves = [*layer.parameters(), x]
    expected = results(layer, leaves, x)
    torch._dynamo.reset()
    model = nn.Sequential(layer)
    assert_close(results(torch.compile(model, backend="aot_eager"), leaves, x), expected, TOLERANCE)
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="RNN, GRU, or LSTM"):
        torch.compile(model, backend="aot_eager", fullgraph=True)(x)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        assert_close(results(compiled, leaves, x), expected, TOLERANCE)


def exported() -> None:
    """torch.export, with a free number of steps."""
    layer, (x, _), _ = Scenario(cell="gru", T=8).make()
    steps = torch.export.Dim("steps", min=4, max=1000)
    with torch.no_grad():
        program = torch.export.export(layer, (x.detach(),), dynamic_shapes={"x": {0: steps}})
        for T in (8, 5, 40):
            other = torch.randn(T, 4, 3)
            assert_close(flat(program.module()(other)), flat(layer(other)), TOLERANCE)


def exported_with_further_inputs() -> None:
    """What is given by name at each step is an input of the program under that name."""
    layer, (x, _), options = SCENARIOS["further inputs"].make()
    inputs = {name: options[name].detach() for name in ("dt", "m")}
    with torch.no_grad():
        program = torch.export.export(layer, (x.detach(),), inputs)
        other = {name: torch.randn_like(each) for name, each in inputs.items()}
        assert_close(
            flat(program.module()(x.detach(), **other)), flat(layer(x, **other)), TOLERANCE
        )


# ---- processes -----------------------------------------------------------------------------------


class _Runs(Dataset):
    """Each item is a run of the layer in the process that asks for it."""

    def __init__(self, layer: nn.Module, x: Tensor) -> None:
        self.layer, self.x = layer, x

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        with torch.no_grad():
            return self.layer(self.x * (index + 1))[0]


def forked_loader(backend: str) -> None:
    """Workers run a layer that their parent has run with several threads."""
    layer, x = _run_with_threads(backend)
    loader = DataLoader(_Runs(layer, x), num_workers=2, multiprocessing_context="fork", timeout=60)
    with torch.no_grad():
        for index, (found,) in enumerate(loader):
            torch.testing.assert_close(found, layer(x * (index + 1))[0])


def forked_bare(backend: str) -> None:
    """So does a process that was forked without anybody caring for threads."""
    layer, x = _run_with_threads(backend)
    expected = results(layer, leaves_of(layer, ()), x)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        status = 1
        try:
            found = results(layer, leaves_of(layer, ()), x)
            assert_close(found, expected, TOLERANCE)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, "the forked process hung or failed"


def _run_with_threads(backend: str) -> tuple[nn.Module, Tensor]:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    layer = rc.Recurrent("gru", 64, 128, backend=backend)
    x = torch.randn(20, 32, 64)
    results(layer, leaves_of(layer, ()), x)
    return layer, x


def data_parallel(rank: int, folder: str, compiled: bool) -> None:
    """Two processes with half of the batch each have the gradients of one with all of it."""
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = rc.Recurrent("lstm", 3, 5, 2)
    x = torch.randn(6, 8, 3)

    def loss(run: nn.Module, x: Tensor) -> Tensor:
        y, state = run(x)
        return y.pow(2).sum(0).mean() + state[0].sum(0).mean()

    loss(layer, x).backward()
    expected = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    layer.zero_grad()
    parallel: Any = nn.parallel.DistributedDataParallel(layer)
    if compiled:
        parallel = torch.compile(parallel, backend="aot_eager")
    loss(parallel, x[:, 4 * rank : 4 * rank + 4]).backward()
    assert_close([p.grad for p in layer.parameters() if p.grad is not None], expected, TOLERANCE)
    if not compiled:  # a process that has no sequence left adds gradients of zero
        layer.zero_grad()
        expected = torch.autograd.grad(layer(x)[0].sum() / 2, list(layer.parameters()))
        parallel(x if rank == 0 else x[:, :0])[0].sum().backward()
        assert_close(
            [p.grad for p in layer.parameters() if p.grad is not None], expected, TOLERANCE
        )
    # Gloo's thread takes the GIL to drop what it has reduced. Were the group destroyed meanwhile by
    # this thread and with the GIL, each would wait for the other: torch 2.13 hung so twice.
    time.sleep(0.5)
    dist.destroy_process_group()
