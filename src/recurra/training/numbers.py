"""Checks of settings that are numbers; messages begin with its name."""

import math


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


def within(value: object, *, above: float, below: float) -> bool:
    """Whether a value is a number between the two, which are left out."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return above < value < below
