"""Options declared once, as fields of flat dataclasses; all else about them is made from those.

A field carries its default, its help, its panel in the help, its range and whether it may change
when a run is resumed. From it come the check of its value, the flag of the command line, the entry
of config.json and the rows of the docs. Messages begin with the field's name; only the command line
turns that into a flag.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Mine(Settings):
        hidden_size: int = setting(256, "Units of each layer.", panel="Model", least=1)
"""

import codecs
import difflib
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from encodings.aliases import aliases
from functools import cache
from typing import Any, Literal, TypeVar

# Upper bounds are those of what a number becomes: a seed of torch, a step counted in float64, a
# factor in float32. Sizes and counts beyond theirs are slips of the keyboard.
MAX_SEED = 2**63 - 1
MAX_COUNT = 2**53
MAX_SIZE = 2**24
MAX_LAYERS = 1000
MAX_THREADS = 1024
_SMALLEST, _LARGEST = 2.0**-126, (2.0 - 2.0**-23) * 2.0**127  # normal numbers of float32

SettingsT = TypeVar("SettingsT", bound="Settings")
Check = Callable[[str, Any], None]
# What resuming a run may do to a setting: nothing; change it; lower it; or give it, or another of
# the kind, in place of all that the run had.
OnResume = Literal["fixed", "free", "lower", "limit"]

_KEY = "recurra"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is declared of a setting besides its type and its default.

    Attributes:
        help: one or two sentences.
        panel: the heading that it stands under.
        choices: the values that it may have.
        least: smallest whole number that it may be.
        most: largest whole number that it may be.
        check: raises ValueError for a value that it may not have.
        unset: what the help says of a default of None.
        on_resume: what resuming a run may do to it.
        is_path: whether it names files of the user's.
        several: whether it may be given more than once, as a list in Python.
        flags: how the command line spells it, where not by its name.
    """

    help: str
    panel: str
    choices: tuple[str, ...] = ()
    least: int = 1
    most: int = MAX_COUNT
    check: Check | None = None
    unset: str | None = None
    on_resume: OnResume = "fixed"
    is_path: bool = False
    several: bool = False
    flags: str | None = None


def setting(default: Any, help: str, panel: str, **declared: Any) -> Any:
    """A field of a `Settings`; `declared` are the other attributes of `Option`."""
    option = Option(help=help, panel=panel, **declared)
    return field(default=default, metadata={_KEY: option})


def declared_as(settings: "type[Settings]", name: str, *, default: Any, **changed: Any) -> Any:
    """A field of that name of other settings, with another default, and what of its `Option` is
    changed."""
    [found] = [each for each in declared(settings) if each.name == name]
    return field(default=default, metadata={_KEY: replace(option_of(found), **changed)})


class Settings:
    """Base of dataclasses of settings; each value is checked when they are made.

    Raises:
        ValueError: when a value is out of its range; the message begins with its name.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for each in declared(type(self)):
            kind, optional = kind_of(type(self), each.name)
            value = getattr(self, each.name)
            if value is not None or not optional:
                check_value(each, kind, value)
        self.check()

    def check(self) -> None:
        """Raise ValueError where values do not go together."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json; an object that has a name, a cell say, is its name."""
        return {each.name: plain(getattr(self, each.name)) for each in declared(type(self))}

    def arguments(self) -> dict[str, Any]:
        """The values as they are, by name."""
        return {each.name: getattr(self, each.name) for each in declared(type(self))}

    @classmethod
    def paths(cls) -> list[str]:
        """The names of the settings that name files of the user's."""
        return [each.name for each in declared(cls) if option_of(each).is_path]

    @classmethod
    def pick(cls: type[SettingsT], given: Mapping[str, Any]) -> SettingsT:
        """Settings from those of the values that are theirs; defaults for the others."""
        return cls(
            **{
                each.name: one_or_several(value)
                if option_of(each).several
                else _plain_number(value)
                for each in declared(cls)
                if (value := given.get(each.name, MISSING)) is not MISSING
            }
        )


def _plain_number(value: Any) -> Any:
    """A number of numpy's as one of Python's; anything else as it is."""
    item = getattr(value, "item", None)
    return item() if isinstance(value, numbers.Number) and item is not None else value


def one_or_several(value: Any) -> Any:
    """What may be given more than once: several as a tuple, one, in a list or not, by itself."""
    several = tuple(value) if isinstance(value, list | tuple) else (value,)
    return several[0] if len(several) == 1 else several


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return getattr(value, "name", str(value))


def declared(settings: type[Settings]) -> list[Field[Any]]:
    """The fields of a class of settings, in their order."""
    return list(fields(settings))  # type: ignore[arg-type]


def names(*settings: type[Settings]) -> list[str]:
    """The names of the fields of classes of settings."""
    return [each.name for kind in settings for each in declared(kind)]


def option_of(declared_field: Field[Any]) -> Option:
    """What is declared of a field."""
    return declared_field.metadata[_KEY]


def check_known(given: Iterable[str], *settings: type[Settings], what: str = "settings") -> None:
    """ValueError for a name that none of the classes has, with the nearest that one of them has."""
    known = names(*settings)
    unknown = sorted(set(given).difference(known))
    if unknown:
        raise ValueError(
            f"{what}: expected known names, got {', '.join(unknown)}. {nearest(unknown[0], known)}"
        )


