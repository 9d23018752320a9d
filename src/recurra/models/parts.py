"""What a model owns besides its weights to be used: a vocabulary, the names of classes, a scaling.

A class of models declares each as an attribute, `vocabulary = Part(Vocabulary)`. An instance has it
as `model.vocabulary`, None until it is given; `Model.save` writes it into config.json under that
name, and loading the model brings it back.
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, overload, runtime_checkable

from recurra.errors import DataError

# entries of a config.json that are something else
RESERVED = {"format", "task", "model", "model_settings", "data", "training", "described"}
_MAX_NAMED = 5  # in a message


@runtime_checkable
class PartKind(Protocol):
    """What can be a part: an object that JSON can hold, and its way back."""

    def to_config(self) -> Any:
        """Everything needed to make it again, as JSON has it."""
        ...

    @staticmethod
    def from_config(config: Any) -> Any:
        """The inverse of `to_config`; a DataError or ValueError says what is wrong."""
        ...


PartT = TypeVar("PartT", bound=PartKind)


class Part(Generic[PartT]):
    """A part that models of a class may have, as their attribute: None, or an instance of `kind`.

    Setting it calls the model's `check_part`.

    Args:
        kind: its class, or a base of its classes.
        convert: makes one of what else may be set, such as a `Names` of a list.
    """

    def __init__(self, kind: type[PartT], *, convert: Callable[[Any], PartT] | None = None) -> None:
        self.kind = kind
        self.convert = convert
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: type) -> "Part[PartT]": ...
    @overload
    def __get__(self, model: object, owner: type) -> PartT | None: ...

    def __get__(self, model: object | None, owner: type) -> Any:
        return self if model is None else vars(model).get(self.name)

    def __set__(self, model: Any, value: Any) -> None:
        if value is not None:
            if not isinstance(value, self.kind) and self.convert is not None:
                value = self.convert(value)
            if not isinstance(value, self.kind):
                raise TypeError(
                    f"{type(model).__name__}: expected {self.name} to be a {self.kind.__name__}, "
                    f"got {value!r:.60}. Make one first, or leave it out."
                )
            model.check_part(self.name, value)
        vars(model)[self.name] = value


def check_part_names(model_class: type) -> None:
    """Raise a TypeError when a part is called as another entry of config.json."""
    for name in sorted(RESERVED & declared_parts(model_class).keys()):
        raise TypeError(
            f"{model_class.__name__}: expected another name for a part than {name!r}, which "
            f"config.json has for something else. Rename it."
        )


def declared_parts(model_class: type) -> dict[str, Part[Any]]:
    """The parts that models of a class may have, by name, those of its bases first."""
    bases = reversed(model_class.__mro__)
    return {
        name: value
        for base in bases
        for name, value in vars(base).items()
        if isinstance(value, Part)
    }


class Names(tuple[str, ...]):
    """Names in the order of their numbers, such as those of classes; a list in JSON.

    Raises:
        DataError: when they are not strings, each once.
    """

    def __new__(cls, names: Any = ()) -> "Names":
        """The names of a list or tuple of them."""
        if not isinstance(names, list | tuple):
            raise DataError(f"names: expected a list of strings, got {names!r:.60}.")
        wrong = [name for name in names if not isinstance(name, str)]
        twice = sorted({name for name in names if not wrong and names.count(name) > 1})
        if wrong or twice:
            what = "strings" if wrong else "each name once"
            shown = ", ".join(repr(name) for name in (wrong or twice)[:_MAX_NAMED])
            raise DataError(f"names: expected {what}, got {shown:.200}. Give each class its own.")
        return super().__new__(cls, tuple(names))

    def to_config(self) -> list[str]:
        """The names, in order."""
        return list(self)

    @staticmethod
    def from_config(config: Any) -> "Names":
        """The names of such a list."""
        return Names(config)
