"""Models: one file for each shape of sequence problem, and how all of them are saved and loaded."""

from recurra.models.files import write_atomically
from recurra.models.language_model import LanguageModel
from recurra.models.saving import Model, load, save

__all__ = ["LanguageModel", "Model", "load", "save", "write_atomically"]
