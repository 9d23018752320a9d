"""What a call hands out owns its memory: outputs, states and gradients can be written in place.

Letters: T time, B batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import recurra as rc
from known_at_once import know_at_once
from oracle import WITHOUT_MEMORY, slow_beyond_the_core
from recurra import cells
from recurra.backends import ReferenceBackend
from recurra.backends.cpu import CpuBackend, found_compiler
from recurra.backends.runtime.apart import Apart
from recurra.ir import Dim
from recurra.lang import Cell

BATCH = 2
compiled = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")

# each cell compiled for float32 and bfloat16, with more and less memory, and the oracle's two ways
RUNNERS: dict[str, tuple[Callable[[Cell], ReferenceBackend], torch.dtype]] = {
    "cpu": (CpuBackend, torch.float32),
    "cpu, low memory": (lambda cell: CpuBackend(cell, memory="low"), torch.float32),
    "cpu, bfloat16": (CpuBackend, torch.bfloat16),
    "reference": (ReferenceBackend, torch.float64),
    "reference, low memory": (lambda cell: ReferenceBackend(cell, memory="low"), torch.float32),
    "reference, autograd": (
        lambda cell: ReferenceBackend(cell, gradients="autograd"),
        torch.float64,
    ),
}


def memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def assert_own(results: Sequence[Tensor], others: Sequence[Tensor] = ()) -> None:
    """No two share memory, nor with the others, and none holds more than its own numbers."""
    taken = {memory(tensor) for tensor in others if tensor.numel()}
    for i, result in enumerate(results):
        assert result.untyped_storage().nbytes() == result.nbytes, f"result {i} holds others"
        assert not result._is_view(), f"result {i} is a view"
        if result.numel():
            assert memory(result) not in taken, f"result {i} shares memory"
            taken.add(memory(result))


class Sequences:
    """One cell with inputs of its own, to be run again and again."""

    def __init__(self, cell: Cell, steps: int, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(steps)

        def random(*shape: int) -> Tensor:
            numbers = torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5
            return numbers.to(dtype).requires_grad_()

        # one size for all lets x, states and outputs be one another, as far as equations do
        sizes = dict.fromkeys(("I", "H", "P", "C", "R", *cell.size_names), 4)
        self.x = random(steps, BATCH, 4 if cell.input is not None else 0)
        self.states = tuple(
            random(BATCH, *(d.evaluate(sizes) for d in dims)) for dims in cell.state_shapes
        )
        self.parameters = {
            name: random(*(d.evaluate(sizes) for d in dims))
            for name, dims in cell.parameters.items()
        }
        self.arrays = {n: torch.tensor(array, dtype=dtype) for n, array in cell.arrays.items()}
        self.further = tuple(
            random(steps, BATCH, *(d.evaluate(sizes) for d in dims or (Dim.of(1),)))
            for dims in cell.further_shapes.values()
        )
        inputs = [self.x] if cell.input is not None else []
        self.leaves = [*inputs, *self.further, *self.states, *self.parameters.values()]
        self._random = random

    def run(self, backend: ReferenceBackend) -> list[Tensor]:
        y, states = backend.run(
            self.x, self.states, {**self.parameters, **self.arrays}, inputs=self.further
        )
        return [y, *states]

    def gradients(self, results: Sequence[Tensor], seeds: Sequence[Tensor]) -> list[Tensor]:
        for leaf in self.leaves:
            leaf.grad = None
        torch.autograd.backward(results, seeds)
        return [leaf.grad for leaf in self.leaves if leaf.grad is not None]

    def seeds(self, results: Sequence[Tensor]) -> list[Tensor]:
        return [self._random(*result.shape).detach() for result in results]


def check_cell(cell: Cell, runner: str) -> None:
    make, dtype = RUNNERS[runner]
    backend = make(cell)
    for steps in (0, 1, 2, 6):
        case = Sequences(cell, steps, dtype)
        with torch.no_grad():
            assert_own(case.run(backend), case.leaves)
        results = case.run(backend)
        assert_own(results, case.leaves)
        if steps == 0:
            continue
        seeds = case.seeds(results)
        gradients = case.gradients(results, seeds)
        if runner == "reference, autograd":  # its gradients are torch's own
            continue
        assert_own(gradients, [*results, *case.leaves, *seeds])
        expected = [gradient.clone() for gradient in gradients]
        for result in (again := case.run(backend)):
            result.data.fill_(float("nan"))
        for gradient, right in zip(case.gradients(again, seeds), expected, strict=True):
            torch.testing.assert_close(gradient, right, rtol=0, atol=0)


@pytest.mark.medium
@pytest.mark.parametrize("name", slow_beyond_the_core(WITHOUT_MEMORY))
@compiled
def test_results_of_compiled_loops_are_their_own(name: str) -> None:
    check_cell(cells.get(name), "cpu")


# of one state and of two, whose output is a state or none, that read x twice, that add two biases
KINDS = ("torch_rnn_relu", "torch_lstm", "torch_lstm_projected", "gru", "qrnn_fo", "tgru")


@pytest.mark.parametrize("runner", [name for name in RUNNERS if name != "cpu"])
@pytest.mark.parametrize("name", KINDS)
@compiled
def test_results_are_their_own_however_they_are_computed(name: str, runner: str) -> None:
    check_cell(cells.get(name), runner)


# a state that is the input, one that never changes, an output that is either, or the same sum twice
@rc.cell(state=("h", "x_old"), sizes={"x_old": "I"})
def remembers_its_input(x, h, x_old, U, W, b, b2):
    return U @ h + W @ x_old + (b + b2), x


@rc.cell(state=("h", "c"))
def keeps_a_state(x, h, c, W):
    return h + W @ x, c


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("cell", [remembers_its_input, keeps_a_state], ids=lambda cell: cell.name)
@compiled
def test_results_that_the_equations_make_one(cell: Cell, runner: str) -> None:
    check_cell(cell, runner)


# ---- layers --------------------------------------------------------------------------------------


@pytest.fixture(params=["first calls", "known calls"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that are worked out, and calls that go straight to the loops from the first one on."""
    if request.param == "known calls":
        know_at_once(monkeypatch)


