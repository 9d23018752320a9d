"""The options of a forecaster that are more than a size: checked, and what they stand for."""

from collections.abc import Mapping
from typing import Any

from recurra.errors import argument
from recurra.nn.checks import check_sizes
from recurra.nn.densities import Density, named

DECODINGS = ("direct", "recursive", "segments")
MISSING = ("fail", "fill", "mask")


def density_of(given: Density | Mapping[str, Any] | str) -> Density:
    """The density, by its name, or of its config."""
    if isinstance(given, str):
        return named(given)
    return given if isinstance(given, Density) else Density.from_config(given)


def segment_length_of(decoding: str, given: int | None, horizon: int, look_back: int) -> int:
    """The steps of a segment; 1 of models without segments."""
    if decoding != "segments":
        if given is not None:
            raise ValueError(
                f"{argument('segment_length=')}: expected {argument('decoding=segments')} beside "
                f"it, got {argument(f'decoding={decoding}')}. Leave it out."
            )
        return 1
    if given is None:
        half = max(1, min(horizon, look_back) // 2)
        given = next(each for each in range(half, 0, -1) if horizon % each == 0)
    check_sizes("Forecaster", segment_length=given)
    return given


def check_kinds(decoding: str, residual: bool, missing: str) -> None:
    """Raise ValueError unless these are known, and go together."""
    for name, value, choices in (
        ("decoding", decoding, DECODINGS),
        ("missing", missing, MISSING),
    ):
        if value not in choices:
            raise ValueError(
                f"{argument(f'{name}=')}: expected one of {', '.join(choices)}, got {value!r}. "
                "Choose one."
            )
    if residual and decoding != "recursive":
        raise ValueError(
            f"{argument('residual=')}: expected {argument('decoding=recursive')} beside it, got "
            f"{argument(f'decoding={decoding}')}, which says no step of the one before. Leave it "
            "out."
        )
