"""Running a cell's equations on symbols, once, and what they said as a graph."""

import difflib
import inspect
import random
import re
from collections.abc import Callable
from ctypes import string_at
from typing import Any

import numpy as np
import torch

from recurra.ir import POSITIONS, Dim, Graph, Node, has_own_rows, inside, intern, leaf, shape_text
from recurra.lang.arrays import is_array
from recurra.lang.beside import hint_left_of_rows
from recurra.lang.masks import KINDS
from recurra.lang.signature import Options, Signature, code_of
from recurra.lang.symbols import (
    Symbol,
    as_vector,
    language_names,
    lift,
    number_of,
    over_positions,
    over_rows,
)
from recurra.lang.trace import ACTIVE, Trace
from recurra.lang.where import Frames, Where

# of the inputs of a graph, by their kinds
_ORDER = (
    *("input", "further", "state", "context", "memory", "step"),
    *(*KINDS.values(), "parameter", "array"),
)


def trace_equations(
    name: str, function: Callable[..., Any], signature: Signature, options: Options
) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph of a cell's equations, every size in it resolved, and the arrays that it reads."""
    matrices = {n: count for n, count in signature.heads.items() if n in signature.parameters}
    trace = Trace(name, matrices)
    arguments, constants = inspect.signature(function).parameters, signature.constants
    trace.taken = {name for name in arguments if not is_array(constants.get(name))}
    trace.parameters = signature.parameters
    leaves = _leaf_symbols(trace, signature, options)
    if options.memory:
        trace.inside = Symbol(trace, "input", (), {}, (POSITIONS,), label=inside().name)
    code = code_of(function)
    where = Where(code.co_filename, code.co_firstlineno, name)
    before = _random_states()
    returned, local_names = _run(function, {**leaves, **signature.constants}, trace)
    if _random_states() != before:
        where.warn(
            f"random numbers are drawn once, when the cell is defined, and are the same at every "
            f"step. For noise at each step write inputs={(*signature.inputs, 'noise')!r}; draw "
            f"what stays as it is by a generator of its own, np.random.default_rng(0)."
        )
    outputs = _outputs(returned, trace, leaves, options, where)
    _close_sizes(trace, leaves, signature, options, where)
    if not hasattr(function, "names_its_values"):
        _say_what_surprises(outputs, leaves, signature, options, where)
    graph = _lower(trace, leaves, signature, options, outputs, local_names)
    given = {name for node in graph.inputs for dim in node.shape for name in dim.names}
    for node in graph.nodes() if not hasattr(function, "names_its_values") else ():
        unknown = [name for dim in node.shape for name in dim.names if name not in given]
        if unknown:
            trace.fail(
                f"expected sizes that an input, state or parameter has, got {unknown[0]!r}. Use "
                f"one of {', '.join(sorted(given))}.",
                where,
            )
    read = {node.name for node in graph.inputs if node.attr("kind") == "array"}
    return graph, {name: array for name, (array, _) in trace.arrays.items() if name in read}


def _random_states() -> tuple[object, ...]:
    """Where the generators are that a program shares: torch's, numpy's and Python's."""
    numpys = np.random.get_state(legacy=False)["state"]
    drawn = (numpys["pos"], numpys["key"].tobytes())
    torchs = torch.get_rng_state()  # read in place: a mode that follows tensors is none of ours
    return string_at(torchs.data_ptr(), torchs.nbytes), drawn, random.getstate()


def _leaf_symbols(trace: Trace, signature: Signature, options: Options) -> dict[str, Symbol]:
    shapes: dict[str, tuple[Dim, ...] | None] = dict.fromkeys(signature.parameters)
    if signature.step:
        shapes[signature.step] = ()
    if signature.input:
        shapes[signature.input] = (Dim.named("I"),)
    shapes.update({name: (trace.unknown(f"input {name}"),) for name in signature.further})
    shapes.update({state: (Dim.named("H"),) for state in options.states})
    shapes.update({name: (trace.unknown(f"context {name}"),) for name in options.context})
    shapes.update({name: (POSITIONS, trace.unknown(f"memory {name}")) for name in options.memory})
    for name in trace.heads:  # whatever it stands left of, a matrix
        shapes[name] = (trace.unknown(f"the rows of {name}"), trace.unknown(f"a block of {name}"))
    shapes.update(signature.sizes)
    shapes.update({n: tuple(map(Dim.of, array.shape)) for n, array in options.arrays.items()})
    leaves = {
        name: Symbol(trace, "input", (), {}, shape, label=name) for name, shape in shapes.items()
    }
    trace.arrays = {name: (array, leaves[name]) for name, array in options.arrays.items()}
    return leaves


