"""Where else in a text a model is in a state like this one, and what it expects to come.

Letters: N places in a text, U units, V vocabulary.
Source: the search of Strobelt, Gehrmann, Pfister, Rush (2018), "LSTMVis: A Tool for Visual Analysis
of Hidden State Dynamics in Recurrent Neural Networks", arXiv:1606.07461.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The places whose state is most like that of another.

    Attributes:
        places: [K] indices, the most alike first.
        similarity: [K] cosine of the angle between the states, each unit standardised, in -1..1.
    """

    places: np.ndarray
    similarity: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The likeliest next symbols at each place.

    Attributes:
        symbols: for each place, the likeliest first.
        probabilities: [N, K] of these.
    """

    symbols: Sequence[Sequence[str]]
    probabilities: np.ndarray


def nearest_contexts(values: np.ndarray, place: int, *, count: int = 5, apart: int = 20) -> Nearest:
    """The places whose state is most like the state at `place`, none near it or one another.

    Args:
        values: [N, U] of the units.
        place: in 0..N-1.
        count: how many, fewer in a short text.
        apart: how many places lie between two that are given.
    Raises:
        ValueError: when there is no such place.
    """
    if not 0 <= place < len(values):
        raise ValueError(
            f"place: expected one of 0..{len(values) - 1}, got {place}. Choose one in the text."
        )
    wide = values.astype(np.float32)
    scale = wide.std(axis=0)
    wide = (wide - wide.mean(axis=0)) / np.where(scale > 1e-8, scale, np.inf)
    lengths = np.linalg.norm(wide, axis=1)
    alike = wide @ wide[place] / np.maximum(lengths * lengths[place], 1e-12)
    is_free = np.ones(len(values), dtype=bool)
    is_free[max(0, place - apart) : place + apart + 1] = False
    found: list[int] = []
    for candidate in np.argsort(-alike, kind="stable"):
        if len(found) == count:
            break
        if is_free[candidate]:
            found.append(int(candidate))
            is_free[max(0, candidate - apart) : candidate + apart + 1] = False
    places = np.array(found, dtype=np.int64)
    return Nearest(places=places, similarity=np.clip(alike[places], -1.0, 1.0))


def expected_next(
    log_probabilities: np.ndarray, symbols: Sequence[str], *, count: int = 5
) -> Expected:
    """The likeliest next symbols at each place.

    Args:
        log_probabilities: [N, V] of the next symbol.
        symbols: [V] how each is written.
        count: how many, at most V.
    """
    count = min(count, log_probabilities.shape[1])
    best = np.argsort(-log_probabilities, axis=1, kind="stable")[:, :count]
    chosen = np.take_along_axis(log_probabilities, best, axis=1)
    return Expected(
        symbols=[[symbols[int(i)] for i in row] for row in best], probabilities=np.exp(chosen)
    )
