"""What stands around a compiled loop: worked out once for calls of one shape, and shared by none.

Letters: T time, B batch, I input, H hidden.
"""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from oracle import slow_beyond_the_core
from recurra import cells
from recurra.backends.cpu import found_compiler, invocation
from recurra.backends.cpu.invocation import CallForm, Invocation
from recurra.backends.cpu.packed import Packed, PackedWeights
from recurra.backends.cpu.workspace import Workspace
from recurra.ir import Dim

pytestmark = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")

T, B, IN, H = 6, 3, 4, 8


def step(layer: rc.Recurrent, x: Tensor, **options: Tensor) -> list[Tensor]:
    """The output, the final states and the parameters' gradients."""
    y, state = layer(x, **options)
    finals = (state,) if isinstance(state, Tensor) else state
    total = y.square().sum() + sum(final.sum() for final in finals)
    gradients = torch.autograd.grad(total, list(layer.parameters()))
    return [y.detach(), *(final.detach() for final in finals), *gradients]


def never(*_: object) -> int:
    raise AssertionError("a size was worked out again")


# whose layers look at nothing that is given besides x
PLAIN = [
    cell.name
    for cell in map(cells.get, cells.names())
    if not (cell.memory or cell.masks or cell.context or cell.further)
]


@pytest.mark.medium
@pytest.mark.parametrize("name", slow_beyond_the_core(PLAIN))
def test_a_call_of_known_shapes_works_out_no_size(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cells.get(name)
    layer = rc.Recurrent(cell, 0 if cell.input is None else H, H)
    x = torch.randn(T, B, layer.input_size)
    first = step(layer, x)
    with torch.no_grad():
        layer(x)
    monkeypatch.setattr(Dim, "evaluate", never)
    torch.testing.assert_close(step(layer, x), first, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(layer(x)[0], first[0])


# ---- what lies otherwise -------------------------------------------------------------------------

LIES: dict[str, Callable[[Tensor], Tensor]] = {
    "batch first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "features first": lambda x: x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
    "every second": lambda x: torch.stack([x, -x], -1).flatten(-2)[..., ::2],
    "expanded": lambda x: x[:, :1].expand(T, B, IN),
    "with an offset": lambda x: torch.cat([x, x])[T:],
    "negative": lambda x: torch._neg_view(-x),
    "negative, with gaps": lambda x: torch._neg_view(torch.cat([-x, x], -1)[..., :IN]),
}


@pytest.mark.parametrize("kind", [rc.LSTM, rc.GRU], ids=["LSTM", "GRU"])
def test_calls_of_one_shape_may_lie_otherwise_each_time(kind: type[rc.Recurrent]) -> None:
    layer, x = kind(IN, H), torch.randn(T, B, IN)
    for lies in (*LIES.values(), *reversed(LIES.values())):
        given = lies(x)
        torch.testing.assert_close(step(layer, given), step(layer, given.clone().contiguous()))


def test_weights_may_lie_otherwise_each_time() -> None:
    layer, x = rc.Recurrent("torch_gru", IN, H), torch.randn(T, B, IN)
    expected = step(layer, x)
    for name, weight in layer.named_parameters():
        for lies in (
            lambda w: w.t().contiguous().t(),
            lambda w: torch.cat([w, w])[len(w) :],
            lambda w: torch.stack([w, w], -1)[..., 0],
            lambda w: torch._neg_view(-w),
        ):
            before = weight.data
            weight.data = lies(before)
            found = step(layer, x)
            weight.data = before
            torch.testing.assert_close(found, expected, msg=name)


# ---- the working memory --------------------------------------------------------------------------


def test_who_takes_a_piece_has_it_alone() -> None:
    pool = Workspace()
    a, b = pool.take(100), pool.take(50)
    assert a[1] != b[1]
    pool.give(b)
    pool.give(a)
    again = pool.take(80)  # the last that was given back, and large enough
    assert again[1] == a[1]
    assert again[0].isnan().all()  # as new, where torch fills new memory
    assert pool.take(51)[0].numel() >= 51


def test_a_pool_keeps_so_much() -> None:
    pool = Workspace(most_bytes=4 * 1000)
    pieces = [pool.take(400) for _ in range(4)]
    for piece in pieces:
        pool.give(piece)
    assert pool.nbytes == 4 * 800
    pool.give(pool.take(5000))
    assert pool.nbytes <= 4 * 1000


# ---- packed weights ------------------------------------------------------------------------------


def write_everywhere(layer: rc.Recurrent) -> None:
    for parameter in layer.parameters():
        parameter.data.mul_(0.5)


def write_by_numpy(layer: rc.Recurrent) -> None:
    layer.get_parameter("W_hh_l0").detach().numpy()[-1, -1] += 3


def write_one_number(layer: rc.Recurrent) -> None:
    layer.get_parameter("W_xh_l0").data[0, 0] += 3


def swap(layer: rc.Recurrent) -> None:
    for parameter in layer.parameters():
        torch.utils.swap_tensors(parameter, nn.Parameter(torch.randn_like(parameter)))


def take_a_step(layer: rc.Recurrent) -> None:
    layer(torch.randn(T, B, IN))[0].square().sum().backward()
    torch.optim.SGD(layer.parameters(), 0.5).step()


def load(layer: rc.Recurrent) -> None:
    layer.load_state_dict({n: torch.randn_like(w) for n, w in layer.state_dict().items()})


CHANGES = (write_everywhere, write_by_numpy, write_one_number, swap, take_a_step, load)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("change", CHANGES)
def test_a_call_of_few_steps_sees_whatever_was_written(
    change: Callable[[rc.Recurrent], None], dtype: torch.dtype
) -> None:
    layers = [rc.Recurrent("rnn", IN, H, 2), rc.Recurrent("rnn", IN, H, 2)]
    for _ in range(3):
        for layer in layers:  # by turns, of one loop
            check_few_steps(layer, dtype)
            change(layer)
            check_few_steps(layer, dtype)


def check_few_steps(layer: rc.Recurrent, dtype: torch.dtype) -> None:
    """What the compiled loop gives is what the reference gives, now."""
    other = copy.deepcopy(layer).to(torch.float64)
    other.backend = "reference"
    layer.backend = "cpu"
    x = torch.randn(2, B, IN)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, dtype is torch.bfloat16):
        found = layer(x)[0]
    with torch.no_grad():
        expected = other(x.double())[0]
    tolerance = 1e-5 if dtype is torch.float32 else 0.1
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


def test_weights_that_stay_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[CallForm] = []
    pack = CallForm.pack

    def noted(form: CallForm, into: Packed) -> None:
        packed.append(form)
        pack(form, into)

    monkeypatch.setattr(CallForm, "pack", noted)
    monkeypatch.setattr(invocation, "PACKED", PackedWeights())
    layer = rc.Recurrent("rnn", IN, H, 3, backend="cpu")
    x = torch.randn(2, B, IN)
    with torch.no_grad():
        for steps in (1, 2, 1, 2):  # shapes of calls make no difference, layers do
            layer(x[:steps])
    assert len(packed) == 3
    layer(x)  # with gradients they are packed for the call
    assert len(packed) == 3


def test_few_steps_run_on_torchs_kernel_where_it_has_one_for_several_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[tuple[str, int]] = []
    launch = Invocation.launch

    def noted(call: Invocation) -> None:
        compiled.append((name, layers))
        launch(call)

    monkeypatch.setattr(Invocation, "launch", noted)
    for name, layers in (("mut1", 2), ("torch_gru", 1), ("torch_gru", 2)):
        layer = rc.Recurrent(name, IN, H, layers)
        with torch.no_grad():
            layer(torch.randn(1, B, IN))
        assert ("fewer than" in layer.explain()) is (name == "torch_gru")
    assert compiled == [("mut1", 2), ("mut1", 2), ("torch_gru", 1)]


def test_so_many_packed_weights_are_kept() -> None:
    kept = PackedWeights(most_bytes=8000)
    made: list[Packed] = []

    def packed(weight: Tensor) -> Packed:
        return kept.of("loop", [weight], [weight.data_ptr()], 500, made.append)

    weights = [torch.randn(10, 50) for _ in range(4)]  # each takes 4000 bytes
    first = packed(weights[0])
    assert packed(weights[0].clone()) is first  # wherever it lies
    for weight in weights:
        packed(weight)
        assert kept.nbytes <= 8000
    assert len(made) == 4
    assert packed(weights[0]) is not first
    for place in (0, 249, 250, 266, 499):  # inside and outside of what it is found by
        weights[0].view(-1)[place] += 1
        assert packed(weights[0]) is made[-1]
        assert torch.equal(made[-1].copies[0], weights[0])
    assert len(made) == 10
    large = torch.randn(100, 100)
    packed(large)
    assert kept.nbytes <= 8000


def test_small_weights_that_keep_changing_leave_few_behind() -> None:
    kept, weight = PackedWeights(most=5), torch.zeros(2)
    for _ in range(20):
        weight += 1
        kept.of("loop", [weight], [weight.data_ptr()], 2, lambda _: None)
    assert kept.nbytes == 5 * 2 * weight.nbytes


@pytest.mark.medium
def test_threads_that_call_one_layer() -> None:
    torch.manual_seed(0)
    layer, x = rc.GRU(IN, H), torch.randn(8, T, B, IN)
    with torch.no_grad():
        expected = [layer(each)[0] for each in x]

    def run(i: int) -> Tensor:
        with torch.no_grad():
            return layer(x[i])[0]

    with ThreadPoolExecutor(4) as pool:
        for found, i in zip(pool.map(run, list(range(8)) * 50), list(range(8)) * 50, strict=True):
            torch.testing.assert_close(found, expected[i], rtol=0, atol=0)
