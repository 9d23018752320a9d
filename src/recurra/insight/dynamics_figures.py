"""Figures of a report: gradients through time, what must become of them, and Lyapunov spectra."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from recurra.insight import style
from recurra.insight.flow_figures import draw_by_lag, draw_triangles
from recurra.insight.gradient_flow import GradientFlow
from recurra.insight.lyapunov import LyapunovSpectrum
from recurra.insight.report import Figure
from recurra.insight.spectrum_figures import draw_counterexample, draw_lyapunov
from recurra.insight.vanishing import Vanishing

_PLACE = -1  # the last layer


def figure_of_flow(flows: Mapping[str, GradientFlow]) -> Figure:
    """How much of the loss at each step reaches each state of each earlier step, as maps.

    Args:
        flows: by the name of the cell, or of the run.
    """
    table: dict[str, Sequence[Any] | np.ndarray] = {}
    for name, flow in flows.items():
        t, k = (index.ravel() for index in np.indices(flow.joint[_PLACE].shape))
        table |= {f"{name} t": flow.losses[t], f"{name} k": k}
        for row, state in enumerate(flow.states):
            table[f"{name} {state}"] = flow.norms[_PLACE, row].ravel()
    return Figure(
        name="gradient_flow",
        title="Where the loss of each step reaches",
        lede="Look how far below the diagonal the colour goes: row t is a loss, column k a step "
        "whose states it reaches.",
        found=_found_reach(flows),
        draw=lambda figure: draw_triangles(flows, figure),
        table=table,
    )


def figure_of_lags(flows: Mapping[str, GradientFlow]) -> Figure:
    """The mean norm of the gradient by lag, a line for each cell or run."""

    def draw(figure: Any) -> None:
        (ax,) = style.panels(figure, 1, height=2.8)
        draw_by_lag(flows, ax)

    lags = {name: flow.by_lag(len(flow.places) - 1) for name, flow in flows.items()}
    longest = max(map(len, lags.values()))
    return Figure(
        name="gradient_by_lag",
        title="What is left of a gradient after so many steps",
        lede="A line that stays up carries what is learned over long distances; one that falls "
        "forgets it.",
        found=_found_by_lag(flows),
        draw=draw,
        table={"lag": range(longest), **lags},
    )


def _of_first_lag(flow: GradientFlow) -> np.ndarray:
    """[lags] from lag 1: what is left of the mean norm at lag 1, at the highest layer; empty where
    nothing is known there or nothing comes that far."""
    lags = flow.by_lag(len(flow.places) - 1)[1:]
    lags = lags[: 1 + max(np.nonzero(~np.isnan(lags))[0], default=-1)]
    return lags / lags[0] if len(lags) and lags[0] > 0 else lags[:0]


def _found_by_lag(flows: Mapping[str, GradientFlow]) -> str:
    """What is left at the longest lag, of each."""
    return _of_each(
        flows, lambda left: f"{left[-1]:.2g} of the gradient at lag 1 is left at lag {len(left)}"
    )


def _found_reach(flows: Mapping[str, GradientFlow]) -> str:
    """From which lag on less than a hundredth is left, of each."""

    def said(left: np.ndarray) -> str:
        below = np.nonzero(left < 0.01)[0]
        if len(below):
            return f"less than 1 % of the gradient at lag 1 is left from lag {below[0] + 1} on"
        return f"more than 1 % of the gradient at lag 1 is left at lag {len(left)}"

    return _of_each(flows, said)


def _of_each(flows: Mapping[str, GradientFlow], said: Callable[[np.ndarray], str]) -> str:
    """A sentence of what is left in each, by its name."""
    sentences = []
    for name, flow in flows.items():
        left = _of_first_lag(flow)
        what = said(left) if len(left) else "nothing reaches earlier steps"
        sentences.append(f"{name}: {what}")
    return f"{'; '.join(sentences)}." if sentences else "There was no loss."


def figure_of_vanishing(cases: Mapping[str, Vanishing]) -> Figure:
    """Gradients measured, under the bounds that the theorem and this run set them.

    Args:
        cases: by what to call them, such as the name of a run.
    """

    def draw(figure: Any) -> None:
        draw_counterexample(cases, style.panels(figure, len(cases), height=2.8))

    several = len(cases) > 1
    verdicts = [
        f"{name}: {case.verdict()}" if several else case.verdict() for name, case in cases.items()
    ]
    table: dict[str, Sequence[Any] | np.ndarray] = {}
    for name, case in cases.items():
        table |= {
            f"{name} lag": case.lags,
            f"{name} gradient": np.nanmean(case.gradient, 1),
            f"{name} norm of product": np.nanmean(case.product_norm, 1),
            f"{name} product of norms": np.nanmean(case.product_of_norms, 1),
            f"{name} bound": case.bound,
        }
    return Figure(
        name="vanishing",
        title="Must gradients vanish?",
        lede="What is measured never passes the norm of the product of Jacobians, that never the "
        "product of their norms; eta^lag is what the weights alone allow.",
        found=" ".join(verdicts),
        draw=draw,
        table=table,
    )


def figure_of_lyapunov(spectra: Mapping[str, LyapunovSpectrum]) -> Figure:
    """Lyapunov exponents by rank, a line for each cell or run."""

    def draw(figure: Any) -> None:
        (ax,) = style.panels(figure, 1, height=2.8)
        draw_lyapunov(spectra, ax)

    said = []
    for name, spectrum in spectra.items():
        first = spectrum.exponents[0]
        if first == 0:
            said.append(f"{name} keeps changes as they are")
            continue
        what = "chaotic" if first > 0 else "stable"
        ways = "grows" if first > 0 else "shrinks"
        said.append(
            f"{name} is {what}: a change {ways} by a factor of e in {spectrum.horizon:.3g} steps"
        )
    return Figure(
        name="lyapunov",
        title="How small changes of the states grow",
        lede="Exponents above zero stretch small changes, exponents near zero keep them, and those "
        "far below forget them at once.",
        found=f"{'; '.join(said)}.",
        draw=draw,
        table={name: spectrum.exponents for name, spectrum in spectra.items()},
    )
