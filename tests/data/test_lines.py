"""Lines, each read by itself: what is read and predicted of each, and how they are batched."""

import numpy as np
import pytest

from recurra.data import Buckets, Sequential
from recurra.data.lines import NOT_COUNTED, LineExamples
from recurra.errors import DataError

END = 1
TOKENS = np.array([5, 6, END, 7, END, END, 8, 9, 5, END, 6], dtype=np.uint16)


def test_a_line_is_predicted_with_its_end_from_the_end_of_another() -> None:
    lines = LineExamples(TOKENS, END)
    assert lines.lengths.tolist() == [3, 2, 4, 2]  # the empty one is gone, the last has an end
    batch = lines.gather(np.array([2, 1]))
    assert batch.inputs.T.tolist() == [[END, 8, 9, 5], [END, 7, 0, 0]]
    assert batch.targets.T.tolist() == [[8, 9, 5, END], [7, END, NOT_COUNTED, NOT_COUNTED]]
    assert lines.tokens.tolist() == [5, 6, END, 7, END, 8, 9, 5, END, 6, END]


def test_a_map_of_whole_lines_is_not_copied() -> None:
    whole = TOKENS[:5]
    assert LineExamples(whole, END).tokens is whole


def test_each_line_once_a_pass_and_a_filler_that_does_not_count() -> None:
    lines = LineExamples(TOKENS, END)
    seen = [
        column
        for index in range(2)
        for column in Buckets(lines, 3, seed=4).batch(0, index).targets.T.tolist()
    ]
    assert sorted(sum(t != NOT_COUNTED for t in column) for column in seen) == [2, 2, 3, 4]
    shards = [Sequential(lines, 3).shard(rank, 2).batch(0, 1) for rank in (0, 1)]
    assert [int((shard.targets >= 0).sum()) for shard in shards] == [4, 0]
    assert [shard.weight.tolist() for shard in shards] == [[1.0], [0.0]]


def test_some_lines_spread_over_all() -> None:
    tokens = np.concatenate([[n + 2, END] for n in range(50)])
    lines = LineExamples(tokens, END)
    assert lines.spread(100) is lines
    some = lines.spread(10)
    assert len(some) == 5
    assert some.tokens[::2].tolist() == [2, 14, 26, 38, 51]


def test_no_line_at_all() -> None:
    with pytest.raises(DataError, match="val: expected at least one line with a word, got none"):
        LineExamples(np.array([END, END]), END, "val")
