"""One run of a cell's equations on symbols: leaves, size unknowns, and their unification."""

import itertools
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

import numpy as np

from recurra.errors import CellError
from recurra.ir import Dim, Shape
from recurra.lang.where import Frames, Where, here, name_here


class Trace:
    """What is known so far about the sizes in the equations of one cell."""

    def __init__(self, cell: str, heads: Mapping[str, int] | None = None) -> None:
        self.cell = cell
        self.heads = dict(heads or {})  # the number of blocks of block-diagonal parameters
        self.names: dict[Any, str] = {}  # what composed cells call their symbols
        self.frames = Frames()
        self.parameters: tuple[str, ...] = ()
        self.inside: Any = None  # the symbol of what says which positions a memory has, if any
        self.taken: set[str] = set()  # names of arguments
        self.made_vectors: set[str] = set()  # parameters that are vectors by b @ S alone
        self.arrays: dict[str, tuple[np.ndarray, Any]] = {}  # with the symbol of each
        self._known: dict[str, Dim] = {}
        self._origin: dict[str, str] = {}

    def fail(self, text: str, where: Where | None = None) -> NoReturn:
        """Raise a CellError that points at the user's line."""
        raise CellError((where or here(self.cell)).message(text)) from None

    def value_names(self, kind: type) -> dict[Any, str]:
        """What the user has called the values so far."""
        return self.frames.names(kind) | self.names

    def named_array(self, value: object, array: np.ndarray, make: Callable[[str], Any]) -> Any:
        """The symbol of an array that the equations read: the same for the same numbers.

        Args:
            value: as it was written, which has the name that the user's code has for it.
            make: the symbol of a name.
        """
        for known, symbol in self.arrays.values():
            if np.array_equal(known, array):
                return symbol
        name = name_here(value) or "array"
        free = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2)))
        name = next(each for each in free if each not in self.taken and each not in self.arrays)
        self.arrays[name] = array, make(name)
        return self.arrays[name][1]

    def unknown(self, origin: str) -> Dim:
        """A new open size; `origin` says what it is, for the error if it stays open."""
        name = f"?{len(self._origin)}"
        self._origin[name] = origin
        return Dim.named(name)

    def resolve(self, dim: Dim) -> Dim:
        """`dim` with everything that is known put in."""
        while True:
            resolved = dim.substitute(self._known)
            if resolved is dim or resolved == dim:
                return dim
            dim = resolved

    def resolve_shape(self, shape: Shape) -> Shape:
        """`resolve` for every size of `shape`."""
        return tuple(self.resolve(dim) for dim in shape)

    def unify(self, a: Dim, b: Dim) -> bool:
        """Make the two sizes equal; False if they cannot be."""
        if a.blocks != b.blocks:
            return False
        difference = self.resolve(a) - self.resolve(b)
        for name, coefficient in difference.terms:
            if name.startswith("?"):
                solved = (difference - Dim.named(name) * coefficient) / -coefficient
                if not solved.may_be_positive:
                    return False
                self._known[name] = solved
                return True
        return difference.is_zero

    def origins(self, dim: Dim) -> list[str]:
        """What the open sizes in `dim` are."""
        return [self._origin[name] for name in self.resolve(dim).unknowns]


# what a function of the language that is given numbers alone, tanh(0.5), belongs to
ACTIVE: ContextVar[Trace | None] = ContextVar("recurra_trace", default=None)
