"""What is in a scene, five ways to say it, and back: captions parsed to facts and judged by them.

A caption is judged by what it says, not by its letters: `parse` reads shapes, relations, places
and a count out of it, and `judge` counts which of these are true of a scene.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, permutations
from typing import Literal

KINDS = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
SIZES = ("small", "large")
COUNTS = ("one", "two", "three", "four")
PLACES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)
# a colour of each kind that training never shows; each kind and each colour has five others
UNSEEN = tuple((COLOURS[(i + 1) % len(COLOURS)], kind) for i, kind in enumerate(KINDS))

Relation = Literal["left of", "right of", "above", "below"]

_MOST_TOLD = 8  # shapes of a caption that is still read


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A shape of a scene.

    Attributes:
        size: of `SIZES`.
        colour: of `COLOURS`.
        kind: of `KINDS`.
        row: 0 at the top to 2.
        column: 0 at the left to 2.
    """

    size: str
    colour: str
    kind: str
    row: int
    column: int

    @property
    def place(self) -> str:
        """Where in the picture it stands, of `PLACES`."""
        return PLACES[self.row][self.column]

    def stands(self, relation: str, other: "Shape") -> bool:
        """Whether it stands so to another; on a diagonal two relations are true."""
        return {
            "left of": self.column < other.column,
            "right of": self.column > other.column,
            "above": self.row < other.row,
            "below": self.row > other.row,
        }[relation]


Scene = tuple[Shape, ...]


# ---- to captions ---------------------------------------------------------------------------------


def captions_of(scene: Scene) -> tuple[str, str, str, str, str]:
    """The five captions of a scene: its relations, a list, places, one behind another, sizes.

    The first, third and fourth say all there is; the second leaves out where shapes stand, and the
    fifth too.
    """
    return (_related(scene), _listed(scene), _placed(scene), _one_by_one(scene), _sizes(scene))


def _across(scene: Scene) -> list[Shape]:
    """From left to right, from top to bottom among those below one another."""
    return sorted(scene, key=lambda shape: (shape.column, shape.row))


def _down(scene: Scene) -> list[Shape]:
    """As one reads: from top to bottom, from left to right in a row."""
    return sorted(scene, key=lambda shape: (shape.row, shape.column))


def relation_of(one: Shape, other: Shape) -> Relation:
    """How a shape stands to another, by the way that is farther; across where both are as far."""
    across, down = other.column - one.column, other.row - one.row
    if abs(across) >= abs(down):
        return "left of" if across > 0 else "right of"
    return "above" if down > 0 else "below"


def _named(shape: Shape) -> str:
    return f"a {shape.size} {shape.colour} {shape.kind}"


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _related(scene: Scene) -> str:
    """A small red circle left of a large blue square, which is above a small green star."""
    shapes = _across(scene)
    text = _named(shapes[0])
    for number, (one, other) in enumerate(pairwise(shapes)):
        text += f"{', which is' if number else ''} {relation_of(one, other)} {_named(other)}"
    return text


def _listed(scene: Scene) -> str:
    """A small red circle, a large blue square and a small green star."""
    return _joined([_named(shape) for shape in _down(scene)])


def _placed(scene: Scene) -> str:
    """Two shapes: a small red circle at the top left and a large blue square at the centre."""
    each = [f"{_named(shape)} at the {shape.place}" for shape in _down(scene)]
    return f"{COUNTS[len(each) - 1]} shape{'s' if len(each) > 1 else ''}: {_joined(each)}"


_NEXT = {"left of": "to its left", "right of": "to its right", "above": "above it"}
_NEXT["below"] = "below it"


def _one_by_one(scene: Scene) -> str:
    """There is a small green star, above it a large blue square, to its left a small red circle."""
    shapes = _down(scene)[::-1]
    text = f"there is {_named(shapes[0])}"
    for before, shape in pairwise(shapes):
        text += f", {_NEXT[relation_of(shape, before)]} {_named(shape)}"
    return text