LAYERS: dict[str, dict[str, Any]] = {
    "one": {},
    "two, both directions": {"num_layers": 2, "bidirectional": True},
    "batch first": {"batch_first": True},
    "reference": {"backend": "reference"},
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("kind", [rc.LSTM, rc.GRU, rc.RNN])
def test_layers_take_what_is_done_in_place(kind: type[rc.LSTM], options: dict[str, Any]) -> None:
    """The output masked, the states masked and detached, in training and without gradients."""
    layer = kind(3, 4, **options)
    x = torch.randn(6, 2, 3)

    def after(change: bool) -> list[Tensor]:
        layer.zero_grad()
        y, state = layer(x)
        states = state if isinstance(state, tuple) else (state,)
        if change:
            y *= 2
            y[:, 0] = 0
            for part in states:
                part[:, 0] = 0
                part *= 2
        else:
            y = torch.cat([0 * y[:, :1], 2 * y[:, 1:]], dim=1)
            states = [torch.cat([0 * s[:, :1], 2 * s[:, 1:]], dim=1) for s in states]
        loss = y.square().sum() + sum(s.square().sum() for s in states)
        loss.backward()
        for part in (y, *states):
            part.detach_()
        return [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]

    expected = [gradient.clone() for gradient in after(change=False)]
    for gradient, right in zip(after(change=True), expected, strict=True):
        torch.testing.assert_close(gradient, right)
    with torch.no_grad():
        y, state = layer(x)
        before = y.clone()
        for part in state if isinstance(state, tuple) else (state,):
            part.fill_(float("nan"))
        assert torch.equal(y, before)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [rc.LSTM, rc.GRU, rc.RNN])
def test_gradients_add_up_and_are_clipped_as_those_of_torch(
    kind: type[rc.LSTM], packed: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    ours = kind(5, 7, dtype=dtype)
    theirs = getattr(nn, kind.__name__)(5, 7, dtype=dtype)
    theirs.load_state_dict(ours.state_dict())
    sequences = [torch.randn(n, 5, dtype=dtype) for n in (6, 4)]
    x = pack_sequence(sequences) if packed else torch.stack([s[:4] for s in sequences], 1)
    norms = []
    for layer in (ours, theirs):
        for _ in range(2):
            y = layer(x)[0]
            (y.data if packed else y).sum().backward()
        norms.append(nn.utils.clip_grad_norm_(layer.parameters(), 0.1))
    torch.testing.assert_close(*norms)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_token_ids_that_are_refilled_before_the_backward_pass(backend: str) -> None:
    """As nn.Embedding: an error, because the gradients would be of other tokens."""
    layer = rc.GRU(7, 4, backend=backend)
    ids = torch.randint(0, 7, (6, 2))
    loss = layer(ids)[0].sum()
    ids.fill_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_rows_of_a_learned_first_state_are_apart() -> None:
    layer = rc.Recurrent("lstm", 3, 4, learned_state=True)
    states = layer.initial_state(3)
    assert isinstance(states, tuple)
    assert_own([state.detach().clone() for state in states])
    with torch.no_grad():
        states[0][:, 0] = 5
        assert not states[0][:, 1:].any()
        assert not layer.get_parameter("first_h_l0").any()


# ---- the rule itself -----------------------------------------------------------------------------


def test_only_what_is_not_its_own_is_copied() -> None:
    given, whole = torch.zeros(3), torch.zeros(2, 3)
    apart = Apart([given, None])
    assert apart(whole) is whole
    copied = [apart(whole), apart(given), apart(torch.zeros(2, 3)[1]), apart(torch.zeros(3, 2).t())]
    assert_own(copied, [given, whole])
