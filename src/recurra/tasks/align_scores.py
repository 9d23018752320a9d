"""How well words find their regions, where it is known, and what is found by chance.

Letters: N images, M sentences, R regions of an image, K shapes of a scene.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from recurra.data.worlds.scene_facts import COLOURS, KINDS
from recurra.tasks.caption_scores import scene_of

RANKS = (1, 5, 10)
WAYS = ("text_to_image", "image_to_text")


def recall_of(figures: Mapping[str, float]) -> float:
    """The mean of the recalls at 1, 5 and 10, both ways."""
    return float(np.mean([figures[f"{way}_{k}"] for way in WAYS for k in RANKS]))


def recalls_by_chance(counts: Sequence[int]) -> dict[str, float]:
    """The recalls of a random order, as `recalls` names them, and `recall`, their mean.

    Args:
        counts: [N], how many sentences there are of each image.
    """
    N, M = len(counts), sum(counts)
    found = {}
    for k in RANKS:
        found[f"text_to_image_{k}"] = min(1.0, k / N)
        # that none of an image's own sentences is among the first k of M
        missed = [
            math.prod(max(0, M - own - i) / (M - i) for i in range(min(k, M))) for own in counts
        ]
        found[f"image_to_text_{k}"] = 1 - sum(missed) / N
    return {**found, "recall": recall_of(found)}


# ---- scenes --------------------------------------------------------------------------------------


def shapes_of(references: Sequence[str], boxes: np.ndarray) -> list[tuple[str, str]] | None:
    """The colour and kind of each shape of a scene, in the order of its boxes; None where captions
    are not those of a scene, or there is not a box for each shape.

    Args:
        references: the captions of the picture.
        boxes: [K, 4], from top to bottom and left to right.
    """
    scene = scene_of(references)
    if scene is None or len(scene) != len(boxes):
        return None
    in_order = sorted(scene, key=lambda shape: (shape.row, shape.column))
    return [(shape.colour, shape.kind) for shape in in_order]


def told_shapes(
    words: Sequence[str], shapes: Sequence[tuple[str, str]]
) -> dict[int, tuple[int, str]]:
    """For each word that is a colour with its kind behind it, and for that kind: the number of the
    shape that it tells of, and "colour" or "kind". No two shapes of a scene are alike in both."""
    found = {}
    for t, pair in enumerate(pairwise(words)):
        if pair[0] in COLOURS and pair[1] in KINDS and pair in shapes:
            number = shapes.index(pair)
            found |= {t: (number, "colour"), t + 1: (number, "kind")}
    return found


def lie_in(regions: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """[R, K] bool, whether the middle of each region lies in each box; a region that is the whole
    picture lies in none.

    Args:
        regions: [R, 4], and
        boxes: [K, 4], left, top, right and bottom.
    """
    middles = (regions[:, :2] + regions[:, 2:]) / 2
    inside = (middles[:, None] >= boxes[:, :2]) & (middles[:, None] <= boxes[:, 2:])
    is_whole = (regions[:, 2:] - regions[:, :2]).min(1) > 1 - 1e-6
    return inside.all(2) & ~is_whole[:, None]


@dataclass(slots=True)
class Pointing:
    """How many words of colours and kinds look at a region of their shape.

    It is the pointing game of Zhang et al. (2016), "Top-down Neural Attention by Excitation
    Backprop", arXiv:1608.00507, with shapes for objects and a middle for the point.
    """

    told: dict[str, int] = field(default_factory=lambda: {"colour": 0, "kind": 0})
    right: dict[str, int] = field(default_factory=lambda: {"colour": 0, "kind": 0})
    smoothed: int = 0
    by_chance: float = 0.0

    def add(
        self,
        told: Mapping[int, tuple[int, str]],
        inside: np.ndarray,
        looked: Sequence[int],
        smoothed: Sequence[int],
        there: np.ndarray | None = None,
    ) -> None:
        """Count the words of a sentence.

        Args:
            told: of `told_shapes`.
            inside: [R, K], of `lie_in`.
            looked: for each word, the region that is most alike to it.
            smoothed: likewise, by neighbouring words too.
            there: [R], which regions there are; None: all.
        """
        for t, (shape, kind) in told.items():
            self.told[kind] += 1
            self.right[kind] += int(inside[looked[t], shape])
            self.smoothed += int(inside[smoothed[t], shape])
            of_any = inside if there is None else inside[there]
            self.by_chance += float(of_any[:, shape].mean())

    def figures(self) -> dict[str, float]:
        """`pointed`, and `pointed_colour` and `pointed_kind`: shares of such words whose region is
        most alike to them and lies on their shape; `pointed_smoothed`: where neighbours are drawn
        to one region; `pointed_chance`: of any region. None where no word tells of a shape."""
        total = sum(self.told.values())
        if not total:
            return {}
        return {
            "pointed": sum(self.right.values()) / total,
            **{f"pointed_{kind}": self.right[kind] / count for kind, count in self.told.items()},
            "pointed_smoothed": self.smoothed / total,
            "pointed_chance": self.by_chance / total,
        }
