"""Vectors of pairs of neighbouring tokens: their mean against a loop, and what never counts."""

import pytest
import torch
from torch import Tensor

from recurra.nn.pairs import PairVectors

T, B, V, N, S = 6, 4, 9, 50, 3
LENGTHS = torch.tensor([6, 1, 0, 4], dtype=torch.int64)


def made(dtype: torch.dtype = torch.float64) -> PairVectors:
    pairs = PairVectors(N, S, dtype=dtype)
    torch.nn.init.normal_(pairs.weight)
    return pairs


def by_hand(pairs: PairVectors, ids: list[int], kept: list[float]) -> Tensor:
    """One sequence that has no padding."""
    found = []
    for t, token in enumerate(ids):
        before = ids[t - 1] if t else -1
        if kept[t] and (t == 0 or kept[t - 1]):
            found.append(pairs.weight[((before + 1) * 116_049_371 + token) % N])
    return torch.stack(found).mean(dim=0) if found else torch.zeros(S, dtype=torch.float64)


@pytest.mark.parametrize("drops", [False, True])
def test_is_what_a_loop_gives(drops: bool) -> None:
    pairs, ids = made(), torch.randint(V, (T, B))
    kept = torch.randint(2, (T, B)).float() if drops else None
    counts = torch.ones(T, B) if kept is None else kept
    for lengths in (None, LENGTHS):
        wanted = torch.stack(
            [
                by_hand(pairs, ids[:n, b].tolist(), counts[:n, b].tolist())
                for b, n in enumerate([T] * B if lengths is None else lengths.tolist())
            ]
        )
        torch.testing.assert_close(pairs(ids, lengths, kept=kept), wanted)


def test_padding_reaches_neither_results_nor_gradients() -> None:
    pairs, ids = made(), torch.randint(V, (T, B))
    past = torch.arange(T)[:, None] >= LENGTHS
    kept = torch.ones(T, B)
    found = []
    for padded, some in ((ids, kept), (ids.masked_fill(past, -100), kept.masked_fill(past, 0.0))):
        mean = pairs(padded, LENGTHS, kept=some)
        (gradient,) = torch.autograd.grad(mean.sum(), pairs.weight)
        found.append((mean, gradient))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_pairs_that_training_never_saw_say_nothing() -> None:
    pairs = PairVectors(10_000, S)
    seen = torch.tensor([[1], [2]])
    pairs(seen).sum().backward()
    assert pairs.weight.grad is not None
    with torch.no_grad():
        pairs.weight -= pairs.weight.grad
    assert (pairs(seen) < 0).all()
    assert (pairs(torch.tensor([[2], [1]])) == 0).all()  # another order is another pair
    pairs.reset_parameters()
    assert (pairs(seen) == 0).all()


def test_token_by_token_it_says_what_it_says_of_the_sequence_so_far() -> None:
    pairs, ids = made(), torch.randint(V, (T, B))
    running = pairs.running()
    for _ in range(2):
        for t in range(T):
            torch.testing.assert_close(running(ids[t]), pairs(ids[: t + 1]))
        running.reset()


def test_no_sequences_and_no_tokens() -> None:
    pairs = made()
    for shape in ((0, B), (T, 0)):
        mean = pairs(torch.zeros(shape, dtype=torch.int64), [0] * B if shape[1] else [])
        assert mean.shape == (shape[1], S)
        mean.sum().backward()
        assert (mean == 0).all()


def test_large_ids_have_rows_too() -> None:
    ids = torch.tensor([2**31 - 2, 2**31 - 2])
    rows = made().rows(ids, ids)
    assert ((rows >= 0) & (rows < N)).all()


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"PairVectors: expected num_buckets >= 1, got 0"):
        PairVectors(0, S)
    with pytest.raises(ValueError, match=r"PairVectors: expected size >= 1, got 0"):
        PairVectors(N, 0)
    with pytest.raises(ValueError, match=r"lengths in 0..6, got 7"):
        made()(torch.zeros(T, 1, dtype=torch.int64), [7])
