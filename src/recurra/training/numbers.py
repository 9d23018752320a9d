"""Checks of settings that are numbers; messages begin with its name.

Upper bounds are those of what a number becomes: a seed of torch, a step counted in float64, a
factor in float32. Sizes and counts beyond theirs are slips of the keyboard.
"""

import math

MAX_SEED = 2**63 - 1
MAX_COUNT = 2**53
MAX_SIZE = 2**24
MAX_LAYERS = 1000
MAX_SEEDS = 10_000
MAX_JOBS = 1024
_SMALLEST, _LARGEST = 2.0**-126, (2.0 - 2.0**-23) * 2.0**127  # normal numbers of float32


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


def within(value: object, *, above: float, below: float) -> bool:
    """Whether a value is a number between the two, which are left out."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return above < value < below
