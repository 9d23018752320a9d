"""Scenes: pictures of 1 to 4 coloured shapes, with five captions each and all that is true of them.

A picture has three rows and three columns; each of its shapes stands in a place of its own, moved,
turned and coloured a little at random. No two shapes of a picture are alike in colour and kind. Of
each kind one colour is never seen in training (`UNSEEN`); pictures of the part "unseen" have it.

Letters: N pictures, Y rows and X columns of pixels, K = 4 shapes at most.
"""

from dataclasses import dataclass

import numpy as np

from recurra.data.worlds.made import Pictures, at_least, check_counts, generator
from recurra.data.worlds.noise import add_noise
from recurra.data.worlds.scene_facts import (
    COLOURS,
    KINDS,
    SIZES,
    UNSEEN,
    Scene,
    Shape,
    captions_of,
)

MOST_SHAPES = 4

_PAINTS = np.array(
    [(212, 48, 52), (42, 160, 70), (42, 96, 208), (246, 190, 30), (146, 72, 190), (38, 38, 42)],
    dtype=np.float32,
)
_RADII = (0.27, 0.44)  # of a place, small and large
_PAIRS = np.array([*np.ndindex(len(COLOURS), len(KINDS))])
_IS_UNSEEN = np.array([(COLOURS[colour], KINDS[kind]) in UNSEEN for colour, kind in _PAIRS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes(Pictures):
    """Pictures [N, Y, X, 3] with what is in them.

    Attributes:
        scenes: the shapes of each picture, from top to bottom and left to right.
        boxes: [N, K, 4] float32, left, top, right, bottom of each shape in pixels, in the same
            order; zeros where a picture has fewer.
    """

    scenes: tuple[Scene, ...]
    boxes: np.ndarray


def scenes(
    *,
    train: int = 8000,
    val: int = 1000,
    test: int = 1000,
    unseen: int = 1000,
    size: int = 48,
    noise: float = 3.0,
    seed: int = 0,
) -> dict[str, Scenes]:
    """Draw the world.

    Args:
        train: pictures, none with a pair of `UNSEEN`; nor have those of val and test.
        val: pictures.
        test: pictures.
        unseen: pictures that have one shape of a pair of `UNSEEN` each.
        size: Y and X, at least 24.
        noise: standard deviation of each pixel, 0 to 255 being the range.
        seed: 0 or more; a part depends on it and on its own size alone.
    Returns:
        By part, "train", "val", "test" and "unseen".
    Raises:
        ValueError: when a part is empty, the pictures are too small, or noise or seed below 0.
    """
    counts = {"train": train, "val": val, "test": test, "unseen": unseen}
    check_counts(counts)
    at_least(24, size=size)
    at_least(0, noise=noise, seed=seed)
    return {
        part: _drawn(generator(seed, part), count, part == "unseen", size, noise)
        for part, count in counts.items()
    }


def _drawn(
    random: np.random.Generator, count: int, has_unseen: bool, size: int, noise: float
) -> Scenes:
    shown = np.arange(MOST_SHAPES) < random.integers(1, MOST_SHAPES + 1, count)[:, None]
    pairs = _pairs(random, count, has_unseen)
    sizes = random.integers(0, 2, (count, MOST_SHAPES))
    # the first places of a permutation, the used ones sorted as one reads
    places = random.permuted(np.tile(np.arange(9), (count, 1)), axis=1)[:, :MOST_SHAPES]
    places = np.sort(np.where(shown, places, 9), axis=1)
    order = random.permuted(np.tile(np.arange(MOST_SHAPES), (count, 1)), axis=1)
    order = np.take_along_axis(order, np.argsort(~_at(shown, order), axis=1, kind="stable"), 1)
    pairs, sizes = _at(pairs, order), _at(sizes, order)
    colours, kinds = _PAIRS[pairs].transpose(2, 0, 1)
    pictures, boxes = _painted(random, shown, colours, kinds, sizes, places, size, noise)
    found = tuple(
        tuple(
            Shape(
                size=SIZES[sizes[n, k]],
                colour=COLOURS[colours[n, k]],
                kind=KINDS[kinds[n, k]],
                row=int(places[n, k]) // 3,
                column=int(places[n, k]) % 3,
            )
            for k in range(int(shown[n].sum()))
        )
        for n in range(count)
    )
    return Scenes(
        pictures=pictures,
        captions=tuple(captions_of(scene) for scene in found),
        scenes=found,
        boxes=boxes,
    )


def _at(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, order, axis=1)


def _pairs(random: np.random.Generator, count: int, has_unseen: bool) -> np.ndarray:
    """[N, K] numbers of different pairs; the first is an unseen one, or none is."""
    keys = random.random((count, len(_PAIRS)))
    keys[:, _IS_UNSEEN] += 1  # behind all others
    pairs = np.argsort(keys, axis=1)[:, :MOST_SHAPES]
    if has_unseen:
        pairs[:, 0] = random.choice(np.flatnonzero(_IS_UNSEEN), count)
    return pairs


# ---- painted -------------------------------------------------------------------------------------


def _painted(
    random: np.random.Generator,
    shown: np.ndarray,
    colours: np.ndarray,
    kinds: np.ndarray,
    sizes: np.ndarray,
    places: np.ndarray,
    size: int,
    noise: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures, and the boxes of their shapes; each shape is painted in a square around it."""
    count, place = len(shown), size / 3
    paper = random.uniform(226, 250, (count, 1, 1, 1)) + random.uniform(-6, 6, (count, 1, 1, 3))
    pictures = np.broadcast_to(paper, (count, size, size, 3)).astype(np.float32)
    middles = (np.stack((places % 3, places // 3), axis=2) + 0.5) * place
    radii = np.array(_RADII)[sizes] * random.uniform(0.92, 1.06, sizes.shape) * place
    slack = np.maximum(0.5 * place - radii, 0) + 0.04 * place
    middles = middles + random.uniform(-1, 1, middles.shape) * slack[..., None] * 0.8
    turns = random.uniform(-0.14, 0.14, sizes.shape)
    paints = _PAINTS[colours] + random.uniform(-12, 12, (*colours.shape, 3)).astype(np.float32)

    side = int(np.ceil(place)) + 3
    corners = np.floor(middles - side / 2).astype(int)
    steps = np.arange(side)
    for k in range(MOST_SHAPES):
        own = np.flatnonzero(shown[:, k])
        across = corners[own, k, 0, None] + steps
        down = corners[own, k, 1, None] + steps
        x = (across + 0.5 - middles[own, k, 0, None])[:, None, :]
        y = (down + 0.5 - middles[own, k, 1, None])[:, :, None]
        cos, sin = np.cos(turns[own, k])[:, None, None], np.sin(turns[own, k])[:, None, None]
        outside = _outside(kinds[own, k], cos * x - sin * y, sin * x + cos * y, radii[own, k])
        covers = np.clip(0.5 - outside, 0, 1)
        covers *= ((down >= 0) & (down < size))[:, :, None]
        covers *= ((across >= 0) & (across < size))[:, None, :]
        of, row, column = np.nonzero(covers)
        at = own[of], down[of, row], across[of, column]
        share = covers[of, row, column][:, None].astype(np.float32)
        pictures[at] += share * (paints[own[of], k] - pictures[at])
    reach = radii[..., None]
    boxes = np.concatenate((middles - reach, middles + reach), axis=2).clip(0, size)
    boxes = np.where(shown[..., None], boxes, 0).astype(np.float32)
    return add_noise(random, pictures, noise), boxes


def _outside(kinds: np.ndarray, x: np.ndarray, y: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """How far each pixel is from its shape, in pixels, below 0 inside of it.

    Args:
        kinds: [M] places in `KINDS`.
        x: [M, S, S] to the right of the middle.
        y: [M, S, S] below it.
        radii: [M].
    """
    distance = np.empty(x.shape)
    for number, name in enumerate(KINDS):
        own = kinds == number
        distance[own] = _FORMS[name](x[own], y[own], radii[own, None, None])
    return distance


def _circle(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 0.95 * r


def _square(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x), abs(y)) - 0.84 * r


def _triangle(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    sides = 0.88 * abs(x) - 0.48 * y - 0.48 * r  # that meet at the top
    return np.maximum(sides, y - 0.8 * r)


def _star(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    fifth, half = 2 * np.pi / 5, np.pi / 5
    angle = abs((np.arctan2(x, -y) + half) % fifth - half)  # from the nearest tip
    far = np.hypot(x, y)
    along, beside = far * np.cos(angle), far * np.sin(angle)
    # the edge from a tip at (1.05 r, 0) to the notch beside it
    notch = 0.46 * r
    dx, dy = notch * np.cos(half) - 1.05 * r, notch * np.sin(half)
    return ((along - 1.05 * r) * dy - beside * dx) / np.hypot(dx, dy)


def _cross(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    one, other = abs(x), abs(y)
    arm = 0.3 * r
    return np.minimum(
        np.maximum(one - 0.98 * r, other - arm), np.maximum(one - arm, other - 0.98 * r)
    )


def _ring(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return abs(np.hypot(x, y) - 0.73 * r) - 0.23 * r


_FORMS = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
}
