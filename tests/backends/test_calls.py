"""What stands around a compiled loop: worked out once for calls of one shape, and shared by none.

Letters: T time, B batch, I input, H hidden.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

import recurra as rc
from recurra import cells
from recurra.backends.cpu import found_compiler
from recurra.backends.cpu.workspace import Workspace
from recurra.ir import Dim
from recurra.lang import Cell

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


PLAIN = [cell for cell in map(cells.get, cells.names()) if not (cell.memory or cell.masks)]


@pytest.mark.parametrize("cell", PLAIN, ids=lambda cell: cell.name)
def test_a_call_of_known_shapes_works_out_no_size(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cell.context or cell.further:
        pytest.skip("the layer looks at what else it is given")
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
