"""The signature of a cell's function: which role each argument has."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any, NoReturn

from recurra.errors import CellError
from recurra.lang.where import Where

Sizes = Mapping[str, str | tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was given to `@cell`; `constants` are values that replace defaults."""

    states: tuple[str, ...]
    context: tuple[str, ...]
    sizes: Sizes
    init: Mapping[str, float]
    output: bool
    constants: Mapping[str, Any] = field(default_factory=dict)

    def with_constants(self, constants: Mapping[str, Any]) -> "Options":
        """The same, with other constants."""
        return replace(self, constants={**self.constants, **constants})


class Signature:
    """The role of every argument of a cell's function."""

    def __init__(self, function: Callable[..., Any], options: Options) -> None:
        self.function, self.options = function, options
        arguments = inspect.signature(function).parameters
        self.constants = {
            name: options.constants.get(name, argument.default)
            for name, argument in arguments.items()
            if argument.default is not inspect.Parameter.empty
        }
        names = [name for name in arguments if name not in self.constants]
        self._check(names, arguments)
        first = names[0] if names else None
        self.input = None if first in options.states else first
        rest = [n for n in names if n not in (*options.states, *options.context, self.input)]
        self.step = "t" if "t" in rest else None
        self.parameters = tuple(name for name in rest if name != self.step)
        known = {*names} - {self.step}
        self._check_options("sizes", options.sizes, known)
        self._check_options("init", options.init, set(self.parameters))
        for name, size in options.sizes.items():
            self._check_size(name, size)

    def _fail(self, text: str) -> NoReturn:
        code = code_of(self.function)
        where = Where(code.co_filename, code.co_firstlineno, self.function.__name__)
        raise CellError(where.message(text))

    def _check(self, names: list[str], arguments: Mapping[str, inspect.Parameter]) -> None:
        for name, argument in arguments.items():
            if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
                self._fail(f"expected named arguments, got *{name}. Name every parameter.")
            if argument.kind is argument.POSITIONAL_ONLY:
                self._fail(f"expected named arguments, got {name} before a /. Take the / away.")
        if not self.options.states:
            self._fail('expected at least one state, got none. Name it: @cell(state="h").')
        roles = (*self.options.states, *self.options.context)
        for name in roles:
            if roles.count(name) > 1 or name == "output":
                taken = "twice" if name != "output" else "which is what a cell gives"
                self._fail(
                    f"expected a name of its own for each state and context, got {name!r}, "
                    f"{taken}. Choose another name."
                )
        for role in ("states", "context"):
            for name in getattr(self.options, role):
                if name not in names:
                    near = difflib.get_close_matches(name, names, n=1)
                    hint = f"Did you mean {near[0]!r}?" if near else "Add it, with no default."
                    self._fail(
                        f"expected an argument for the {role.removesuffix('s')} {name!r}, got "
                        f"({', '.join(names)}). {hint}"
                    )

    def _check_options(self, option: str, given: Mapping[str, Any], known: set[str]) -> None:
        for name in given:
            if name not in known:
                self._fail(
                    f"{option}: expected one of {', '.join(sorted(known)) or 'nothing'}, got "
                    f"{name!r}. Use the name of an argument."
                )

    def _check_size(self, name: str, size: object) -> None:
        parts = size if isinstance(size, tuple) else (size,)
        named = all(isinstance(p, str) and (p.isidentifier() or p.isdecimal()) for p in parts)
        if not named or len(parts) not in ((1, 2) if name in self.parameters else (1,)):
            self._fail(
                f"sizes: expected a name such as 'P' or a number such as '8' for {name!r} (two of "
                f"them for a matrix, which must be a parameter), got {size!r}. Give one name."
            )


def code_of(function: Callable[..., Any]) -> CodeType:
    """The code that the user wrote, whatever other decorators have put around it."""
    return inspect.unwrap(function).__code__
