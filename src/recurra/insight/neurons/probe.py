"""A linear reading of all units beside the best single one: is it a cell, or a direction?

Letters: N places in a text, U units.
Source: Alain, Bengio (2016), "Understanding intermediate layers using linear classifier probes",
arXiv:1610.01644; of single units beside whole layers Dalvi et al. (2019), "What Is One Grain of
Sand in the Desert? Analyzing Individual Neurons in Deep NLP Models", AAAI.
"""

from dataclasses import dataclass

import numpy as np

_PENALTIES = tuple(10.0**power for power in range(-6, 2))  # of a unit's variance
_COUNTS = (1, 2, 4, 8, 16, 32)
_CHOSEN_ON = 0.2  # of the text: its end, on which the penalty is chosen
_A_CELL = 0.9  # of what the probe explains
_A_FEW = 8  # units


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a linear reading of the units says of a property.

    Attributes:
        weights: [U] of the units as they are; bias: what is added.
        penalty: of the ridge, in shares of a unit's variance, chosen within the text of the search.
        held_out: the correlation of the reading of all units with the property, held-out text.
        counts: numbers of units; the first is 1, each more than the one before.
        held_out_of: [len(counts)] the same of the best so many units.
        chosen: the indices of those units, in the order in which they were taken.
    """

    weights: np.ndarray
    bias: float
    penalty: float
    held_out: float
    counts: tuple[int, ...]
    held_out_of: np.ndarray
    chosen: np.ndarray

    @property
    def share_of_one(self) -> float:
        """What one unit explains of the property's variance, of what all of them explain."""
        return float(self.held_out_of[0] ** 2 / max(self.held_out**2, 1e-12))

    @property
    def num_needed(self) -> int | None:
        """The least of `counts` that explains nine tenths of what all units do; None: more."""
        enough = self.held_out_of**2 >= _A_CELL * self.held_out**2
        return next(
            (n for n, is_enough in zip(self.counts, enough, strict=True) if is_enough), None
        )

    @property
    def verdict(self) -> str:
        """ "a cell", "a few cells" or "a direction"."""
        needed = self.num_needed
        if needed == 1:
            return "a cell"
        return "a few cells" if needed is not None and needed <= _A_FEW else "a direction"


def linear_probe(
    search: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    *,
    counts: tuple[int, ...] = _COUNTS,
) -> Probe:
    """Ridge regression of a property on all units, and on the best few of them.

    The few are taken one by one, each the unit that explains most of what is left (orthogonal
    matching pursuit). All is fitted on the text of the search and measured on the held-out one.

    Args:
        search, held_out: [N, U] of the units and [N] of the property, on either text.
        counts: how many units the readings of few may have.
    Raises:
        ValueError: when the shapes of a pair do not agree.
    """
    for name, (values, wanted) in (("search", search), ("held_out", held_out)):
        if values.ndim != 2 or wanted.shape != values.shape[:1] or len(values) < 2:
            raise ValueError(
                f"linear_probe: expected {name} to be [N, U] and [N], got {list(values.shape)} and "
                f"{list(wanted.shape)}. Give one number of the property for each row."
            )
    values, wanted = search
    cut = len(values) - max(1, int(_CHOSEN_ON * len(values)))
    first = _Moments.of(values[:cut], wanted[:cut])
    rest = values[cut:], wanted[cut:]
    quality = [_correlation(*rest, *first.ridge(penalty)) for penalty in _PENALTIES]
    penalty = _PENALTIES[int(np.argmax(quality))]
    moments = _Moments.of(values, wanted)
    weights, bias = moments.ridge(penalty)
    counts = tuple(n for n in counts if n <= values.shape[1]) or (1,)
    chosen, readings = moments.few(counts)
    return Probe(
        weights=weights,
        bias=bias,
        penalty=penalty,
        held_out=_correlation(*held_out, weights, bias),
        counts=counts,
        held_out_of=np.array([_correlation(*held_out, *reading) for reading in readings]),
        chosen=chosen,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moments:
    """Means, scales and products of standardised units [U, U] and of them and the property [U]."""

    mean: np.ndarray
    scale: np.ndarray
    mean_wanted: float
    among: np.ndarray
    between: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, wanted: np.ndarray) -> "_Moments":
        mean = np.asarray(values.mean(axis=0, dtype=np.float64))
        scale = np.asarray(values.std(axis=0, dtype=np.float64))
        scale = np.where(scale > 1e-6 * np.maximum(np.abs(mean), 1e-12), scale, np.inf)
        centred = ((values - mean) / scale).astype(np.float32)
        mean_wanted = float(wanted.mean(dtype=np.float64))
        return cls(
            mean=mean,
            scale=scale,
            mean_wanted=mean_wanted,
            among=(centred.T @ centred).astype(np.float64) / len(values),
            between=(centred.T @ (wanted - mean_wanted).astype(np.float32)).astype(np.float64)
            / len(values),
        )

    def ridge(self, penalty: float) -> tuple[np.ndarray, float]:
        """Weights [U] and bias of a reading of the units as they are."""
        wide = self.among + penalty * np.eye(len(self.among))
        return self._reading(np.linalg.solve(wide, self.between))

    def few(self, counts: tuple[int, ...]) -> tuple[np.ndarray, list[tuple[np.ndarray, float]]]:
        """The units that are taken, in order, and the readings of the first so many."""
        chosen: list[int] = []
        readings = []
        weights = np.zeros_like(self.between)
        for count in range(1, max(counts) + 1):
            left = np.abs(self.between - self.among @ weights)
            left[chosen] = -1.0
            chosen.append(int(left.argmax()))
            among = self.among[np.ix_(chosen, chosen)] + 1e-9 * np.eye(count)
            weights = np.zeros_like(self.between)
            weights[chosen] = np.linalg.solve(among, self.between[chosen])
            if count in counts:
                readings.append(self._reading(weights))
        return np.array(chosen), readings

    def _reading(self, weights: np.ndarray) -> tuple[np.ndarray, float]:
        own = weights / self.scale
        return own, float(self.mean_wanted - own @ self.mean)


def _correlation(values: np.ndarray, wanted: np.ndarray, weights: np.ndarray, bias: float) -> float:
    """Of a reading with the property; 0 where either is constant."""
    said = values @ weights + bias
    if said.std() < 1e-12 or wanted.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(said, wanted)[0, 1])
