"""Clip files: frames end to end, with their targets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra.data.clip_store import open_clips, write_clips
from recurra.errors import DataError


def made(kind: Any, lengths: tuple[int, ...] = (3, 1, 4)) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    frames = [rng.integers(256, size=(T, 2, 5, 4)).astype(kind) for T in lengths]
    return [(each, rng.integers(-1, 3, size=len(each))) for each in frames]


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_clips_come_back_as_they_were(tmp_path: Path, kind: Any) -> None:
    clips = made(kind)
    write_clips(tmp_path / "train.examples", iter(clips))
    found = open_clips(tmp_path / "train.examples")
    assert found.lengths.tolist() == [3, 1, 4]
    for number, (frames, labels) in enumerate(clips):
        assert found.sequence(number).dtype == kind
        np.testing.assert_array_equal(found.sequence(number), frames)
        np.testing.assert_array_equal(found.target(number), labels)
    batch = found.gather(np.array([1, 0]))
    assert tuple(batch.x.shape) == (3, 2, 2, 5, 4)
    np.testing.assert_array_equal(batch.x[:3, 1].numpy(), clips[0][0])
    assert not batch.x[1:, 0].any()
    assert batch.target[1:, 0].tolist() == [-1, -1]


def test_numbers_are_targets_too(tmp_path: Path) -> None:
    [(frames, _), *_] = made(np.uint8)
    wanted = np.array([[0.5, np.nan], [1, 2], [3, 4]], dtype=np.float32)
    write_clips(tmp_path / "a", [(frames, wanted)])
    np.testing.assert_array_equal(open_clips(tmp_path / "a").target(0), wanted)


def test_frames_of_another_size_are_refused_and_leave_the_older_file(tmp_path: Path) -> None:
    clips = made(np.uint8)
    write_clips(tmp_path / "a", clips)
    with pytest.raises(DataError, match="clip 2: expected frames"):
        write_clips(tmp_path / "a", [clips[0], (clips[1][0][..., :2], clips[1][1])])
    assert len(open_clips(tmp_path / "a")) == 3


@pytest.mark.parametrize("ending", ["", ".json", ".targets", ".targets.json"])
def test_a_file_that_is_gone_or_cut_is_named(tmp_path: Path, ending: str) -> None:
    write_clips(tmp_path / "a", made(np.uint8))
    file = tmp_path / f"a{ending}"
    content = file.read_bytes()
    file.write_bytes(content[:-2])
    with pytest.raises(DataError, match=f"a{ending}"):
        open_clips(tmp_path / "a")
    file.unlink()
    with pytest.raises(DataError, match="a"):
        open_clips(tmp_path / "a")


def test_there_is_a_clip_at_least(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one"):
        write_clips(tmp_path / "a", [])
