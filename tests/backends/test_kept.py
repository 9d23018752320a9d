"""Memory for what forward passes keep: used again when nobody holds it, and never before."""

import gc
import threading

import pytest
import torch
from torch import Tensor

import recurra as rc
from recurra.backends.cpu import found_compiler
from recurra.backends.cpu.kept import LEAST, KeptMemory

LARGE = (4, LEAST // 2)  # numbers
LINE, PAGE = 64, 4096  # bytes
compiled = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")


def test_memory_that_nobody_holds_is_used_again() -> None:
    pool = KeptMemory()
    first, at = pool.take(*LARGE)
    view = first[1]
    del first
    other, other_at = pool.take(*LARGE)
    assert other_at != at  # a view holds it
    del view
    again, again_at = pool.take(*LARGE)
    assert again_at == at
    assert again.shape == LARGE
    assert other.data_ptr() == other_at


def test_memory_begins_at_a_line_and_not_at_one_place_of_its_page() -> None:
    pool = KeptMemory()
    taken = [pool.take(*LARGE) for _ in range(PAGE // LINE)]
    assert all(at % LINE == 0 and at == tensor.data_ptr() for tensor, at in taken)
    assert len({at % PAGE for _, at in taken}) == len(taken)


def test_what_is_small_is_torchs_own() -> None:
    pool = KeptMemory()
    tensor, _ = pool.take(3, 5)
    del tensor
    assert pool.nbytes == 0


def test_smaller_memory_may_be_part_of_larger_but_not_of_much_larger() -> None:
    pool = KeptMemory()
    tensor, at = pool.take(8 * LEAST)
    del tensor
    much_smaller, other_at = pool.take(2 * LEAST)
    smaller, same_at = pool.take(5 * LEAST)
    assert same_at == at
    assert other_at != at
    assert (much_smaller.numel(), smaller.numel()) == (2 * LEAST, 5 * LEAST)


def test_no_more_is_kept_than_was_said_and_the_oldest_goes_first() -> None:
    pool = KeptMemory(most_bytes=20 * LEAST)  # five of the smallest
    tensors = [pool.take(LEAST)[0] for _ in range(9)]
    del tensors
    assert pool.nbytes == 20 * LEAST
    large, _ = pool.take(4 * LEAST)  # of another size: four of the five go
    assert pool.nbytes <= 4 * LEAST
    del large
    assert pool.nbytes <= 20 * LEAST


def test_threads_never_share_memory() -> None:
    pool, failures = KeptMemory(), []

    def use(number: int) -> None:
        for _ in range(50):
            tensor, _ = pool.take(LEAST)
            tensor.fill_(number)
            if not bool((tensor == number).all()):
                failures.append(number)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_memory_is_had_while_another_thread_searches_or_was_left_behind_by_a_fork() -> None:
    pool = KeptMemory()
    tensor, at = pool.take(LEAST)
    del tensor
    with pool._lock:
        other, other_at = pool.take(LEAST)
    assert other_at != at
    assert other.shape == (LEAST,)
    assert pool.take(LEAST)[1] == at


def test_memory_is_filled_where_torch_fills_new_memory() -> None:
    pool = KeptMemory()
    tensor, _ = pool.take(LEAST)
    tensor.zero_()
    del tensor
    torch.use_deterministic_algorithms(True)
    try:
        assert bool(pool.take(LEAST)[0].isnan().all())
    finally:
        torch.use_deterministic_algorithms(False)


@compiled
@pytest.mark.parametrize("kind", [rc.LSTM, rc.GRU])
def test_a_step_of_training_takes_the_memory_of_the_one_before(
    kind: type[torch.nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = KeptMemory()
    monkeypatch.setattr("recurra.backends.cpu.invocation.KEPT", pool)
    torch.manual_seed(0)
    layer, x = kind(8, 64), torch.randn(64, 32, 8)

    def step() -> None:
        layer(x)[0].sum().backward()

    for _ in range(4):  # until the call is known
        step()
    gc.collect()
    made, nbytes = pool._made, pool.nbytes
    assert nbytes > 0
    for _ in range(3):
        step()
    assert (pool._made, pool.nbytes) == (made, nbytes)


def _gradients(layer: torch.nn.Module, y: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(y.sum(), [*layer.parameters()], retain_graph=True))


@compiled
def test_what_a_graph_keeps_is_its_own_as_long_as_it_is_there() -> None:
    torch.manual_seed(0)
    layer = rc.LSTM(8, 64)
    inputs = [torch.randn(64, 32, 8) for _ in range(4)]
    graphs = [layer(x)[0] for x in inputs]
    expected = [_gradients(layer, y) for y in graphs]
    results = [y.detach().clone() for y in graphs]
    for x in inputs * 2:  # other steps come and go
        layer(x)[0].sum().backward()
    again = [_gradients(layer, y) for y in graphs]
    for before, after in zip(expected, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(y, was) for y, was in zip(graphs, results, strict=True))


@compiled
def test_what_is_handed_out_is_not_of_the_pool() -> None:
    torch.manual_seed(0)
    layer, x = rc.LSTM(8, 64), torch.randn(64, 32, 8, requires_grad=True)
    y, (h, c) = layer(x)
    y.sum().backward()
    for tensor in (y, h, c, x.grad):
        assert tensor is not None
        assert tensor.untyped_storage().resizable()
