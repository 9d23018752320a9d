"""Streams of windows: every token once, rows that go on where they stopped, and clear refusals."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurra.data import TokenStreams, split_by_position
from recurra.errors import DataError


@pytest.mark.medium
@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 60), st.sampled_from(["<u1", "<u4"]))
def test_every_token_is_predicted_once(batch_size: int, bptt: int, extra: int, dtype: str) -> None:
    num_tokens = batch_size * bptt + 1 + extra
    tokens = np.arange(num_tokens).astype(dtype)
    streams = TokenStreams(tokens, batch_size, bptt)
    windows = list(streams)
    assert len(windows) == len(streams)
    assert [len(inputs) for inputs, _ in windows[:-1]] == [bptt] * (len(streams) - 1)
    inputs = torch.cat([window[0] for window in windows])
    targets = torch.cat([window[1] for window in windows])
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.shape == targets.shape == (streams.num_steps, batch_size)
    # Laid end to end, the rows are the tokens, and each target follows its input.
    assert inputs.T.flatten().tolist() == tokens[: streams.num_targets].tolist()
    assert targets.T.flatten().tolist() == tokens[1 : streams.num_targets + 1].tolist()
    assert num_tokens - 1 - streams.num_targets < batch_size


def test_a_window_continues_its_rows() -> None:
    streams = TokenStreams(np.arange(100), batch_size=3, bptt=10)
    assert len(streams) == 4
    for index in range(3):
        assert torch.equal(streams.window(index + 1)[0][0], streams.window(index)[1][-1])
    inputs, targets = streams.window(3)
    assert inputs.tolist() == [[30, 63, 96], [31, 64, 97], [32, 65, 98]]
    assert targets.tolist() == [[31, 64, 97], [32, 65, 98], [33, 66, 99]]
    assert inputs.is_contiguous()
    assert targets.is_contiguous()


def test_streams_read_a_memory_map_and_leave_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.bin"
    np.arange(50, dtype="<u2").tofile(path)
    tokens = np.memmap(path, dtype="<u2", mode="r")
    inputs, _ = TokenStreams(tokens[5:], batch_size=2, bptt=4).window(0)
    inputs.zero_()
    assert tokens.tolist() == list(range(50))


def test_too_few_tokens_are_counted() -> None:
    with pytest.raises(DataError) as caught:
        TokenStreams(np.arange(32), batch_size=4, bptt=8)
    message = str(caught.value)
    assert "expected at least 33 tokens (batch size 4 x bptt 8 + 1), got 32." in message
    assert "smaller batch_size= or bptt=" in message
    assert len(TokenStreams(np.arange(33), batch_size=4, bptt=8)) == 1


@pytest.mark.parametrize(("batch_size", "bptt", "name"), [(0, 5, "batch_size"), (2, -1, "bptt")])
def test_sizes_are_positive(batch_size: int, bptt: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected at least 1, got"):
        TokenStreams(np.arange(100), batch_size, bptt)


def test_tokens_are_flat_integers() -> None:
    for tokens in (np.zeros(100), np.zeros((10, 10), dtype=np.int64)):
        with pytest.raises(ValueError, match="expected integers in one dimension, got"):
            TokenStreams(tokens, 2, 5)


def test_a_window_that_is_not_there_is_named() -> None:
    streams = TokenStreams(np.arange(100), batch_size=3, bptt=10)
    for index in (-1, 4):
        with pytest.raises(IndexError, match=rf"index in 0\.\.3, got {index}"):
            streams.window(index)


@pytest.mark.medium
@given(st.integers(0, 5000))
def test_parts_are_consecutive(num_tokens: int) -> None:
    tokens = np.arange(num_tokens)
    parts = split_by_position(tokens)
    assert np.concatenate(parts).tolist() == tokens.tolist()
    for part, fraction in zip(parts, (0.9, 0.05, 0.05), strict=True):
        assert abs(len(part) - fraction * num_tokens) <= 1


def test_parts_have_the_sizes_asked_for() -> None:
    assert [len(part) for part in split_by_position(np.arange(1000))] == [900, 50, 50]
    halves = split_by_position(np.arange(10), (0.5, 0.5))
    assert [part.tolist() for part in halves] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize("fractions", [(0.9, 0.2), (1.5, -0.5), ()])
def test_fractions_add_up(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"add up to 1, got {fractions}")):
        split_by_position(np.arange(10), fractions)
