"""Units of a recurrent network, as they are written: `c[17]`, in a layer above the first
`1.c[17]`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SPELLED = re.compile(r"(?:(?P<layer>\d+)\.)?(?P<name>\w+)\[(?P<index>\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Unit:
    """One feature of a named value.

    Attributes:
        layer: from 0.
        name: of the value in the equations: a state or a gate.
        index: of the feature.
    """

    layer: int = 0
    name: str
    index: int

    def __str__(self) -> str:
        return f"{f'{self.layer}.' if self.layer else ''}{self.name}[{self.index}]"


def unit_of(spelled: str, sizes: Sequence[dict[str, int]]) -> Unit:
    """The unit that is meant by `c[17]` or `1.c[17]`.

    Args:
        sizes: for each layer, how many features each named value has.
    Raises:
        ValueError: when it is not written so, or there is none.
    """
    found = _SPELLED.fullmatch(spelled.strip())
    layers = len(sizes)
    names = ", ".join(f"{name}[0..{size - 1}]" for name, size in sizes[0].items())
    if found is not None:
        unit = Unit(layer=int(found["layer"] or 0), name=found["name"], index=int(found["index"]))
        if unit.layer < layers and unit.index < sizes[unit.layer].get(unit.name, 0):
            return unit
    layer = f", in layers 1..{layers - 1} with the layer before it: 1." if layers > 1 else ""
    raise ValueError(
        f"unit: expected a value and a feature of it, {names}{layer}, got {spelled!r}. Choose one."
    )
