"""Figures of a report: the error surface around a model, its fixed points, and how clipping bit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recurra.insight import style
from recurra.insight.clipping import ClippingReport, draw_clipping
from recurra.insight.fixed_points import FixedPoints, draw_eigenvalues, draw_fixed_points
from recurra.insight.report import Figure
from recurra.insight.surfaces import Descent, Surface, draw_descents, draw_surface


def figure_of_surface(surface: Surface, paths: Mapping[str, Descent] | None = None) -> Figure:
    """The loss over a plane, with paths of descent where there are some.

    Args:
        surface: of a model, as `Plane.surface` gives it, or of the cliff.
        paths: descents on it, by what the legend calls them.
    """
    paths = paths or {}

    def draw(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = style.panels(figure, 2 if paths else 1, height=3.2)
        style.bare(axes[0])
        drawn = draw_surface(surface, axes[0], paths)
        axes[0].locator_params(nbins=5)  # of a phone, where more run into one another
        bar = figure.colorbar(drawn, ax=axes[0], label="loss", format=_power)
        bar.outline.set_visible(False)
        low, high = drawn.get_clim()
        bar.locator = MaxNLocator(5, integer=high - low >= 2)  # whole powers of ten, where some are
        bar.update_ticks()
        if paths:
            draw_descents(paths, axes[1])

    x, y = np.meshgrid(surface.x, surface.y)
    table: dict[str, Sequence[Any]] = {
        surface.names[0]: x.ravel().tolist(),
        surface.names[1]: y.ravel().tolist(),
        "loss": surface.loss.ravel().tolist(),
    }
    return Figure(
        name="surface",
        title="Error surface",
        lede="Look for walls, where contours crowd: there one step of an unclipped gradient throws "
        "the weights far away.",
        found=_found_on(surface, paths),
        draw=draw,
        table=table,
    )


def _power(value: float, _: Any) -> str:
    """A number of which the power of ten is given."""
    return f"{10**value:.2g}"


def _found_on(surface: Surface, paths: Mapping[str, Descent]) -> str:
    finite = surface.loss[np.isfinite(surface.loss)]
    said = "No loss on the plane is finite"
    if len(finite):
        middle = surface.loss[len(surface.y) // 2, len(surface.x) // 2]
        said = (
            f"The loss is {middle:.3g} in the middle, {finite.min():.3g} at least and "
            f"{finite.max():.3g} at most"
        )
    for name, path in paths.items():
        said += (
            f"; {name}: from {path.loss[0]:.3g} to {path.loss[-1]:.3g} in {len(path.norms)} steps, "
            f"with a rise of {path.largest_rise:.3g} times in one of them at most"
        )
    return f"{said}."


def figure_of_fixed_points(
    points: FixedPoints, trajectories: np.ndarray, *, under: str = ""
) -> Figure:
    """Fixed and slow points among trajectories, and the eigenvalues there.

    Args:
        points: that were found.
        trajectories: [T, B, N], the states that were searched from.
        under: which constant input, in words; "" where that goes without saying.
    """

    def draw(figure: Any) -> None:
        left, right = style.panels(figure, 2, height=3.2)
        draw_fixed_points(points, trajectories, left)
        draw_eigenvalues(points, right)

    return Figure(
        name="fixed_points",
        title="Fixed and slow points",
        lede="Look for points where trajectories come to rest: stable ones are what the network "
        "holds, saddles decide between them.",
        found=f"Under {under}, {_found_of(points)}" if under else _capital(_found_of(points)),
        draw=draw,
        table={
            "speed": points.speeds.tolist(),
            "unstable directions": points.unstable.tolist(),
            "largest eigenvalue": points.leading.tolist(),
            "searches that ended there": points.counts.tolist(),
            "distance from the states seen": points.distances.tolist(),
        },
    )


def _found_of(points: FixedPoints) -> str:
    if not len(points):
        return f"none of {points.searches} searches ended where the recurrence stands still."
    fixed, stable = points.is_fixed, points.is_stable
    said = (
        f"{points.searches} searches ended in {fixed.sum()} fixed and {(~fixed).sum()} slow "
        f"points, of which {stable.sum()} are stable"
    )
    longest = points.time_constants[stable].max(initial=0.0)
    if stable.any() and np.isfinite(longest):
        said += f"; what is held at a stable one fades over {longest:.3g} steps at the longest"
    return f"{said}."


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def figure_of_clipping(report: ClippingReport) -> Figure:
    """How long gradients were over training, and the threshold that this recommends."""

    def draw(figure: Any) -> None:
        (axes,) = style.panels(figure, 1, height=2.7)
        draw_clipping(report, axes)

    low, high = report.bounds
    share = report.clipped_share
    bit = "" if share is None else f", and clipping changed {share:.0%} of the steps"
    suits = (
        f"a threshold of {report.recommended:g} suits them, anything from {low:.2g} to "
        f"{high:.2g} would do."
        if report.recommended
        else "there is nothing to clip."
    )
    return Figure(
        name="clipping",
        title="Clipping",
        lede="Look for norms that leave the band: below it clipping never bites, and far above it "
        "a single step can undo many.",
        found=f"Gradients had a norm of {report.usual:.2g} in the median{bit}; {suits}",
        draw=draw,
        table={
            "step": report.steps.tolist(),
            "mean norm": report.norms.tolist(),
            "largest norm": report.largest.tolist(),
            "share clipped": report.clipped.tolist(),
        },
    )