def _run(
    function: Callable[..., Any], arguments: dict[str, Any], trace: Trace
) -> tuple[Any, dict[Symbol, str]]:
    """Call the equations; also gives the user's local variables, which name what they hold."""
    token = ACTIVE.set(trace)
    if not hasattr(function, "names_its_values"):
        trace.frames = Frames(code_of(function).co_filename)
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
        ACTIVE.reset(token)
    local_names = trace.frames.names(Symbol)
    trace.frames = Frames()  # frames keep everything alive that is in them
    return returned, local_names | trace.names


def _innermost(error: BaseException, function: Callable[..., Any], cell_name: str) -> Where:
    """The line of `function` that the error passed through."""
    code, traceback = code_of(function), error.__traceback__
    line = code.co_firstlineno
    while traceback is not None:
        if traceback.tb_frame.f_code is code:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return Where(code.co_filename, line, cell_name)


def _outputs(
    returned: Any, trace: Trace, leaves: dict[str, Symbol], options: Options, where: Where
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
        if symbol.shape is None and symbol.inputs:
            as_vector(symbol, f"the new {name}")
        shape = symbol.shape
        if name != "output" and leaves[name].shape == () and shape and len(shape) == 1:
            trace.unify(shape[0], Dim.of(1))
            symbol = number_of(symbol)
        if name != "output":
            _match_state(name, symbol, leaves[name], trace, where)
        if name == names[0] and (symbol.shape is None or len(symbol.shape) > 1):
            hint = "Multiply by a vector."
            if name != "output":
                hint = "Return an output before the states: output=True."
            trace.fail(f"expected a vector as output, got {symbol.text}. {hint}", where)
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
    resolved = trace.resolve_shape(new_shape or ())
    sizes = "..."
    if len(resolved) == 2 and not any(dim.unknowns for dim in resolved):
        sizes = repr(tuple(str(dim) for dim in resolved))
    hint = f"Return a value of the state's size, or set sizes={{{name!r}: {sizes}}}."
    if over_positions(new) and not over_positions(old):
        hint = "Over positions weights @ rows, sum(v, dim=0) and mean(v, dim=0) are vectors."
    trace.fail(
        f"expected the new state {name} of shape {_text(trace, old_shape)}, got {got} "
        f"({new.text}). " + (hint_left_of_rows(new) or hint),
        where,
    )


def _text(trace: Trace, shape: tuple[Dim, ...]) -> str:
    return "[" + ", ".join(map(str, trace.resolve_shape(shape))) + "]" if shape else "a scalar"


def _close_sizes(
    trace: Trace, leaves: dict[str, Symbol], signature: Signature, options: Options, where: Where
) -> None:
    """Name what is given and open; any other open size is the user's mistake."""
    for name in signature.further:
        for dim in leaves[name].shape or ():
            if trace.origins(dim):
                trace.unify(dim, Dim.named(f"I_{name}"))
    for letter, names in (("C", options.context), ("K", options.memory)):
        for name in names:
            for dim in leaves[name].shape or ():
                if trace.origins(dim):
                    trace.unify(dim, Dim.named(letter if len(names) == 1 else f"{letter}_{name}"))
    _check_positions(trace, leaves, options, where)
    for name in signature.parameters:
        symbol = leaves[name]
        if symbol.shape is None:
            trace.fail(
                f"expected every parameter to be used, got {name!r} unused. Use it in an "
                f"equation, give it a default value to make it a constant, or take it away.",
                where,
            )
        parts = ("rows", "columns") if len(symbol.shape) == 2 else ("size",)
        for part, dim in zip(parts, symbol.shape, strict=False):
            if trace.origins(dim):
                trace.fail(
                    f"expected every size to follow from the equations, got the {part} of {name} "
                    f"open. "
                    f"Name it: sizes={_named_sizes(trace, name, symbol, signature)}.",
                    symbol.where,
                )


def _check_positions(
    trace: Trace, leaves: dict[str, Symbol], options: Options, where: Where
) -> None:
    """How many positions there are only memories know, and states of that size."""
    for name, symbol in leaves.items():
        shape = trace.resolve_shape(symbol.shape or ())
        own = shape[1:] if name in options.memory else shape
        if shape == (POSITIONS,) and name in (*options.states, *options.masks):
            continue
        if any(set(dim.names) & set(POSITIONS.names) for dim in own):
            trace.fail(
                f"expected sizes that a layer has, got {name} of shape {shape_text(shape)}: S is "
                f"the number of vectors in the memory of a call, which states alone can have "
                f"beside memories, by sizes={{'state': 'S'}}. "
                + (
                    f"A vector for each position, beside numbers, has a size of its own: "
                    f"sizes={{{name!r}: 'A'}}."
                    if name in trace.parameters
                    else f"Give {name} another size."
                ),
                symbol.where if name not in options.states else where,
            )


def _say_what_surprises(
    outputs: list[tuple[str, Symbol]],
    leaves: dict[str, Symbol],
    signature: Signature,
    options: Options,
    where: Where,
) -> None:
    """Warn of what is allowed and hardly ever meant; of a parameter that nothing reads the size is
    not known, so that it is an error instead."""
    returned = [symbol for _, symbol in outputs]
    uses = [(child, s.op) for s in _ordered(returned, {}) for child in s.inputs]
    read = {*returned, *(symbol for symbol, _ in uses)}
    roles = dict.fromkeys(options.states, "the state")
    roles |= dict.fromkeys(options.context, "the context")
    roles |= dict.fromkeys(signature.further, "the input")
    roles |= dict.fromkeys(options.memory, "the memory")
    roles |= {name: role for name, role in _only(signature) if name}
    for name, role in roles.items():
        if leaves[name] not in read:
            where.warn(f"nothing reads {role} {name}. Use it, or take it away.")
    only_added = read - {symbol for symbol, op in uses if op not in ("add", "sub")}  # biases
    for name in _vectors_among_inputs(signature, leaves, options):
        if leaves[name] in only_added and not name.startswith(signature.input or "?"):
            continue
        shape = _text(leaves[name].trace, leaves[name].shape or ())
        where.warn(
            f"{name} is a learned vector {shape}, as every argument is that has no other role, and "
            f"no second input. For a second input write "
            f"inputs={(*signature.inputs, name)!r}, for one value a sequence "
            f"context={name!r}, for a number {name}=0.1. "
            f"sizes={{{name!r}: ...}} says that a vector is meant."
        )


def _only(signature: Signature) -> tuple[tuple[str | None, str], ...]:
    return ((signature.input, "the input"), (signature.step, "the step index"))


def _vectors_among_inputs(
    signature: Signature, leaves: dict[str, Symbol], options: Options
) -> list[str]:
    """Parameters that stand where inputs do, before all matrices, and are used as inputs are; or
    that are called as the input is, with a number behind."""
    said = {*options.sizes, *options.init, *options.heads}
    vectors = [name for name in signature.parameters if len(leaves[name].shape or ()) < 2]
    first = next((name for name in signature.parameters if name not in vectors), None)
    before = signature.parameters[: signature.parameters.index(first)] if first else ()
    like_input = re.compile(rf"{re.escape(signature.input or '?')}_?\d+")
    return [
        name
        for name in vectors
        if name not in said and (name in before or like_input.fullmatch(name))
    ]


def _named_sizes(trace: Trace, name: str, symbol: Symbol, signature: Signature) -> str:
    """What to write for a parameter with open sizes: those that are known, and new names."""
    shape = trace.resolve_shape(symbol.shape or ())
    taken = {"I", "H", *signature.constants}
    taken |= {other for dims in signature.sizes.values() for dim in dims for other in dim.names}
    free = (letter for letter in "RPQSKLMN" if letter not in taken)
    names = {unknown: Dim.named(next(free)) for dim in shape for unknown in dim.unknowns}
    parts = [str(dim.substitute(names)) for dim in shape]
    return repr({name: tuple(parts) if len(parts) > 1 else parts[0]})


def _lower(
    trace: Trace,
    leaves: dict[str, Symbol],
    signature: Signature,
    options: Options,
    outputs: list[tuple[str, Symbol]],
    local_names: dict[Symbol, str],
) -> Graph:
    """The traced symbols as graph nodes with resolved sizes."""
    kinds = dict.fromkeys(signature.parameters, "parameter")
    kinds.update(dict.fromkeys(options.states, "state"))
    kinds.update(dict.fromkeys(options.context, "context"))
    kinds.update(dict.fromkeys(signature.further, "further"))
    kinds.update(dict.fromkeys(options.memory, "memory"))
    kinds.update({name: mask.kind for name, mask in options.masks.items()})
    returned = [value for _, value in outputs]
    read = {*returned, *(child for value in _ordered(returned, {}) for child in value.inputs)}
    arrays = {name: symbol for name, (_, symbol) in trace.arrays.items() if symbol in read}
    kinds.update(dict.fromkeys(arrays, "array"))
    leaves = leaves | arrays
    if signature.step:
        kinds[signature.step] = "step"
    if signature.input:
        kinds[signature.input] = "input"
    order = [name for kind in _ORDER for name in _in_order(kind, kinds, signature, options)]
    nodes: dict[Symbol, Node] = {
        leaves[name]: leaf(kinds[name], name, trace.resolve_shape(leaves[name].shape or ()))
        for name in order
    }
    if options.memory:
        nodes[trace.inside] = inside()
    inputs = tuple(nodes.values())
    ordered = _ordered(returned, nodes)
    fixed = ("parameter", "array", KINDS["call"])
    _check_matrices(ordered, [leaves[n] for n in order if kinds[n] not in fixed], trace)
    for symbol in ordered:
        attrs = tuple((key, _resolved(value, trace)) for key, value in symbol.attrs.items())
        shape = trace.resolve_shape(symbol.shape or ())
        nodes[symbol] = intern(symbol.op, tuple(nodes[i] for i in symbol.inputs), attrs, shape)
    named = {
        name: nodes[value]
        for value, name in local_names.items()
        if value in nodes and nodes[value] not in inputs
    }
    names = {node: name for name, node in named.items()}
    named_outputs = tuple((name, nodes[value]) for name, value in outputs)
    return Graph(inputs=inputs, outputs=named_outputs, names=names)


def _resolved(value: Any, trace: Trace) -> Any:
    """An attribute with the sizes in it resolved."""
    if isinstance(value, Dim):
        return trace.resolve(value)
    return trace.resolve_shape(value) if isinstance(value, tuple) else value


_OF_THE_VECTOR = "Multiply the vector instead: s * (W @ v)."


def _check_matrices(ordered: list[Symbol], varying_leaves: list[Symbol], trace: Trace) -> None:
    """A matrix is made of parameters: time and batch are for vectors and scalars."""
    varying = set(varying_leaves)
    for symbol in ordered:
        if any(child in varying for child in symbol.inputs):
            varying.add(symbol)
            if len(symbol.shape or ()) > 1 and not over_rows(symbol):
                own = has_own_rows(symbol.inputs[0].shape or ())
                trace.fail(
                    f"expected matrices made of parameters alone, got {symbol.text} of what "
                    f"changes from step to step. "
                    + ("Put it beside @: S.T @ v." if own else _OF_THE_VECTOR),
                    symbol.where,
                )


def _in_order(
    kind: str, kinds: dict[str, str], signature: Signature, options: Options
) -> list[str]:
    orders = {
        "state": options.states,
        "context": options.context,
        "memory": options.memory,
        "further": signature.further,
    }
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
