"""Eyes: what is painted is where the truth says, whatever there is of blur, noise and occlusion."""

from typing import Any

import numpy as np
import pytest

from recurra.data.worlds import Clips, eyes
from recurra.data.worlds.eyes import MOST, _painted

SMALL = {"train": 20, "val": 1, "test": 1}
TINY = {"train": 6, "val": 1, "test": 1, "frames": 10}
CLEAR = {"blur": 0.0, "noise": 0.0, "occlusion": 0.0}


@pytest.fixture(scope="module")
def train() -> Clips:
    return eyes(**SMALL)["train"]


@pytest.mark.medium
def test_clips_have_their_shapes_and_ranges(train: Clips) -> None:
    assert (train.frames.shape, train.frames.dtype) == ((20, 40, 1, 36, 60), np.uint8)
    assert train.targets is not None
    assert (train.targets.shape, train.targets.dtype) == ((20, 40, 2), np.float32)
    assert train.target_names == ("yaw_degrees", "pitch_degrees")
    reached = abs(train.targets).max((0, 1))
    assert (reached < MOST).all()
    assert (reached > np.multiply(MOST, 0.8)).all()
    assert train.visible is not None
    assert 0.75 < train.visible.mean() < 0.95


@pytest.mark.medium
def test_the_gaze_does_not_depend_on_what_spoils_the_picture(train: Clips) -> None:
    clear = eyes(**SMALL, **CLEAR)["train"]
    np.testing.assert_array_equal(clear.targets, train.targets)
    assert clear.visible is not None
    assert clear.visible.all()
    fewer = eyes(train=20, val=1, test=1)["train"]
    np.testing.assert_array_equal(fewer.frames, train.frames)


@pytest.mark.medium
def test_gaze_rests_and_jumps(train: Clips) -> None:
    assert train.targets is not None
    moved = np.hypot(*np.diff(train.targets, axis=1).transpose(2, 0, 1))
    assert (moved < 1).mean() > 0.5
    assert (moved > 5).mean() > 0.04


def test_the_pupil_is_painted_where_the_gaze_says() -> None:
    random = np.random.default_rng(0)
    gaze = random.uniform(-0.9, 0.9, (30, 4, 2)) * MOST
    looks = random.random((30, 11))
    nothing = np.zeros((30, 4))
    frames, seen = _painted(gaze, nothing, np.zeros((30, 4, 2)), looks, np.full(30, 0.5), 0.0)
    assert seen.all()
    dark = frames < 24  # lashes are not as dark
    for (yaw, pitch), picture in zip(gaze.reshape(-1, 2), dark.reshape(-1, 36, 60), strict=True):
        if abs(pitch) < 8:  # else a lid hides a part of it
            row, column = ((each.min() + each.max() + 1) / 2 for each in np.nonzero(picture))
            assert column - 30 == pytest.approx(22 * np.sin(np.radians(yaw)), abs=1.2)
            assert row - 18 == pytest.approx(22 * np.sin(np.radians(pitch)), abs=1.2)


def test_a_shut_eye_shows_no_pupil() -> None:
    looks = np.full((1, 11), 0.5)
    shut, still = np.ones((1, 1)), np.zeros((1, 1, 2))
    frames, seen = _painted(still, shut, still, looks, np.full(1, 0.5), 0.0)
    assert not seen.any()
    assert frames.min() > 24


def test_each_amount_does_what_it_says() -> None:
    def detail(**given: float) -> float:
        frames = eyes(**TINY, **{**CLEAR, **given})["train"].frames.astype(np.float32)
        return float(abs(np.diff(frames, axis=-1)).mean())

    clear = detail()
    assert detail(blur=3.0) < 0.8 * clear
    assert detail(noise=1.0) > 2 * clear
    seen = [eyes(**TINY, **{**CLEAR, "occlusion": each})["train"].visible for each in (1.0, 2.0)]
    assert seen[0] is not None
    assert seen[1] is not None
    assert seen[1].mean() < seen[0].mean() < 1


@pytest.mark.parametrize(
    ("given", "message"),
    [({"test": 0}, "test: expected"), ({"frames": 1}, "frames: expected at least 2"),
     ({"blur": -1.0}, "blur: expected"), ({"noise": -1.0}, "noise: expected"),
     ({"occlusion": -1.0}, "occlusion: expected"), ({"seed": -1}, "seed: expected")],
)  # fmt: skip
def test_what_cannot_be_drawn(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        eyes(**given)
