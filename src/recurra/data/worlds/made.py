"""What a world is made of: pictures with captions, or clips with a truth at each frame.

Letters: N pictures or clips, T frames, C channels, Y rows, X columns, O numbers to learn.
"""

import math
from dataclasses import dataclass

import numpy as np

PARTS = ("train", "val", "test", "unseen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures with captions.

    Attributes:
        pictures: [N, Y, X, 3] uint8, red, green and blue; or [N, Y, X], grey.
        captions: the captions of each.
    """

    pictures: np.ndarray
    captions: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """Clips of T frames with a label, or numbers, at each frame.

    Attributes:
        frames: [N, T, C, Y, X] uint8.
        labels: [N, T] int64, places in `label_names`; None where numbers are the truth.
        label_names: what labels mean; empty where numbers are the truth.
        targets: [N, T, O] float32; None where labels are the truth.
        target_names: what the O numbers are, with units behind an underscore: "yaw_degrees".
        visible: [N, T, O] bool, whether what a number says can be seen in its frame; None: all can.
    """

    frames: np.ndarray
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    targets: np.ndarray | None = None
    target_names: tuple[str, ...] = ()
    visible: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def truth(self, number: int) -> tuple[str, ...] | np.ndarray:
        """Of one clip: the T names of its labels, or its numbers [T, O] float32."""
        if self.labels is not None:
            return tuple(self.label_names[label] for label in self.labels[number].tolist())
        assert self.targets is not None
        return self.targets[number]


def generator(seed: int, part: str) -> np.random.Generator:
    """What draws one part of a world, whatever the sizes of the others are."""
    return np.random.default_rng((seed, PARTS.index(part)))


def check_counts(counts: dict[str, int]) -> None:
    """There is at least one of each part.

    Raises:
        ValueError: naming the part of which there is none.
    """
    at_least(1, **counts)


def at_least(least: int | float, **values: int | float) -> None:
    """Sizes or amounts of a world are not below this.

    Raises:
        ValueError: naming the first that is, or is not finite.
    """
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name}: expected at least {least}, got {value}. Give it more.")
        if value == math.inf:
            raise ValueError(f"{name}: expected a finite number, got {value}. Give it less.")
