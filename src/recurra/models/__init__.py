"""Models: one file for each shape of sequence problem, and how all of them are saved and loaded."""

from recurra.models.aligned import Alignment
from recurra.models.alignment import Aligner
from recurra.models.captioner import Captioner
from recurra.models.captions import Caption
from recurra.models.classifier import Classifier
from recurra.models.confusion import Confusion
from recurra.models.devices import find_device
from recurra.models.forecaster import Forecaster
from recurra.models.frames import FrameTagger
from recurra.models.language_model import LanguageModel
from recurra.models.parts import Names, Part
from recurra.models.prediction import Prediction
from recurra.models.saving import Model, load, save
from recurra.models.scaling import Scaling
from recurra.models.series import Categories, Forecast, Series, SeriesScaling
from recurra.models.tagger import Tagger, Tags
from recurra.models.translation import Translation
from recurra.models.translator import Translator

__all__ = [
    "Aligner",
    "Alignment",
    "Caption",
    "Captioner",
    "Categories",
    "Classifier",
    "Confusion",
    "Forecast",
    "Forecaster",
    "FrameTagger",
    "LanguageModel",
    "Model",
    "Names",
    "Part",
    "Prediction",
    "Scaling",
    "Series",
    "SeriesScaling",
    "Tagger",
    "Tags",
    "Translation",
    "Translator",
    "find_device",
    "load",
    "save",
]
