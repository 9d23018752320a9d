"""Symbolic sizes: linear expressions in size names, such as 4H, I + H or H / 2.

Names that begin with "?" are unknowns, which exist only while a cell is being traced.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

_NAME = r"[^\W\d]\w*"
_FACTOR = rf"(?P<factor>\d+|{_NAME}) *\*|(?P<count>\d+)(?=[^\W\d])"  # "4 *", or the 4 of "4H"
_TERM = re.compile(rf"(?:{_FACTOR})? *(?P<size>\d+|{_NAME})(?: */ *(?P<divisor>\d+))?")


@dataclass(frozen=True, slots=True)
class Dim:
    """A size: `constant` plus the sum of coefficient * name over `terms` (sorted by name).

    `blocks` is 0, but for the number of rows of a matrix that each sequence has of its own: there
    it says in how many blocks they lie one below the other. Sums and parts of it are plain sizes.
    """

    terms: tuple[tuple[str, Fraction], ...] = ()
    constant: Fraction = Fraction(0)
    blocks: int = 0

    @staticmethod
    def named(name: str) -> "Dim":
        """The size called `name`; a name of digits is that number."""
        return Dim.of(int(name)) if name.isdecimal() else Dim(terms=((name, Fraction(1)),))

    @staticmethod
    def of(value: int) -> "Dim":
        """The number `value` as a size."""
        return Dim(constant=Fraction(value))

    @staticmethod
    def parse(text: str, numbers: Mapping[str, int] | None = None) -> "Dim":
        """The size that `text` says: a sum of names and numbers, each with a factor or none.

        "P", "8", "4 * H", "I + H", as sizes are printed "4H", "H/2" and "I - H", and, with
        `numbers` {"delay": 5}, "delay * H".

        Raises:
            ValueError: when `text` is no such sum.
        """
        known = {name: Dim.of(value) for name, value in (numbers or {}).items()}
        total = Dim()
        for sign, part in zip(*_signs_and_parts(text), strict=True):
            term = _TERM.fullmatch(part.strip())
            if term is None or term["divisor"] == "0":
                raise ValueError(f"expected a size such as 'P', '4 * H' or 'I + H', got {text!r}.")
            names = (term["size"], term["factor"] or term["count"] or "1")
            size, factor = (Dim.named(name).substitute(known) for name in names)
            if factor.terms:
                raise ValueError(f"expected a whole number before the * in {text!r}, got {factor}.")
            total = total + size * (sign * factor.constant / int(term["divisor"] or 1))
        return total

    def _combined(self, other: "Dim", sign: int) -> "Dim":
        if self == other and sign < 0:
            return Dim()
        coefficients = dict(self.terms)
        for name, coefficient in other.terms:
            coefficients[name] = coefficients.get(name, Fraction(0)) + sign * coefficient
        terms = tuple(sorted((n, c) for n, c in coefficients.items() if c))
        return Dim(terms, self.constant + sign * other.constant)

    def __add__(self, other: "Dim") -> "Dim":
        return self._combined(other, 1)

    def __sub__(self, other: "Dim") -> "Dim":
        return self._combined(other, -1)

    def __mul__(self, factor: int | Fraction) -> "Dim":
        terms = tuple((n, c * factor) for n, c in self.terms if factor)
        return Dim(terms, self.constant * factor)

    def times(self, part: "Dim") -> int | None:
        """How many times `part` goes into this size, if that is one whole number for all sizes."""
        if part.terms:
            name, coefficient = part.terms[0]
            ratio = dict(self.terms).get(name, Fraction(0)) / coefficient
        elif part.constant:
            ratio = self.constant / part.constant
        else:
            return None
        return int(ratio) if ratio.denominator == 1 and part * ratio == self else None

    def __truediv__(self, divisor: int | Fraction) -> "Dim":
        return self * (Fraction(1) / divisor)

    def in_blocks(self, blocks: int) -> "Dim":
        """The same number of rows, in so many blocks."""
        return replace(self, blocks=blocks)

    @property
    def is_name(self) -> bool:
        """Whether this is a size name alone, as most sizes are."""
        return len(self.terms) == 1 and self.terms[0][1] == 1 and not (self.constant or self.blocks)

    @property
    def names(self) -> tuple[str, ...]:
        """The size names that occur."""
        return tuple(name for name, _ in self.terms)

    @property
    def unknowns(self) -> tuple[str, ...]:
        """The names that are unknowns of a trace."""
        return tuple(name for name in self.names if name.startswith("?"))

    @property
    def is_zero(self) -> bool:
        """Whether this is the number 0, whatever the sizes are."""
        return not self.terms and not self.constant

    @property
    def may_be_positive(self) -> bool:
        """Whether any sizes make this a size: at least one of its parts is above 0."""
        return self.constant > 0 or any(coefficient > 0 for _, coefficient in self.terms)

    @property
    def is_never_negative(self) -> bool:
        """Whether this is a size, or 0, whatever the sizes are: no part of it is below 0."""
        return self.constant >= 0 and all(coefficient >= 0 for _, coefficient in self.terms)

    def substitute(self, known: Mapping[str, "Dim"]) -> "Dim":
        """This size with every name in `known` replaced."""
        if not any(name in known for name, _ in self.terms):
            return self
        if self.is_name:
            (name, _), *_ = self.terms
            return replace(known[name], blocks=0) if known[name].blocks else known[name]
        total = Dim(constant=self.constant)
        for name, coefficient in self.terms:
            total = total + known.get(name, Dim.named(name)) * coefficient
        return total.in_blocks(self.blocks) if self.blocks else total

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """The number this size is for the given `sizes`.

        Raises:
            ValueError: when a name is missing from `sizes`, or the result is no whole number >= 0.
        """
        missing = [name for name in self.names if name not in sizes]
        if missing:
            raise ValueError(
                f"sizes: expected a number for {', '.join(missing)}, got {dict(sizes)}. "
                f"Add it: sizes={{{missing[0]!r}: ...}}."
            )
        value = self.constant + sum(c * sizes[name] for name, c in self.terms)
        if value.denominator != 1 or value < 0:
            given = ", ".join(f"{name} = {sizes[name]}" for name in self.names)
            raise ValueError(
                f"sizes: expected {self} to be a whole number, got {value} with {given}. "
                f"Choose sizes that divide."
            )
        return int(value)

    def floor(self, sizes: Mapping[str, int]) -> int:
        """The whole number below what this is for the given `sizes`; at least 1."""
        value = self.constant + sum(c * sizes[name] for name, c in self.terms)
        return max(1, value.__floor__())

    def __repr__(self) -> str:
        return f"Dim({self})"

    def __str__(self) -> str:
        added_first = sorted(self.terms, key=lambda term: term[1] < 0)  # I - H, not -H + I
        parts = [_term(name, coefficient) for name, coefficient in added_first]
        if self.constant or not parts:
            place = 0 if parts and parts[0].startswith("-") else len(parts)  # 8 - H, not -H + 8
            parts.insert(place, str(self.constant))
        return " + ".join(parts).replace("+ -", "- ")


def _signs_and_parts(text: str) -> tuple[list[int], list[str]]:
    """The terms of a sum, and 1 or -1 for each."""
    first, *rest = re.split(r"([+-])", text)
    return [1, *(1 if sign == "+" else -1 for sign in rest[::2])], [first, *rest[1::2]]


def _term(name: str, coefficient: Fraction) -> str:
    numerator, denominator = coefficient.numerator, coefficient.denominator
    head = "" if numerator == 1 else "-" if numerator == -1 else str(numerator)
    # what stands behind a blank tells sizes apart and is not shown
    name = "?" if name.startswith("?") else name.partition(" ")[0]
    return f"{head}{name}" + (f"/{denominator}" if denominator != 1 else "")


Shape = tuple[Dim, ...]

# S, the number of vectors in a memory: a size of the call, which no layer knows
POSITIONS = Dim.named("S of the call's memory")


def is_rows(shape: Shape) -> bool:
    """Whether it is that of rows that each sequence has of its own: one vector for each position of
    a memory, [S, K], or those of a matrix state, [P, Q]."""
    return len(shape) == 2 and has_rows(shape)


def has_rows(shape: Shape) -> bool:
    """Whether it is that of such rows, or of a number for each of them, [S] or [P]."""
    return bool(shape) and (shape[0].blocks > 0 or shape[0] == POSITIONS)


def has_positions(shape: Shape) -> bool:
    """Whether it is [S] or [S, K]: a number or a vector for each position of a memory."""
    return bool(shape) and shape[0] == POSITIONS


def is_matrix(shape: Shape) -> bool:
    """Whether it is that of a matrix which all sequences share, as parameters are."""
    return len(shape) == 2 and not has_rows(shape)


def blocks_of(shape: Shape) -> int:
    """In how many blocks rows lie, each beside its own part of a vector; those of a memory in 1."""
    return shape[0].blocks or 1


def shape_text(shape: Shape) -> str:
    """A shape as the user reads it: [H, I], or "scalar"."""
    return "[" + ", ".join(map(str, shape)) + "]" if shape else "scalar"
