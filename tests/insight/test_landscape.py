"""Figures of surfaces, fixed points and clipping: what they say is what was found."""

import numpy as np
import pytest

from recurra.insight.clipping import clipping_report
from recurra.insight.fixed_points import FixedPoints, time_constants
from recurra.insight.landscape import (
    figure_of_clipping,
    figure_of_fixed_points,
    figure_of_surface,
)
from recurra.insight.report import Figure
from recurra.insight.surfaces import cliff_descents, cliff_surface


def drawn(figure: Figure) -> None:
    figure_of = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    assert figure.draw is not None
    figure.draw(figure_of.Figure(figsize=(8.4, 3)))
    assert figure.csv().count("\n") > 1


def points() -> FixedPoints:
    eigenvalues = np.array([[0.9, 0.1], [1.2, 0.5]], dtype=complex)
    return FixedPoints(
        points=np.eye(2),
        speeds=np.array([0.0, 1e-6]),
        eigenvalues=eigenvalues,
        time_constants=time_constants(eigenvalues),
        counts=np.array([5, 1]),
        distances=np.zeros(2),
        searches=8,
    )


def test_a_surface_says_how_its_paths_went() -> None:
    free, clipped = cliff_descents(30)
    figure = figure_of_surface(cliff_surface(points=9), {"free": free, "clipped": clipped})
    assert f"free: from {free.loss[0]:.3g} to {free.loss[-1]:.3g} in 30 steps" in figure.found
    assert len(figure.table["loss"]) == 81
    drawn(figure)


def test_points_say_how_many_are_stable_and_how_long_they_hold() -> None:
    trajectories = np.random.default_rng(0).normal(size=(6, 3, 2))
    figure = figure_of_fixed_points(points(), trajectories)
    assert figure.found == (
        "8 searches ended in 1 fixed and 1 slow points, of which 1 are stable; what is held at a "
        "stable one fades over 9.49 steps at the longest."
    )
    drawn(figure)
    under = figure_of_fixed_points(points(), trajectories, under="the mean input")
    assert under.found.startswith("Under the mean input, 8 searches ended")


def test_clipping_says_the_threshold() -> None:
    rows = [{"step": step, "grad_norm": 0.5, "clipped": 0.25} for step in range(1, 5)]
    figure = figure_of_clipping(clipping_report(rows))
    assert "a norm of 0.5 in the median, and clipping changed 25% of the steps" in figure.found
    drawn(figure)
