"""Gates that are always shut, or always open: how often each unit's is at either end.

Letters: N places, U units.
Source: Karpathy, Johnson, Fei-Fei (2015), arXiv:1506.02078, section 4.2 and figure 3.
"""

from dataclasses import dataclass

import numpy as np

LEFT, RIGHT = 0.1, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """How often the gate of each unit is at an end.

    Attributes:
        name: of the gate in the equations.
        left: [U] share of places at which the gate is below 0.1, shut.
        right: [U] share at which it is above 0.9, open.
        low, high: the smallest and the largest value of all.
    """

    name: str
    left: np.ndarray
    right: np.ndarray
    low: float
    high: float

    @property
    def is_gate(self) -> bool:
        """Whether all values are within 0 and 1, as those of a gate."""
        return self.low >= 0.0 and self.high <= 1.0


def saturation(name: str, values: np.ndarray) -> Saturation:
    """Of the traced values of a gate [N, U] or [T, B, U].

    Raises:
        ValueError: when there are none.
    """
    rows = values.reshape(-1, values.shape[-1])
    if rows.size == 0:
        raise ValueError(
            f"saturation: expected values of {name}, got shape {list(values.shape)}. Trace a layer "
            f"over one step at least."
        )
    return Saturation(
        name=name,
        left=(rows < LEFT).mean(axis=0),
        right=(rows > RIGHT).mean(axis=0),
        low=float(rows.min()),
        high=float(rows.max()),
    )
