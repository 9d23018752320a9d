"""Clips drawn anew for every pass: the same for the same pass and place, others for others."""

import numpy as np
import pytest
import torch

from recurra.data.worlds import gestures
from recurra.data.worlds.fresh import FreshClips
from recurra.errors import DataError

WORLD = "gestures:train=70,frames=12"


def test_a_batch_is_the_same_whenever_it_is_asked_for() -> None:
    fresh = FreshClips(WORLD, 8, seed=3)
    assert len(fresh) == 9
    later, first = fresh.batch(1, 8), fresh.batch(0, 8)
    assert torch.equal(FreshClips(WORLD, 8, seed=3).batch(1, 8).x, later.x)
    assert first.x.shape == later.x.shape == (12, 6, 4, 32, 32)  # what is left of 70
    assert first.x.dtype == torch.uint8
    assert not torch.equal(first.x, later.x)


@pytest.mark.medium
def test_no_clip_comes_twice() -> None:
    fresh = FreshClips(WORLD, 32)
    passes = [fresh.batch(epoch, index).x for epoch in (0, 1) for index in range(len(fresh))]
    clips = torch.cat(passes, dim=1).transpose(0, 1).flatten(1)
    assert len(clips) == 140
    assert len(torch.unique(clips, dim=0)) == 140
    others = FreshClips(WORLD, 32, seed=1), FreshClips(f"{WORLD},seed=1", 32)
    assert not any(torch.equal(each.batch(0, 0).x, passes[0]) for each in others)
    kept = gestures(train=32, val=1, test=1, frames=12)["train"].frames
    assert not np.array_equal(passes[0].transpose(0, 1).numpy(), kept)


def test_shards_are_the_whole() -> None:
    fresh = FreshClips("eyes:train=5,frames=2", 4)
    whole = fresh.batch(0, 0)
    shards = [fresh.shard(rank, 2).batch(0, 0) for rank in (0, 1)]
    assert torch.equal(torch.stack([each.x for each in shards], 2).flatten(1, 2), whole.x)
    empty = fresh.shard(1, 2).batch(0, 1)
    assert (empty.x.shape[1], empty.weight.tolist()) == (1, [0.0])
    assert whole.target.shape == (2, 4, 2)
    assert whole.target.abs().max() > 1  # degrees


@pytest.mark.parametrize(
    ("world", "size", "error", "said"),
    [
        ("dreams", 4, DataError, "expected a world, gestures, eyes, stick-figures"),
        ("gestures:clips=4", 4, DataError, "expected gestures to be given train"),
        ("gestures", 0, ValueError, "batch_size: expected at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    world: str, size: int, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        FreshClips(world, size)
    with pytest.raises(IndexError):
        FreshClips(WORLD, 8).batch(0, 9)
