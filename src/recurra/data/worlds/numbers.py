"""Numbers: real handwritten digits side by side, and the number that they are in words.

A number stands anywhere in a square picture, as networks that read any picture want it.

The digits are the 1,797 of scikit-learn, 8 x 8 pixels each, by 43 people; a digit of one part is in
no other. Nor is a number of two digits or more: whoever reads those of "test" has not learned them
by heart.

Letters: N pictures, Y rows, X columns, K = 4 digits at most, D digits to draw from.
Source: Alpaydin, Kaynak (1998), "Optical recognition of handwritten digits", UCI repository.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from recurra.data.worlds.made import Pictures, at_least, check_counts, generator
from recurra.data.worlds.noise import add_noise

MOST_DIGITS = 4
SIDE = 56  # rows and columns of a picture

_SHARES = {"train": 0.75, "val": 0.08, "test": 0.17}  # of the digits
_NUMBERS = {"train": 0.7, "val": 0.1, "test": 0.2}  # of the numbers of each length
_PITCH = 12  # columns from digit to digit


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers(Pictures):
    """Pictures [N, Y, X] with the number in each; its one caption is that in words.

    Attributes:
        values: [N] int64, 0 to 9999.
        digits: [N, K] int64, from the left, -1 behind the last.
    """

    values: np.ndarray
    digits: np.ndarray


def numbers(
    *, train: int = 8000, val: int = 1000, test: int = 1000, noise: float = 6.0, seed: int = 0
) -> dict[str, Numbers]:
    """Draw the world; each length from one digit to four is as likely.

    Args:
        train: pictures.
        val: pictures.
        test: pictures.
        noise: standard deviation of each pixel, 0 to 255 being the range.
        seed: 0 or more; a part depends on it and on its own size alone. Which digits and numbers
            are of which part does not depend on it.
    Returns:
        By part, "train", "val" and "test"; ink is bright on a dark ground.
    Raises:
        ValueError: when a part is empty, or noise or seed below 0.
        ModuleNotFoundError: without scikit-learn.
    """
    counts = {"train": train, "val": val, "test": test}
    check_counts(counts)
    at_least(0, noise=noise, seed=seed)
    return {
        part: _drawn(generator(seed, part), count, part, noise) for part, count in counts.items()
    }


def _drawn(random: np.random.Generator, count: int, part: str, noise: float) -> Numbers:
    lengths = random.integers(1, MOST_DIGITS + 1, count)
    values = np.empty(count, dtype=np.int64)
    for length in range(1, MOST_DIGITS + 1):
        own = lengths == length
        values[own] = random.choice(_values(part, length), int(own.sum()))
    places = lengths[:, None] - 1 - np.arange(MOST_DIGITS)
    digits = np.where(places >= 0, values[:, None] // 10 ** places.clip(0) % 10, -1)
    images, names = _digits(part)
    which = np.zeros_like(digits)
    for digit in range(10):
        own = digits == digit
        which[own] = random.choice(np.flatnonzero(names == digit), int(own.sum()))
    return Numbers(
        pictures=_painted(random, images, which, lengths, noise),
        captions=tuple((in_words(value),) for value in values.tolist()),
        values=values,
        digits=digits,
    )


@cache
def _values(part: str, length: int) -> np.ndarray:
    """The numbers of so many digits that a part has; those of one digit are in all parts."""
    if length == 1:
        return np.arange(10)
    every = np.random.default_rng(length).permutation(np.arange(10 ** (length - 1), 10**length))
    return _share(every, _NUMBERS, part)


@cache
def _digits(part: str) -> tuple[np.ndarray, np.ndarray]:
    """The digits of a part, [D, 8, 8] float32 in 0..1, and what they are, [D]."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "numbers: expected scikit-learn, whose handwritten digits they are made of, got no "
            "such package. Install it: pip install scikit-learn."
        ) from error
    pixels, names = load_digits(return_X_y=True)
    order = _share(np.random.default_rng(0).permutation(len(names)), _SHARES, part)
    return (pixels[order].reshape(-1, 8, 8) / 16).astype(np.float32), names[order]


