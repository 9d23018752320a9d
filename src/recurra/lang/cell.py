"""`@cell`: a function of equations becomes a Cell, checked and sized when it is defined."""

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any, NoReturn, overload

from recurra.errors import CellError
from recurra.ir import Dim, Graph, Node, Stage, intern, leaf, picture, show, verify
from recurra.lang.symbols import Symbol, language_names, lift
from recurra.lang.trace import Trace
from recurra.lang.where import Where

Sizes = Mapping[str, str | tuple[str, str]]


class Cell:
    """One step of a recurrence, as equations with symbolic sizes.

    Attributes:
        name: what the function was called.
        doc: its docstring.
        input: the name of the input x_t; None for an autonomous system.
        states: the names of the recurrent states, in order; the first is the output unless the
            cell was made with output=True.
        context: the names of the inputs that stay constant through time.
        step: the name of the step index, "t", or None.
        parameters: symbolic shape by name, in the order of the signature: () is a learned scalar.
        constants: the arguments with a default value.
        init: constant initial values by parameter name.
        size_names: the sizes that a layer must give: I and H first, then the cell's own.
        equations: the graph; its outputs are "output", then one named like each state.
    """

    def __init__(self, function: Callable[..., Any], options: "_Options") -> None:
        self.function = function
        self.options = options
        self.name = function.__name__
        self.doc = inspect.getdoc(function) or ""
        signature = _Signature(function, options)
        self.input = signature.input
        self.states = options.states
        self.context = options.context
        self.step = signature.step
        self.constants = signature.constants
        self.init = dict(options.init)
        traced = _trace(self.name, function, signature, options)
        self.equations = verify(traced, Stage.CELL)
        self.parameters = {node.name: node.shape for node in _leaves(self.equations, "parameter")}
        self.state_sizes = tuple(_size(node) for node in _leaves(self.equations, "state"))
        self.context_sizes = tuple(_size(node) for node in _leaves(self.equations, "context"))
        self.output_size = _size(self.equations.output("output"))
        self.size_names = _size_names(self.equations)
        self.__doc__ = function.__doc__
        self.__name__, self.__module__ = function.__name__, function.__module__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The equations, inside the equations of another cell; every argument is a symbol."""
        given = inspect.signature(self.function).bind_partial(*args, **kwargs).arguments
        changed = {k: v for k, v in self.options.constants.items() if k not in given}
        return self.function(*args, **kwargs, **changed)

    def with_constants(self, **constants: Any) -> "Cell":
        """The same equations with other values for arguments that have a default.

        Raises:
            ValueError: when a name is none of the cell's constants.
        """
        for name in constants:
            if name not in self.constants:
                raise ValueError(
                    f"{self.name}.with_constants: expected one of {sorted(self.constants)}, "
                    f"got {name!r}. Give an argument that has a default value."
                )
        return Cell(self.function, self.options.with_constants(constants))

    def latex(self) -> str:
        """The equations as a paper sets them, for a LaTeX align environment."""
        return show.latex(self.name, self.equations)

    def graph(self) -> "picture.Picture":
        """The equations as a picture: `.save("cell.svg")`, or shown by a notebook."""
        return picture.draw(self.name, self.equations)

    def __str__(self) -> str:
        return show.text(self.name, self.equations)

    def __repr__(self) -> str:
        return f"<cell {self.name}({', '.join(self.states)})>"

    def __deepcopy__(self, memo: object) -> "Cell":
        return self  # immutable, and shared by every layer that uses it

    def __reduce__(self) -> tuple[Callable[..., "Cell"], tuple[Any, ...]]:
        changed = self.options.constants
        return _restore, (self.function.__module__, self.function.__qualname__, dict(changed))


def _restore(module: str, qualname: str, constants: dict[str, Any]) -> Cell:
    """A pickled cell: found again under the name that its function was defined with."""
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found.with_constants(**constants) if constants else found


class _Options:
    """What was given to `@cell`."""

    def __init__(
        self,
        states: tuple[str, ...],
        context: tuple[str, ...],
        sizes: Sizes,
        init: Mapping[str, float],
        output: bool,
        constants: Mapping[str, Any],
    ) -> None:
        self.states, self.context, self.sizes = states, context, dict(sizes)
        self.init, self.output, self.constants = dict(init), output, dict(constants)

    def with_constants(self, constants: Mapping[str, Any]) -> "_Options":
        merged = {**self.constants, **constants}
        return _Options(self.states, self.context, self.sizes, self.init, self.output, merged)


@overload
def cell(function: Callable[..., Any], /) -> Cell: ...
@overload
def cell(
    *,
    state: str | tuple[str, ...] = "h",
    context: str | tuple[str, ...] = (),
    sizes: Sizes | None = None,
    init: Mapping[str, float] | None = None,
    output: bool = False,
) -> Callable[[Callable[..., Any]], Cell]: ...
def cell(
    function: Callable[..., Any] | None = None,
    /,
    *,
    state: str | tuple[str, ...] = "h",
    context: str | tuple[str, ...] = (),
    sizes: Sizes | None = None,
    init: Mapping[str, float] | None = None,
    output: bool = False,
) -> Cell | Callable[[Callable[..., Any]], Cell]:
    """Make a cell of a function that is written as the equations of one step.

    The first argument is the input x_t (unless it is a state: then the cell takes no input), the
    names in `state` are the recurrence, those in `context` stay constant through time, an argument
    named t is the index of the step, one with a default value is a constant, and every other one
    is a parameter: a matrix where it stands left of @, else a vector. Sizes follow from use: the
    input has size I, states have size H.

    Args:
        state: name or names of the states, in the order in which the function returns them.
        context: names of inputs that have one value for a whole sequence.
        sizes: size names for arguments that are not of the usual size: {"r": "P"}; "1" makes a
            parameter a learned scalar; ("P", "H") sizes a matrix.
        init: constant initial values of parameters: {"b_f": 1.0}.
        output: the function returns an output before the states, instead of the first state
            being the output.
    Raises:
        CellError: at the user's own line, when the equations are wrong.
    """
    options = _Options(_names(state), _names(context), sizes or {}, init or {}, output, {})
    if function is None:
        return lambda f: _define(f, options)
    return _define(function, options)


def _define(function: Callable[..., Any], options: _Options) -> Cell:
    try:
        return Cell(function, options)
    except CellError as error:
        raise error.with_traceback(None) from None  # our own frames say nothing to the user


def _names(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _leaves(graph: Graph, kind: str) -> list[Node]:
    return [node for node in graph.inputs if node.attr("kind") == kind]


def _size(node: Node) -> Dim:
    return node.shape[0] if node.shape else Dim.of(1)


def _size_names(graph: Graph) -> tuple[str, ...]:
    """I and H first, whether or not they occur: a layer always has an input and a hidden size."""
    names: dict[str, None] = {"I": None, "H": None}
    for node in graph.inputs:
        for dim in node.shape:
            names.update(dict.fromkeys(dim.names))
    return tuple(names)


# ---- reading the signature ---------------------------------------------------------------------


class _Signature:
    """The role of every argument of a cell's function."""

    def __init__(self, function: Callable[..., Any], options: _Options) -> None:
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
        code = _code(self.function)
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


