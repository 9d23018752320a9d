"""Worlds by name, and as files that the readers read back."""

from pathlib import Path

import numpy as np
import pytest

from recurra.data.captions import read_captions
from recurra.data.clips import read_clips
from recurra.data.worlds import (
    CLIP_WORLDS,
    PICTURE_WORLDS,
    Clips,
    Scenes,
    gestures,
    is_world,
    make,
    numbers,
    scenes,
    write_world,
)
from recurra.errors import DataError
from recurra.vision import open_picture


def test_a_name_is_a_world_but_where_a_file_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_world("scenes", PICTURE_WORLDS)
    assert is_world("gestures:noise=2", CLIP_WORLDS)
    assert not is_world("gestures", PICTURE_WORLDS)
    assert not is_world(None, PICTURE_WORLDS)
    assert not is_world(["scenes"], PICTURE_WORLDS)
    Path("scenes").mkdir()
    assert not is_world("scenes", PICTURE_WORLDS)


def test_a_world_is_made_as_its_name_says() -> None:
    given = "scenes:train=3,val=2,test=2,unseen=2,noise=0.5,seed=4"
    made = make(given, PICTURE_WORLDS)["train"]
    meant = scenes(train=3, val=2, test=2, unseen=2, noise=0.5, seed=4)["train"]
    assert isinstance(made, Scenes)
    np.testing.assert_array_equal(made.pictures, meant.pictures)
    assert made.captions == meant.captions


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("dreams", "expected a world, scenes, numbers, got 'dreams'"),
        ("scenes:colour=3", "expected scenes to be given train, val, test, unseen, size"),
        ("scenes:train=many", "train: expected a whole number, got 'many'"),
        ("scenes:noise=", "noise: expected a number, got ''"),
        ("scenes:train=0", "train: expected at least 1, got 0"),
    ],
)
def test_what_is_no_world(data: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(data, PICTURE_WORLDS)


@pytest.mark.medium
def test_pictures_come_back_from_files(tmp_path: Path) -> None:
    made = scenes(train=4, val=2, test=2, unseen=2)
    folder = write_world(tmp_path / "made", made)
    read = read_captions(folder)
    for name in ("train", "val", "test"):
        assert [each.captions for each in read.parts[name]] == list(made[name].captions)
    first = read.parts["train"][0].image
    assert isinstance(first, Path)
    np.testing.assert_array_equal(np.asarray(open_picture(first)), made["train"].pictures[0])
    unseen = read_captions(folder / "unseen.tsv", draw=False).parts["train"]
    assert [each.captions for each in unseen] == list(made["unseen"].captions)


@pytest.mark.medium
def test_grey_pictures_come_back_from_files(tmp_path: Path) -> None:
    made = numbers(train=3, val=2, test=2)
    read = read_captions(write_world(tmp_path / "made", made)).parts["train"][0]
    assert read.captions == made["train"].captions[0]
    assert isinstance(read.image, Path)
    picture = np.asarray(open_picture(read.image))
    np.testing.assert_array_equal(picture[..., 0], made["train"].pictures[0])


@pytest.mark.medium
def test_clips_with_labels_come_back_from_files(tmp_path: Path) -> None:
    made = gestures(train=40, val=2, test=2, frames=16)
    read = read_clips(write_world(tmp_path / "made", made))
    assert {name: len(part) for name, part in read.parts.items()} == {
        "train": 40,
        "val": 2,
        "test": 2,
    }
    for number, clip in enumerate(read.parts["train"]):
        np.testing.assert_array_equal(clip.frames(), made["train"].frames[number])
        assert clip.targets == made["train"].truth(number)


def test_clips_with_numbers_come_back_from_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    made = Clips(
        frames=random.integers(0, 255, (2, 5, 1, 4, 4), dtype=np.uint8),
        targets=random.normal(0, 9, (2, 5, 2)).astype(np.float32),
        target_names=("yaw_degrees", "pitch_degrees"),
    )
    read = read_clips(write_world(tmp_path / "made", {"train": made}) / "train", draw=False)
    assert read.target_names == made.target_names
    assert made.targets is not None
    for number, clip in enumerate(read.parts["train"]):
        assert isinstance(clip.targets, np.ndarray)
        np.testing.assert_allclose(clip.targets, made.targets[number], rtol=1e-5)


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="expected a new folder, got one with files in it"):
        write_world(tmp_path, scenes(train=1, val=1, test=1, unseen=1))
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]
