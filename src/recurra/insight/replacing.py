"""What stands in the place of named values: of which, where, and whether it fits.

Letters: T time, B batch.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from recurra.backends.reference.stepped import Change
from recurra.insight.passages import Place
from recurra.lang import Cell
from recurra.show.values import named_values

Replacement = Callable[[Tensor, int], Tensor | float] | Tensor | float
# a name; with the number of a layer; and with whether it is of the direction from the end
Key = str | tuple[str, int] | tuple[str, int, bool]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Entry:
    """What stands for a name, and where; None for everywhere."""

    name: str
    by: Replacement
    layer: int | None
    reverse: bool | None

    def is_for(self, place: Place) -> bool:
        """Whether it holds in this layer and direction."""
        return self.layer in (None, place.layer) and self.reverse in (None, place.reverse)

    def __str__(self) -> str:
        layer = "" if self.layer is None else f" of layer {self.layer}"
        return f"{self.name}{layer}{', reverse' if self.reverse else ''}"


class Replacements:
    """What a run replaces.

    Args:
        who: the function that messages name.
        by: what stands for each value, by its key.
        layer, reverse: where, for keys that are names alone.
    """

    def __init__(
        self,
        who: str,
        by: Mapping[Any, Any],
        layer: int | None = None,
        reverse: bool | None = None,
    ) -> None:
        self._who = who
        self._entries = [_entry(who, key, each, layer, reverse) for key, each in by.items()]
        self._steps: dict[tuple[_Entry, Place], int] = {}

    def check(self, cells: Mapping[Place, Cell]) -> None:
        """Raise ValueError unless each is for a value of some layer that will run."""
        for entry in self._entries:
            places = [place for place in cells if entry.is_for(place)]
            if not places:
                known = ", ".join(map(str, cells))
                raise ValueError(f"{self._who}: expected one of {known}, got {entry}. Use these.")
            check_names(self._who, [entry.name], [cells[place] for place in places])

    def at(self, place: Place, cell: Cell, before: int, steps: int) -> dict[str, Change]:
        """The changes of one layer and direction.

        Args:
            before: how many steps it has run in earlier calls: their numbers go on.
            steps: T of this call.
        """
        here = [entry for entry in self._entries if entry.is_for(place)]
        names = named_values(cell.equations) if here else {}
        here = [entry for entry in here if entry.name in names]
        self._steps |= {(entry, place): before + steps for entry in here}
        return {entry.name: _Checked(self._who, entry, before, before + steps) for entry in here}

    def check_lengths(self) -> None:
        """Raise ValueError unless tensors have as many steps as were run."""
        for (entry, _), steps in self._steps.items():
            if isinstance(entry.by, Tensor) and entry.by.shape[:1] != (steps,):
                raise ValueError(_wrong_length(self._who, entry, entry.by, steps))


def _entry(who: str, key: object, by: object, layer: int | None, reverse: bool | None) -> _Entry:
    name, *where = key if isinstance(key, tuple) else (key,)
    if not isinstance(name, str) or len(where) > 2:
        raise TypeError(
            f"{who}: expected a name, (name, layer) or (name, layer, reverse), got {key!r}. Use "
            f"one of these forms."
        )
    if not isinstance(by, Tensor | Real) and not callable(by):
        raise TypeError(
            f"{who}: expected a function of (v, s), a tensor or a number for {name}, got "
            f"{type(by).__name__}. Pass lambda v, s: ..."
        )
    layer, reverse, *_ = (*where, None, None) if where else (layer, reverse)
    by = float(by) if isinstance(by, Real) else by
    return _Entry(name=name, by=by, layer=layer, reverse=reverse)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Checked:
    """What stands for a value at each step, of the value's own shape, dtype and device."""

    who: str
    entry: _Entry
    before: int
    steps: int

    def __call__(self, v: Tensor, s: int) -> Tensor:
        new = self._new(v, self.before + s)
        if not isinstance(new, Tensor) or new.shape != v.shape:
            got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
            raise ValueError(
                f"{self.who}: expected {self.entry} of shape {tuple(v.shape)} at each step, got "
                f"{got}. Give all sequences and features, as v has them."
            )
        if new.dtype is not v.dtype or new.device != v.device:
            raise TypeError(
                f"{self.who}: expected {self.entry} of {v.dtype} on {v.device}, like the layer, "
                f"got {new.dtype} on {new.device}. Convert it with .to(v)."
            )
        return new

    def _new(self, v: Tensor, number: int) -> object:
        by = self.entry.by
        if isinstance(by, Tensor):
            if by.dim() != v.dim() + 1 or len(by) < self.steps:
                raise ValueError(_wrong_length(self.who, self.entry, by, self.steps))
            return by[number]
        new = by(v, number) if callable(by) else by
        return torch.full_like(v, float(new)) if isinstance(new, Real) else new


def _wrong_length(who: str, entry: _Entry, by: Tensor, steps: int) -> str:
    return (
        f"{who}: expected {entry} as [T, B, size], one for each of {steps} steps, got "
        f"{tuple(by.shape)}. Time comes first."
    )


def check_names(who: str, names: Iterable[str], cells: Iterable[Cell]) -> None:
    """Raise ValueError unless each is the name of a value of some cell."""
    cells = list(dict.fromkeys(cells))
    known = {value for cell in cells for value in named_values(cell.equations)}
    for name in names:
        if name not in known:
            raise ValueError(no_such_value(who, name, cells))


def no_such_value(
    who: str, name: str, cells: Iterable[Cell], known: Iterable[str] | None = None
) -> str:
    """That no equations have a value of that name, and which they have."""
    cells = list(dict.fromkeys(cells))
    if known is None:
        known = dict.fromkeys(value for cell in cells for value in named_values(cell.equations))
    of = " or ".join(dict.fromkeys(cell.name for cell in cells))
    return f"{who}: expected a value of {of}, got {name!r}. Use one of {', '.join(known)}."
