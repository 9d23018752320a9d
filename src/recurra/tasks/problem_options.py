"""The settings of the made-up problems, apart from the problems: help waits for no library."""

from dataclasses import dataclass
from typing import Any, ClassVar

from recurra.errors import argument
from recurra.settings import Settings, declared_as, setting
from recurra.tasks.options import RecurrentSettings

PROBLEM = "Problem"
_MOST = 1_000_000  # steps, symbols or letters that may be asked for


def _size(default: int, help: str, *, least: int, most: int = _MOST) -> Any:
    return setting(default, help, PROBLEM, least=least, most=most)


class ProblemSettings(Settings):
    """Base of the settings of a problem.

    Attributes:
        problem: its name, as in `recurra compare NAME`.
        about: one line for the help.
    """

    __slots__ = ()

    problem: ClassVar[str]
    about: ClassVar[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddingSettings(ProblemSettings):
    """Of `Adding`."""

    problem = "adding"
    about = "Add the two numbers of a sequence that are marked."
    steps: int = _size(400, "Steps of a sequence.", least=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyingSettings(ProblemSettings):
    """Of `Copying`."""

    problem = "copying"
    about = "Repeat the first symbols of a sequence after a long pause."
    delay: int = _size(200, "Steps of the pause.", least=1)
    symbols: int = _size(10, "Symbols to repeat.", least=1)
    alphabet: int = _size(8, "Kinds of symbols.", least=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalOrderSettings(ProblemSettings):
    """Of `TemporalOrder`."""

    problem = "temporal-order"
    about = "Tell in which order two symbols stood, far apart among distractors."
    # below ten steps its marks would lie on one another
    shortest: int = _size(100, "Steps of the shortest sequence.", least=10)
    longest: int = _size(110, "Steps of the longest sequence.", least=10)

    def check(self) -> None:
        """The longest is no shorter than the shortest."""
        if self.longest < self.shortest:
            raise ValueError(
                f"longest: expected at least the {self.shortest} steps of the shortest sequence, "
                f"got {self.longest}. Give more, or a smaller {argument('shortest=')}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArithmeticSettings(ProblemSettings):
    """Of `Arithmetic`."""

    problem = "arithmetic"
    about = "Add or subtract two numbers with letters strewn among their digits."
    digits: int = _size(5, "Most digits of a number.", least=1, most=1000)
    letters: int = _size(3, "Most letters behind a digit.", least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NestingSettings(ProblemSettings):
    """Of `Nesting`."""

    problem = "nesting"
    about = "Close the tags that were opened, in the right order and by their names."
    length: int = _size(100, "Characters of a sequence.", least=2)
    depth: int = _size(4, "Most tags that are open at once.", least=1)
    name: int = _size(5, "Most letters of a tag's name.", least=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipFlopSettings(ProblemSettings):
    """Of `FlipFlop`."""

    problem = "flip-flop"
    about = "Hold bits, each until a pulse sets it anew."
    bits: int = _size(3, "Bits to hold.", least=1, most=1000)
    steps: int = _size(100, "Steps of a sequence.", least=2)
    every: int = _size(20, "Steps from a pulse of a bit to its next, on average.", least=1)


PROBLEM_SETTINGS: dict[str, type[ProblemSettings]] = {
    each.problem: each
    for each in (
        *(AddingSettings, ArithmeticSettings, CopyingSettings, FlipFlopSettings),
        *(NestingSettings, TemporalOrderSettings),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutSettings(RecurrentSettings):
    """The sizes of what is tried on a problem, as `Readout` takes them."""

    hidden_size: int = declared_as(RecurrentSettings, "hidden_size", default=128)
    dropout: float = declared_as(RecurrentSettings, "dropout", default=0.0)
