"""Cells made of cells: the equations of one, traced again with something in them changed.

What comes out is a Cell like any other: it prints, it has a LaTeX form, the compiler sees one
recurrence, and it can be composed again. `replace` is for studies of variants; the composers that
the literature names are in `recurra.compose`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from typing import Any

from recurra.errors import CellError
from recurra.ir import (
    OPS,
    Dim,
    Group,
    Node,
    Shape,
    has_own_rows,
    has_rows,
    is_inside,
    shape_text,
    topological,
)
from recurra.lang.cell import Cell, Recipe
from recurra.lang.masks import Mask
from recurra.lang.signature import Options
from recurra.lang.symbols import Symbol, elementwise, lift, trace_of
from recurra.lang.trace import Trace
from recurra.lang.where import users_module

Edit = Callable[[Node, Symbol, "NamedSymbols"], Symbol]
Finish = Callable[["NamedSymbols", tuple[Symbol, ...]], tuple[Any, ...]]


class NamedSymbols:
    """The values of a cell's equations by name, as symbols of the cell that is being made.

    `values.f` is the value that the equations call f; of an input that they assign anew, `c = ...`,
    the new one, and `values.old("c")` the old.
    """

    def __init__(self, cell: Cell, given: Mapping[str, Symbol], trace: Trace, edit: Edit) -> None:
        self._cell, self._trace, self._edit = cell, trace, edit
        self._given = dict(given)
        self._sizes = {name: trace.unknown(f"{name} of {cell.name}") for name in cell.size_names}
        self._symbols = {node: self._leaf(node) for node in cell.equations.inputs}
        self._open: set[Node] = set()  # of what an edit is being asked
        self._named = {name: node for node, name in cell.equations.names.items()}

    def _leaf(self, node: Node) -> Symbol:
        """What was given for an input of the cell, its size made equal to the input's own."""
        if is_inside(node):
            return self._trace.inside
        symbol = self._given[node.name]
        if symbol.op == "const":
            return symbol
        wanted = self._here(node.shape)
        found: Shape = wanted if symbol.shape is None else symbol.shape
        symbol.shape = found
        same_rank = len(found) == len(wanted)
        if not same_rank or not all(map(self._trace.unify, found, wanted)):
            self._trace.fail(
                f"{self._cell.name}: expected {node.name} of shape {shape_text(node.shape)}, got "
                f"{symbol.text} of shape {shape_text(self._trace.resolve_shape(found))}. "
                f"Use another value."
            )
        return symbol

    def _here(self, shape: Shape) -> Shape:
        """A shape of the cell, in the sizes of the one that is being made."""
        return tuple(dim.substitute(self._sizes) for dim in shape)

    def __getattr__(self, name: str) -> Symbol:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self._named:
            return self.of(self._named[name])
        return self.old(name)

    def old(self, name: str) -> Symbol:
        """The input, state or parameter of that name, or what the composer has added."""
        if name not in self._given:
            known = ", ".join([*self._named, *self._given])
            self._trace.fail(f"expected a value of {self._cell.name}, got {name!r}. Use {known}.")
        return self._given[name]

    def of(self, node: Node) -> Symbol:
        """The symbol for a node of the cell's equations, made when it is first asked for."""
        for needed in topological([node], stop=self._symbols):  # before it, and in no recursion
            if needed in self._symbols:  # an edit may have asked for it meanwhile
                continue
            if needed in self._open:
                self._trace.fail(
                    f"expected what takes the place of {self._cell.equations.names[needed]} as a "
                    f"function of values before it, got one that reads it again, or what is made "
                    f"of it. Write it with others."
                )
            inputs = tuple(self._symbols[child] for child in needed.inputs)
            self._open.add(needed)
            self._symbols[needed] = self._edit(needed, self.made(needed, inputs), self)
        return self._symbols[node]

    def made(self, node: Node, inputs: tuple[Symbol, ...]) -> Symbol:
        """The node's operation on `inputs`; what numbers have made trivial is not written."""
        if node.op == "mul" and not has_rows(node.shape):
            for factor in inputs:
                if factor.op == "const" and factor.attrs["value"] == 0.0:
                    return factor
        if OPS[node.op].group is Group.ELEMENTWISE:
            return elementwise(node.op, *inputs, **dict(node.attrs))
        attrs = {key: self._attribute(value) for key, value in node.attrs}
        wide = tuple(map(self.widened, inputs, node.inputs))
        return Symbol(self._trace, node.op, wide, attrs, self._here(node.shape))

    def _attribute(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return self._here(value)
        return value.substitute(self._sizes) if isinstance(value, Dim) else value

    def widened(self, symbol: Symbol, like: Node) -> Symbol:
        """A number that has taken the place of a vector, as a vector; of rows, as rows."""
        if symbol.shape != () or not like.shape:
            return symbol
        shape = self._here(like.shape)
        if not has_own_rows(shape):
            return self._expanded(symbol, shape)
        blocks, column = (
            {"blocks": shape[0].blocks},
            self._expanded(symbol, (shape[0].in_blocks(0),)),
        )
        if len(shape) == 1:
            return Symbol(self._trace, "column", (column,), blocks, shape)
        ones = self._expanded(lift(1.0, self._trace), (shape[1] * shape[0].blocks,))
        return Symbol(self._trace, "outer_vectors", (column, ones), blocks, shape)

    def _expanded(self, symbol: Symbol, shape: Shape) -> Symbol:
        return Symbol(self._trace, "expand", (symbol,), {"shape": shape}, shape)

    def name_open_sizes(self, changed: Mapping[str, Dim]) -> None:
        """Sizes that nothing fixes any more, because what did is gone, keep their names."""
        for name, size in self._sizes.items():
            if self._trace.origins(size):
                self._trace.unify(size, changed.get(name, Dim.named(name)))

    def returned(self) -> tuple[Symbol, ...]:
        """What the cell's function returned; its values keep their names, in their order."""
        for node, name in self._cell.equations.names.items():
            symbol = self.of(node)
            if symbol.op != "const":
                self._trace.names.setdefault(symbol, name)
        outputs = self._cell.equations.outputs
        own = outputs if self._cell.options.output else outputs[1:]
        return tuple(self.widened(self.of(node), node) for _, node in own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a composer changes in a cell.

    Attributes:
        name: the new cell's.
        doc: the new cell's docstring.
        edit: takes a node of the base's equations, its symbol, and all values; gives the symbol
            that takes its place.
        finish: takes all values and what the equations return; gives what is returned instead.
        output: whether that has an output before the states; None for as the base has it.
        numbers: numbers for parameters of the base.
        parameters: the shapes of new parameters, by name.
        masks: new random masks, by name.
        memory: new memories, by name.
        feed: takes all that is given, by name; gives what the base reads in place of some of it.
        shapes: those of inputs of the base that are not as `sizes` says.
        default_sizes: of new sizes.
        sizes: sizes of the base that are others here: {"I": H}.
        init: how the new parameters start.
        composer: the function of `recurra.compose` that made it, and
        options: its arguments but the cell, as JSON has them; what is saved or pickled keeps both.
    """

    name: str
    doc: str
    edit: Edit = lambda node, symbol, values: symbol
    finish: Finish = lambda values, returned: returned
    output: bool | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, Shape] = field(default_factory=dict)
    masks: Mapping[str, Mask] = field(default_factory=dict)
    memory: Mapping[str, Shape] = field(default_factory=dict)
    feed: Callable[[Mapping[str, Symbol]], Mapping[str, Symbol]] = lambda given: {}
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    default_sizes: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, Dim] = field(default_factory=dict)
    init: Mapping[str, float | str] = field(default_factory=dict)
    composer: Callable[..., Cell] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def composed(base: Cell, how: Composition) -> Cell:
    """The cell whose equations are those of `base` with the changes of `how`.

    Its inputs, states, constants and sizes are those of `base`, and so are those of the parameters
    that the new equations still read.
    """
    module = users_module()  # where the cell is kept under its name, for pickle
    first = _traced(base, how, how.numbers, module)
    read = {child for node in first.equations.nodes() for child in node.inputs}
    read |= set(first.equations.output_nodes)
    unread = {
        node.name: 0.0
        for node in first.equations.inputs
        if node.attr("kind") == "parameter" and node not in read
    }
    made = _traced(base, how, {**how.numbers, **unread}, module) if unread else first
    given = {name for node in made.equations.inputs for dim in node.shape for name in dim.names}
    used = {name for node in made.equations.nodes() for dim in node.shape for name in dim.names}
    if used - given:
        raise CellError(
            f"{how.name}: expected an input, state or parameter of size {min(used - given)}, got "
            f"none any more. Replace less, or a value by a function of a vector."
        )
    return made


def _traced(base: Cell, how: Composition, numbers: Mapping[str, float], module: str) -> Cell:
    inputs = (node for node in base.equations.inputs if not is_inside(node))
    kept = {node.name: node for node in inputs if node.name not in numbers}
    names = (*kept, *how.memory, *how.masks, *how.parameters)
    defaults = {**dict.fromkeys(names, inspect.Parameter.empty), **base.constants}
    signature = inspect.Signature(
        [
            inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
            for key, default in defaults.items()
        ]
    )

    def function(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        constants = {key: given.arguments.pop(key) for key in base.constants}
        if constants != base.constants:  # edits are of the nodes that the base has with its own
            raise CellError(
                f"{how.name}: expected the constants of {base.name}, {base.constants}, got "
                f"{constants}. Change them first, and compose the cell that with_constants gives."
            )
        trace = trace_of(tuple(given.arguments.values()), how.name)
        known = {key: lift(value, trace) for key, value in numbers.items()}
        symbols = {key: lift(value, trace) for key, value in given.arguments.items()} | known
        values = NamedSymbols(base, {**symbols, **how.feed(symbols)}, trace, how.edit)
        first, *others = how.finish(values, values.returned())
        values.name_open_sizes(how.sizes)
        return (first, *others) if others else first

    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__name__ = function.__qualname__ = how.name
    function.__doc__, function.__module__ = how.doc, module
    function.names_its_values = True  # type: ignore[attr-defined] - not by its local variables
    if how.composer is not None:
        function.recipe = Recipe(base, how.composer, how.options)  # type: ignore[attr-defined]
    unsized = {base.step, *base.arrays}
    shapes = {key: node.shape for key, node in kept.items() if key not in unsized}
    shapes |= {key: mask.shape for key, mask in how.masks.items()} | dict(how.parameters)
    shapes |= how.memory
    masks = {
        key: replaced(mask, shape=tuple(dim.substitute(how.sizes) for dim in mask.shape))
        for key, mask in {**base.masks, **how.masks}.items()
    }
    return Cell(
        function,
        Options(
            states=base.states,
            context=base.context,
            inputs=base.inputs,
            memory=(*base.memory, *how.memory),
            arrays={key: array for key, array in base.arrays.items() if key in kept},
            sizes={**{k: _sizes(shape, how.sizes) for k, shape in shapes.items()}, **how.shapes},
            init={key: rule for key, rule in base.init.items() if key in kept} | dict(how.init),
            output=base.options.output if how.output is None else how.output,
            heads={key: count for key, count in base.options.heads.items() if key in kept},
            masks={key: mask for key, mask in masks.items() if key in shapes},
            default_sizes={**base.options.default_sizes, **how.default_sizes},
        ),
    )


def _sizes(shape: Shape, changed: Mapping[str, Dim]) -> Shape:
    return tuple(dim.substitute(changed) for dim in shape)


def replace(
    base: Any, name: str, doc: str = "", /, **values: int | float | Callable[[NamedSymbols], Any]
) -> Cell:
    """A cell with some of its values replaced: what is left when a gate is taken away.

    ```python
    coupled = replace(cells.lstm, "coupled", f=lambda v: 1 - v.i)
    no_output_gate = replace(cells.lstm, "no_output_gate", o=1)
    ```

    Args:
        base: the cell to change.
        name: the new cell's.
        doc: the new cell's docstring; without it that of `base`.
        values: what takes the place of each named value or parameter of `base`: a number, or a
            function of the cell's values, which stand in it under their names. Parameters that
            nothing reads any more are gone.

    Raises:
        CellError: when `base` has no value of a name.
    """
    if not isinstance(base, Cell):
        raise TypeError(
            f"replace: expected a cell, got {type(base).__name__} {base!r:.60}. Use "
            f"cells.get(name), or recurra.compose.replace, which takes names."
        )
    named = set(base.equations.names.values())
    for key in values:
        if key not in named and key not in base.parameters:
            raise CellError(
                f"replace: expected a value or a parameter of {base.name}, got {key!r}. "
                f"Use one of {', '.join([*sorted(named), *base.parameters])}."
            )
    numbers: dict[str, float] = {}
    for key in base.parameters:
        value = values.pop(key, None)
        if callable(value):
            raise CellError(f"replace: expected a number for the parameter {key}, got a function.")
        if value is not None:
            numbers[key] = float(value)

    def edit(node: Node, symbol: Symbol, of: NamedSymbols) -> Symbol:
        value = values.get(base.equations.names.get(node, ""))
        if value is None:
            return symbol
        new = lift(value(of) if callable(value) else value, symbol.trace)
        return of.widened(new, node) if has_rows(node.shape) else new

    how = Composition(name=name, doc=doc or base.doc, edit=edit, numbers=numbers)
    return composed(base, how)
