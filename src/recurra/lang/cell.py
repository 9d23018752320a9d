"""`@cell`: a function of equations becomes a Cell, checked and sized when it is defined."""

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pickle import PicklingError, UnpicklingError
from typing import TYPE_CHECKING, Any, overload

from recurra.errors import CellError
from recurra.ir import Dim, Graph, Node, Stage, apply, const, has_positions, verify
from recurra.lang import libraries as libraries  # what functions of torch and numpy mean
from recurra.lang import numpy_names as numpy_names
from recurra.lang.arrays import is_array, kind_of
from recurra.lang.calling import called
from recurra.lang.on_tensors import is_plain_call
from recurra.lang.signature import Heads, Options, Signature, Sizes
from recurra.lang.tracing import trace_equations

if TYPE_CHECKING:
    from recurra.show import picture


class Cell:
    """One step of a recurrence, as equations with symbolic sizes.

    Attributes:
        name: what the function was called.
        doc: its docstring.
        input: the name of the input x_t; None for an autonomous system.
        inputs: the names of all that is given at each step, x first.
        further: those but x.
        states: the names of the recurrent states, in order; the first is the output unless the
            cell was made with output=True.
        context: the names of the inputs that stay constant through time.
        memory: the names of the sequences of vectors that stay constant through time.
        step: the name of the step index, "t", or None.
        parameters: symbolic shape by name, in the order of the signature: () is a learned scalar.
        constants: the arguments with a default value that is no array.
        arrays: vectors and matrices that are not learned, by name, float64.
        state_shapes: symbolic shape of each state: one size, or the rows and columns of a matrix.
        heads: the number of blocks of each block-diagonal matrix, and of matrix states.
        masks: the random masks that a layer draws in training, by name.
        evaluation: the cell with each random mask at its mean; itself, if it has none.
        init: how parameters start, by name: a number, a rule in one word, or a function.
        size_names: the sizes that a layer must give: I and H first, then the cell's own.
        default_sizes: what sizes of its own are when a layer does not say.
        equations: the graph; its outputs are "output", then one named like each state.
    """

    def __init__(self, function: Callable[..., Any], options: Options) -> None:
        self.function = function
        self.options = options
        self.name = function.__name__
        self.doc = inspect.getdoc(function) or ""
        signature = Signature(function, options)
        self.input = signature.input
        self.inputs = signature.inputs
        self.further = self.inputs[1:]
        self.states = options.states
        self.context = options.context
        self.memory = options.memory
        self.step = signature.step
        self.constants = {k: v for k, v in signature.constants.items() if not is_array(v)}
        self._changeable = tuple(signature.constants)
        self.heads = signature.heads
        self.masks = dict(options.masks)
        self.init = signature.init
        traced, self.arrays = trace_equations(self.name, function, signature, options)
        self.equations = verify(traced, Stage.CELL)
        self.parameters = {node.name: node.shape for node in _leaves(self.equations, "parameter")}
        self.state_shapes = tuple(
            node.shape or (Dim.of(1),) for node in _leaves(self.equations, "state")
        )
        self.state_sizes = tuple(shape[0] for shape in self.state_shapes)
        self.context_sizes = tuple(_size(node) for node in _leaves(self.equations, "context"))
        self.further_shapes = {node.name: node.shape for node in _leaves(self.equations, "further")}
        self.memory_sizes = tuple(node.shape[1] for node in _leaves(self.equations, "memory"))
        self.output_size = _size(self.equations.output("output"))
        self.size_names = _size_names(self.equations)
        self.default_sizes = self._default_sizes(signature)
        self.evaluation: Cell = self._calm() if self.masks else self
        self.__doc__ = function.__doc__
        self.__name__, self.__module__ = function.__name__, function.__module__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The equations: on symbols inside those of another cell, or on tensors, one step.

        With tensors, of one sequence and without a batch, the function itself is run, or of a cell
        that is made of others its equations. A vector is [H], a memory [S, K], a matrix state
        [P, Q]; of what has `heads` the blocks lie one below the other, [H, H / n]; what is a number
        has no dimension. A random mask that is not given is its mean. `torch.vmap` runs it for
        many sequences.

        Returns:
            What the function returns, as tensors: the new states, behind the output if it has one.
        Raises:
            ValueError: when a tensor has another shape than its argument.
            TypeError: when an argument is missing, unknown or no tensor.
        """
        given = self._bound(args, kwargs)
        kept = {**self.options.constants, **self.options.arrays}
        changed = {k: v for k, v in kept.items() if k not in given}
        if is_plain_call(list(given.values())):
            return self._on_tensors({**given, **changed})
        return self.function(*args, **kwargs, **changed)

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by their names."""
        signature = inspect.signature(self.function)
        try:
            return signature.bind_partial(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(
                f"{self.name}: expected the arguments {', '.join(signature.parameters)}, got "
                f"{error}. Leave out what is not among them."
            ) from None

    def _on_tensors(self, given: dict[str, Any]) -> Any:
        changed = {k: v for k, v in given.items() if v is not self.constants.get(k, v)}
        if not changed:
            return called(self, given)
        of = self.with_constants(**changed)  # of other sizes and arrays, it may be
        return called(of, {**given, **of.constants})

    def with_constants(self, **constants: Any) -> "Cell":
        """The same equations with other values for arguments that have a default.

        Raises:
            ValueError: when a name is none of the cell's constants.
        """
        for name in constants:
            if name not in self._changeable:
                raise ValueError(
                    f"{self.name}.with_constants: expected one of {sorted(self._changeable)}, "
                    f"got {name!r}. Give an argument that has a default value."
                )
        return Cell(self.function, self.options.with_constants(constants))

    def with_init(self, **init: Any) -> "Cell":
        """The same equations with other rules for how parameters start, in the form of `cell`'s.

        Raises:
            CellError: when a name is no parameter's, or a rule none.
        """
        return Cell(self.function, self.options.with_rules(init))

    def _default_sizes(self, signature: Signature) -> dict[str, Dim]:
        """The defaults of `default_sizes=`; each is of a size of the cell's own, in I and H."""
        own = self.size_names[2:]
        if hasattr(self.function, "names_its_values"):  # of a cell that may have had more sizes
            return {name: size for name, size in signature.default_sizes.items() if name in own}
        for name, size in signature.default_sizes.items():
            unknown = [other for other in size.names if other not in ("I", "H")]
            if name in own and not unknown:
                continue
            got = f"{size} for {name}" if name in own else repr(name)
            signature.fail(
                f"default_sizes: expected sizes of {', '.join(own) or 'nothing'}, written in I and "
                f"H, got {got}. Name what `sizes=` has named."
            )
        return signature.default_sizes

    def own_sizes(self, input_size: int, hidden_size: int) -> dict[str, int]:
        """The defaults as numbers: whole ones, at least 1."""
        known = {"I": input_size, "H": hidden_size}
        return {name: size.floor(known) for name, size in self.default_sizes.items()}

    def usual_sizes(self, input_size: int, hidden_size: int) -> dict[str, int]:
        """A number for each size of the cell's own, for whoever has only I and H to give.

        What the cell says, and half of H, at least 1, for sizes of which it says nothing. The sizes
        of contexts and further inputs are not among them: those are what is given.
        """
        given = {name for size in self.context_sizes for name in size.names}
        given |= {n for shape in self.further_shapes.values() for dim in shape for n in dim.names}
        own = [name for name in self.size_names[2:] if name not in given]
        halves = dict.fromkeys(own, max(1, hidden_size // 2))
        return {**halves, **self.own_sizes(input_size, hidden_size)}

    def count_parameters(self, sizes: Mapping[str, int]) -> int:
        """How many numbers its parameters have.

        Args:
            sizes: a number for each of `size_names`.

        Raises:
            ValueError: when a size has no whole number of blocks or parts.
        """
        shapes = self.parameters.values()
        return sum(math.prod(dim.evaluate(sizes) for dim in shape) for shape in shapes)

    def _calm(self) -> "Cell":
        """The cell with each random mask at its mean."""
        new = {
            node: const(self.masks[node.name].mean) if node.name in self.masks else node
            for node in self.equations.inputs
        }
        for node in self.equations.nodes():
            new[node] = apply(node.op, *(new[child] for child in node.inputs), **dict(node.attrs))
        calm = object.__new__(Cell)
        calm.__dict__.update(self.__dict__, masks={}, evaluation=calm)
        calm.equations = Graph(
            inputs=tuple(node for node in self.equations.inputs if node.name not in self.masks),
            outputs=tuple((name, new[node]) for name, node in self.equations.outputs),
            names={new[node]: name for node, name in self.equations.names.items()},
        )
        return calm

    # What shows a cell is imported when one is shown: its graphs take a tenth of a second to load.

    def latex(self) -> str:
        """The equations as a paper sets them, for a LaTeX align environment."""
        from recurra import show

        return show.latex(self.name, self.equations)

    def graph(self) -> "picture.Picture":
        """The equations as a picture: `.save("cell.svg")`, or shown by a notebook."""
        from recurra.show import picture

        return picture.draw(self.name, self.equations)

    def _repr_latex_(self) -> str:
        from recurra.lang import page

        return page.math(self)

    def _repr_html_(self) -> str:
        from recurra.lang import page

        return page.html(self)

    def __str__(self) -> str:
        from recurra import show

        return show.text(self.name, self.equations)

    def __repr__(self) -> str:
        return f"<cell {self.name}({', '.join(self.states)})>"

    def __deepcopy__(self, memo: object) -> "Cell":
        return self  # immutable, and shared by every layer that uses it

    def __reduce__(self) -> tuple[Callable[..., "Cell"], tuple[Any, ...]]:
        changed = (dict(self.options.constants), dict(self.options.rules))
        kept: Any = sys.modules.get(self.function.__module__)
        for part in self.function.__qualname__.split("."):
            kept = getattr(kept, part, None)
        if not isinstance(kept, Cell) or kept.function is not self.function:
            recipe = recipe_of(self)
            if recipe is not None:
                made = (recipe.composer, recipe.base, dict(recipe.options))
                return recomposed, (*made, dict(self.options.rules))
            return self._as_document()
        return restored, (self.function.__module__, self.function.__qualname__, *changed)

    def _as_document(self) -> tuple[Callable[..., "Cell"], tuple[Any, ...]]:
        """How pickle keeps a cell that is under no name where another process can find it."""
        from recurra.lang.document import cell_of_document, document_of

        document = document_of(self)
        lost = [name for name in self.init if name not in document["init"]]
        if lost:
            raise PicklingError(
                f"cell {self.name}: expected it in {self.function.__module__} under its name, "
                f"where another process can find it, or rules of init in a word, got a function "
                f"for {lost[0]}. Assign the cell there."
            )
        return cell_of_document, (document,)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make a composed cell again: composer(base, **options)."""

    base: Cell
    composer: Callable[..., Cell]
    options: Mapping[str, Any]


def recipe_of(cell: Cell) -> Recipe | None:
    """How the cell was composed; None of a cell that was written, or made by `replace`."""
    return getattr(cell.function, "recipe", None)


def restored(
    module: str,
    qualname: str,
    constants: Mapping[str, Any],
    rules: Mapping[str, Any] | None = None,
) -> Cell:
    """A pickled cell: found again under the name that its function was defined with."""
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    if not isinstance(found, Cell):
        raise UnpicklingError(
            f"cell: expected a cell in {module} under the name {qualname}, got {found!r}. "
            f"Assign it there."
        )
    found = found.with_constants(**constants) if constants else found
    return found.with_init(**rules) if rules else found


def recomposed(
    composer: Callable[..., Cell],
    base: Cell,
    options: Mapping[str, Any],
    rules: Mapping[str, Any] | None = None,
) -> Cell:
    """A pickled cell that was composed: made again as it was made."""
    made = composer(base, **options)
    return made.with_init(**rules) if rules else made


@overload
def cell(function: Callable[..., Any], /) -> Cell: ...
@overload
def cell(
    *,
    state: str | tuple[str, ...] = "h",
    context: str | tuple[str, ...] = (),
    inputs: str | tuple[str, ...] = (),
    memory: str | tuple[str, ...] = (),
    sizes: Sizes | None = None,
    init: Mapping[str, Any] | None = None,
    heads: Heads | None = None,
    output: bool = False,
    default_sizes: Mapping[str, int | str] | None = None,
) -> Callable[[Callable[..., Any]], Cell]: ...
def cell(
    function: Callable[..., Any] | None = None,
    /,
    *,
    state: str | tuple[str, ...] = "h",
    context: str | tuple[str, ...] = (),
    inputs: str | tuple[str, ...] = (),
    memory: str | tuple[str, ...] = (),
    sizes: Sizes | None = None,
    init: Mapping[str, Any] | None = None,
    heads: Heads | None = None,
    output: bool = False,
    default_sizes: Mapping[str, int | str] | None = None,
) -> Cell | Callable[[Callable[..., Any]], Cell]:
    """Make a cell of a function that is written as the equations of one step.

    The first argument is the input x_t (unless it is a state: then the cell takes no input), the
    names in `state` are the recurrence, those in `context` stay constant through time, those in
    `inputs` are given at each step as x is, an argument named t is the index of the step, one with
    a default value is a constant, and every other one is a parameter: a matrix where it stands left
    of @, else a vector. Sizes follow from use: the input has size I, states have size H.

    Args:
        state: name or names of the states, in the order in which the function returns them.
        context: names of inputs that have one value for a whole sequence.
        inputs: names of what is given anew at each step, x first: ("x", "dt") for the time that has
            passed too. The others stand under their names where a layer is called:
            `layer(x, dt=gaps)`.
        memory: names of inputs that are a sequence of vectors, of size K, constant through time,
            for each sequence: what is there at each of its positions has a row of its own. `sizes=`
            may give a state the size "S", which has a number for each position.
        sizes: size names for arguments that are not of the usual size: {"r": "P"}; "1" makes a
            parameter a learned scalar; ("P", "H") sizes a matrix.
        init: how parameters start: a constant, {"b_f": 1.0}, or a rule in one word,
            {"W_hh": "orthogonal", "b_f": "chrono784", "b_i": "-b_f"}, or a function of the
            parameter, as `recurra.nn.initial` has them.
        heads: block-diagonal matrices and how many blocks each has, as a number or the name of a
            constant: {"R_z": "heads"}. Of such a matrix only the blocks exist, [rows, columns / n],
            and it multiplies vectors alone.
        default_sizes: numbers for sizes that `sizes=` has named, when a layer gives none, in I and
            H: {"P": "H/2"}, rounded down and at least 1.
        output: the function returns an output before the states, instead of the first state
            being the output.
    Raises:
        CellError: at the user's own line, when the equations are wrong.
        TypeError: when an option is not of the form above.
    """
    options = Options(
        states=_names("state", state),
        context=_names("context", context),
        inputs=_names("inputs", inputs),
        memory=_names("memory", memory),
        sizes=_by_name("sizes", sizes),
        init=_by_name("init", init),
        output=output,
        heads=_by_name("heads", heads),
        default_sizes=_by_name("default_sizes", default_sizes),
    )
    if function is None:
        return lambda f: _define(f, options)
    return _define(function, options)


def _define(function: Callable[..., Any], options: Options) -> Cell:
    if not callable(function) or not hasattr(inspect.unwrap(function), "__code__"):
        raise TypeError(
            f"cell: expected a function that is written as equations, got {kind_of(function)}. "
            f"Write one: def name(x, h, W, U, b): ..."
        )
    try:
        return Cell(function, options)
    except CellError as error:
        raise error.with_traceback(None) from None  # our own frames say nothing to the user


def _names(option: str, names: str | tuple[str, ...]) -> tuple[str, ...]:
    found = (names,) if isinstance(names, str) else names
    if not isinstance(found, tuple | list) or not all(isinstance(name, str) for name in found):
        raise TypeError(
            f"cell: expected {option} to be the name of an argument or a tuple of names, got "
            f"{kind_of(names)}. Values are given where a layer is called."
        )
    return tuple(found)


def _by_name(option: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(
            f"cell: expected {option} to be a dict by the names of arguments, got "
            f"{kind_of(given)}. Write {option}={{'name': ...}}."
        )
    return dict(given or {})


def _leaves(graph: Graph, kind: str) -> list[Node]:
    return [node for node in graph.inputs if node.attr("kind") == kind]


def _size(node: Node) -> Dim:
    return node.shape[0] if node.shape else Dim.of(1)


def _size_names(graph: Graph) -> tuple[str, ...]:
    """I and H first, whether or not they occur: a layer always has an input and a hidden size."""
    names: dict[str, None] = {"I": None, "H": None}
    for node in graph.inputs:
        for dim in node.shape[has_positions(node.shape) :]:
            names.update(dict.fromkeys(dim.names))
    return tuple(names)
