"""What reaches compiled code: tensors that are what it takes them for, and ids in range."""

import ast
import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from recurra.backends import cpu, load
from recurra.backends.cpu import abi, gate, loops
from recurra.backends.runtime import backend as runtime
from recurra.backends.runtime.backend import PlannedBackend
from recurra.decoding import Sampler, generate
from recurra.errors import BackendError, BuildError
from recurra.lang import tanh

CPU = Path(cpu.__file__).parent
BACKENDS = ["auto", "reference"]
needs_compiler = pytest.mark.skipif(cpu.found_compiler() is None, reason="needs a C++ compiler")


@pytest.mark.medium
def test_only_the_gate_asks_a_tensor_where_it_lies() -> None:
    asking = {
        file.name
        for file in CPU.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "data_ptr"
    }
    # snapshots compare addresses with what they were
    assert asking <= {"gate.py", "snapshot.py"}
    assert "gate.py" in asking


# ---- the gate ------------------------------------------------------------------------------------


def cut(tensor: Tensor) -> Tensor:
    tensor.untyped_storage().resize_(64)
    return tensor


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: torch.randn(3, dtype=torch.float64),
        lambda: torch.randn(3).to(torch.float16),
        lambda: torch.ones(3, dtype=torch.int32),
        lambda: torch.empty(3, device="meta"),
        lambda: torch.randn(3, 4).to_sparse(),
        lambda: cut(torch.randn(30)),
        lambda: cut(torch.randn(30)[20:]),
        lambda: torch.randn(4, dtype=torch.complex64).conj(),
    ],
    ids=["float64", "float16", "int32", "meta", "sparse", "cut", "offset", "complex"],
)
def test_gate_refuses(wrong: Callable[[], Tensor]) -> None:
    with pytest.raises(BackendError, match=r"expected bias of torch.float32, in memory"):
        gate.bound(wrong(), "bias")


def test_gate_makes_what_is_lazy_real() -> None:
    x = torch.randn(3, 4)
    for lazy, want in [
        (torch._neg_view(x), -x),
        (torch._neg_view(x.t()), -x.t()),
        (torch.randn(3, dtype=torch.complex64).conj().imag, None),
        (torch._efficientzerotensor(3, 4), torch.zeros(3, 4)),
        (torch._efficientzerotensor(3, 4)[1:], torch.zeros(2, 4)),  # which lies 16 bytes from 0
    ]:
        assert gate.addresses([lazy], [gate.span_of(lazy)]) is None
        assert not gate.address_of_step(lazy)
        real, at = gate.bound(lazy, "x")
        assert at == real.data_ptr() != 0
        assert not real.is_neg()
        torch.testing.assert_close(real, lazy.clone() if want is None else want)
    assert gate.bound(x, "x")[0] is x
    assert gate.bound(x.t(), "x")[1] == x.data_ptr()
    assert gate.bound(x[:0], "x")[0].numel() == 0


@needs_compiler
def test_structs_and_constants_that_differ_are_a_build_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(abi.FACTS, "NUM_PARTS", 193)
    kernels = abi.Kernels(torch.float32, sums=False)
    with pytest.raises(BuildError, match=r"expected NUM_PARTS = 193 in C\+\+ as in Python, got"):
        kernels.load()
    library = kernels._products.loaded()
    with pytest.raises(BuildError, match=r"expected sizeof\(Matrix\) = None in C\+\+"):
        gate.check_facts(library, {"sizeof(Array)": 40})


