"""What is wrong with single items of data, and can be left out: counted and told, or refused."""

from dataclasses import dataclass, field

from recurra.errors import DataError, argument


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """A kind of thing that may be wrong.

    Attributes:
        many: what is counted, and what is done with it: "captions that are empty are left out".
        one: the same of one of them.
        expected: what should be there, for whoever wants nothing left out; None where a defect
            costs nothing, and is told alone.
    """

    many: str
    one: str
    expected: str | None = None


@dataclass(slots=True, kw_only=True)
class Defects:
    """The defects of one set of data.

    Attributes:
        strict: whether the first that costs something is an error.
    """

    strict: bool = False
    _found: dict[Defect, tuple[int, str]] = field(default_factory=dict)

    def add(self, kind: Defect, place: str, got: str) -> None:
        """Count one.

        Args:
            kind: of the defect.
            place: where it stands: the file and the line.
            got: what is there in place of what was expected.
        Raises:
            DataError: when it costs something and nothing is to be left out.
        """
        if self.strict and kind.expected is not None:
            raise DataError(
                f"{place}: expected {kind.expected}, got {got}. Correct it, or leave out "
                f"{argument('strict=True')} to go on without it."
            )
        count, first = self._found.get(kind, (0, f"{place}: {got}"))
        self._found[kind] = (count + 1, first)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind that was found."""
        return tuple(
            f"1 {kind.one}: {first}" if count == 1 else f"{count:,} {kind.many}, the first: {first}"
            for kind, (count, first) in self._found.items()
        )

    @property
    def count(self) -> int:
        """How many there are, of all kinds."""
        return sum(count for count, _ in self._found.values())
