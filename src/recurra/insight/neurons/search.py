"""Which units of a language model track a property: the search, its proof, and its reading.

Letters: N tokens, U units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recurra.insight.neurons.probe import Probe, linear_probe
from recurra.insight.neurons.properties import Property
from recurra.insight.neurons.reading import Read
from recurra.insight.neurons.scoring import NUM_SHIFTS, Score, correlations, find_unit
from recurra.insight.neurons.units import Unit

TRACKS = 0.5  # |correlation| from which a unit is said to track a property


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The unit that tracks a property best.

    Attributes:
        which: the property.
        unit: the one that was found.
        score: of it, see `Score`.
        probe: a linear reading of all units beside it.
        ranked: the units that correlate most on the text of the search, each with its correlation
            there and on the held-out text.
    """

    which: Property
    unit: Unit
    score: Score
    probe: Probe
    ranked: Sequence[tuple[Unit, float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """How well each unit tracks each property, on a text held out of nothing: no search is made.

    Attributes:
        names: of the properties.
        units: [U].
        correlations: [len(names), U].
    """

    names: tuple[str, ...]
    units: tuple[Unit, ...]
    correlations: np.ndarray

    @property
    def share(self) -> float:
        """The share of units whose |correlation| is above 0.5 for any of the properties."""
        return float((np.abs(self.correlations) > TRACKS).any(axis=0).mean())

    @property
    def share_of(self) -> Mapping[str, float]:
        """The same by property."""
        above = (np.abs(self.correlations) > TRACKS).mean(axis=1)
        return dict(zip(self.names, above.tolist(), strict=True))


def find(
    which: Property,
    search: Read,
    held_out: Read,
    *,
    num_shifts: int = NUM_SHIFTS,
    num_ranked: int = 10,
    seed: int = 0,
) -> Found:
    """The unit that tracks a property best on one text, scored on the held-out text.

    Args:
        search, held_out: the two texts as the same model has read them.
        num_shifts, seed: of the null, see `find_unit`.
        num_ranked: units to be named beside it.
    Raises:
        DataError: when the property never changes in one of the texts.
        ValueError: when a text is too short.
    """
    pairs = [(each.matrix, each.property_values(which)) for each in (search, held_out)]
    units = search.units
    score = find_unit(pairs[0], pairs[1], num_shifts=num_shifts, seed=seed)
    searched = correlations(*pairs[0])
    best = np.argsort(-np.abs(searched), kind="stable")[:num_ranked]
    return Found(
        which=which,
        unit=units[score.unit],
        score=score,
        probe=linear_probe(pairs[0], pairs[1]),
        ranked=[(units[i], float(searched[i]), float(score.every[i])) for i in best],
    )


def tracking(text: Read, properties: Sequence[Property]) -> Tracking:
    """How well each unit tracks each of some properties; those that never change are left out."""
    values = text.matrix
    rows: dict[str, np.ndarray] = {}
    for each in properties:
        wanted = text.values_of(each)
        if wanted.min() < wanted.max():
            rows[each.name] = correlations(values, wanted)
    return Tracking(
        names=tuple(rows),
        units=text.units,
        correlations=np.stack(list(rows.values())) if rows else np.zeros((0, values.shape[1])),
    )
