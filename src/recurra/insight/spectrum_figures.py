"""Jacobians and what follows from them, drawn: singular values, eigenvalues, Lyapunov exponents,
the bounds of vanishing gradients, and the power method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recurra.insight import style
from recurra.insight.jacobians import JacobianProducts, JacobianSpectra
from recurra.insight.lyapunov import LyapunovSpectrum
from recurra.insight.power import PowerMethod
from recurra.insight.vanishing import Vanishing

_SHARES = ((0.0, 1.0, 0.15), (0.25, 0.75, 0.35))  # of the values: from, to, how opaque


def draw_singular_values(spectra: JacobianSpectra, axes: Any) -> None:
    """The singular values of each step's Jacobian: the largest, the median, and how they spread.

    Args:
        axes: of matplotlib.
    """
    values = np.nanmean(spectra.singular_values, 1)  # [n, N], of the sequences that have the step
    for low, high, opaque in _SHARES:
        between = np.quantile(values, [low, high], axis=1)
        axes.fill_between(spectra.steps, *between, color=style.BLUE, alpha=opaque, linewidth=0)
    axes.plot(spectra.steps, values[:, 0], color=style.RED, label="largest")
    axes.plot(spectra.steps, np.median(values, 1), color=style.BLUE, label="median")
    axes.axhline(1.0, color=style.FAINT, linewidth=0.8, linestyle="--")
    axes.set_xlabel("step")
    axes.set_ylabel("singular values of dh_t / dh_(t-1)")
    axes.legend()


def draw_eigenvalues(spectra: JacobianSpectra, axes: Any) -> None:
    """The eigenvalues of all steps' Jacobians in the complex plane, with the circle of size 1.

    Args:
        axes: of matplotlib.
    """
    values = spectra.eigenvalues.ravel()
    angle = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angle), np.sin(angle), color=style.FAINT, linewidth=0.8, linestyle="--")
    opaque = float(np.clip(400 / max(1, len(values)), 0.08, 0.8))
    axes.scatter(
        np.real(values), np.imag(values), s=6, color=style.BLUE, alpha=opaque, linewidths=0
    )
    axes.set_aspect("equal")
    axes.set_xlabel("real part")
    axes.set_ylabel("imaginary part")


def draw_products(products: JacobianProducts, axes: Any) -> None:
    """Singular values of products of Jacobians by how many are multiplied, and their bound.

    Args:
        axes: of matplotlib.
    """
    has = ~np.isnan(products.log_bound)  # [n, B]: the sequences of so many steps
    logs = np.where(has[..., None], products.log_singular_values, 0.0).sum(1)
    values = np.exp(logs / has.sum(1, keepdims=True))  # [n, N]
    for row in range(values.shape[1]):
        axes.plot(products.lags, values[:, row], color=style.BLUE, alpha=0.25, linewidth=0.7)
    axes.plot(products.lags, values[:, 0], color=style.RED, label="largest")
    bound = np.exp(np.minimum(np.nanmean(products.log_bound, 1), 700.0))
    axes.plot(products.lags, bound, color=style.FAINT, linestyle="--", label="product of norms")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("Jacobians multiplied")
    axes.set_ylabel("singular values of the product")
    axes.legend()


def draw_lyapunov(spectra: Mapping[str, LyapunovSpectrum], axes: Any) -> None:
    """Lyapunov exponents by their rank, a line for each cell.

    Args:
        spectra: by the name of the cell.
        axes: of matplotlib.
    """
    for number, (name, spectrum) in enumerate(spectra.items()):
        values = np.where(np.isfinite(spectrum.exponents), spectrum.exponents, np.nan)
        share = (np.arange(len(values)) + 0.5) / spectrum.size
        axes.plot(share, values, color=style.colour(number), label=style.plain(name))
    axes.axhline(0.0, color=style.FAINT, linewidth=0.8, linestyle="--")
    axes.set_xlabel("rank of the exponent, as a share of all")
    axes.set_ylabel("Lyapunov exponent, 1 / step")
    axes.legend()


def draw_vanishing(found: Vanishing, axes: Any) -> None:
    """What is left of a gradient by lag, under its bounds.

    Args:
        axes: of matplotlib.
    """
    lags = found.lags
    bounds = {
        "eta^lag": (found.bound, style.FAINT, "--"),
        "product of the norms": (np.nanmax(found.product_of_norms, 1), style.GOLD, "-"),
        "norm of the product": (np.nanmax(found.product_norm, 1), style.RED, "-"),
    }
    for label, (values, colour, dashes) in bounds.items():
        axes.plot(lags, _positive(values), color=colour, linestyle=dashes, label=label)
    for number, row in enumerate(found.gradient.T):
        label = "gradients measured" if number == 0 else None
        axes.plot(lags, _positive(row), color=style.BLUE, linewidth=0.9, alpha=0.7, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("lag, steps")
    axes.set_ylabel("gradient, of that at lag 0")
    axes.legend()


def draw_counterexample(cases: Mapping[str, Vanishing], axes: Sequence[Any]) -> None:
    """One panel for each case, on one scale.

    Args:
        cases: by what to call them.
        axes: of matplotlib, as many.
    """
    for ax, (name, found) in zip(axes, cases.items(), strict=True):
        draw_vanishing(found, ax)
        ax.set_title(style.plain(name))
    low = min(ax.get_ylim()[0] for ax in axes)
    high = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(max(low, 1e-30), min(high, 1e30))


def draw_power_method(found: PowerMethod, axes: Any) -> None:
    """How much h_t = W h_(t-1) grows in a step, and the size of the eigenvalue that it goes to.

    Args:
        axes: of matplotlib.
    """
    steps = np.arange(1, len(found.growth) + 1)
    axes.plot(steps, found.growth, color=style.BLUE, label="|h_t| / |h_(t-1)|")
    axes.axhline(found.radius, color=style.RED, linestyle="--", label="largest |eigenvalue|")
    axes.plot(steps, found.alignment[1:], color=style.GREEN, label="share along its eigenvectors")
    axes.set_xlabel("step")
    axes.set_ylim(bottom=0)
    axes.legend()


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where((values > 0) & np.isfinite(values), values, np.nan)
