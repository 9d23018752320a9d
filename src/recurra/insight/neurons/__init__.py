"""What single units of a network do: what they track, found on one text and proved on another."""

from recurra.insight.neurons.contexts import Expected, Nearest, expected_next, nearest_contexts
from recurra.insight.neurons.gates import Saturation, saturation
from recurra.insight.neurons.probe import Probe, linear_probe
from recurra.insight.neurons.properties import PROPERTIES, Property, property_of
from recurra.insight.neurons.scoring import Score, correlations, find_unit, shifted_null
from recurra.insight.neurons.terminal import coloured, scaled
from recurra.insight.neurons.units import Unit, unit_of

__all__ = [
    "PROPERTIES",
    "Expected",
    "Nearest",
    "Probe",
    "Property",
    "Saturation",
    "Score",
    "Unit",
    "coloured",
    "correlations",
    "expected_next",
    "find_unit",
    "linear_probe",
    "nearest_contexts",
    "property_of",
    "saturation",
    "scaled",
    "shifted_null",
    "unit_of",
]
