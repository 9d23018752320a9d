"""A unit from all sides, as figures: over a text, beside chance, held, and where else it is so."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recurra.errors import DataError
from recurra.insight.neurons.clamping import clamped, closing, symbols_of, write_held
from recurra.insight.neurons.figures import (
    figure_of_clamped,
    figure_of_closing,
    figure_of_contexts,
    figure_of_search,
    figure_of_tracking,
    figure_of_unit,
    most_telling,
)
from recurra.insight.neurons.properties import PROPERTIES, Property
from recurra.insight.neurons.reading import Read, read
from recurra.insight.neurons.search import find, tracking
from recurra.insight.neurons.units import Unit
from recurra.insight.report.figure import Figure, Passage
from recurra.models import LanguageModel

MOST_TOKENS = 50_000  # of each text
_PRIMES = 200  # tokens that are read before a model writes
_WRITTEN = 300  # tokens that it writes
_CONTROLS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What was found of a unit.

    Attributes:
        unit: which.
        title: what it is about.
        figures: of a report.
        text: the text that it is shown over, as the model has read it.
        stretch: the start and the stop of the part of it that shows most.
        notes: what could not be shown, and why.
    """

    unit: Unit
    title: str
    figures: Sequence[Figure]
    text: Read
    stretch: tuple[int, int]
    notes: Sequence[str] = ()


def study_of_property(
    model: LanguageModel,
    search_ids: np.ndarray,
    held_out_ids: np.ndarray,
    which: Property,
    *,
    hold_at: float | None = None,
    seed: int = 0,
) -> Study:
    """The unit that tracks a property best, and what follows when it is held.

    Args:
        search_ids, held_out_ids: [T] tokens of the text of the search, and of another.
        hold_at: what the unit is held at; None: of a property that something closes the means
            inside and outside of it, of others nothing is held.
        seed: of the null, and of what is written.
    Raises:
        DataError: when a text is too short, or the property never changes in it.
    """
    search = read(model, search_ids[:MOST_TOKENS])
    held_out = read(model, held_out_ids[:MOST_TOKENS])
    found = find(which, search, held_out, seed=seed)
    stretch = most_telling(held_out.property_values(which))
    figures = [figure_of_search(found, held_out)]
    notes: list[str] = []
    if hold_at is not None:
        figures.append(_held(model, held_out, found.unit, hold_at, stretch, seed))
    elif which.closers is not None:
        try:
            effect = closing(model, held_out_ids, found.unit, which, num_controls=_CONTROLS)
        except DataError as error:  # what was found stands all the same
            notes.append(f"Nothing was held: {error}")
        else:
            prime = _prime(held_out, held_out.property_values(which))
            written = _written(model, prime, found.unit, (effect.inside, effect.outside), seed)
            figures.append(figure_of_closing(effect, written))
    figures.append(figure_of_contexts(held_out, symbols_of(model.vocabulary), sum(stretch) // 2))
    figures.append(figure_of_tracking(tracking(held_out, list(PROPERTIES.values()))))
    return Study(
        unit=found.unit,
        title=f"{which.name}: {found.unit}",
        figures=figures,
        text=held_out,
        stretch=stretch,
        notes=notes,
    )


def study_of_unit(
    model: LanguageModel,
    ids: np.ndarray,
    unit: Unit,
    *,
    hold_at: float | None = None,
    seed: int = 0,
) -> Study:
    """A unit that is named: over a text, what it tracks, and what follows when it is held.

    Args:
        ids: [T] tokens of a text.
        unit: of any named value: a state or a gate.
        hold_at: what it is held at; None: nothing is held.
        seed: of what is written.
    """
    names = dict.fromkeys([*model.recurrent.cell.states, unit.name])
    text = read(model, ids[:MOST_TOKENS], keep=list(names))
    stretch = most_telling(text.of_unit(unit))
    figures = [figure_of_unit(text, unit, tracking(text, list(PROPERTIES.values())), stretch)]
    if hold_at is not None:
        figures.append(_held(model, text, unit, hold_at, stretch, seed))
    figures.append(figure_of_contexts(text, symbols_of(model.vocabulary), sum(stretch) // 2))
    return Study(unit=unit, title=str(unit), figures=figures, text=text, stretch=stretch)


def _held(
    model: LanguageModel,
    text: Read,
    unit: Unit,
    value: float,
    stretch: tuple[int, int],
    seed: int,
) -> Figure:
    start, _ = stretch
    prime = "".join(text.pieces[max(0, start - _PRIMES) : start + 1])
    effect = clamped(model, text.ids, unit, value)
    return figure_of_clamped(effect, _written(model, prime, unit, (value,), seed))


def _prime(text: Read, wanted: np.ndarray) -> str:
    """A stretch of a text that ends soon after a property has begun to hold."""
    begun = np.flatnonzero((wanted[1:] > 0) & (wanted[:-1] == 0)) + 1
    begun = begun[begun >= _PRIMES] if (begun >= _PRIMES).any() else begun
    end = int(begun[len(begun) // 2]) + 1 if len(begun) else len(wanted)
    return "".join(text.pieces[max(0, end - _PRIMES) : end])


def _written(
    model: LanguageModel, prime: str, unit: Unit, values: Sequence[float], seed: int
) -> list[Passage]:
    """What the model writes behind a text freely, and with the unit held at each value."""
    passages = []
    for value in (None, *values):
        units = [] if value is None else [(unit, value)]
        written = write_held(model, prime, _WRITTEN, units, seed=seed)
        how = "nothing held" if value is None else f"{unit} held at {value:+.2f}"
        last = prime[-80:]
        shades = [0.0] * len(last) + [0.12] * len(written)
        passages.append(
            Passage(text=[*last, *written], values=shades, title=f"what it writes, {how}")
        )
    return passages
