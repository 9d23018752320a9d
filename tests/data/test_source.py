"""Batches by (epoch, index): each example once a pass, of like length, shared out in shards."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurra.data import (
    Buckets,
    LabelledBatch,
    LabelledExamples,
    Sequential,
    Source,
    TokenStreams,
)

GOLDEN = [18, 9, 0, 36]
SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=40)


def ids_of(lengths: list[int]) -> LabelledExamples:
    """Example n is n + 1 as often as it is long, so that a batch says what is in it."""
    return LabelledExamples.of(
        [np.full(length, n + 1) for n, length in enumerate(lengths)],
        [n % 3 for n in range(len(lengths))],
    )


def in_pass(source: Source[LabelledBatch], epoch: int) -> list[LabelledBatch]:
    return [source.batch(epoch, index) for index in range(len(source))]


def counted(batches: list[LabelledBatch]) -> list[int]:
    return [n for b in batches for n in b.examples[b.weight > 0].tolist()]


@pytest.mark.medium
@given(SIZES, st.integers(1, 7), st.integers(0, 3), st.booleans())
def test_every_example_is_in_one_batch_of_a_pass(
    lengths: list[int], batch_size: int, epoch: int, shuffled: bool
) -> None:
    examples = ids_of(lengths)
    source = (Buckets if shuffled else Sequential)(examples, batch_size)
    batches = in_pass(source, epoch)
    assert sorted(counted(batches)) == list(range(len(lengths)))
    sizes = sorted((len(b.examples) for b in batches), reverse=True)
    assert sizes[:-1] == [batch_size] * (len(source) - 1)  # one rest at most
    for batch in batches:
        assert batch.x.shape == (int(batch.lengths.max()), len(batch.examples))
        for column, n in enumerate(batch.examples.tolist()):
            steps = [n + 1] * lengths[n] + [0] * (len(batch.x) - lengths[n])
            assert batch.x[:, column].tolist() == steps
            assert batch.lengths[column] == lengths[n]
            assert batch.target[column] == n % 3
        assert batch.weight.tolist() == [1.0] * len(batch.examples)


def test_a_pass_depends_on_seed_and_epoch_alone() -> None:
    examples = ids_of([1 + n % 9 for n in range(50)])
    source = Buckets(examples, 4, seed=3)
    first, second = counted(in_pass(source, 0)), counted(in_pass(source, 1))
    assert first != second
    assert counted(in_pass(source, 0)) == first  # asked again, after another pass
    assert counted([Buckets(examples, 4, seed=3).batch(1, 5)]) == second[20:24]
    assert counted(in_pass(Buckets(examples, 4, seed=4), 0)) != first


def test_a_batch_is_the_same_in_another_process() -> None:
    """What a process of another day had; a change here changes every run that is resumed."""
    source = Buckets(ids_of([1 + n % 9 for n in range(50)]), 4, seed=3)
    assert source.batch(7, 2).examples.tolist() == GOLDEN


def test_buckets_hold_examples_of_like_length_in_mixed_order() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 101, 5000).tolist()
    batches = in_pass(Buckets(ids_of(lengths), 16), 0)
    padded = sum(b.x.numel() for b in batches)
    assert padded < 1.03 * sum(lengths)
    longest = np.array([len(b.x) for b in batches[:300]])
    assert abs(np.corrcoef(longest[1:], longest[:-1])[0, 1]) < 0.2  # no way from short to long


def test_evaluation_goes_from_short_to_long() -> None:
    batches = in_pass(Sequential(ids_of([5, 1, 4, 1, 3]), 2), 6)
    assert [b.examples.tolist() for b in batches] == [[1, 3], [4, 2], [0]]


@pytest.mark.medium
@given(SIZES, st.integers(1, 7), st.integers(1, 5), st.booleans())
def test_shards_side_by_side_are_the_whole(
    lengths: list[int], batch_size: int, world_size: int, shuffled: bool
) -> None:
    whole = (Buckets if shuffled else Sequential)(ids_of(lengths), batch_size)
    shards = [whole.shard(rank, world_size) for rank in range(world_size)]
    assert {len(shard) for shard in shards} == {len(whole)}
    for index in range(len(whole)):
        parts = [shard.batch(2, index) for shard in shards]
        assert sorted(counted(parts)) == sorted(counted([whole.batch(2, index)]))
        counts = [int(part.weight.sum()) for part in parts]
        assert max(counts) - min(counts) <= 1
        assert all(len(part.examples) >= 1 for part in parts)  # none has nothing to compute


@pytest.mark.medium
@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 40), st.data())
def test_shards_of_streams_side_by_side_are_the_window(
    batch_size: int, bptt: int, extra: int, data: st.DataObject
) -> None:
    world_size = data.draw(st.integers(1, batch_size))
    whole = TokenStreams(np.arange(batch_size * bptt + extra), batch_size, bptt)
    shards = [whole.shard(rank, world_size) for rank in range(world_size)]
    assert sum(shard.num_targets for shard in shards) == whole.num_targets
    for index in range(len(whole)):
        assert all(len(shard) == len(whole) for shard in shards)
        for place in (0, 1):
            parts = [shard.batch(3, index)[place] for shard in shards]
            assert torch.equal(torch.cat(parts, dim=1), whole.window(index)[place])


def test_series_are_padded_with_zeros() -> None:
    examples = LabelledExamples.of([np.ones((2, 3)), np.full((1, 3), 2.0)], [1, 0])
    batch = examples.gather(np.array([1, 0]))
    assert batch.x.shape == (2, 2, 3)
    assert batch.x[:, 0].tolist() == [[2.0] * 3, [0.0] * 3]
    assert batch.x.dtype == torch.float32
    assert batch.target.tolist() == [0, 1]
    assert examples.input_size == 3


def test_what_makes_no_batches_is_refused() -> None:
    examples = ids_of([1, 2, 3])
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        Buckets(examples, 0)
    with pytest.raises(ValueError, match="seed: expected 0 or more, got -1"):
        Buckets(examples, 2, seed=-1)
    with pytest.raises(IndexError, match=r"batch: expected an index in 0\.\.1, got 2"):
        Sequential(examples, 2).batch(0, 2)
    with pytest.raises(ValueError, match=r"shard: expected a rank in 0\.\.1 of 2 processes, got 2"):
        Buckets(examples, 2).shard(2, 2)
    with pytest.raises(ValueError, match="one stream for each of 3 processes, got 2"):
        TokenStreams(np.arange(30), 2, 4).shard(0, 3)
    with pytest.raises(ValueError, match="examples of 1 step or more, got one of 0, number 1"):
        LabelledExamples.of([np.ones(2, dtype=int), np.ones(0, dtype=int)], [0, 1])
    with pytest.raises(ValueError, match="offsets: expected 3 from 0 to 4, got 3 from 0 to 5"):
        LabelledExamples(np.arange(4), np.array([0, 2, 5]), np.array([0, 1]))
