"""What a forecaster says of numbers: a value, quantiles, or a distribution of them.

A density has no parameters of its own: a layer gives raw numbers for each step, and the density
says how many, how they are read, what is minimised, and how numbers are drawn.
"""

from recurra.nn.densities.base import Density, named
from recurra.nn.densities.mixtures import Mixture, PenMixture
from recurra.nn.densities.single import DECILES, Gaussian, Point, Quantiles, StudentT

__all__ = [
    "DECILES",
    "Density",
    "Gaussian",
    "Mixture",
    "PenMixture",
    "Point",
    "Quantiles",
    "StudentT",
    "named",
]
