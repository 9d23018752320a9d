"""Worlds that recurra makes itself: pictures and clips of which all that is true is known."""

from recurra.data.worlds.gestures import gestures
from recurra.data.worlds.made import Clips, Pictures
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

__all__ = [
    "Clips",
    "Facts",
    "Judgement",
    "Pictures",
    "Scene",
    "Scenes",
    "Shape",
    "Told",
    "captions_of",
    "gestures",
    "judge",
    "parse",
    "scenes",
]
