"""What the report of a language model's run shows: how far back it looks, and what its units do."""

from collections.abc import Mapping

import numpy as np

from recurra.insight.memory import (
    TimeConstants,
    language_context,
    language_saliency,
    paths,
    time_constants,
)
from recurra.insight.memory_figures import (
    figure_of_memory,
    figure_of_paths,
    figure_of_time_constants,
)
from recurra.insight.neurons.figures import figure_of_saturation, figure_of_tracking
from recurra.insight.neurons.gates import Saturation, saturation
from recurra.insight.neurons.properties import PROPERTIES
from recurra.insight.neurons.reading import Read, read
from recurra.insight.neurons.search import tracking
from recurra.insight.report.figure import Figure
from recurra.lang import Cell
from recurra.models import LanguageModel
from recurra.show.values import named_values

_TOKENS = 10_000  # that units are looked at over
_LEAST_MEMORY, _LEAST_UNITS = 16, 400  # tokens below which there is nothing to say
_KEEP_BY_Z = ("gru", "torch_gru", "torch_gru_no_bias")  # z * h + (1 - z) * what is new


def memory_of(model: LanguageModel, ids: np.ndarray) -> list[Figure]:
    """The figure of how far back a language model looks in a text [T]; none of a tiny one."""
    if len(ids) < _LEAST_MEMORY:
        return []
    return [figure_of_memory(language_context(model, ids), language_saliency(model, ids))]


def units_of(model: LanguageModel, ids: np.ndarray) -> list[Figure]:
    """What the units of a language model do over a text [T]: which properties they track, how often
    gates are shut or open, how long they keep what they hold, and that beside what they show.

    None of a tiny text, and of those that are about gates none of a cell that has none.
    """
    if len(ids) < _LEAST_UNITS or model.vocabulary is None:
        return []
    cell = model.recurrent.cell
    found = read(model, ids[:_TOKENS], keep=tuple(named_values(cell.equations)))
    states = _only(found, cell.states)
    states = states if states.values else found  # of matrices alone: what has units
    figures = []
    tracked = tracking(states, list(PROPERTIES.values()))
    if tracked.names:
        figures.append(figure_of_tracking(tracked))
    gates = {name: each for name, each in _gates(found, cell).items() if each}
    if gates:
        figures.append(figure_of_saturation(gates))
    keepers = _keepers(found, cell)
    if keepers:
        figures.append(figure_of_time_constants(keepers))
    if {"c", "h"} <= set(cell.states):
        last = model.recurrent.num_layers - 1
        length = len(found.pieces)
        middle = slice(length // 2, length // 2 + 300)
        kept, shown = (found.values[last, name][middle] for name in "ch")
        figures.append(figure_of_paths(paths(kept, shown)))
    return figures


def _only(found: Read, names: tuple[str, ...]) -> Read:
    """The same text with these values alone."""
    kept = {key: each for key, each in found.values.items() if key[1] in names}
    return Read(
        ids=found.ids,
        pieces=found.pieces,
        before=found.before,
        values=kept,
        log_probabilities=found.log_probabilities,
    )


def _gates(found: Read, cell: Cell) -> Mapping[str, list[Saturation]]:
    """Of each layer, what is within 0 and 1 and no state."""
    layers: dict[str, list[Saturation]] = {}
    for (layer, name), values in found.values.items():
        if name not in cell.states:
            gate = saturation(name, values)
            layers.setdefault(f"layer {layer}", []).extend([gate] if gate.is_gate else [])
    return layers


def _keepers(found: Read, cell: Cell) -> dict[str, TimeConstants]:
    """Of each layer, the gate that says how much of the state is kept, where that is known: f of
    cells that have a c, z of the GRUs."""
    gate = "f" if "c" in cell.states else "z" if cell.name in _KEEP_BY_Z else ""
    layers = {layer for layer, name in found.values if name == gate}
    kept = {layer: found.values[layer, gate] for layer in sorted(layers)}
    return {
        f"layer {layer}": time_constants(gate, values)
        for layer, values in kept.items()
        if values.min() >= 0.0 and values.max() <= 1.0
    }