def nearest(name: str, known: Collection[str]) -> str:
    """A sentence with the known name that looks most like the one given, or all of them."""
    found = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {found[0]}?" if found else f"There are {', '.join(known)}."


@cache
def kind_of(settings: type[Settings], name: str) -> tuple[Any, bool]:
    """The type of a field without None, and whether it may be None."""
    hint = typing.get_type_hints(settings)[name]
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    rest = [each for each in typing.get_args(hint) if each is not type(None)]
    optional = len(rest) < len(typing.get_args(hint))
    return (rest[0] if len(rest) == 1 else typing.Union[tuple(rest)]), optional  # noqa: UP007


def default_of(declared_field: Field[Any]) -> Any:
    """The default of a field; MISSING for one that must be given."""
    if declared_field.default_factory is not MISSING:
        return declared_field.default_factory()
    return declared_field.default


# ---- checks --------------------------------------------------------------------------------------


def check_value(declared_field: Field[Any], kind: Any, value: Any) -> None:
    """ValueError for a value that a field of a kind may not have."""
    option, name = option_of(declared_field), declared_field.name
    if option.check is not None:
        option.check(name, value)
    elif option.choices:
        one_of(name, value, option.choices)
    elif kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{name}: expected True or False, got {value!r:.60}. Give one.")
    elif kind is int:
        whole(name, value, least=option.least, most=option.most)
    elif kind is float:
        if not within(value, above=-math.inf, below=math.inf):
            raise ValueError(f"{name}: expected a number, got {value!r:.60}. Give one.")
    elif kind is str:
        text(name, value)


def whole(
    name: str, value: object, *, least: int, most: int | None = None, optional: bool = False
) -> None:
    """Check that a setting is a whole number from `least` to `most`; ValueError where it is not."""
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"{name}: expected a whole number of at least {least}, got {value!r}. "
            f"Give {least} or more."
        )
    if most is not None and value > most:
        raise ValueError(
            f"{name}: expected at most {most:,}, got {value!r}. Give a smaller number."
        )


def positive(name: str, value: float | None, *, optional: bool = False) -> None:
    """Check that a setting is a number above 0 and below infinity; ValueError where it is not."""
    if value is None and optional:
        return
    if not within(value, above=0.0, below=math.inf):
        raise ValueError(
            f"{name}: expected a number above 0, got {value!r}. Give a positive number."
        )


def positive_float32(name: str, value: float | None, *, optional: bool = False) -> None:
    """Check that a setting is positive and neither 0 nor infinite in float32."""
    positive(name, value, optional=optional)
    if value is not None and not _SMALLEST <= value <= _LARGEST:
        raise ValueError(
            f"{name}: expected a number that float32 holds, from {_SMALLEST:.2g} to "
            f"{_LARGEST:.2g}, got {value!r}. Give such a number."
        )


def fraction(name: str, value: float) -> None:
    """Check that a setting is from 0 up to, not including, 1; ValueError where it is not."""
    if value != 0 and not within(value, above=0.0, below=1.0):
        raise ValueError(
            f"{name}: expected a number from 0 up to, not including, 1, got {value!r}. "
            "Give such a fraction."
        )


def percentage(name: str, value: float) -> None:
    """Check that a setting is above 0 and at most 100; ValueError where it is not."""
    if value != 100 and not within(value, above=0.0, below=100.0):
        raise ValueError(
            f"{name}: expected a number above 0 and at most 100, got {value!r}. "
            "Give such a percentage."
        )


def text(name: str, value: object) -> None:
    """Check that a setting is text; ValueError where it is not."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected text, got {value!r:.60}.")


def paths(name: str, value: object) -> None:
    """Check that a setting names files or folders, one or several; ValueError where it does not."""
    several = value if isinstance(value, list | tuple) else (value,)
    # "" would be the working folder, which a variable of the shell that is not set does not mean
    named = [isinstance(each, str | os.PathLike) and each != "" for each in several]
    if not named or not all(named):
        raise ValueError(
            f"{name}: expected the name of a file or folder, or a list of such, got {value!r:.60}. "
            "Name one."
        )


def encoding(name: str, value: object) -> None:
    """Check that a setting is Python's name of an encoding of text; ValueError where it is not."""
    text(name, value)
    if _is_encoding(str(value)):
        return
    known = {each.replace("_", "-") for each in (*aliases, *aliases.values()) if len(each) > 3}
    found = difflib.get_close_matches(
        str(value).lower().replace("_", "-"), filter(_is_encoding, sorted(known)), n=1
    )
    hint = f"Did you mean {found[0]}?" if found else "Use utf-8, latin-1 or cp1252, for example."
    raise ValueError(f"{name}: expected the name of an encoding of text, got {value!r}. {hint}")


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
        known = codecs.lookup(name).name
    except (LookupError, ValueError):  # of no such name, of bytes, of a name with a NUL
        return False
    return known not in ("punycode", "idna")  # they spell names of hosts, not texts


def within(value: object, *, above: float, below: float) -> bool:
    """Whether a value is a number between the two, which are left out."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return above < value < below


def one_of(name: str, value: object, choices: Collection[str]) -> None:
    """Check that a setting is one of its choices; ValueError where it is not."""
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"Did you mean {near[0]}?" if near else "Choose one."
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}. {hint}")
