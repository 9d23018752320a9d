"""torch's and numpy's own functions on symbols, answered with those of the language."""

import inspect
from typing import Any

from recurra.lang.symbols import (
    NUMPY_FUNCTIONS,
    OPERATORS,
    TORCH_FUNCTIONS,
    Symbol,
    hint_for,
)

# what torch's wrappers pass along though it was not asked for, and what changes nothing here
_NEUTRAL = {"inplace": False, "_stacklevel": 3, "dtype": None, "approximate": "none"}


def library_function(
    library: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Answer torch's or numpy's function on symbols with the one of the language that it means."""
    symbol = next(arg for arg in _flatten((*args, *kwargs.values())) if isinstance(arg, Symbol))
    called = getattr(function, "__name__", str(function))
    meant = {"torch": TORCH_FUNCTIONS, "numpy": NUMPY_FUNCTIONS}[library].get(function)
    if meant is None:
        symbol.trace.fail(
            f"expected an operation of the language, got {library}'s {called}. {hint_for(called)}"
        )
    kwargs = asked_for(kwargs)
    try:
        inspect.signature(meant).bind(*args, **kwargs)
    except TypeError as error:
        symbol.trace.fail(
            f"expected arguments that the language's {meant.__name__} takes too, got {library}'s "
            f"{called} with others ({error}). Leave them out."
        )
    return meant(*args, **kwargs)


def asked_for(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments without those that change nothing."""
    return {k: v for k, v in kwargs.items() if k not in _NEUTRAL or v != _NEUTRAL[k]}


def _flatten(values: Any) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat.extend(_flatten(value) if isinstance(value, list | tuple) else [value])
    return flat


OPERATORS["library"] = library_function