def _sizes(scene: Scene) -> str:
    """The red circle is small, the blue square is large and the green star is small."""
    return _joined([f"the {each.colour} {each.kind} is {each.size}" for each in _down(scene)])


# ---- from captions -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A shape as a caption tells of it; None is what the caption leaves out."""

    size: str | None = None
    colour: str | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a caption says.

    Attributes:
        shapes: in the order in which they are told of.
        relations: (one, "left of", another), by numbers in `shapes`.
        places: (one, "top left").
        count: of shapes, where the caption says one.
    """

    shapes: tuple[Told, ...]
    relations: tuple[tuple[int, str, int], ...] = ()
    places: tuple[tuple[int, str], ...] = ()
    count: int | None = None


# what a caption is made of, the longer before what it begins with
_SIGNS = (
    ("next", r"to its (left|right)|(above|below) it"),
    ("relation", r"left of|right of|above|below"),
    ("place", r"at the ((?:top|bottom)(?: left| right)?|left|right|centre)"),
    ("count", rf"({'|'.join(COUNTS)}) shapes?"),
    ("size", "|".join(SIZES)),
    ("colour", "|".join(COLOURS)),
    ("kind", "|".join(KINDS)),
    ("article", "an|a|the"),
    ("filler", "which is|there is|there are|and"),
    ("is", "is"),
)
_SIGN = re.compile("|".join(rf"(?P<{name}>\b(?:{text})\b)" for name, text in _SIGNS))


def parse(caption: str) -> Facts | None:
    """The facts of a caption in any of the five styles, or of a mixture of them.

    Case, articles and punctuation count for nothing.

    Returns:
        None when the caption has words of no style, a relation of nothing, a shape of two colours
        or without a kind, or more shapes than eight: it says nothing that can be judged.
    """
    text = re.sub(r"[^a-z]+", " ", caption.lower()).strip()
    reading = _Reading()
    place = 0
    while place < len(text):
        found = _SIGN.match(text, place)
        if found is None or not reading.take(found.lastgroup or "", found.group()):
            return None
        place = found.end() + 1
    return reading.facts()


_NEXT_BACK = {said: relation for relation, said in _NEXT.items()}


class _Reading:
    """What has been read of a caption, sign by sign."""

    def __init__(self) -> None:
        self.shapes: list[Told] = []
        self.relations: list[tuple[int, str, int]] = []
        self.places: dict[int, str] = {}
        self.count: int | None = None
        self._begun: dict[str, str] = {}  # of a shape whose kind is still to come
        self._awaits: tuple[str, bool] | None = None  # a relation; whether it is of what comes
        self._says = False  # "is" was read: a size or colour is of the shape before

    def take(self, sign: str, said: str) -> bool:
        """Read on; False where that makes no sense."""
        if self._says and sign not in ("size", "colour", "relation"):
            return False
        if self._begun and sign not in ("size", "colour", "kind"):
            return False
        match sign:
            case "size" | "colour":
                return self._attribute(sign, said)
            case "kind":
                return self._shape(said)
            case "relation":
                return self._await(said, False)
            case "next":
                return self._await(_NEXT_BACK[said], True)
            case "place":
                last = len(self.shapes) - 1
                known = self.places.setdefault(last, said.removeprefix("at the "))
                return last >= 0 and said.endswith(known) and self._awaits is None
            case "count":
                known, self.count = self.count, COUNTS.index(said.split()[0]) + 1
                return known is None
            case "is":
                self._says = True
                return bool(self.shapes) and self._awaits is None
        return True

    def _attribute(self, name: str, said: str) -> bool:
        if not self._says:
            known = self._begun.get(name)
            self._begun[name] = said
            return known is None
        self._says = False
        last = self.shapes[-1]
        self.shapes[-1] = replace(last, **{name: said})
        return getattr(last, name) is None

    def _shape(self, kind: str) -> bool:
        self.shapes.append(Told(**self._begun, kind=kind))
        self._begun = {}
        number = len(self.shapes) - 1
        if self._awaits is not None:
            relation, of_next = self._awaits
            one, other = (number, number - 1) if of_next else (number - 1, number)
            self.relations.append((one, relation, other))
            self._awaits = None
        return len(self.shapes) <= _MOST_TOLD

    def _await(self, relation: str, of_next: bool) -> bool:
        known, self._awaits, self._says = self._awaits, (relation, of_next), False
        return known is None and bool(self.shapes)

    def facts(self) -> Facts | None:
        """All of it; None where the caption broke off, or told of nothing."""
        if self._begun or self._awaits or self._says or not self.shapes:
            return None
        return Facts(
            shapes=tuple(self.shapes),
            relations=tuple(self.relations),
            places=tuple(self.places.items()),
            count=self.count,
        )


# ---- judged --------------------------------------------------------------------------------------

FACTS: tuple[str, ...] = ("size", "colour", "kind", "relation", "place", "count")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What of a caption is true of a scene.

    Attributes:
        told: by kind of fact, of `FACTS`, how many the caption tells.
        right: how many of them are true.
        found: for each shape of the scene, whether the caption tells its colour and kind.
        readable: whether the caption says anything that can be judged.
    """

    told: dict[str, int]
    right: dict[str, int]
    found: tuple[bool, ...]
    readable: bool = True

    @property
    def correct(self) -> bool:
        """Every fact told is true, and no shape of the scene is left out."""
        return self.readable and self.told == self.right and all(self.found)


