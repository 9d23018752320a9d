"""Figures of neurons: what was found, what a unit does over a text, and what follows from it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recurra.insight import style
from recurra.insight.neurons.clamping import Clamped, Closing
from recurra.insight.neurons.contexts import expected_next, nearest_contexts
from recurra.insight.neurons.gates import Saturation
from recurra.insight.neurons.reading import Read
from recurra.insight.neurons.search import Found, Tracking
from recurra.insight.neurons.terminal import scaled
from recurra.insight.neurons.units import Unit
from recurra.insight.report.figure import Figure, Passage

_SHOWN = 1200  # characters of a text
_AROUND = 60  # characters of a context
_VERDICTS = {
    "a cell": "it is a cell",
    "a few cells": "it is a few cells",
    "a direction": "it is a direction, not a cell",
}


# ---- what was found ------------------------------------------------------------------------------


def figure_of_search(found: Found, held_out: Read) -> Figure:
    """The unit that tracks a property: over a text, beside chance, beside a reading of all units.

    Args:
        found: see `find`.
        held_out: the text that it was scored on.
    """
    score, probe, unit = found.score, found.probe, found.unit
    needed = "more than a few" if probe.num_needed is None else str(probe.num_needed)
    return Figure(
        name="neuron",
        title=f"{found.which.name}: {unit}",
        lede="Look for colours that change where the property does, on text that the search has "
        "not seen.",
        found=(
            f"{unit} correlates {score.held_out:+.2f} with it on held-out text, where chance gives "
            f"{score.null_99:.2f} in one of a hundred; all units together give "
            f"{probe.held_out:.2f}, nine tenths of which take {needed}: {_VERDICTS[probe.verdict]}."
        ),
        draw=lambda figure: draw_search(figure, found),
        table={
            "unit": [str(each) for each, _, _ in found.ranked],
            "correlation in the search": [r for _, r, _ in found.ranked],
            "correlation held out": [r for _, _, r in found.ranked],
            "best units": list(probe.counts),
            "correlation of their reading": probe.held_out_of,
        },
        passages=[passage_of(held_out, unit, *most_telling(held_out.property_values(found.which)))],
    )


def draw_search(figure: Any, found: Found) -> None:
    """Draw the unit beside chance, and readings of more and more units, on a figure."""
    chance, readings = style.panels(figure, 2, height=2.6)
    score, probe = found.score, found.probe
    chance.hist(score.null, bins=40, color=style.GREY, label="this unit, shifted text")
    chance.axvline(score.null_99, color=style.FAINT, linestyle=":", label="1 in 100 is above")
    chance.axvline(abs(score.held_out), color=style.BLUE, linewidth=2.0, label=str(found.unit))
    chance.set_xlim(0, 1)
    chance.set_title("beside chance")
    chance.set_xlabel("|correlation|, held out")
    chance.set_ylabel("shifts")
    chance.legend()
    readings.plot(probe.counts, probe.held_out_of, color=style.BLUE, marker="o", label="best few")
    readings.axhline(probe.held_out, color=style.RED, linestyle="--", label="all units")
    readings.set_xscale("log", base=2)
    readings.set_xticks(probe.counts, [str(n) for n in probe.counts])
    readings.set_ylim(0, 1)
    readings.set_title("a linear reading of so many units")
    readings.set_xlabel("units")
    readings.set_ylabel("correlation, held out")
    readings.legend(loc="lower right")


def most_telling(wanted: np.ndarray, length: int = _SHOWN) -> tuple[int, int]:
    """The stretch of a text in which a property varies most: its start and its stop."""
    length = min(length, len(wanted))
    sums = np.concatenate([[0.0], np.cumsum(wanted, dtype=np.float64)])
    squares = np.concatenate([[0.0], np.cumsum(np.square(wanted, dtype=np.float64))])
    mean = (sums[length:] - sums[:-length]) / length
    variance = (squares[length:] - squares[:-length]) / length - mean**2
    start = int(variance.argmax())
    return start, start + length


def passage_of(text: Read, unit: Unit, start: int = 0, stop: int = _SHOWN) -> Passage:
    """A stretch of a text, coloured by what a unit is at each token."""
    values = scaled(text.of_unit(unit))
    return Passage(
        text=text.pieces[start:stop],
        values=values[start:stop].tolist(),
        title=f"{unit} over held-out text: blue above zero, red below",
    )


def figure_of_unit(
    text: Read, unit: Unit, found: Tracking, stretch: tuple[int, int] = (0, _SHOWN)
) -> Figure:
    """A unit over a text, and how well it tracks each property.

    Args:
        text: as the model has read it.
        found: of all its units, see `tracking`.
        stretch: the start and the stop of what is shown.
    """
    own = found.correlations[:, found.units.index(unit)]
    best = int(np.abs(own).argmax()) if len(own) else -1
    said = f"{found.names[best]} ({own[best]:+.2f})" if len(own) else "nothing, which never changes"
    values = text.of_unit(unit)
    return Figure(
        name="neuron",
        title=str(unit),
        lede="Look for colours that change where something in the text does.",
        found=f"{unit} is {values.mean():+.2f} on average, from {values.min():+.2f} to "
        f"{values.max():+.2f}; of the properties that are known it tracks most {said}.",
        draw=lambda figure: draw_unit(figure, found.names, own, values),
        table={"property": list(found.names), "correlation": own},
        passages=[passage_of(text, unit, *stretch)],
    )


def draw_unit(figure: Any, names: Sequence[str], own: np.ndarray, values: np.ndarray) -> None:
    """Draw how well a unit tracks each property, and how often it has which value."""
    bars, often = style.panels(figure, 2, height=2.9)
    order = np.argsort(np.abs(own), kind="stable")
    bars.barh(range(len(own)), own[order], color=style.BLUE, height=0.65)
    bars.set_yticks(range(len(own)), [style.plain(str(names[i])) for i in order])
    bars.set_xlim(-1, 1)
    bars.grid(visible=False, axis="y")
    bars.set_xlabel("correlation")
    often.hist(values, bins=60, color=style.BLUE)
    often.set_xlabel("value")
    often.set_ylabel("tokens")


def figure_of_tracking(found: Tracking) -> Figure:
    """The best unit for each property, and how many units track it: Karpathy's share of cells."""
    best = np.abs(found.correlations).max(axis=1)
    units = [str(found.units[i]) for i in np.abs(found.correlations).argmax(axis=1)]
    return Figure(
        name="tracking",
        title="What units track",
        lede="Look for long bars: a single unit that follows a property of the text.",
        found=f"{100 * found.share:.1f} % of {len(found.units):,} units correlate above 0.5 with "
        f"one of {len(found.names)} properties; Karpathy et al. (2015) said about 5 % of cells can "
        f"be interpreted.",
        draw=lambda figure: draw_tracking(figure, found),
        table={
            "property": list(found.names),
            "best unit": units,
            "|correlation|": best,
            "share of units above 0.5": list(found.share_of.values()),
        },
    )


