"""Where joints are, and the moving picture of them."""

from pathlib import Path

import numpy as np
import pytest

from recurra.insight.skeleton import CMU, Skeleton, draw_motion

ARM = Skeleton(
    parents=(-1, 0, 1), offsets=np.array([[0, 0, 0], [1, 0, 0], [1, 0, 0]]), sides=("", "", "left")
)
QUARTER = np.pi / 2


def test_a_straight_arm_lies_along_its_bones() -> None:
    found = ARM.positions(np.zeros((2, 12)))
    np.testing.assert_allclose(found[1], [[0, 0, 0], [1, 0, 0], [2, 0, 0]])


def test_what_hangs_on_a_joint_turns_with_it() -> None:
    frames = np.zeros((1, 12))
    frames[0, :3] = 9  # the root's position, which is not looked at
    frames[0, 5] = QUARTER  # the root about z
    whole = ARM.positions(frames)[0]
    frames[0, 5], frames[0, 8] = 0, QUARTER  # the second joint alone
    bent = ARM.positions(frames)[0]
    np.testing.assert_allclose(np.abs(whole), [[0, 0, 0], [0, 1, 0], [0, 2, 0]], atol=1e-6)
    np.testing.assert_allclose(np.abs(bent), [[0, 0, 0], [1, 0, 0], [1, 1, 0]], atol=1e-6)


def test_bones_keep_their_lengths() -> None:
    frames = np.random.default_rng(0).normal(size=(3, 117))
    found = CMU.positions(frames)
    parents = np.array(CMU.parents[1:])
    lengths = np.linalg.norm(found[:, 1:] - found[:, parents], axis=-1)
    wanted = np.linalg.norm(CMU.offsets[1:], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(wanted, lengths.shape), atol=1e-5)


def test_the_body_stands_upright_and_is_as_wide_on_both_sides() -> None:
    still = CMU.positions(np.zeros((1, 117)))[0]
    assert still[19, 1] == still[:, 1].max()  # the head
    for left, right in ((4, 10), (23, 32)):  # ankles, wrists
        assert CMU.sides[left], CMU.sides[right] == ("left", "right")
        np.testing.assert_allclose(still[left] * [-1, 1, 1], still[right], atol=0.3)


def test_a_gif_has_a_picture_for_each_frame(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="pillow draws")
    frames = np.random.default_rng(0).normal(size=(5, 117)) / 5
    path = draw_motion({"true": frames, "said": frames * 0}, tmp_path / "a.gif", seen=2)
    with image.open(path) as gif:
        assert (gif.n_frames, gif.size, gif.info["duration"]) == (5, (600, 352), 50)
        assert gif.info["loop"] == 0
        pixels = []
        for frame in (0, 4):
            gif.seek(frame)
            pixels.append(np.asarray(gif.convert("L")))
    body = slice(40, 320)
    assert pixels[1][body].min() < pixels[0][body].min()  # what was seen is pale
    half = pixels[1].shape[1] // 2
    assert (pixels[1][body, :half] != pixels[1][body, half:]).any()


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected frames \[T, 117\] of 38 joints, got .*\[2, 99"):
        CMU.positions(np.zeros((2, 99)))
    with pytest.raises(ValueError, match=r"as many frames in each panel.*got 1 in a, 2 in b\. Cut"):
        draw_motion({"a": np.zeros((1, 117)), "b": np.zeros((2, 117))}, tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()
