"""Numbers: real digits of one part alone, and words that can be read back."""

import sys
from typing import Any

import numpy as np
import pytest

from recurra.data.worlds import Numbers, from_words, in_words, numbers
from recurra.data.worlds.numbers import _digits, _painted, _values

SMALL = {"train": 400, "val": 60, "test": 60}


@pytest.fixture(scope="module")
def world() -> dict[str, Numbers]:
    return numbers(**SMALL)


@pytest.mark.medium
def test_parts_have_their_sizes_and_shapes(world: dict[str, Numbers]) -> None:
    assert {name: len(part) for name, part in world.items()} == SMALL
    train = world["train"]
    assert (train.pictures.shape, train.pictures.dtype) == ((400, 56, 56), np.uint8)
    counts = np.bincount((train.digits >= 0).sum(1), minlength=5)
    assert counts[0] == 0
    assert counts[1:].min() > 60


@pytest.mark.medium
def test_a_part_is_the_same_whatever_the_others_are(world: dict[str, Numbers]) -> None:
    again = numbers(**{**SMALL, "train": 5})
    np.testing.assert_array_equal(again["val"].pictures, world["val"].pictures)
    assert again["val"].captions == world["val"].captions


@pytest.mark.medium
def test_captions_are_the_values_and_values_the_digits(world: dict[str, Numbers]) -> None:
    for part in world.values():
        for captions, value, digits in zip(part.captions, part.values, part.digits, strict=True):
            assert captions == (in_words(int(value)),)
            assert "".join(str(digit) for digit in digits if digit >= 0) == str(value)


def test_a_number_of_two_digits_or_more_is_of_one_part() -> None:
    for length in (2, 3, 4):
        each = [{*_values(part, length).tolist()} for part in ("train", "val", "test")]
        assert sum(map(len, each)) == len(set.union(*each)) == 9 * 10 ** (length - 1)
    assert _values("test", 1).tolist() == list(range(10))


@pytest.mark.medium
def test_a_digit_is_of_one_part_and_all_ten_are_in_each() -> None:
    found = {part: _digits(part) for part in ("train", "val", "test")}
    images = [each.tobytes() for own, _ in found.values() for each in own]
    assert len(images) == 1797
    assert len(set(images)) == 1797
    for _, names in found.values():
        assert np.bincount(names, minlength=10).min() >= 8


def test_digits_are_painted_whole_from_left_to_right() -> None:
    random = np.random.default_rng(0)
    images = np.zeros((1, 8, 8), dtype=np.float32)
    images[:, :, 2:6] = 1
    for length in (1, 2, 3, 4):
        drawn = _painted(random, images, np.zeros((50, 4), int), np.full(50, length), 0.0)
        columns = drawn.max(1) > 100
        runs = (np.diff(columns.astype(int), axis=1, prepend=0) == 1).sum(1)
        assert (runs == length).all()
        assert not columns[:, [0, -1]].any()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (20, "twenty"),
        (42, "forty two"),
        (100, "one hundred"),
        (342, "three hundred and forty two"),
        (1000, "one thousand"),
        (7006, "seven thousand and six"),
        (9110, "nine thousand one hundred and ten"),
    ],
)
def test_numbers_in_words(value: int, words: str) -> None:
    assert in_words(value) == words
    assert from_words(words.upper()) == value


def test_each_number_has_words_of_its_own() -> None:
    assert [from_words(in_words(value)) for value in range(10_000)] == list(range(10_000))


@pytest.mark.parametrize("words", ["", "and", "three hundred and", "two one", "a cat"])
def test_words_that_say_no_number(words: str) -> None:
    assert from_words(words) is None


def test_a_number_that_is_too_large() -> None:
    with pytest.raises(ValueError, match="value: expected 0 to 9999, got 10000"):
        in_words(10_000)


def test_without_scikit_learn_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        numbers(**SMALL)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"test": 0}, "test: expected"), ({"noise": -1.0}, "noise: expected"),
     ({"seed": -1}, "seed: expected")],
)  # fmt: skip
def test_what_cannot_be_drawn(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        numbers(**given)
