"""Stick figures: limbs of one length each, painted between the joints that the truth names."""

from typing import Any

import numpy as np
import pytest

from recurra.data.worlds import Clips, stick_figures
from recurra.data.worlds.stick_figures import JOINTS, LIMBS, TARGETS

SMALL = {"train": 20, "val": 1, "test": 1}
TINY = {"train": 6, "val": 1, "test": 1, "frames": 10}
CLEAR = {"blur": 0.0, "noise": 0.0, "occlusion": 0.0}


@pytest.fixture(scope="module")
def train() -> Clips:
    return stick_figures(**SMALL)["train"]


@pytest.fixture(scope="module")
def clear() -> Clips:
    return stick_figures(**SMALL, **CLEAR)["train"]


def joints_of(clips: Clips) -> np.ndarray:
    """[N, T, J, 2]."""
    assert clips.targets is not None
    return clips.targets.reshape(*clips.targets.shape[:2], len(JOINTS), 2)


@pytest.mark.medium
def test_clips_have_their_shapes_and_ranges(train: Clips) -> None:
    assert (train.frames.shape, train.frames.dtype) == ((20, 40, 1, 64, 64), np.uint8)
    assert train.targets is not None
    assert (train.targets.shape, train.targets.dtype) == ((20, 40, 22), np.float32)
    assert train.target_names == TARGETS
    assert TARGETS[:3] == ("head_x", "head_y", "neck_x")
    assert train.targets.min() > 0
    assert train.targets.max() < 1
    assert train.visible is not None
    assert 0.75 < train.visible.mean() < 0.97


@pytest.mark.medium
def test_joints_do_not_depend_on_what_spoils_the_picture(train: Clips, clear: Clips) -> None:
    np.testing.assert_array_equal(clear.targets, train.targets)
    assert clear.visible is not None
    assert clear.visible.all()
    fewer = stick_figures(train=20, val=1, test=1)["train"]
    np.testing.assert_array_equal(fewer.frames, train.frames)


@pytest.mark.medium
def test_limbs_keep_their_lengths(clear: Clips) -> None:
    joints = joints_of(clear)
    for one, other, _ in LIMBS:
        ends = joints[:, :, JOINTS.index(one)] - joints[:, :, JOINTS.index(other)]
        lengths = np.hypot(*ends.transpose(2, 0, 1))
        np.testing.assert_allclose(lengths, lengths[:, :1].repeat(40, 1), rtol=1e-4)


@pytest.mark.medium
def test_a_foot_stands_on_the_floor(clear: Clips) -> None:
    joints = joints_of(clear)
    feet = joints[:, :, [JOINTS.index("near_foot"), JOINTS.index("far_foot")], 1].max(2)
    np.testing.assert_allclose(feet, feet[:, :1].repeat(40, 1), rtol=1e-4)


@pytest.mark.medium
def test_limbs_are_painted_between_their_joints(clear: Clips) -> None:
    """The middle of a near limb is bright, and what is far from all limbs is as the ground."""
    joints = joints_of(clear) * 64
    frames = clear.frames[:, :, 0].astype(int)
    ground = frames[:, :, :1, :1]
    shown = []
    for one, other, bright in LIMBS:
        middle = (joints[:, :, JOINTS.index(one)] + joints[:, :, JOINTS.index(other)]) / 2
        x, y = middle.astype(int).transpose(2, 0, 1)
        n, t = np.indices(x.shape)
        shown.append((frames[n, t, y, x] - ground[..., 0, 0]) / bright)
    ceiling = (frames - ground).max((2, 3))
    assert (np.stack(shown[-4:]) > 0.5 * ceiling).all()
    assert (np.stack(shown) > 0.3 * ceiling).mean() > 0.97
    assert (frames[:, :, [0, -1]] == ground).all()


@pytest.mark.medium
def test_each_amount_does_what_it_says() -> None:
    def made(**given: float) -> Clips:
        return stick_figures(**TINY, **{**CLEAR, **given})["train"]

    def detail(clips: Clips) -> float:
        return float(abs(np.diff(clips.frames.astype(np.float32), axis=-1)).mean())

    clear = detail(made())
    assert detail(made(blur=3.0)) < 0.9 * clear
    assert detail(made(noise=1.0)) > 2 * clear
    few, many = (made(occlusion=each).visible for each in (1.0, 2.0))
    assert few is not None
    assert many is not None
    assert many.mean() < few.mean() < 1


@pytest.mark.medium
@pytest.mark.parametrize("size", [32, 47])
def test_pictures_of_any_size_have_the_same_joints(clear: Clips, size: int) -> None:
    other = stick_figures(**SMALL, **CLEAR, size=size)["train"]
    assert other.frames.shape[-2:] == (size, size)
    np.testing.assert_array_equal(other.targets, clear.targets)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"test": 0}, "test: expected"), ({"frames": 1}, "frames: expected at least 2"),
     ({"size": 8}, "size: expected at least 32"), ({"blur": -1.0}, "blur: expected"),
     ({"noise": -1.0}, "noise: expected"), ({"occlusion": -1.0}, "occlusion: expected"),
     ({"seed": -1}, "seed: expected")],
)  # fmt: skip
def test_what_cannot_be_drawn(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stick_figures(**given)
