"""Recordings of motion from a folder, their windows, and what is said of bad ones."""

from pathlib import Path

import numpy as np
import pytest

from recurra.data.motion import read_motion, windows
from recurra.errors import DataError


def written(path: Path, frames: int = 4, size: int = 9, start: float = 0.0) -> np.ndarray:
    values = start + np.arange(frames * size).reshape(frames, size) / 8
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(",".join(map(str, row)) for row in values.tolist()))
    return values


def test_parts_and_actions_are_folders(tmp_path: Path) -> None:
    first = written(tmp_path / "train" / "walking" / "walking_1.txt")
    for name in ("train/walking/walking_2.txt", "train/running/a.txt", "train/running/b.csv"):
        written(tmp_path / name, start=1.0)
    written(tmp_path / "test" / "walking" / "walking_1.txt", frames=7)
    parts = read_motion(tmp_path)
    said = {part: [(m.action, Path(m.place).name) for m in those] for part, those in parts.items()}
    assert said == {
        "train": [("running", "a.txt"), ("walking", "walking_1.txt")],
        "val": [("running", "b.csv"), ("walking", "walking_2.txt")],
        "test": [("walking", "walking_1.txt")],
    }
    np.testing.assert_array_equal(parts["train"][1].frames, first.astype(np.float32))
    half = parts["test"][0].every(2, 1)
    assert len(half) == 3
    np.testing.assert_array_equal(half.frames[1], parts["test"][0].frames[3])


def test_folders_that_programs_leave_behind_are_no_actions(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for action in ("walking", ".ipynb_checkpoints", "__MACOSX"):
            written(tmp_path / part / action / "1.txt")
        written(tmp_path / part / "walking" / "2.TXT")
    found = read_motion(tmp_path)
    assert {m.action for motions in found.values() for m in motions} == {"walking"}
    assert len(found["test"]) == 2


def test_a_folder_of_val_leaves_train_whole(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        written(tmp_path / part / "walking" / "1.txt")
    assert {part: len(those) for part, those in read_motion(tmp_path).items()} == {
        "train": 1,
        "val": 1,
        "test": 1,
    }


def test_windows_are_every_stretch(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        written(tmp_path / part / "walking" / "1.txt", frames=6)
    motion = read_motion(tmp_path)["test"][0]
    found = windows(motion, 4)
    assert found.shape == (3, 4, 9)
    np.testing.assert_array_equal(found[2], motion.frames[2:6])
    with pytest.raises(DataError, match=r"1\.txt: expected 7 frames, .*got 6\. Leave it out"):
        windows(motion, 7)


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a folder with .*got no such folder\. Check"):
        read_motion(tmp_path / "nowhere")
    written(tmp_path / "train" / "walking" / "1.txt")
    with pytest.raises(DataError, match=r"sub-folders of train and test, got none of test\. Put"):
        read_motion(tmp_path)
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"test: expected recordings that end in \.txt.*got none"):
        read_motion(tmp_path)
    written(tmp_path / "test" / "walking" / "1.txt")
    with pytest.raises(DataError, match=r"walking: expected two recordings or more of each action"):
        read_motion(tmp_path)
    written(tmp_path / "train" / "walking" / "2.txt", size=12)
    with pytest.raises(DataError, match=r"expected 9 numbers a frame, as in .*1\.txt, got 12"):
        read_motion(tmp_path)
    written(tmp_path / "train" / "walking" / "2.txt", size=10)
    with pytest.raises(DataError, match=r"2\.txt: expected triplets, .*got 10 numbers a frame"):
        read_motion(tmp_path)
    (tmp_path / "train" / "walking" / "2.txt").write_text("0.5,1.5,2\n0.5,1.5,x\n")
    with pytest.raises(DataError, match=r"2\.txt, line 2, column 3: expected a number, got 'x'"):
        read_motion(tmp_path)
