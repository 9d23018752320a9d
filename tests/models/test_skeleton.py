"""Where joints are, and what a mirror shows."""

from dataclasses import replace

import numpy as np
import pytest

from recurra.models.skeleton import CMU, Skeleton

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


def test_a_mirror_shows_the_body_with_left_and_right_changed() -> None:
    """Of a body whose sides are alike."""
    offsets, left = CMU.offsets.copy(), [j for j, side in enumerate(CMU.sides) if side == "left"]
    right = [j for j, side in enumerate(CMU.sides) if side == "right"]
    assert [CMU.parents[j] in (0, 15) for j in left] == [CMU.parents[j] in (0, 15) for j in right]
    offsets[right] = offsets[left] * [-1, 1, 1]
    offsets[[j for j, side in enumerate(CMU.sides) if not side], 0] = 0
    body = replace(CMU, offsets=offsets)
    frames = np.random.default_rng(0).normal(size=(4, 117))
    found = body.positions(body.mirrored(frames))
    wanted = body.positions(frames) * [-1, 1, 1]
    wanted[:, left + right] = wanted[:, right + left]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    twice = body.mirrored(body.mirrored(frames))
    np.testing.assert_array_equal(twice, frames)
    np.testing.assert_array_equal(body.mirrored(frames)[:, :3], frames[:, :3] * [-1, 1, 1])


def test_frames_of_another_body_are_told() -> None:
    for use in (CMU.positions, CMU.mirrored):
        with pytest.raises(
            ValueError, match=r"expected frames \[T, 117\] of 38 joints, got .*2, 99"
        ):
            use(np.zeros((2, 99)))
