"""Write a recurrence the way a paper writes it, train it, and use it on sequences of every kind.

Names are imported when they are first used: `import recurra` and the command's `--help` wait for
nothing, not even for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra import cells, compose
    from recurra.insight import intervene, trace
    from recurra.lang import cell
    from recurra.models import (
        Aligner,
        Captioner,
        Classifier,
        Forecaster,
        FrameTagger,
        LanguageModel,
        Series,
        Tagger,
        Translator,
        load,
    )
    from recurra.nn import GRU, LSTM, RNN, Bidirectional, Recurrent, doctor
    from recurra.tasks import Run, train

    __version__: str

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Aligner",
    "Bidirectional",
    "Captioner",
    "Classifier",
    "Forecaster",
    "FrameTagger",
    "LanguageModel",
    "Recurrent",
    "Run",
    "Series",
    "Tagger",
    "Translator",
    "__version__",
    "cell",
    "cells",
    "compose",
    "doctor",
    "intervene",
    "load",
    "trace",
    "train",
]

_HOMES = {
    "recurra.insight": ("intervene", "trace"),
    "recurra.lang": ("cell",),
    "recurra.models": (
        *("Aligner", "Captioner", "Classifier", "Forecaster", "FrameTagger"),
        *("LanguageModel", "Series", "Tagger", "Translator", "load"),
    ),
    "recurra.nn": ("GRU", "LSTM", "RNN", "Bidirectional", "Recurrent", "doctor"),
    "recurra.tasks": ("Run", "train"),
}
_HOME_OF = {name: home for home, its_names in _HOMES.items() for name in its_names}
_PARTS = (
    *("backends", "cells", "comparison", "compose", "data", "decoding", "errors", "insight"),
    *(
        "ir",
        "lang",
        "models",
        "nn",
        "passes",
        "settings",
        "show",
        "tasks",
        "text",
        "training",
        "vision",
    ),
)


if not TYPE_CHECKING:  # a type checker that saw this would take any misspelt name

    def __getattr__(name: str) -> Any:
        """A public name or a part of the package, the first time that it is asked for."""
        if name in _HOME_OF:
            value = getattr(import_module(_HOME_OF[name]), name)
        elif name in _PARTS:
            value = import_module(f"recurra.{name}")
        elif name == "__version__":
            from importlib.metadata import version

            value = version("recurra")
        else:
            raise AttributeError(f"module 'recurra' has no attribute {name!r}")
        return globals().setdefault(name, value)


def __dir__() -> list[str]:
    """The public names."""
    return [*globals(), *__all__]
