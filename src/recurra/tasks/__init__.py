"""Tasks: one file for each `recurra train TASK`, the only place that knows models, data and
training.

    run = recurra.train("lm", data="input.txt", out="runs/first", max_minutes=10)

Names are loaded when they are first used: the command line reads settings without waiting for
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.tasks.align import AlignTask
    from recurra.tasks.caption import CaptionTask
    from recurra.tasks.classify import ClassifyTask
    from recurra.tasks.forecast import ForecastTask
    from recurra.tasks.frames import FramesTask
    from recurra.tasks.language import LanguageTask
    from recurra.tasks.motion import MotionTask
    from recurra.tasks.starting import Run, find, train
    from recurra.tasks.tag import TagTask
    from recurra.tasks.translate import TranslateTask

__all__ = [
    "AlignTask",
    "CaptionTask",
    "ClassifyTask",
    "ForecastTask",
    "FramesTask",
    "LanguageTask",
    "MotionTask",
    "Run",
    "TagTask",
    "TranslateTask",
    "find",
    "train",
]

_HOME_OF = {
    "AlignTask": "align",
    "CaptionTask": "caption",
    "ClassifyTask": "classify",
    "ForecastTask": "forecast",
    "FramesTask": "frames",
    "LanguageTask": "language",
    "MotionTask": "motion",
    "TagTask": "tag",
    "TranslateTask": "translate",
    **dict.fromkeys(("Run", "find", "train"), "starting"),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A name, the first time that it is asked for."""
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"recurra.tasks.{_HOME_OF[name]}"), name)
        return globals().setdefault(name, value)