def judge(caption: str, scene: Scene) -> Judgement:
    """Count what a caption says and how much of it is true of a scene.

    A caption does not say which shape of the picture it means. It is given the shapes with which
    most of it is true, each at most once; a shape too many tells facts that are wrong.

    Args:
        caption: any text.
        scene: the truth.
    Cost: at most 1,680 ways to give eight told shapes to the four of a scene.
    """
    facts = parse(caption)
    if facts is None:
        nothing = dict.fromkeys(FACTS, 0)
        return Judgement(
            told=nothing, right=dict(nothing), found=(False,) * len(scene), readable=False
        )
    told = _told(facts)
    best: tuple[int, dict[str, int], tuple[int | None, ...]] | None = None
    for meant in _ways(len(facts.shapes), len(scene)):
        right = _right(facts, scene, meant)
        score = sum(right.values())
        if best is None or score > best[0]:
            best = (score, right, meant)
        if right == told:
            break
    assert best is not None
    _, right, meant = best
    found = [False] * len(scene)
    for each, number in zip(facts.shapes, meant, strict=True):
        if number is not None:
            shape = scene[number]
            found[number] = (each.colour, each.kind) == (shape.colour, shape.kind)
    return Judgement(told=told, right=right, found=tuple(found))


def _ways(told: int, shown: int) -> Iterator[tuple[int | None, ...]]:
    """Each way to say which shape of a scene a told one is; None where it is none."""
    spare = [None] * max(0, told - shown)
    return iter(dict.fromkeys(permutations([*range(shown), *spare], told)))


def _told(facts: Facts) -> dict[str, int]:
    attributes = ("size", "colour", "kind")
    told = {
        name: sum(getattr(each, name) is not None for each in facts.shapes) for name in attributes
    }
    return told | {
        "relation": len(facts.relations),
        "place": len(facts.places),
        "count": int(facts.count is not None),
    }


def _right(facts: Facts, scene: Scene, meant: Sequence[int | None]) -> dict[str, int]:
    shapes = [None if number is None else scene[number] for number in meant]
    right = dict.fromkeys(FACTS, 0)
    for told, shape in zip(facts.shapes, shapes, strict=True):
        if shape is not None:
            right["size"] += told.size == shape.size
            right["colour"] += told.colour == shape.colour
            right["kind"] += told.kind == shape.kind
    for one, relation, other in facts.relations:
        first, second = shapes[one], shapes[other]
        if first is not None and second is not None:
            right["relation"] += first.stands(relation, second)
    for number, place in facts.places:
        shape = shapes[number]
        right["place"] += shape is not None and shape.place == place
    right["count"] += facts.count == len(scene)
    return right
