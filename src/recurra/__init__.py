"""Write a recurrence the way a paper writes it, train it, and use it on sequences of every kind."""

from importlib.metadata import version

from recurra import cells, compose
from recurra.lang import cell
from recurra.models import LanguageModel, load
from recurra.nn import GRU, LSTM, RNN, Bidirectional, Recurrent, doctor

__version__ = version("recurra")

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "LanguageModel",
    "Recurrent",
    "__version__",
    "cell",
    "cells",
    "compose",
    "doctor",
    "load",
]