# ---- running the equations on symbols ----------------------------------------------------------


def _trace(
    name: str, function: Callable[..., Any], signature: _Signature, options: _Options
) -> Graph:
    trace = Trace(name)
    leaves = _leaf_symbols(trace, signature, options)
    returned, local_names = _run(function, {**leaves, **signature.constants}, trace)
    code = _code(function)
    where = Where(code.co_filename, code.co_firstlineno, name)
    outputs = _outputs(returned, trace, leaves, options, where)
    _close_sizes(trace, leaves, signature, options, where)
    return _lower(trace, leaves, signature, options, outputs, local_names)


def _leaf_symbols(trace: Trace, signature: _Signature, options: _Options) -> dict[str, Symbol]:
    shapes: dict[str, tuple[Dim, ...] | None] = dict.fromkeys(signature.parameters)
    if signature.step:
        shapes[signature.step] = ()
    if signature.input:
        shapes[signature.input] = (Dim.named("I"),)
    shapes.update({state: (Dim.named("H"),) for state in options.states})
    shapes.update({name: (trace.unknown(f"context {name}"),) for name in options.context})
    for name, size in options.sizes.items():
        parts = (size,) if isinstance(size, str) else size
        shapes[name] = () if parts == ("1",) else tuple(Dim.named(part) for part in parts)
    return {
        name: Symbol(trace, "input", (), {}, shape, label=name) for name, shape in shapes.items()
    }


