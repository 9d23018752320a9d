"""Figures of how far back a model looks, and of how long its units keep what they hold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recurra.insight import style
from recurra.insight.memory import ContextLoss, Paths, Saliency, TimeConstants
from recurra.insight.report.figure import Figure

_LONGEST = 1000.0  # steps: beyond, a time constant is said to be longer
_MOST_STEPS = 400  # of a map
SHORTEST_MEMORY = 4  # steps, below which there is nothing to say of how far back a model looks


def figure_of_memory(
    context: ContextLoss | None = None, saliency: Saliency | None = None
) -> Figure:
    """How far back a model looks: the loss by context, the gradient by lag, whichever are given.

    Raises:
        ValueError: when neither is.
    """
    found: list[str] = []
    table: dict[str, Any] = {}
    if context is not None:
        gain = context.nll[0] - context.nll[-1]
        fewest, most = context.contexts[0], context.contexts[-1]
        found.append(
            f"{context.reach:,} {context.unit} of context give all but 0.01 nats of what {most:,} "
            f"do (nll {context.nll[-1]:.3f}); with {fewest:,} alone it is {abs(gain):.2f} nats "
            f"{'higher' if gain >= 0 else 'lower'}"
        )
        table |= {
            f"context, {context.unit}": context.contexts,
            "nll": context.nll,
            "standard error of the difference from the last": context.error,
        }
    if saliency is not None:
        found.append(
            f"half of the gradient comes from the last {saliency.half + 1:,} {saliency.unit}"
        )
        lags = np.arange(len(saliency.norms))
        table |= {f"lag, {saliency.unit}": lags, "gradient norm": saliency.by_lag}
    return Figure(
        name="memory",
        title="How far back it looks",
        lede="Look for where the loss stops to fall: what lies further back is not used.",
        found=f"{'; '.join(found)}.",
        draw=lambda figure: draw_memory(figure, context, saliency),
        table=table,
    )


def draw_memory(figure: Any, context: ContextLoss | None, saliency: Saliency | None) -> None:
    """Draw the loss by context and the gradient by lag on a figure of matplotlib."""
    count = (context is not None) + (saliency is not None)
    if count == 0:
        raise ValueError("draw_memory: expected a context or a saliency, got neither. Give one.")
    axes = style.panels(figure, count, height=2.8)
    if context is not None:
        _draw_context(axes[0], context)
    if saliency is not None:
        _draw_saliency(axes[-1], saliency)


def _draw_context(ax: Any, context: ContextLoss) -> None:
    x, nll, error = np.array(context.contexts), context.nll, context.error
    ax.fill_between(x, nll - 2 * error, nll + 2 * error, color=style.BLUE, alpha=0.2, linewidth=0)
    ax.plot(x, nll, color=style.BLUE, marker="o")
    ax.axvline(context.reach, color=style.FAINT, linestyle=":", linewidth=1.0)
    ax.annotate(
        f"{context.reach:,}",
        (context.reach, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(3, -9),
        textcoords="offset points",
        fontsize=8,
        color=style.FAINT,
    )
    ax.set_xscale("log")
    ax.set_xticks(*_ticks(context.contexts))
    ax.minorticks_off()
    ax.set_title("loss with so much context")
    ax.set_xlabel(f"{context.unit} read before")
    ax.set_ylabel("nats")


def _ticks(contexts: Sequence[int]) -> tuple[list[int], list[str]]:
    """Every context of few; of many the first, and those that are far enough from the last."""
    kept = [contexts[0]]
    for each in contexts[1:]:
        if each / kept[-1] >= 3.0:
            kept.append(each)
    return kept, [f"{each:,}" for each in kept]


def _draw_saliency(ax: Any, saliency: Saliency) -> None:
    lags = np.arange(len(saliency.norms))
    low, high = np.nanquantile(saliency.norms, [0.1, 0.9], axis=1)
    least = np.nanmax(saliency.by_lag) * 1e-9
    ax.fill_between(
        lags,
        np.maximum(low, least),
        np.maximum(high, least),
        color=style.RED,
        alpha=0.18,
        linewidth=0,
    )
    ax.plot(lags, np.maximum(saliency.by_lag, least), color=style.RED)
    ax.set_yscale("log")
    ax.set_title("gradient of the loss by lag")
    ax.set_xlabel(f"{saliency.unit} back")
    ax.set_ylabel("mean norm")


# ---- gates ---------------------------------------------------------------------------------------


def figure_of_time_constants(layers: Mapping[str, TimeConstants]) -> Figure:
    """How long units keep what they hold, by their forget gates; one histogram for each layer.

    Args:
        layers: by what they are called, such as "layer 0".
    """
    every = np.concatenate([each.steps for each in layers.values()])
    gate = next(iter(layers.values())).gate
    return Figure(
        name="time_constants",
        title="How long units remember",
        lede=f"Look for a tail to the right: units whose gate {gate} stays open keep for long.",
        found=(
            f"The middle unit keeps 1/e of its content for {_steps(float(np.median(every)))}, "
            f"the longest tenth for {_steps(float(np.quantile(every, 0.9)))} or more."
        ),
        draw=lambda figure: draw_time_constants(figure, layers),
        table={name: np.sort(each.steps) for name, each in layers.items()},
    )


def _steps(count: float) -> str:
    return f"over {_LONGEST:,.0f} steps" if count > _LONGEST else f"{count:,.1f} steps"


def draw_time_constants(figure: Any, layers: Mapping[str, TimeConstants]) -> None:
    """Draw a histogram for each layer on a figure of matplotlib."""
    axes = style.panels(figure, len(layers), height=2.4, sharex=True)
    edges = np.geomspace(0.1, _LONGEST, 41)
    for number, (ax, (name, each)) in enumerate(zip(axes, layers.items(), strict=True)):
        shown = np.clip(each.steps, edges[0], edges[-1] * 0.999)
        ax.hist(shown, bins=edges, color=style.colour(number))
        ax.set_xscale("log")
        ax.set_title(style.plain(name))
        ax.set_xlabel("steps")
        ax.set_ylabel("units")


# ---- the additive path ---------------------------------------------------------------------------


def figure_of_paths(found: Paths) -> Figure:
    """The additive path of a cell beside what it shows: two maps, a row for each unit."""
    kept, shown = found.names
    medians = (np.median(found.kept_persistence), np.median(found.shown_persistence))
    return Figure(
        name="paths",
        title=f"What is kept ({kept}) and what is shown ({shown})",
        lede=f"Look for stripes along time in {kept} that are broken up in {shown}: what is kept "
        f"is shown when it is needed.",
        found=f"From one step to the next the middle unit of {kept} correlates {medians[0]:.2f} "
        f"with itself, that of {shown} {medians[1]:.2f}.",
        draw=lambda figure: draw_paths(figure, found),
        table={
            f"persistence of {kept}": found.kept_persistence,
            f"persistence of {shown}": found.shown_persistence,
        },
    )


def draw_paths(figure: Any, found: Paths) -> None:
    """Draw the two maps on a figure of matplotlib: time across, units down, long holders first."""
    axes = style.panels(figure, 2, height=3.0, sharey=True)
    for ax, name, values in zip(axes, found.names, (found.kept, found.shown), strict=True):
        values = values[:_MOST_STEPS]
        most = max(float(np.quantile(np.abs(values), 0.98)), 1e-12)
        ax.imshow(
            values.T, aspect="auto", cmap=style.diverging(), vmin=-most, vmax=most, origin="upper"
        )
        style.bare(ax)
        ax.set_title(style.plain(name))
        ax.set_xlabel("step")
    axes[0].set_ylabel("unit, longest memory first")
