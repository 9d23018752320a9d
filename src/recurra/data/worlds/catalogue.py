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
    return str(data).partition(":")[0] in worlds and not Path(data).exists()


def make(data: str | PathLike[str], worlds: Mapping[str, Maker[MadeT]]) -> Mapping[str, MadeT]:
    """The parts of the world that data name.

    Args:
        data: its name, and behind a colon what its maker is given: gestures:noise=2,train=100.
        worlds: of `PICTURE_WORLDS` or `CLIP_WORLDS`.
    Raises:
        DataError: when there is no such world, it takes nothing of that name, or not that value.
        ModuleNotFoundError: without what it is made of.
    """
    name, _, rest = str(data).partition(":")
    if name not in worlds:
        raise DataError(
            f"{argument('data=')}: expected a world, {', '.join(worlds)}, got {name!r}. Name one."
        )
    try:
        return worlds[name](**_given(name, rest, worlds[name]))
    except ValueError as error:
        raise DataError(f"{argument('data=')}{data}: {error}") from None


def _given(name: str, text: str, maker: Maker[Any]) -> dict[str, int | float]:
    """What stands behind the colon, whole numbers where the maker has one by itself."""
    known = {each.name: each.default for each in inspect.signature(maker).parameters.values()}
    given: dict[str, int | float] = {}
    for each in filter(None, text.split(",")):
        key, _, value = (part.strip() for part in each.partition("="))
        if key not in known:
            raise ValueError(f"expected {name} to be given {', '.join(known)}, got {key!r}.")
        kind = type(known[key])
        try:
            given[key] = kind(value)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ValueError(f"{key}: expected {what}, got {value!r}.") from None
    return given
