"""A curriculum over length: the bound grows to all, batches are functions of numbers alone."""

import numpy as np
import pytest

from recurra.data import Buckets, Curriculum, LabelledExamples
from recurra.data.source import Paced, at_share

LENGTHS = [1 + n % 20 for n in range(400)]


def ids_of(lengths: list[int]) -> LabelledExamples:
    return LabelledExamples.of(
        [np.full(length, n + 1) for n, length in enumerate(lengths)], [0] * len(lengths)
    )


def read(source: object, fraction: float, epoch: int = 0) -> list[list[int]]:
    """The examples of each batch of a pass at this share of a run."""
    own = at_share(source, fraction)  # type: ignore[arg-type]
    return [own.batch(epoch, n).examples.tolist() for n in range(len(own))]


def longest(batches: list[list[int]]) -> int:
    return max(LENGTHS[n] for each in batches for n in each)


def test_the_bound_grows_until_all_are_read() -> None:
    buckets = Buckets(ids_of(LENGTHS), 8, seed=2)
    source = Curriculum(buckets, 0.4)
    bounds = [source.bound(f) for f in np.linspace(0, 1, 41)]
    assert bounds == sorted(bounds)
    assert bounds[0] == 2  # a tenth of the examples are no longer
    assert bounds[8] == 11  # 0.1 + 0.9 / 2 of them: half of the growth
    assert bounds[16:] == [20] * 25
    for fraction in (0.0, 0.1, 0.25, 0.39):
        assert longest(read(source, fraction)) <= source.bound(fraction)
    for fraction in (0.4, 1.0):
        assert read(source, fraction, 3) == read(buckets, 0.0, 3)
    assert len(source) == len(buckets)
    assert source.batch(1, 2).examples.tolist() == buckets.batch(1, 2).examples.tolist()


def test_within_the_bound_batches_are_those_of_the_pass_in_its_order() -> None:
    buckets = Buckets(ids_of(LENGTHS), 8, seed=2)
    source = Curriculum(buckets, 0.5)
    for epoch in (0, 1):
        whole = read(buckets, 0.0, epoch)
        short = [each for each in whole if longest([each]) <= source.bound(0.2)]
        assert 0 < len(short) < len(whole)
        found = read(source, 0.2, epoch)
        assert found[: len(short)] == short
        assert found[len(short) : 2 * len(short)] == short[: len(found) - len(short)]
    assert buckets.longest(1).tolist() == [longest([each]) for each in read(buckets, 0.0, 1)]


def test_where_no_batch_is_within_the_bound_the_shortest_are_read() -> None:
    source = Curriculum(Buckets(ids_of([1, 5, 6, 7]), 2), 0.5)
    assert source.bound(0.0) == 1
    assert {*map(tuple, read(source, 0.0))} == {(0, 1)}


def test_processes_share_each_batch_out() -> None:
    source = Curriculum(Buckets(ids_of(LENGTHS), 8, seed=2), 0.5)
    whole = read(source, 0.1)
    parts = [read(source.shard(rank, 3), 0.1) for rank in range(3)]
    for own, each in zip(zip(*parts, strict=True), whole, strict=True):
        assert sorted(n for some in own for n in some) == sorted(each)
    shared = source.at(0.1).shard(1, 3)
    assert shared.batch(0, 4).examples.tolist() == parts[1][4]


def test_a_source_without_a_pace_is_all_there_from_the_start() -> None:
    buckets = Buckets(ids_of(LENGTHS), 8)
    assert at_share(buckets, 0.0) is buckets
    assert isinstance(Curriculum(buckets, 0.5), Paced)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share: expected a number above 0 and below 1, got"):
        Curriculum(Buckets(ids_of([1, 2]), 2), share)
