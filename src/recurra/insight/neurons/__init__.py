"""What single units of a language model do: what they track, found and proved, and what follows
when they are held."""

from recurra.insight.neurons.clamping import Clamped, Closing, clamped, closing, held, write_held
from recurra.insight.neurons.contexts import Expected, Nearest, expected_next, nearest_contexts
from recurra.insight.neurons.figures import (
    figure_of_clamped,
    figure_of_closing,
    figure_of_contexts,
    figure_of_saturation,
    figure_of_search,
    figure_of_tracking,
    figure_of_unit,
)
from recurra.insight.neurons.gates import Saturation, saturation
from recurra.insight.neurons.probe import Probe, linear_probe
from recurra.insight.neurons.properties import PROPERTIES, Property, property_of
from recurra.insight.neurons.reading import Read, read, sizes_of
from recurra.insight.neurons.scoring import Score, correlations, find_unit, shifted_null
from recurra.insight.neurons.search import Found, Tracking, find, tracking
from recurra.insight.neurons.study import Study, study_of_property, study_of_unit
from recurra.insight.neurons.terminal import coloured, scaled
from recurra.insight.neurons.units import Unit, unit_of

__all__ = [
    "PROPERTIES",
    "Clamped",
    "Closing",
    "Expected",
    "Found",
    "Nearest",
    "Probe",
    "Property",
    "Read",
    "Saturation",
    "Score",
    "Study",
    "Tracking",
    "Unit",
    "clamped",
    "closing",
    "coloured",
    "correlations",
    "expected_next",
    "figure_of_clamped",
    "figure_of_closing",
    "figure_of_contexts",
    "figure_of_saturation",
    "figure_of_search",
    "figure_of_tracking",
    "figure_of_unit",
    "find",
    "find_unit",
    "held",
    "linear_probe",
    "nearest_contexts",
    "property_of",
    "read",
    "saturation",
    "scaled",
    "shifted_null",
    "sizes_of",
    "study_of_property",
    "study_of_unit",
    "tracking",
    "unit_of",
    "write_held",
]
