"""Worlds by name, as options name them: scenes, or numbers:train=500,noise=20."""

import inspect
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from recurra.data.worlds.eyes import eyes
from recurra.data.worlds.gestures import gestures
from recurra.data.worlds.made import Clips, Pictures
from recurra.data.worlds.numbers import numbers
from recurra.data.worlds.scenes import scenes
from recurra.data.worlds.stick_figures import stick_figures
from recurra.errors import DataError, argument

MadeT = TypeVar("MadeT", bound=Pictures | Clips)
Maker = Callable[..., Mapping[str, MadeT]]

PICTURE_WORLDS: Mapping[str, Maker[Pictures]] = {"scenes": scenes, "numbers": numbers}
CLIP_WORLDS: Mapping[str, Maker[Clips]] = {
    "gestures": gestures,
    "eyes": eyes,
    "stick-figures": stick_figures,
}


def is_world(data: Any, worlds: Mapping[str, Any]) -> bool:
    """Whether data name one of these worlds; a file or folder of that name is read instead."""
    if not isinstance(data, str | PathLike):
        return False
    return _name(data) in worlds and not Path(data).exists()


def make(
    data: str | PathLike[str], worlds: Mapping[str, Maker[MadeT]], **others: int | float
) -> Mapping[str, MadeT]:
    """The parts of the world that data name.

    Args:
        data: its name, and behind a colon what its maker is given: gestures:noise=2,train=100.
        worlds: of `PICTURE_WORLDS` or `CLIP_WORLDS`.
        others: what its maker is given in place of what data or its defaults say.
    Raises:
        DataError: when there is no such world, it takes nothing of that name, or not that value.
        ModuleNotFoundError: without what it is made of.
    """
    arguments = {**given(data, worlds), **others}
    try:
        return worlds[_name(data)](**arguments)
    except ValueError as error:
        raise DataError(f"{argument(f'data={data}')}: {error}") from None


def given(data: str | PathLike[str], worlds: Mapping[str, Maker[Any]]) -> dict[str, int | float]:
    """All that the maker of the world takes, by name: what data say, else its defaults.

    Raises:
        DataError: when there is no such world, or it takes nothing of that name.
    """
    name, _, rest = str(data).partition(":")
    if name not in worlds:
        raise DataError(
            f"{argument('data=')}: expected a world, {', '.join(worlds)}, got {name!r}. Name one."
        )
    known = {
        each.name: each.default for each in inspect.signature(worlds[name]).parameters.values()
    }
    try:
        return {**known, **_read(name, rest, known)}
    except ValueError as error:
        raise DataError(f"{argument(f'data={data}')}: {error}") from None


def _name(data: str | PathLike[str]) -> str:
    return str(data).partition(":")[0]


def _read(name: str, text: str, known: Mapping[str, int | float]) -> dict[str, int | float]:
    """What stands behind the colon, whole numbers where the maker has one by itself."""
    found: dict[str, int | float] = {}
    for each in filter(None, text.split(",")):
        key, _, value = (part.strip() for part in each.partition("="))
        if key not in known:
            raise ValueError(f"expected {name} to be given {', '.join(known)}, got {key!r}.")
        kind = type(known[key])
        try:
            found[key] = kind(value)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ValueError(f"{key}: expected {what}, got {value!r}.") from None
    return found
