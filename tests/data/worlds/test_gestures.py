"""Gestures: labels say what is in a frame, and which gesture it is shows in how frames follow."""

from typing import Any

import numpy as np
import pytest

from recurra.data.worlds import Clips, gestures
from recurra.data.worlds.gestures import EDGE, FINGERS, GESTURES, LABELS, PALM, _echoes

SMALL = {"train": 80, "val": 1, "test": 1}


@pytest.fixture(scope="module")
def train() -> Clips:
    return gestures(**SMALL)["train"]


@pytest.mark.medium
def test_clips_have_the_shape_of_solis(train: Clips) -> None:
    assert train.frames.shape == (80, 40, 4, 32, 32)
    assert train.frames.dtype == np.uint8
    assert train.labels is not None
    assert train.labels.shape == (80, 40)
    assert train.label_names[0] == "background"
    assert len(train.label_names) == 12
    assert train.truth(0)[0] == "background"
    assert set(np.unique(train.labels)) == set(range(12))


@pytest.mark.medium
def test_a_part_is_the_same_whatever_the_others_are(train: Clips) -> None:
    again = gestures(train=80, val=2, test=3)["train"]
    np.testing.assert_array_equal(again.frames, train.frames)
    np.testing.assert_array_equal(again.labels, train.labels)
    few = [gestures(train=1, val=1, test=1, seed=seed)["test"].labels for seed in (0, 1)]
    assert few[0] is not None
    assert few[1] is not None
    assert (few[0] != few[1]).any()


@pytest.mark.medium
def test_several_gestures_come_in_a_clip_at_different_speeds(train: Clips) -> None:
    assert train.labels is not None
    shown = np.pad(train.labels > 0, ((0, 0), (1, 1)))
    onsets = shown[:, 1:] & ~shown[:, :-1]
    ends = ~shown[:, 1:] & shown[:, :-1]
    assert {1, 2} <= set(onsets.sum(1)) <= {1, 2, 3}
    lengths = np.nonzero(ends)[1] - np.nonzero(onsets)[1]
    assert lengths.min() >= 6
    assert lengths.max() >= 1.5 * np.median(np.sort(lengths)[: len(lengths) // 3])
    share = (train.labels == 0).mean()
    assert 0.25 < share < 0.45


def test_without_noise_a_hand_shows_where_its_label_says() -> None:
    part = gestures(train=1, val=1, test=5, noise=0.0)["test"]
    assert part.labels is not None
    brightest = part.frames.max((2, 3, 4))
    assert (brightest[part.labels == 0] == 0).all()
    assert (brightest[part.labels > 0] > 60).all()


@pytest.mark.medium
@pytest.mark.parametrize("hands", [PALM, EDGE, FINGERS])
def test_frames_of_a_hand_are_alike_whatever_it_does(hands: tuple[str, ...]) -> None:
    """The mean picture of many moments is the same but for how many there are."""
    random = np.random.default_rng(0)
    means, spreads = [], []
    for name in hands:
        gesture = np.full(4000, GESTURES.index(name))
        echoes = _echoes(gesture, random.uniform(0, 15, 4000), random.random((4000, 3)))
        means.append(echoes.mean())
        spreads.append((echoes.max(2).sum(1).std(), echoes.max(1).sum(1).std()))
    np.testing.assert_allclose(means, means[0], rtol=0.02)
    np.testing.assert_allclose(spreads, np.broadcast_to(spreads[0], (len(hands), 2)), atol=0.05)


def test_hands_move_as_their_gestures_say() -> None:
    """Two frames tell a push from a pull, and a slow swipe from a fast one."""
    hand, moments = np.full((2, 3), 0.5), np.array([0.0, 1.0])

    def moved(name: str) -> tuple[int, int]:
        before, after = _echoes(np.full(2, GESTURES.index(name)), moments, hand)
        places = [np.unravel_index(each.argmax(), each.shape) for each in (before, after)]
        return (int(places[1][0] - places[0][0]), int(places[1][1] - places[0][1]))

    assert [moved(name) for name in ("push", "pull", "palm hold", "palm tilt")] == [
        (3, 0),
        (-3, 0),
        (0, 0),
        (0, 3),
    ]
    assert moved("slow swipe") == (0, 1)
    assert moved("fast swipe")[1] in (3, 4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"val": 0}, "val: expected at least 1, got 0"),
        ({"frames": 5}, "frames: expected at least 12"),
        ({"noise": -1.0}, "noise: expected"),
        ({"noise_to": float("inf")}, "noise_to: expected a finite number"),
        ({"noise": 2.0, "noise_to": 1.0}, "noise_to: expected more than noise=2, or 0, got 1"),
        ({"seed": -1}, "seed: expected"),
    ],
)
def test_what_cannot_be_drawn(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gestures(**given)


def test_labels_are_named_once() -> None:
    assert len(set(LABELS)) == 12
