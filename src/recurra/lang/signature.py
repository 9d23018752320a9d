"""The signature of a cell's function: which role each argument has."""

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any, NoReturn

from recurra.errors import CellError
from recurra.ir import POSITIONS, Dim
from recurra.lang.masks import Mask
from recurra.lang.rules import rule_of
from recurra.lang.where import Where

Sizes = Mapping[str, int | str | tuple[int | str | Dim, ...]]
Heads = Mapping[str, int | str]
# arguments of a call of a layer or a stream, where further inputs stand under their own names
_TAKEN = (
    *("self", "x", "x_t", "state", "lengths", "context", "embedding", "start", "out"),
    *("memory", "memory_lengths"),
)
_PIECEWISE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was given to `@cell`; `constants` replace defaults, and `rules` what `init` says.

    `masks` and `arrays` are of cells that are made of others: random masks, and constant arrays.
    """

    states: tuple[str, ...]
    context: tuple[str, ...]
    sizes: Sizes
    init: Mapping[str, Any]
    output: bool
    heads: Heads = field(default_factory=dict)
    default_sizes: Mapping[str, int | str] = field(default_factory=dict)
    masks: Mapping[str, Mask] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    arrays: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)

    def with_constants(self, constants: Mapping[str, Any]) -> "Options":
        """The same, with other constants."""
        return replace(self, constants={**self.constants, **constants})

    def with_rules(self, rules: Mapping[str, Any]) -> "Options":
        """The same, with other rules for how parameters start."""
        return replace(self, rules={**self.rules, **rules})


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
        if options.inputs:
            self.input = options.inputs[0]
            self._check_inputs(first)
        self.inputs = options.inputs or (() if self.input is None else (self.input,))
        self.further = self.inputs[1:]
        constant = (*options.context, *options.memory, *options.arrays)
        others = (*options.states, *constant, *options.masks, *self.inputs)
        rest = [name for name in names if name not in others]
        self.step = "t" if "t" in rest else None
        self.parameters = tuple(name for name in rest if name != self.step)
        known = {*names} - {self.step}
        self._check_options("sizes", options.sizes, known)
        self.init = {**options.init, **options.rules}
        self._check_options("init", self.init, set(self.parameters))
        self._check_options("heads", options.heads, {*self.parameters, *options.states})
        self.heads = {name: self._heads(name, given) for name, given in options.heads.items()}
        self.sizes = {name: self._size(name, size) for name, size in options.sizes.items()}
        for state in options.states:
            if state in self.heads and state not in self.sizes:
                self.sizes[state] = self._of_state(state, (Dim.named("H"), self._part(state)))
        for name, rule in self.init.items():
            self._check_rule(name, rule)
        self.default_sizes = {
            name: self._dim("default_sizes", name, size, size)
            for name, size in options.default_sizes.items()
        }

    def fail(self, text: str) -> NoReturn:
        """Raise a CellError that points at the function."""
        code = code_of(self.function)
        where = Where(code.co_filename, code.co_firstlineno, self.function.__name__)
        raise CellError(where.message(text))

    def _check(self, names: list[str], arguments: Mapping[str, inspect.Parameter]) -> None:
        if code_of(self.function).co_flags & _PIECEWISE:
            self.fail(
                "expected a function that returns its new states, got one that is async or yields. "
                "Write a plain def with a return."
            )
        for name, argument in arguments.items():
            if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
                stars = "*" if argument.kind is argument.VAR_POSITIONAL else "**"
                self.fail(f"expected named arguments, got {stars}{name}. Name every parameter.")
            if argument.kind is argument.POSITIONAL_ONLY:
                self.fail(f"expected named arguments, got {name} before a /. Take the / away.")
        if not self.options.states:
            self.fail('expected at least one state, got none. Name it: @cell(state="h").')
        given = (*self.options.context, *self.options.memory, *self.options.inputs)
        roles = (*self.options.states, *given)
        for name in roles:
            if roles.count(name) > 1 or name == "output":
                taken = "twice" if name != "output" else "which is what a cell gives"
                self.fail(
                    f"expected a name of its own for each state, context, memory and input, got "
                    f"{name!r}, {taken}. Choose another name."
                )
        for role in ("states", "context", "memory", "inputs"):
            for name in getattr(self.options, role):
                if name not in names:
                    near = difflib.get_close_matches(name, names, n=1)
                    hint = f"Did you mean {near[0]!r}?" if near else "Add it, with no default."
                    self.fail(
                        f"expected an argument for the {role.removesuffix('s')} {name!r}, got "
                        f"({', '.join(names)}). {hint}"
                    )

    def _check_inputs(self, first: str | None) -> None:
        """The first of `inputs` is x, which is given by its place; the others are named in calls of
        the layer."""
        if self.input != first and first not in self.options.states:
            self.fail(
                f"inputs: expected {first!r} first, as in the function, got {self.options.inputs}. "
                f"Write inputs={(first, *self.options.inputs)}."
            )
        for name in self.options.inputs[1:]:
            if name in _TAKEN:
                self.fail(
                    f"inputs: expected a name that calls of a layer have free, got {name!r}, which "
                    f"is an argument of theirs. Choose another name."
                )

    def _check_options(self, option: str, given: Mapping[str, Any], known: set[str]) -> None:
        for name in given:
            if name not in known:
                self.fail(
                    f"{option}: expected one of {', '.join(sorted(known)) or 'nothing'}, got "
                    f"{name!r}. Use the name of an argument."
                )

    def _size(self, name: str, size: Any) -> tuple[Dim, ...]:
        """The shape that `sizes` gives an argument; "1" is a scalar's."""
        if hasattr(self.function, "names_its_values"):  # the shape itself, of a cell that was made
            return self._of_state(name, size)
        parts = size if isinstance(size, tuple) else (size,)
        matrices = (*self.parameters, *self.options.masks, *self.options.states)
        if len(parts) not in ((1, 2) if name in matrices else (1,)):
            self.fail(
                f"sizes: {name!r} got {size!r}: expected one size, or two for a parameter or "
                f"a state that is a matrix. Write sizes as 'P' or '4 * H'."
            )
        dims = tuple(self._dim("sizes", name, part, size) for part in parts)
        if self.options.memory:
            dims = tuple(dim.substitute({"S": POSITIONS}) for dim in dims)
        if name in self.options.memory:
            return (POSITIONS, *dims)
        return () if dims == (Dim.of(1),) else self._of_state(name, dims)

    def _of_state(self, name: str, shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
        """The shape of an argument; a state of two sizes has rows, in as many blocks as heads."""
        if name not in self.options.states:
            return shape
        if len(shape) == 2:
            return (shape[0].in_blocks(self.heads.get(name, 1)), shape[1])
        if name in self.heads:
            self.fail(
                f"heads: expected a matrix state for {name!r}, got one of size "
                f"{shape[0] if shape else 1}. Name rows and columns: "
                f"sizes={{{name!r}: ('H', '{self._part(name)}')}}."
            )
        return shape

    def _part(self, name: str) -> Dim:
        """The size of one head of H."""
        return Dim.named("H") / self.heads[name]

    def _dim(self, option: str, name: str, size: Any, given: Any) -> Dim:
        """A size as it is written: "P", "4 * H", "H/2", 8."""
        whole = {key: value for key, value in self.constants.items() if type(value) is int}
        if isinstance(size, Dim):
            return size
        try:
            if not isinstance(size, int | str) or isinstance(size, bool):
                raise ValueError(f"expected a size such as 'P' or 8, got {type(size).__name__}.")
            dim = Dim.parse(str(size), whole)
        except ValueError as error:
            self.fail(f"{option}: {name!r} got {given!r}: {error} Write sizes as 'P' or '4 * H'.")
        if not dim.may_be_positive:
            self.fail(f"{option}: expected a size above 0 for {name!r}, got {given!r}.")
        return dim

    def _check_rule(self, name: str, rule: object) -> None:
        """A parameter starts at a number, or by a rule that a layer knows."""
        if isinstance(rule, str):
            try:
                rule_of(rule)
            except ValueError as error:
                self.fail(f"init of {name}: {str(error).removeprefix('init: ')}")
        if isinstance(rule, int | float) and not math.isfinite(rule):
            self.fail(f"init of {name}: expected a finite number, got {rule}. Use another.")
        if not (isinstance(rule, int | float | str) or callable(rule) or hasattr(rule, "name")):
            self.fail(
                f"init of {name}: expected a number, a rule in one word or a function of "
                f"recurra.nn.initial, got {type(rule).__name__} {rule!r:.60}. Use one of them."
            )

    def _heads(self, name: str, given: object) -> int:
        """The number of blocks of a block-diagonal matrix, given as it is or by a constant."""
        number = self.constants.get(given) if isinstance(given, str) else given
        if type(number) is not int or number < 1:
            got = f"{given}={number!r}" if given in self.constants else repr(given)
            self.fail(
                f"heads: expected a whole number >= 1 for {name!r}, or the name of a constant that "
                f"is one, got {got}. Give the number of blocks."
            )
        return number


def code_of(function: Callable[..., Any]) -> CodeType:
    """The code that the user wrote, whatever other decorators have put around it."""
    return inspect.unwrap(function).__code__
