"""Preprocessing: the numbers of a picture, and that they are the same wherever it is loaded."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from recurra.errors import DataError
from recurra.vision import Preprocessing, imagenet

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_values_are_scaled_by_mean_and_std() -> None:
    made = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0))
    found = made(NOISE)
    assert (found.shape, found.dtype) == ((3, 20, 30), torch.float32)
    want = (NOISE / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 1.0]
    np.testing.assert_allclose(found, np.moveaxis(want, 2, 0), atol=1e-6)
    np.testing.assert_allclose(made.undone(found), np.moveaxis(NOISE, 2, 0) / 255, atol=1e-6)
    assert torch.equal(found, made(Image.fromarray(NOISE)))


def test_grey_is_one_channel() -> None:
    found = Preprocessing(colours="grey", mean=0.0, std=1.0)(NOISE)
    want = np.asarray(Image.fromarray(NOISE).convert("L")) / 255
    assert found.shape == (1, 20, 30)
    assert abs(found[0].numpy() - want).max() < 1.1 / 255


def test_the_middle_is_cut_out() -> None:
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 10:30] = 255  # the middle square is white
    found = Preprocessing(size=20, mean=0.0, std=1.0)(picture)
    assert found.shape == (3, 20, 20)
    assert found.min() == 1.0
    # of the whole, scaled: half of what is seen is black
    stretched = Preprocessing(size=20, crop=False, mean=0.0, std=1.0)(picture)
    assert stretched.mean() == pytest.approx(0.5, abs=0.05)


def test_it_is_torchvisions_resize_and_crop() -> None:
    """The shorter side to 256 by Pillow's bilinear filter, then the middle 224 x 224."""
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 400, 3), "uint8"))
    want = picture.resize((341, 256), Image.Resampling.BILINEAR).crop((58, 16, 282, 240))
    found = imagenet().undone(imagenet()(picture)) * 255
    assert abs(found.numpy() - np.moveaxis(np.asarray(want), 2, 0)).max() < 1e-3


def test_frames_of_numbers_are_taken_as_they_are() -> None:
    made = Preprocessing(size=32, colours="none", channels=4, mean=0.0, std=2.0)
    frame = np.random.default_rng(0).normal(size=(4, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(made(frame), frame / 2)
    with pytest.raises(DataError, match=r"expected numbers of shape \[4, 32, 32\], got float32"):
        made(frame[:3])


def test_arrays_of_other_kinds_are_refused() -> None:
    with pytest.raises(DataError, match="expected uint8"):
        Preprocessing()(NOISE.astype(np.float32))
    with pytest.raises(DataError, match="expected uint8"):
        Preprocessing()(np.moveaxis(NOISE, 2, 0))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"size": 0}, "sizes in 1.."),
        ({"std": 0.0}, "std above 0"),
        ({"mean": (0.1, 0.2)}, "mean to be 3 numbers"),
        ({"colours": "cmyk"}, "one of rgb, grey, none"),
        ({"size": 64, "shorter": 32}, "shorter of at least 64"),
        ({"size": 64, "shorter": 70, "crop": False}, "no shorter="),
    ],
)
def test_wrong_settings_are_told(changed: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Preprocessing(**changed)  # type: ignore[arg-type]


MADE = Preprocessing(size=(24, 32), mean=(0.1, 0.2, 0.3))


def test_it_comes_back_from_its_config() -> None:
    assert Preprocessing.from_config(MADE.to_config()) == MADE


@pytest.mark.parametrize(
    "changed",
    [
        {"size": 24},
        {"crop": False},
        {"mean": 0.1},
        {"std": 0.6},
        {"colours": "grey", "mean": 0.1, "std": 0.5},
    ],
)
def test_the_digest_tells_settings_apart(changed: dict[str, object]) -> None:
    assert replace(MADE, **changed).digest != MADE.digest
    assert replace(MADE, std=(0.5, 0.5, 0.5)).digest == MADE.digest


def test_a_config_that_was_changed_is_refused() -> None:
    config = MADE.to_config()
    with pytest.raises(DataError, match="Pictures would not be those that were trained on"):
        Preprocessing.from_config({**config, "size": [24, 24]})
    for wrong in ({}, {"digest": "x", "sizes": 3}, [1]):
        with pytest.raises(DataError, match="preprocessing: expected"):
            Preprocessing.from_config(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "made",
    [
        Preprocessing(size=40),
        Preprocessing(size=40, crop=False),
        Preprocessing(size=(30, 40), shorter=60),
        Preprocessing(size=None),
    ],
)
def test_a_box_is_placed_where_its_picture_goes(made: Preprocessing) -> None:
    """What is painted into a box is seen there; a box that is cut away is gone."""
    box, away = (60, 20, 112, 70), (0, 0, 1, 100)
    picture = np.zeros((100, 160, 3), dtype=np.uint8)
    picture[box[1] : box[3], box[0] : box[2]] = 255
    seen = made(picture)[0].numpy()
    placed = made.placed(np.array([box, away]), 100, 160)
    assert placed.dtype == np.float32
    assert len(placed) == 1 + (made.size is None or not made.crop)
    Y, X = seen.shape
    across, down = ((np.arange(n) + 0.5) / n for n in (X, Y))
    left, top, right, bottom = placed[0]
    inside = ((across > left) & (across < right)) * ((down > top) & (down < bottom))[:, None]
    white = seen > (seen.min() + seen.max()) / 2
    assert (white != inside).sum() <= 2 * (X + Y) * 0.1  # at its edge, by less than a pixel