def _run(
    function: Callable[..., Any], arguments: dict[str, Any], trace: Trace
) -> tuple[Any, dict[str, Any]]:
    """Call the equations; also gives the user's local variables, which name what they hold."""
    local_names: dict[str, Any] = {}
    code = _code(function)

    def watch(frame: Any, event: str, _value: Any) -> None:
        if event == "return" and frame.f_code is code:
            local_names.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        returned = function(**arguments)
    except NameError as error:
        near = difflib.get_close_matches(error.name or "", language_names(), n=1)
        hint = f"Did you mean {near[0]}?" if near else "Import it from recurra.lang."
        where = _innermost(error, function, trace.cell)
        got = repr(error.name) if error.name else str(error)
        trace.fail(f"expected a name that is defined, got {got}. {hint}", where)
    except TypeError as error:  # what Python, numpy or a function's signature has against a symbol
        where = _innermost(error, function, trace.cell)
        trace.fail(
            f"expected operations of the language, got the TypeError {str(error)!r}. "
            f"Use what recurra.lang exports, on symbols and numbers.",
            where,
        )
    finally:
        sys.setprofile(before)
    return returned, local_names


def _innermost(error: BaseException, function: Callable[..., Any], cell_name: str) -> Where:
    """The line of `function` that the error passed through."""
    code, traceback = _code(function), error.__traceback__
    line = code.co_firstlineno
    while traceback is not None:
        if traceback.tb_frame.f_code is code:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return Where(code.co_filename, line, cell_name)


def _code(function: Callable[..., Any]) -> CodeType:
    """The code that the user wrote, whatever other decorators have put around it."""
    return inspect.unwrap(function).__code__


def _outputs(
    returned: Any, trace: Trace, leaves: dict[str, Symbol], options: _Options, where: Where
) -> list[tuple[str, Symbol]]:
    """What was returned, by name, its sizes made equal to the states' own."""
    values = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
    names = ("output", *options.states) if options.output else options.states
    if len(values) != len(names) or any(value is None for value in values):
        got = "nothing" if returned is None else f"{len(values)}"
        trace.fail(
            f"expected {len(names)} returned values ({', '.join(names)}), got {got}. "
            f"Return every new state, in the order of state={options.states}"
            + (", after the output." if options.output else "."),
            where,
        )
    outputs: list[tuple[str, Symbol]] = []
    for name, value in zip(names, values, strict=True):
        symbol = lift(value, trace)
        if name == "output":
            if symbol.shape is None or len(symbol.shape) > 1:
                trace.fail(f"expected a vector as output, got {symbol.text}.", where)
        else:
            _match_state(name, symbol, leaves[name], trace, where)
        outputs.append((name, symbol))
    return outputs if options.output else [("output", outputs[0][1]), *outputs]


def _match_state(name: str, new: Symbol, old: Symbol, trace: Trace, where: Where) -> None:
    new_shape, old_shape = new.shape, old.shape or ()
    same_rank = new_shape is not None and len(new_shape) == len(old_shape)
    if same_rank and all(
        trace.unify(a, b) for a, b in zip(new_shape or (), old_shape, strict=True)
    ):
        return
    got = "a parameter" if new_shape is None else _text(trace, new_shape)
    trace.fail(
        f"expected the new state {name} of shape {_text(trace, old_shape)}, got {got}. "
        f"Return a value of the state's size, or set sizes={{{name!r}: ...}}.",
        where,
    )


def _text(trace: Trace, shape: tuple[Dim, ...]) -> str:
    return "[" + ", ".join(map(str, trace.resolve_shape(shape))) + "]" if shape else "a scalar"