def draw_tracking(figure: Any, found: Tracking) -> None:
    """Draw a bar for each property: the best unit's |correlation|."""
    best = np.abs(found.correlations).max(axis=1)
    which = np.abs(found.correlations).argmax(axis=1)
    order = np.argsort(best, kind="stable")
    (ax,) = style.panels(figure, 1, height=0.5 + 0.28 * len(best), across=1)
    ax.barh(range(len(best)), best[order], color=style.BLUE, height=0.65)
    ax.set_yticks(range(len(best)), [found.names[i] for i in order])
    ax.axvline(0.5, color=style.FAINT, linestyle=":", linewidth=1.0)
    ax.set_xlim(0, 1)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("|correlation| of the best unit")
    for row, i in enumerate(order):
        ax.annotate(
            str(found.units[which[i]]),
            (best[i], row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=style.FAINT,
        )


# ---- contexts ------------------------------------------------------------------------------------


def figure_of_contexts(
    text: Read, symbols: Sequence[str], place: int | None = None, *, count: int = 5
) -> Figure:
    """Where else the model is in a state like the one after a token, and what it expects there.

    Args:
        text: as the model has read it.
        symbols: [V] how each symbol is written.
        place: the token; None takes one in the middle.
        count: contexts beside it.
    """
    place = len(text.pieces) // 2 if place is None else place
    nearest = nearest_contexts(text.matrix, place, count=count)
    passages, table = [], {"place": [], "similarity": [], "context": [], "expected": []}
    for at, alike in [(place, 1.0), *zip(nearest.places.tolist(), nearest.similarity, strict=True)]:
        likely = expected_next(text.log_probabilities[at : at + 1], symbols)
        guesses = ", ".join(
            f"{symbol!r} {100 * p:.0f} %"
            for symbol, p in zip(likely.symbols[0], likely.probabilities[0], strict=True)
        )
        start = max(0, at - _AROUND)
        pieces = text.pieces[start : at + 1]
        values = [0.0] * (len(pieces) - 1) + [1.0]
        heading = "here" if at == place else f"similarity {alike:.2f}"
        passages.append(Passage(text=pieces, values=values, title=f"{heading}; next: {guesses}"))
        row = (at, float(alike), "".join(pieces), guesses)
        for column, value in zip(table.values(), row, strict=True):
            column.append(value)
    return Figure(
        name="contexts",
        title="Contexts that the model takes for alike",
        lede="Look for what the places have in common: the state says no more than that.",
        found=f"The nearest of {len(text.pieces):,} places has a state of similarity "
        f"{nearest.similarity[0] if len(nearest.similarity) else 0.0:.2f}.",
        table=table,
        passages=passages,
    )


# ---- gates ---------------------------------------------------------------------------------------


def figure_of_saturation(layers: Mapping[str, Sequence[Saturation]]) -> Figure:
    """How often each unit's gates are shut and open, as the paper's scatter.

    Args:
        layers: by what they are called, the gates of each.
    """
    gates = [(name, each) for name, some in layers.items() for each in some if each.is_gate]
    sure = {
        f"{name} {gate.name}": int(((gate.left > 0.9) | (gate.right > 0.9)).sum())
        for name, gate in gates
    }
    most = max(sure, key=lambda key: sure[key]) if sure else ""
    where = f", most of them of {most} ({sure[most]})" if any(sure.values()) else ""
    return Figure(
        name="saturation",
        title="Gates that are shut or open",
        lede="Look for dots near a corner: at the right a gate that is always open, at the top "
        "one that is always shut, at the origin one that is never sure.",
        found=f"{sum(sure.values()):,} of {sum(len(g.left) for _, g in gates):,} gates are at one "
        f"end nine times in ten{where}.",
        draw=lambda figure: draw_saturation(figure, gates),
        table={
            f"{name} {gate.name} {side}": getattr(gate, end)
            for name, gate in gates
            for side, end in (("below 0.1", "left"), ("above 0.9", "right"))
        },
    )


def draw_saturation(figure: Any, gates: Sequence[tuple[str, Saturation]]) -> None:
    """Draw a scatter for each gate: the share of time open across, shut up."""
    axes = style.panels(figure, len(gates), height=2.6, sharex=True, sharey=True)
    for number, (ax, (name, gate)) in enumerate(zip(axes, gates, strict=True)):
        ax.plot([0, 1], [1, 0], color=style.RULE, linewidth=1.0)
        ax.plot(
            gate.right,
            gate.left,
            linestyle="none",
            marker="o",
            markersize=3.2,
            alpha=0.55,
            markeredgewidth=0,
            color=style.colour(number),
        )
        ax.set_xlim(-0.02, 1.02)
        ax.set_ylim(-0.02, 1.02)
        ax.set_title(style.plain(f"{name} {gate.name}"))
        ax.set_xlabel("share above 0.9")
        ax.set_ylabel("share below 0.1")


# ---- what follows when it is held ----------------------------------------------------------------


def figure_of_closing(found: Closing, written: Sequence[Passage] = ()) -> Figure:
    """What holding a unit does to the probability of what closes its property.

    Args:
        found: see `closing`.
        written: texts that the model wrote, with the unit held and without.
    """
    controls = ""
    if len(found.controls):
        controls = (
            f"; the most that {len(found.controls)} other units change it by is "
            f"{found.controls.max():.1f} times"
        )
    return Figure(
        name="clamped",
        title=f"{found.unit} held",
        lede="Look for whether the model stops to expect the end of what it is in: then the unit "
        "is what it knows it by, not a mere witness.",
        found=(
            f"Where {found.which.name} holds, the closing symbol has a probability of "
            f"{found.free.mean():.3f}, with {found.unit} held at its mean outside "
            f"({found.outside:+.2f}) {found.held_outside.mean():.3f}: {found.fold:.1f} times"
            f"{controls}."
        ),
        draw=lambda figure: draw_closing(figure, found),
        table={
            "free": found.free,
            "held as inside": found.held_inside,
            "held as outside": found.held_outside,
        },
        passages=written,
    )


def draw_closing(figure: Any, found: Closing) -> None:
    """Draw the mean probability of what closes the property, free and held."""
    (ax,) = style.panels(figure, 1, height=1.7, across=1)
    rows = [
        (f"held as outside ({found.outside:+.2f})", found.held_outside, style.RED),
        (f"held as inside ({found.inside:+.2f})", found.held_inside, style.GREEN),
        ("nothing held", found.free, style.BLUE),
    ]
    for row, (_, values, colour) in enumerate(rows):
        ax.barh(row, values.mean(), color=colour, height=0.6)
        ax.annotate(
            f"{values.mean():.3f}",
            (values.mean(), row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=style.FAINT,
        )
    ax.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    ax.margins(x=0.15)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("mean probability of the closing symbol, where the property holds")


def figure_of_clamped(found: Clamped, written: Sequence[Passage] = ()) -> Figure:
    """What a model expects with a unit held at a value, for a unit of no known property."""
    changed = found.most_changed()
    said = ", ".join(f"{s!r} from {before:.3f} to {after:.3f}" for s, before, after in changed[:3])
    return Figure(
        name="clamped",
        title=f"{found.unit} held at {found.value:g}",
        lede="Look for symbols that the model expects more, or less, while the unit is held.",
        found=f"On average over a text the model changes what it expects most of {said}."
        if changed
        else "On average over a text nothing changes in what the model expects.",
        draw=lambda figure: draw_clamped(figure, found),
        table={
            "symbol": [repr(symbol) for symbol in found.symbols],
            "probability": found.free,
            "probability while held": found.held,
        },
        passages=written,
    )


def draw_clamped(figure: Any, found: Clamped) -> None:
    """Draw the symbols that change most, with both probabilities."""
    changed = found.most_changed(10)[::-1]
    (ax,) = style.panels(figure, 1, height=0.7 + 0.25 * max(1, len(changed)), across=1)
    for row, (_, before, after) in enumerate(changed):
        ax.plot([before, after], [row, row], color=style.RULE, linewidth=2.5)
        ax.plot([before], [row], marker="o", color=style.BLUE, linestyle="none")
        ax.plot([after], [row], marker="o", color=style.RED, linestyle="none")
    ax.plot([], [], marker="o", color=style.BLUE, linestyle="none", label="nothing held")
    ax.plot([], [], marker="o", color=style.RED, linestyle="none", label="held")
    ax.legend(loc="lower right")
    ax.set_yticks(range(len(changed)), [style.plain(repr(symbol)) for symbol, _, _ in changed])
    ax.grid(visible=False, axis="y")
    ax.set_xscale("log")
    ax.set_xlabel("mean probability of the next symbol")
