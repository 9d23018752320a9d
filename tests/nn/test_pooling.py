"""Pooling over time: each kind against a loop, and what lies past a length never counts."""

import math

import pytest
import torch
from torch import Tensor

import recurra as rc
from recurra.nn.pooling import KINDS, Pooling

T, B, H = 6, 4, 8
LENGTHS = torch.tensor([6, 1, 0, 4], dtype=torch.int64)
ALL = ("last", "mean", "max", "attention", "last+max+mean")


def by_hand(pooling: Pooling, y: Tensor, kind: str) -> Tensor:
    """One sequence y [n, H] that has no padding."""
    if len(y) == 0:
        return torch.zeros(H, dtype=y.dtype)
    if kind == "last":
        half = H // 2
        return torch.cat([y[-1, :half], y[0, half:]]) if pooling.bidirectional else y[-1]
    if kind == "mean":
        return torch.stack([y[:, j].sum() / len(y) for j in range(H)])
    if kind == "max":
        return torch.stack([max(y[:, j]) for j in range(H)])
    W, b = pooling.projection.weight, pooling.projection.bias
    scores = [torch.tanh(W @ step + b) @ pooling.query for step in y]
    total = sum(torch.exp(s) for s in scores)
    return sum((torch.exp(s) / total * step for s, step in zip(scores, y, strict=True)), y[0] * 0)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_is_what_a_loop_gives(kind: str, bidirectional: bool, batch_first: bool) -> None:
    pooling = Pooling(kind, H, bidirectional=bidirectional, batch_first=batch_first).double()
    y = torch.randn(T, B, H, dtype=torch.float64)
    wanted = torch.stack(
        [
            torch.cat([by_hand(pooling, y[:n, i], part) for part in kind.split("+")])
            for i, n in enumerate(LENGTHS.tolist())
        ]
    )
    pooled = pooling(y.transpose(0, 1) if batch_first else y, LENGTHS)
    assert pooled.shape == (B, pooling.output_size)
    torch.testing.assert_close(pooled, wanted)
    alone = pooling(y[:, :1].transpose(0, 1) if batch_first else y[:, :1])
    torch.testing.assert_close(alone, wanted[:1])  # no lengths: all T steps


@pytest.mark.parametrize("padding", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("kind", ALL)
def test_padding_reaches_neither_results_nor_gradients(kind: str, padding: float) -> None:
    pooling = Pooling(kind, H, bidirectional=True)
    past = torch.arange(T)[:, None] >= LENGTHS
    clean = torch.randn(T, B, H).masked_fill(past[..., None], 0.0)
    weight = torch.randn(B, pooling.output_size)

    def run(y: Tensor) -> list[Tensor]:
        y = y.requires_grad_()
        pooled = pooling(y, LENGTHS)
        return [pooled, *torch.autograd.grad((pooled * weight).sum(), [y, *pooling.parameters()])]

    found = run(clean.masked_fill(past[..., None], padding))
    torch.testing.assert_close(found, run(clean), rtol=0, atol=0)
    assert not found[1][past].any()
    assert found[0].isfinite().all()


@pytest.mark.parametrize("kind", ALL)
def test_gradients_are_right(kind: str) -> None:
    pooling = Pooling(kind, 4, attention_size=3).double()
    y = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: pooling(y, [5, 0, 2]), y)


def test_last_is_the_final_state_of_both_directions() -> None:
    layer = rc.GRU(3, 5, bidirectional=True)
    lengths = torch.tensor([7, 2, 4])
    y, state = layer(torch.randn(7, 3, 3), lengths=lengths)
    wanted = torch.cat([state[0], state[1]], dim=-1)
    pooled = Pooling("last", 10, bidirectional=True)(y, lengths)
    torch.testing.assert_close(pooled, wanted, rtol=0, atol=0)


def test_weights_of_attention() -> None:
    pooling = Pooling("attention", H, batch_first=True)
    y = torch.randn(B, T, H).masked_fill((torch.arange(T) >= LENGTHS[:, None])[..., None], math.nan)
    weights = pooling.weights(y, LENGTHS)
    assert weights.shape == (B, T)
    torch.testing.assert_close(weights.sum(dim=1), (LENGTHS > 0).float())
    assert not weights[torch.arange(T) >= LENGTHS[:, None]].any()
    pooled = (weights[..., None] * y.nan_to_num()).sum(dim=1)
    torch.testing.assert_close(pooling(y, LENGTHS), pooled)
    with pytest.raises(ValueError, match=r"expected a pooling by attention, got kind 'mean'"):
        Pooling("mean", H).weights(y)


def test_attention_learns_where_to_look() -> None:
    """The step that is marked holds the answer; a mean over 12 steps would see little of it."""
    pooling, decoder = Pooling("attention", 4, attention_size=8), torch.nn.Linear(4, 2)
    optimizer = torch.optim.Adam([*pooling.parameters(), *decoder.parameters()], lr=0.05)
    for _ in range(150):
        y, at = torch.randn(12, 64, 4), torch.randint(12, (64,))
        y[:, :, 0] = 0.0
        y[at, torch.arange(64), 0] = 3.0
        answer = (y[at, torch.arange(64), 1] > 0).long()
        loss = torch.nn.functional.cross_entropy(decoder(pooling(y)), answer)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.25
    assert pooling.weights(y)[at, torch.arange(64)].mean() > 0.8


@pytest.mark.parametrize("kind", ["last", "mean", "max", "mean+last+max"])
def test_steps_that_arrive_one_at_a_time(kind: str) -> None:
    pooling = Pooling(kind, H)
    running, y = pooling.running(), torch.randn(T, B, H)
    for _ in range(2):
        for t in range(T):
            torch.testing.assert_close(running(y[t]), pooling(y[: t + 1]))
        running.reset()


@pytest.mark.parametrize("kind", KINDS)
def test_no_steps_and_no_sequences(kind: str) -> None:
    pooling = Pooling(kind, H, bidirectional=True)
    for shape, lengths in (((0, B, H), [0] * B), ((T, 0, H), [])):
        y = torch.randn(shape, requires_grad=True)
        for given in (lengths, None):
            pooled = pooling(y, given)
            assert pooled.shape == (shape[1], H)
            assert not pooled.any()
            torch.autograd.grad(pooled.sum(), y)


def test_mistakes_are_named() -> None:
    for kind in ("median", "", "max+max", "max,mean"):
        with pytest.raises(ValueError, match=r"pooling: expected one of last, mean.*joined by \+"):
            Pooling(kind, H)
    with pytest.raises(ValueError, match=r"even size, half of it for each direction, got 5"):
        Pooling("max", 5, bidirectional=True)
    with pytest.raises(ValueError, match=r"attention_size >= 1, got 0"):
        Pooling("attention", H, attention_size=0)
    with pytest.raises(ValueError, match=r"y \[time, batch, size\] of size 8, got shape \(6, 8\)"):
        Pooling("max", H)(torch.randn(T, H))
    with pytest.raises(ValueError, match=r"expected lengths in 0..6, got 7"):
        Pooling("max", H)(torch.randn(T, B, H), [7, 1, 1, 1])
    for pooling in (Pooling("attention", H), Pooling("max", H, bidirectional=True)):
        with pytest.raises(ValueError, match=r"one direction and kinds last, mean or max"):
            pooling.running()