@needs_compiler
@pytest.mark.medium
def test_fewer_threads_than_were_asked_for_share_the_memory() -> None:
    """Where the system gives a smaller team, each thread has more columns to pack."""
    program = (
        "import torch, recurra as rc\ntorch.manual_seed(0)\ntorch.set_num_threads(3)\n"
        "for T, B in ((7, 1), (3, 64), (40, 9)):\n"
        "    ours, x = rc.GRU(70, 130), torch.randn(T, B, 70)\n    theirs = torch.nn.GRU(70, 130)\n"
        "    theirs.load_state_dict(ours.state_dict())\n"
        "    for layer in (ours, theirs):\n        layer(x)[0].square().sum().backward()\n"
        "    for a, b in zip(ours.parameters(), theirs.parameters()):\n"
        "        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OMP_THREAD_LIMIT": "2"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# ---- parameters ----------------------------------------------------------------------------------

CHANGES: dict[str, tuple[Callable[[Tensor], Tensor], type[Exception], str]] = {
    "float64": (lambda p: p.double(), TypeError, "torch.float64"),
    "bfloat16": (lambda p: p.bfloat16(), TypeError, "torch.bfloat16"),
    "float16": (lambda p: p.half(), TypeError, "torch.float16"),
    "shorter": (lambda p: p[:1].clone(), ValueError, "of shape"),
    "longer": (lambda p: torch.cat([p, p]), ValueError, "of shape"),
    "elsewhere": (lambda p: p.to("meta"), ValueError, "meta"),
}


def layers(backend: str) -> dict[str, rc.Recurrent]:
    return {
        "lstm": rc.LSTM(8, 16, backend=backend),
        "rnn": rc.RNN(8, 16, backend=backend),
        "gru": rc.Recurrent("gru", 8, 16, num_layers=2, bidirectional=True, backend=backend),
    }


def replaced(layer: rc.Recurrent, name: str, change: Callable[[Tensor], Tensor]) -> None:
    setattr(layer, name, nn.Parameter(change(getattr(layer, name).detach())))


@pytest.mark.medium
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["lstm", "rnn", "gru"])
@pytest.mark.parametrize("change", CHANGES)
def test_parameter_that_was_replaced_is_refused_by_name(
    change: str, kind: str, backend: str
) -> None:
    how, error, got = CHANGES[change]
    layer, x = layers(backend)[kind], torch.randn(6, 2, 8)
    layer(x)  # what is kept of a call must not stand in for a check
    for name in [*dict(layer.named_parameters())][1:]:  # the first says what the layer is of
        broken = copy.deepcopy(layer)
        replaced(broken, name, how)
        with pytest.raises(error, match=rf"the parameter {name} .*{got}"):
            broken(x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_loaded_weights_of_another_dtype_are_refused_everywhere(backend: str) -> None:
    layer = rc.LSTM(8, 16, backend=backend)
    stream, x = layer.stream(2), torch.randn(6, 2, 8)
    stream(x[0])
    state = layer.state_dict()
    state["weight_hh_l0"] = state["weight_hh_l0"].double()
    layer.load_state_dict(state, assign=True)
    refused = pytest.raises(TypeError, match=r"the parameter weight_hh_l0 of torch.float32")
    with refused:
        layer(x)
    with refused, torch.no_grad():
        layer(x[:1])
    with refused:
        stream(x[1])
    layer.weight_hh_l0.data = layer.weight_hh_l0.data.float()
    layer(x)
    layer.bias_ih_l0.data = layer.bias_ih_l0.data.double()
    with pytest.raises(TypeError, match="bias_ih_l0"):
        layer(x)


def test_model_whose_weights_were_replaced_does_not_write() -> None:
    model = rc.LanguageModel(20, hidden_size=8).eval()
    list(generate(model, [1], 3, sampler=Sampler()))
    layer = next(module for module in model.modules() if isinstance(module, rc.Recurrent))
    last = [name for name, _ in layer.named_parameters()][-1]
    replaced(layer, last, lambda p: p.double())
    with pytest.raises(TypeError, match=f"the parameter {last} of torch.float32"):
        list(generate(model, [1], 3, sampler=Sampler()))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_autocast_converts_an_embedding_of_another_dtype(dtype: torch.dtype, backend: str) -> None:
    layer, ids = rc.GRU(8, 16, backend=backend), torch.randint(20, (6, 2))
    embedding = torch.randn(20, 8).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(ids, embedding=embedding)[0]
        want = layer(ids, embedding=embedding.float())[0]
    torch.testing.assert_close(found, want, rtol=0, atol=0)
    with pytest.raises(TypeError, match=r"expected embedding of torch.float32"):
        layer(ids, embedding=embedding)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_backend_refuses_values_that_do_not_go_together(backend: str) -> None:
    if backend not in rc.backends.names():
        pytest.skip("no C++ compiler was found")
    run = rc.backends.load(rc.cells.get("gru"), backend).run
    layer = rc.Recurrent("gru", 3, 4)
    good = layer.parameters_of(0)
    x, h = torch.randn(5, 2, 3), torch.zeros(2, 4)
    run(x, (h,), good)
    last = [*good][-1]
    with pytest.raises(TypeError, match=rf"expected {last} of torch.float32"):
        run(x, (h,), {**good, last: good[last].double()})
    with pytest.raises(ValueError, match=r"of shape"):
        run(x, (h,), {**good, last: good[last].repeat(2, *[1] * (good[last].dim() - 1))})


# ---- lazy tensors --------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_negative_bits_are_read_with_their_sign(backend: str) -> None:
    layer, x = rc.GRU(3, 4, backend=backend), torch.randn(6, 2, 3)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for p, q in zip(layer.parameters(), other.parameters(), strict=True):
            p.neg_()
            q.data = torch._neg_view(q.detach().clone())
    with torch.no_grad():
        torch.testing.assert_close(other(x)[0], layer(x)[0])
        torch.testing.assert_close(layer(torch._neg_view(x))[0], layer(-x)[0])
        h = torch.randn(1, 2, 4)
        torch.testing.assert_close(layer(x, torch._neg_view(h))[0], layer(x, -h)[0])
    d_y = torch.randn(6, 2, 4)
    zeros = torch.zeros(6, 2, 4)
    found = [
        torch.autograd.grad(layer(x)[0], [*layer.parameters()], d)
        for d in (torch._neg_view(d_y), -d_y, torch._efficientzerotensor(6, 2, 4), zeros)
    ]
    for a, b in zip(found[0] + found[2], found[1] + found[3], strict=True):
        torch.testing.assert_close(a, b)


@needs_compiler
def test_input_without_its_memory_is_refused() -> None:
    layer, x = rc.GRU(3, 4, backend="cpu"), torch.randn(6, 2, 3)
    x.untyped_storage().resize_(0)
    with pytest.raises(BackendError, match="in memory of the CPU"), torch.no_grad():
        layer(x)


# ---- token ids -----------------------------------------------------------------------------------

WRONG_IDS = [-1, -100, 7, 100_000, 2**40, -(2**62)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("embedded", [False, True], ids=["one-hot", "embedding"])
@pytest.mark.parametrize("few", [False, True], ids=["many ids", "few ids"])
def test_ids_outside_the_vocabulary_raise(few: bool, embedded: bool, backend: str) -> None:
    """As many ids as rows, and fewer, are looked up in other ways."""
    layer, embedding = rc.GRU(7, 4, backend=backend), torch.randn(7, 7) if embedded else None
    good = torch.randint(7, (4, 1) if few else (8, 2))
    layer(good, embedding=embedding)
    for wrong in WRONG_IDS:
        ids = good.clone()
        ids[-1, 0] = wrong
        with pytest.raises(ValueError, match=r"token ids in 0\.\.6.*got -?\d+"):
            layer(ids, embedding=embedding)


def test_operators_check_ids_themselves() -> None:
    layer, ids = rc.GRU(7, 4), torch.randint(7, (9, 2))
    runner = rc.backends.load(layer.cell, "reference")
    key = rc.backends.traced_keys(layer.cell, "reference").split("|")[0]
    assert runner.name == "reference"
    leaves = [ids, torch.zeros(2, 4), *layer.parameters_of(0).values()]
    y, finals, kept = torch.ops.recurra.forward(leaves, None, key, None, False, 0, True)
    wrong = ids.clone()
    wrong[3, 1] = 7
    leaves = [wrong, *leaves[1:]]
    with pytest.raises(ValueError, match=r"0\.\.6"):
        torch.ops.recurra.forward(leaves, None, key, None, False, 0, True)
    needs = [False, *[True] * (len(leaves) - 1)]
    with pytest.raises(ValueError, match=r"0\.\.6"):
        torch.ops.recurra.backward(leaves, None, key, None, False, 0, kept, y, finals, needs)


@needs_compiler
def test_compiled_loop_checks_ids_itself() -> None:
    run = rc.backends.load(rc.cells.get("gru"), "cpu").run
    layer = rc.Recurrent("gru", 7, 4)
    for wrong in WRONG_IDS:
        ids = torch.full((20, 2), 3)
        ids[19, 1] = wrong
        with pytest.raises((ValueError, IndexError, RuntimeError), match=r"0\.\.6|index|range"):
            run(ids, (torch.zeros(2, 4),), layer.parameters_of(0))


@needs_compiler
def test_writer_reads_no_id_outside_its_vocabulary() -> None:
    model = rc.LanguageModel(20, hidden_size=8).eval()
    for wrong in (-1, 20, 2**40):
        with pytest.raises(ValueError, match="20"):
            list(generate(model, [wrong], 3, sampler=Sampler()))


# ---- threads -------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize(
    ("hidden", "steps", "batch", "used"),
    [(4, 200, 1, 1), (4, 200, 8, 1), (32, 50, 1, 1), (256, 20, 1, 2), (64, 50, 32, 2)],
)
def test_threads_share_what_is_worth_it(
    hidden: int, steps: int, batch: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    launch = loops.Invocation.launch

    def noted(invocation: loops.Invocation) -> None:
        seen.append(invocation.call.threads)
        launch(invocation)

    monkeypatch.setattr(loops.Invocation, "launch", noted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with torch.no_grad():
        rc.LSTM(hidden, hidden)(torch.randn(steps, batch, hidden))
    assert seen == [used]


def test_sizes_that_keep_changing_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_MOST_SIZES", 3)

    @rc.cell
    def of_many_sizes(x, h, W, U):  # type: ignore[no-untyped-def]
        return tanh(W @ x + U @ h)

    backend, layers = load(of_many_sizes, "reference"), []
    assert isinstance(backend, PlannedBackend)
    for size in range(1, 8):
        layers.append(rc.Recurrent(of_many_sizes, 2, size, backend="reference"))
        for layer in (layers[0], layers[-1]):
            assert layer(torch.randn(4, 2, 2))[0].shape[-1] == layer.hidden_size
            assert len(backend._executors) <= 3
            assert set(backend._called.values()) <= set(backend._executors.values())


@needs_compiler
def test_lengths_that_keep_changing_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_MOST_FORMS", 3)
    forms: list[int] = []
    made = loops.CompiledLoop._new_form

    def noted(loop: loops.CompiledLoop, *call: object) -> object:
        forms.append(len(loop._forms))
        return made(loop, *call)  # type: ignore[arg-type]

    monkeypatch.setattr(loops.CompiledLoop, "_new_form", noted)
    layer = rc.GRU(5, 7)
    with torch.no_grad():
        for steps in range(4, 14):
            layer(torch.randn(steps, 2, 5))
    assert len(forms) == 10
    assert max(forms) == 2  # before it is put in