def _share(every: np.ndarray, shares: dict[str, float], part: str) -> np.ndarray:
    names = [*shares]
    first = round(sum(shares[name] for name in names[: names.index(part)]) * len(every))
    return every[first : first + round(shares[part] * len(every))]


# ---- painted -------------------------------------------------------------------------------------


def _painted(
    random: np.random.Generator,
    images: np.ndarray,
    which: np.ndarray,
    lengths: np.ndarray,
    noise: float,
) -> np.ndarray:
    """The pictures; each digit is stretched, slanted and moved a little."""
    count = len(which)
    pictures = np.zeros((count, SIDE, SIDE), dtype=np.float32)
    left = 8 + random.uniform(0, 1, count) * (SIDE - 16 - _PITCH * (lengths - 1))
    line = random.uniform(10, SIDE - 10, count)
    reach = 20
    steps = np.arange(reach)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    for k in range(MOST_DIGITS):
        own = np.flatnonzero(k < lengths)
        middle = left[own] + _PITCH * k + random.uniform(-0.7, 0.7, len(own))
        height = line[own] + random.uniform(-1.5, 1.5, len(own))
        stretch = random.uniform(0.62, 0.74, (2, len(own), 1, 1))  # pixels of a digit in one here
        slant = random.uniform(-0.2, 0.2, (len(own), 1, 1))
        first = np.floor(middle - reach / 2).astype(int)
        top = np.floor(height - reach / 2).astype(int)
        x = (first[:, None] + steps + 0.5 - middle[:, None])[:, None, :]
        y = (top[:, None] + steps + 0.5 - height[:, None])[:, :, None]
        ink = _sampled(padded[which[own, k]], 5.5 + (x + slant * y) * stretch[0],
                       5.5 + y * stretch[1] + 0 * x)  # fmt: skip
        of, row, column = np.nonzero(ink)
        at = (own[of], top[of] + row, first[of] + column)
        inside = (at[1] >= 0) & (at[1] < SIDE) & (at[2] >= 0) & (at[2] < SIDE)
        at = tuple(axis[inside] for axis in at)
        pictures[at] = np.maximum(pictures[at], ink[of, row, column][inside])
    bright = random.uniform(170, 235, (count, 1, 1)).astype(np.float32)
    ground = random.uniform(8, 30, (count, 1, 1)).astype(np.float32)
    pictures = ground + (bright - ground) * pictures
    return add_noise(random, pictures, noise)


def _sampled(images: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Between the pixels of images [M, S, S], at columns x and rows y [M, P, P]; 0 beyond them."""
    side = images.shape[1]
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    right, down = (x - column).astype(np.float32), (y - row).astype(np.float32)
    within = (x >= 0) & (x < side - 1) & (y >= 0) & (y < side - 1)
    column, row = column.clip(0, side - 2), row.clip(0, side - 2)
    of = np.arange(len(images))[:, None, None]
    above = images[of, row, column] * (1 - right) + images[of, row, column + 1] * right
    below = images[of, row + 1, column] * (1 - right) + images[of, row + 1, column + 1] * right
    return np.where(within, above * (1 - down) + below * down, np.float32(0))


# ---- words ---------------------------------------------------------------------------------------

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def in_words(value: int) -> str:
    """A number of 0 to 9999 in words: three hundred and forty two, seven thousand and six.

    Raises:
        ValueError: when there is no such number.
    """
    if not 0 <= value <= 9999:
        raise ValueError(f"value: expected 0 to 9999, got {value}. Give a number of four digits.")
    if value < 20:
        return _SMALL[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return _TENS[tens - 2] + (f" {_SMALL[ones]}" if ones else "")
    unit, name = (1000, "thousand") if value >= 1000 else (100, "hundred")
    count, rest = divmod(value, unit)
    text = f"{_SMALL[count]} {name}"
    if not rest:
        return text
    return f"{text}{' and' if rest < 100 else ''} {in_words(rest)}"


@cache
def _values_of_words() -> dict[str, int]:
    return {in_words(value): value for value in range(10_000)}


def from_words(text: str) -> int | None:
    """The number that words say, as `in_words` says it; None where they say none."""
    return _values_of_words().get(" ".join(text.lower().replace("-", " ").split()))
