"""Scenes: what captions say is what is painted, and a caption is judged fact by fact."""

from typing import Any

import numpy as np
import pytest

from recurra.data.worlds import Scenes, Shape, Told, captions_of, judge, parse, scenes
from recurra.data.worlds.scene_facts import COLOURS, KINDS, SIZES, UNSEEN
from recurra.data.worlds.scenes import _PAINTS

SMALL = {"train": 60, "val": 20, "test": 20, "unseen": 20}

RED = Shape(size="small", colour="red", kind="circle", row=0, column=0)
BLUE = Shape(size="large", colour="blue", kind="square", row=0, column=2)
GREEN = Shape(size="small", colour="green", kind="star", row=2, column=2)


@pytest.fixture(scope="module")
def world() -> dict[str, Scenes]:
    return scenes(**SMALL)


def test_parts_have_their_sizes_and_shapes(world: dict[str, Scenes]) -> None:
    assert {name: len(part) for name, part in world.items()} == SMALL
    train = world["train"]
    assert (train.pictures.shape, train.pictures.dtype) == ((60, 48, 48, 3), np.uint8)
    assert train.boxes.shape == (60, 4, 4)
    assert {len(scene) for scene in train.scenes} == {1, 2, 3, 4}


def test_a_part_is_the_same_whatever_the_others_are(world: dict[str, Scenes]) -> None:
    again = scenes(**{**SMALL, "train": 5})
    np.testing.assert_array_equal(again["val"].pictures, world["val"].pictures)
    assert again["val"].captions == world["val"].captions
    other = scenes(**SMALL, seed=1)
    assert other["val"].captions != world["val"].captions


def test_unseen_pairs_are_in_their_part_alone(world: dict[str, Scenes]) -> None:
    def unseen(part: str) -> set[int]:
        return {
            sum((shape.colour, shape.kind) in UNSEEN for shape in scene)
            for scene in world[part].scenes
        }

    assert [unseen(part) for part in ("train", "val", "test")] == [{0}] * 3
    assert unseen("unseen") == {1}
    assert {kind for _, kind in UNSEEN} == {*KINDS}
    assert {colour for colour, _ in UNSEEN} == {*COLOURS}


def test_shapes_stand_in_places_of_their_own_and_differ(world: dict[str, Scenes]) -> None:
    for scene in world["train"].scenes:
        places = [(shape.row, shape.column) for shape in scene]
        assert places == sorted(set(places))
        assert len({(shape.colour, shape.kind) for shape in scene}) == len(scene)


def test_what_is_painted_is_what_the_scene_says(world: dict[str, Scenes]) -> None:
    """Inside each box is the paint of its colour, more of it where the shape is large."""
    part = world["test"]
    for picture, scene, boxes in zip(part.pictures, part.scenes, part.boxes, strict=True):
        for shape, (left, top, right, bottom) in zip(scene, boxes, strict=False):
            place = (int((left + right) / 2 / 16), int((top + bottom) / 2 / 16))
            assert place == (shape.column, shape.row)
            inside = picture[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
            far = abs(inside - _PAINTS[:, None, None]).max(-1)
            own = far[COLOURS.index(shape.colour)] < 30
            assert own.sum() >= 0.15 * own.size
            assert (right - left > 11) == (shape.size == "large")
        assert not boxes[len(scene) :].any()


def test_each_style_is_parsed_back_and_true(world: dict[str, Scenes]) -> None:
    for part in world.values():
        for captions, scene in zip(part.captions, part.scenes, strict=True):
            assert captions == captions_of(scene)
            for caption in captions:
                judged = judge(caption, scene)
                assert judged.correct, (caption, scene)
                assert judged.told["kind"] == len(scene)


def test_the_five_styles() -> None:
    assert captions_of((RED, BLUE, GREEN)) == (
        "a small red circle left of a large blue square, which is above a small green star",
        "a small red circle, a large blue square and a small green star",
        "three shapes: a small red circle at the top left, a large blue square at the top right "
        "and a small green star at the bottom right",
        "there is a small green star, above it a large blue square, to its left a small red circle",
        "the red circle is small, the blue square is large and the green star is small",
    )
    assert captions_of((RED,)) == (
        "a small red circle",
        "a small red circle",
        "one shape: a small red circle at the top left",
        "there is a small red circle",
        "the red circle is small",
    )


def test_facts_of_a_caption() -> None:
    facts = parse("There is a large blue square , to its left a red circle at the top left .")
    assert facts is not None
    assert facts.shapes == (
        Told(size="large", colour="blue", kind="square"),
        Told(colour="red", kind="circle"),
    )
    assert facts.relations == ((1, "left of", 0),)
    assert facts.places == ((1, "top left"),)
    assert facts.count is None


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a",
        "a small red",
        "a red blue circle",
        "a red circle left of",
        "left of a red circle",
        "a red circle left of above a blue square",
        "a red circle is",
        "the small red circle is large",
        "the circle is a square",
        "at the top left a red circle",
        "a red circle at the top left at the bottom",
        "two shapes: three shapes: a red circle and a blue square",
        "a red dog",
        " and ".join(["a red circle"] * 9),
    ],
)
def test_what_says_nothing_that_can_be_judged(caption: str) -> None:
    assert parse(caption) is None
    judged = judge(caption, (RED,))
    assert not judged.readable
    assert not judged.correct


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        ("a large red circle left of a large blue square", {"size": 1}),
        ("a small green circle left of a large blue square", {"colour": 1}),
        ("a small red ring left of a large blue square", {"kind": 1}),
        ("a small red circle right of a large blue square", {"relation": 1}),
        ("a small red circle at the top and a large blue square", {"place": 1}),
        ("three shapes: a red circle and a blue square", {"count": 1}),
        ("a red circle, a blue square and a blue square", {"colour": 1, "kind": 1}),
        ("there is a blue square, to its right a red circle", {"relation": 1}),
    ],
)
def test_a_wrong_fact_is_counted_as_its_kind(caption: str, wrong: dict[str, int]) -> None:
    judged = judge(caption, (RED, BLUE))
    found = {name: judged.told[name] - right for name, right in judged.right.items()}
    assert {name: count for name, count in found.items() if count} == wrong
    assert not judged.correct


def test_a_shape_left_out_makes_a_caption_incomplete() -> None:
    judged = judge("a small red circle", (RED, BLUE))
    assert judged.told == judged.right
    assert judged.found == (True, False)
    assert not judged.correct


def test_a_caption_means_the_shapes_with_which_it_is_truest() -> None:
    other = Shape(size="large", colour="red", kind="square", row=1, column=1)
    judged = judge("a large square right of a small circle", (RED, other))
    assert judged.told == judged.right
    assert judged.found == (False, False)  # no colour is told


def test_on_a_diagonal_two_relations_are_true() -> None:
    for relation in ("left of", "above"):
        assert judge(f"a red circle {relation} a green star", (RED, GREEN)).correct
    for relation in ("right of", "below"):
        assert not judge(f"a red circle {relation} a green star", (RED, GREEN)).correct


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train": 0}, "train: expected at least 1, got 0"),
        ({"size": 9}, "size: .* least 24"),
        ({"noise": -1.0}, "noise: expected"),
        ({"seed": -1}, "seed: expected"),
    ],
)
def test_what_cannot_be_drawn(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scenes(**given)


def test_all_sizes_are_there() -> None:
    assert len(SIZES) == 2
    assert len(COLOURS) == len(KINDS) == len(_PAINTS)
