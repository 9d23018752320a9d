"""Worlds that recurra makes itself: pictures and clips of which all that is true is known."""

from recurra.data.worlds.catalogue import CLIP_WORLDS, PICTURE_WORLDS, is_world, make
from recurra.data.worlds.eyes import eyes
from recurra.data.worlds.gestures import gestures
from recurra.data.worlds.made import Clips, Pictures
from recurra.data.worlds.numbers import Numbers, from_words, in_words, numbers
from recurra.data.worlds.scene_facts import (
    Facts,
    Judgement,
    Scene,
    Shape,
    Told,
    captions_of,
    judge,
    parse,
)
from recurra.data.worlds.scenes import Scenes, scenes
from recurra.data.worlds.stick_figures import stick_figures
from recurra.data.worlds.writing import write_world

__all__ = [
    "CLIP_WORLDS",
    "PICTURE_WORLDS",
    "Clips",
    "Facts",
    "Judgement",
    "Numbers",
    "Pictures",
    "Scene",
    "Scenes",
    "Shape",
    "Told",
    "captions_of",
    "eyes",
    "from_words",
    "gestures",
    "in_words",
    "is_world",
    "judge",
    "make",
    "numbers",
    "parse",
    "scenes",
    "stick_figures",
    "write_world",
]
