"""Which unit tracks a property: found on one text, scored on another, held against chance.

Letters: N places in a text, U units, K shifts.
"""

from dataclasses import dataclass

import numpy as np

NUM_SHIFTS = 1000
_APART = 0.05  # of the text: the least shift, so that what lasts long is apart from itself
_AT_A_TIME = 64  # shifts
_LEAST_PLACES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The unit that tracks a property best, and how well beside chance.

    Correlations are Pearson's, between the unit's values and the property's.

    Attributes:
        unit: its index: the one of the largest |correlation| on the text of the search.
        searched: its correlation there.
        held_out: its correlation on the held-out text.
        null: [K] the |correlation| of this unit with the property shifted around the held-out text.
        null_of_best: [K] the largest |correlation| of any unit with it, at each of these shifts.
        every: [U] the correlation of each unit on the held-out text.
    """

    unit: int
    searched: float
    held_out: float
    null: np.ndarray
    null_of_best: np.ndarray
    every: np.ndarray

    @property
    def null_99(self) -> float:
        """The 99th percentile of what this unit reaches by chance."""
        return float(np.quantile(self.null, 0.99))

    @property
    def null_99_of_best(self) -> float:
        """The 99th percentile of what the best of all units reaches by chance, which is more."""
        return float(np.quantile(self.null_of_best, 0.99))

    @property
    def p(self) -> float:
        """The share of shifts, this text's own place among them, that reach as much."""
        reached = int((self.null >= abs(self.held_out)).sum())
        return (1 + reached) / (1 + len(self.null))


def correlations(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each unit with a property; 0 where either is constant or not finite.

    Args:
        values: [N, U] of the units.
        wanted: [N] of the property.
    Returns:
        [U] float64 in -1..1.
    """
    found, _ = _standardised(values)
    target, _ = _standardised(wanted[:, None])
    return np.clip(found.T @ target[:, 0] / len(values), -1.0, 1.0).astype(np.float64)


def shifted_null(
    values: np.ndarray, wanted: np.ndarray, *, num_shifts: int = NUM_SHIFTS, seed: int = 0
) -> np.ndarray:
    """What each unit correlates with a property that is shifted around the text: chance.

    A shift leaves both series as they are, with all that they have in themselves of what lasts for
    long, and takes them apart; single places that are shuffled would make any two series look
    related.

    Args:
        values: [N, U]; wanted: [N].
        num_shifts: K, drawn without repetition where there are as many, each by a twentieth of the
            text at least.
        seed: draws them.
    Returns:
        [K, U] |correlation|, float32.
    Source: Harris (2020), "Nonsense correlations in neuroscience", bioRxiv 2020.11.29.402719; of
    shifts as surrogates Lancaster, Iatsenko, Pidde, Ticcinelli, Stefanovska (2018), "Surrogate data
    for hypothesis testing of physical systems", Physics Reports 748. Differences: the text is taken
    as a ring, so each shift keeps all of it.
    """
    length = len(values)
    least = max(1, int(_APART * length))
    possible = np.arange(least, length - least + 1)
    rng = np.random.default_rng(seed)
    shifts = rng.permutation(possible)[:num_shifts]
    found, _ = _standardised(values)
    target = _standardised(wanted[:, None])[0][:, 0]
    twice = np.concatenate([target, target])
    windows = np.lib.stride_tricks.sliding_window_view(twice, length)
    pieces = [
        np.abs(windows[shifts[start : start + _AT_A_TIME]] @ found) / length
        for start in range(0, len(shifts), _AT_A_TIME)
    ]
    return np.concatenate(pieces).astype(np.float32)


def find_unit(
    search: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    *,
    num_shifts: int = NUM_SHIFTS,
    seed: int = 0,
) -> Score:
    """The unit that correlates best on the text of the search, scored on the held-out text.

    Args:
        search, held_out: [N, U] of the units and [N] of the property, on either text.
        num_shifts, seed: of `shifted_null`, on the held-out text.
    Raises:
        ValueError: when a text is too short, or the shapes of a pair do not agree.
    """
    for name, (values, wanted) in (("search", search), ("held_out", held_out)):
        if values.ndim != 2 or wanted.shape != values.shape[:1] or len(values) < _LEAST_PLACES:
            raise ValueError(
                f"find_unit: expected {name} to be [N, U] and [N] with N of {_LEAST_PLACES} or "
                f"more, got {list(values.shape)} and {list(wanted.shape)}. Give a longer text."
            )
    searched = correlations(*search)
    unit = int(np.abs(searched).argmax())
    every = correlations(*held_out)
    null = shifted_null(*held_out, num_shifts=num_shifts, seed=seed)
    return Score(
        unit=unit,
        searched=float(searched[unit]),
        held_out=float(every[unit]),
        null=null[:, unit],
        null_of_best=null.max(axis=1),
        every=every,
    )


def _standardised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float32 values of mean 0 and variance 1 in each column, or 0, and the scale [U]."""
    wide = values.astype(np.float64)
    wide[:, ~np.isfinite(wide).all(axis=0)] = 0.0  # of what ran away nothing is known
    mean, scale = wide.mean(axis=0), wide.std(axis=0)
    # what is constant but for rounding does not vary
    varies = scale > 1e-6 * np.maximum(np.abs(mean), 1e-12)
    wide -= mean
    wide /= np.where(varies, scale, np.inf)
    return wide.astype(np.float32), scale
