"""Gradient flow drawn: a triangle of losses against steps, norms by lag, terms of the gradient.

Norms are drawn as powers of ten: what matters is by how many orders they fall. Maps of several
cells share one scale, and a level below the least that is drawn is left empty.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recurra.insight import style
from recurra.insight.gradient_flow import GradientFlow
from recurra.insight.partials import Partials

LEAST = 1e-12  # of the largest norm; what is less counts as nothing


def log_norms(norms: np.ndarray) -> np.ndarray:
    """Powers of ten, NaN for zero and for what there is not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log10(norms)
    return np.where(np.isfinite(found), found, np.nan)


def scale(flows: Sequence[GradientFlow], least: float = LEAST) -> tuple[float, float]:
    """The powers of ten that maps of these share: up to the largest, at most down to `least`
    of it."""
    values = np.concatenate([log_norms(flow.norms).ravel() for flow in flows])
    values = values[np.isfinite(values)]
    if not len(values):
        return -1.0, 0.0
    top = math.ceil(float(values.max()) + 1e-9)
    bottom = math.floor(max(float(values.min()), top + math.log10(least)))
    return float(min(bottom, top - 1)), float(top)


def draw_triangle(
    flow: GradientFlow,
    axes: Any,
    *,
    place: int = 0,
    state: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Any:
    """The norm of dL_t/ds_k for every pair: t upwards, k to the right.

    Args:
        axes: of matplotlib.
        place: index among the flow's places.
        state: name of a state; None for all as one vector.
        limits: powers of ten at both ends of the colours; None for the flow's own.

    Returns:
        The image, for a colour bar.
    """
    norms = flow.joint[place] if state is None else flow.norms[place, flow.states.index(state)]
    low, high = limits or scale([flow])
    values = log_norms(norms)
    values[values < low] = np.nan
    image = axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        cmap=style.sequential(),
        vmin=low,
        vmax=high,
        extent=(-0.5, norms.shape[1] - 0.5, -0.5, len(flow.losses) - 0.5),
    )
    style.bare(axes)
    axes.set_xlabel("step k")
    axes.set_ylabel("loss at t" if len(flow.losses) == norms.shape[1] else "loss")
    return image


def draw_triangles(flows: Mapping[str, GradientFlow], figure: Any) -> None:
    """A map for every state of every cell, or of every layer of one, all on one scale.

    Args:
        flows: by the name of the cell.
        figure: of matplotlib; it takes the height that it needs.
    """
    wanted = [
        (name, flow, place, state)
        for name, flow in flows.items()
        for place in range(len(flow.places))
        for state in flow.states
    ]
    limits = scale(list(flows.values()))
    axes = style.panels(figure, len(wanted), height=2.3, sharex=True, sharey=True)
    image = None
    for ax, (name, flow, place, state) in zip(axes, wanted, strict=True):
        image = draw_triangle(flow, ax, place=place, state=state, limits=limits)
        ax.set_title(_title(name, flow, place, state))
        ax.label_outer()
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30)
    bar.set_label("norm of dL_t / ds_k, power of ten")
    bar.outline.set_visible(False)


def _title(name: str, flow: GradientFlow, place: int, state: str) -> str:
    """What a map shows, as far as others show something else."""
    index, direction = flow.places[place]
    layer = f" layer {index}" if flow.places[-1][0] else ""
    way = (", from the end" if direction else ", from the start") if _both(flow) else ""
    return style.plain(
        f"{name}{layer}{way}: {state}" if len(flow.states) > 1 else f"{name}{layer}{way}"
    )


def _both(flow: GradientFlow) -> bool:
    return any(direction for _, direction in flow.places)


def draw_by_lag(
    flows: Mapping[str, GradientFlow],
    axes: Any,
    *,
    place: int = -1,
    state: str | None = None,
    relative: bool = True,
    least: float = LEAST,
) -> None:
    """Mean norms by lag, a line for each cell.

    Args:
        flows: by the name of the cell.
        axes: of matplotlib.
        place: index among the places of each; the last layer unless said otherwise.
        state: name of a state; None for all as one vector.
        relative: as multiples of the norm at lag 1, where all begin.
        least: where the axis ends below.
    """
    for number, (name, flow) in enumerate(flows.items()):
        values = flow.by_lag(range(len(flow.places))[place], state)
        if relative and len(values) > 1 and values[1] > 0:
            values = values / values[1]
        lags = np.arange(len(values))
        drawn = np.where(values > 0, values, np.nan)
        axes.plot(lags[1:], drawn[1:], color=style.colour(number), label=style.plain(name))
    axes.set_yscale("log")
    axes.autoscale(axis="y")  # to what panels hold that share the axis, drawn before or now
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, least), high)
    axes.set_xlabel("lag t - k, steps")
    axes.set_ylabel("gradient, of that at lag 1" if relative else "norm of the gradient")
    axes.legend()


def draw_partials(partials: Partials, axes: Any, *, most: int = 8) -> None:
    """What each step adds to the gradient of each parameter, a line for each of the largest.

    Args:
        axes: of matplotlib.
        most: parameters to draw.
    """
    largest = np.argsort(-partials.norms.sum(1), kind="stable")[:most]
    for number, row in enumerate(sorted(largest)):
        values = partials.norms[row]
        axes.plot(
            np.where(values > 0, values, np.nan),
            color=style.colour(number),
            label=style.plain(partials.parameters[row]),
        )
    axes.set_yscale("log")
    axes.set_xlabel("step k")
    axes.set_ylabel("norm of what step k adds")
    axes.legend(ncols=2)