def _close_sizes(
    trace: Trace, leaves: dict[str, Symbol], signature: _Signature, options: _Options, where: Where
) -> None:
    """Name what contexts leave open; any other open size is the user's mistake."""
    for name in options.context:
        for dim in leaves[name].shape or ():
            if trace.origins(dim):
                trace.unify(dim, Dim.named("C" if len(options.context) == 1 else f"C_{name}"))
    for name in signature.parameters:
        symbol = leaves[name]
        if symbol.shape is None:
            trace.fail(
                f"expected every parameter to be used, got {name!r} unused. Use it in an "
                f"equation, give it a default value to make it a constant, or take it away.",
                where,
            )
        for dim in symbol.shape:
            origins = trace.origins(dim)
            if origins:
                trace.fail(
                    f"expected every size to follow from the equations, got {origins[0]} open. "
                    f"Name it: sizes={{{name!r}: ...}}.",
                    symbol.where,
                )


def _lower(
    trace: Trace,
    leaves: dict[str, Symbol],
    signature: _Signature,
    options: _Options,
    outputs: list[tuple[str, Symbol]],
    local_names: dict[str, Any],
) -> Graph:
    """The traced symbols as graph nodes with resolved sizes."""
    kinds = dict.fromkeys(signature.parameters, "parameter")
    kinds.update(dict.fromkeys(options.states, "state"))
    kinds.update(dict.fromkeys(options.context, "context"))
    if signature.step:
        kinds[signature.step] = "step"
    if signature.input:
        kinds[signature.input] = "input"
    order = [
        name
        for kind in ("input", "state", "context", "step", "parameter")
        for name in _in_order(kind, kinds, signature, options)
    ]
    nodes: dict[Symbol, Node] = {
        leaves[name]: leaf(kinds[name], name, trace.resolve_shape(leaves[name].shape or ()))
        for name in order
    }
    inputs = tuple(nodes.values())
    ordered = _ordered([value for _, value in outputs], nodes)
    _check_matrices(ordered, [leaves[n] for n in order if kinds[n] != "parameter"], trace)
    for symbol in ordered:
        attrs = tuple(
            (key, trace.resolve(value) if isinstance(value, Dim) else value)
            for key, value in symbol.attrs.items()
        )
        shape = trace.resolve_shape(symbol.shape or ())
        nodes[symbol] = intern(symbol.op, tuple(nodes[i] for i in symbol.inputs), attrs, shape)
    names = {
        nodes[value]: name
        for name, value in local_names.items()
        if isinstance(value, Symbol) and value in nodes and nodes[value] not in inputs
    }
    named_outputs = tuple((name, nodes[value]) for name, value in outputs)
    return Graph(inputs=inputs, outputs=named_outputs, names=names)


def _check_matrices(ordered: list[Symbol], varying_leaves: list[Symbol], trace: Trace) -> None:
    """A matrix is made of parameters: time and batch are for vectors and scalars."""
    varying = set(varying_leaves)
    for symbol in ordered:
        if any(child in varying for child in symbol.inputs):
            varying.add(symbol)
            if len(symbol.shape or ()) > 1:
                trace.fail(
                    f"expected matrices made of parameters alone, got {symbol.text} of what changes "
                    f"from step to step. Multiply the vector instead: s * (W @ v).",
                    symbol.where,
                )


def _in_order(
    kind: str, kinds: dict[str, str], signature: _Signature, options: _Options
) -> list[str]:
    orders = {"state": options.states, "context": options.context}
    names = orders.get(kind, tuple(kinds))
    return [name for name in names if kinds[name] == kind]


def _ordered(roots: list[Symbol], done: dict[Symbol, Node]) -> list[Symbol]:
    """All symbols that `roots` need and are not leaves, each after its inputs."""
    seen = set(done)
    order: list[Symbol] = []
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        symbol, expanded = stack.pop()
        if expanded:
            order.append(symbol)
        elif symbol not in seen:
            seen.add(symbol)
            stack.append((symbol, True))
            stack.extend((child, False) for child in reversed(symbol.inputs))
    return order
