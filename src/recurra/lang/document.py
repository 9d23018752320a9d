"""A cell as a document of plain values, as JSON has them, and the same cell of it again.

What is written down is the graph of the equations, one operation a line, so that what comes back is
the same graph. Nothing of a document is run as code: its lines are looked up in a table of
operations and said again in the language, which refuses what a function of equations could not say.

    leaves   "parameter W_xh H I"         kind, name, and the size of each axis
    steps    "matvec W_xh x"              an operation and what it reads: a leaf, or the step %0
             "split[4,1] %2"              with numbers or sizes: here part 1 of 4, and
             "slice[0,H-3,3] %2"          along axis 0, from H - 3 on, 3 of it
    names    {"f": "%3"}                  what the equations call their values, in their order
    outputs  {"output": "%9", "h": "%9"}  in the order of the graph's
    arrays   {"A": "..."}                 the numbers of constant arrays, if there are any: float64,
                                          the lowest byte first, row by row, in base64
"""

import base64
import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from recurra.errors import CellError
from recurra.ir import POSITIONS, Dim, Graph, Node, Shape, is_inside, is_rows
from recurra.lang.cell import Cell
from recurra.lang.composition import NamedSymbols
from recurra.lang.functions import feature_size, over_memory, windows
from recurra.lang.linalg import over_parameters
from recurra.lang.masks import KINDS, Mask
from recurra.lang.matrices import as_vector_of_rows, flatten, outer, over_matrix, repeated, rows
from recurra.lang.products import blocks_product, product
from recurra.lang.signature import Options
from recurra.lang.slicing import cut
from recurra.lang.symbols import (
    FUNCTIONS,
    Symbol,
    as_matrix,
    as_vector,
    elementwise,
    has_rows,
    last_size,
    lift,
    over_positions,
    over_rows,
    row_count,
    shared_rows,
    trace_of,
)
from recurra.lang.trace import Trace

Document = dict[str, Any]

# Of any length a document could keep a reader busy for ever; the largest of our own cells has 20
# leaves and 47 steps, one that unrolls a thousand steps of four operations is within them.
MAX_LEAVES, MAX_STEPS, MAX_LINE, MAX_DOC = 1_000, 5_000, 10_000, 100_000
MAX_ARRAYS = 1 << 24  # of numbers in base64: a matrix of 1,200 rows and columns
_MAX_NUMBER = 2**24  # of a size: a factor, a divisor or a number of features

_UNARY = (
    *("abs", "cos", "detach", "exp", "expm1", "floor", "gelu", "log", "log1p", "neg", "relu"),
    *("sigmoid", "sign", "silu", "sin", "softplus", "sqrt", "tanh"),
)
_BINARY = (
    *("add", "div", "eq", "ge", "gt", "le", "lt", "maximum", "minimum", "mul", "ne", "pow", "sub"),
)
_NUMBER_OF = {"leaky_relu": ("slope",), "elu": ("alpha",), "clamp": ("lo", "hi")}
_OPERANDS = dict.fromkeys(_UNARY, 1) | dict.fromkeys(_BINARY, 2) | {"where": 3}
_OPERANDS |= dict.fromkeys(_NUMBER_OF, 1)
_OVER_MEMORY = {f"positions_{op}": op for op in ("max", "mean", "softmax", "sum")}
_OF_MATRICES = ("column", "vector", "rows", "flatten", "matrix_rows", "repeat")
_OF_MATRICES = (*_OF_MATRICES, "max_rows", "mean_rows", "sum_rows")
_OF_PARAMETERS = ("matrix_sum", "matrix_mean", "inverse", "matrix_exp", "diag", "diagonal")
_ROW_PRODUCTS = ("rows_product", "rows_dot", "read")
_OVER_ROWS = {f"{op}_rows": op for op in ("max", "mean", "sum")}
_REDUCTIONS = ("max", "mean", "softmax", "sum", "var")
_LINE = re.compile(r"([a-z_0-9]+)(?:\[([^\[\]\s]*)\])?((?: [^\s\[\]]+)*)")
_ENTRIES = {
    **{"name": str, "doc": str, "output": bool, "leaves": list, "steps": list, "names": dict},
    **{"outputs": dict, "constants": dict, "init": dict, "heads": dict, "default_sizes": dict},
    "masks": dict,
}


# ---- a cell as a document ------------------------------------------------------------------------


def document_of(cell: Cell) -> Document:
    """The cell written down.

    Constants that JSON lacks are left out, and so are rules of init that no word spells (a function
    of the user's own): such a parameter starts as one without a rule.

    Raises:
        ValueError: when the equations are longer than a document may be.
    """
    graph = cell.equations
    place = _places(graph)
    document = {
        "name": cell.name,
        "doc": cell.doc,
        "output": cell.options.output,
        "leaves": [_leaf_line(node) for node in graph.inputs if not is_inside(node)],
        "steps": [_step_line(node, place) for node in graph.nodes()],
        "names": {name: place[node] for node, name in graph.names.items()},
        "outputs": {name: place[node] for name, node in graph.outputs},
        "constants": plain_values(cell.constants),
        "init": rules_in_words(cell.init),
        "heads": dict(cell.heads),
        "default_sizes": {name: str(size) for name, size in cell.default_sizes.items()},
        "masks": {k: [m.rate, m.scale, m.each] for k, m in cell.masks.items()},
    }
    if cell.arrays:
        document["arrays"] = {name: _encoded(array) for name, array in cell.arrays.items()}
    _check_lengths(document)
    return document


def _places(graph: Graph) -> dict[Node, str]:
    """How each value of the graph is called where it is read."""
    steps = {node: f"%{number}" for number, node in enumerate(graph.nodes())}
    return steps | {node: node.name for node in graph.inputs}


def _leaf_line(node: Node) -> str:
    kind = "mask" if node.attr("kind") in KINDS.values() else node.attr("kind")
    return " ".join((kind, node.name, *map(_size_text, node.shape)))


def _step_line(node: Node, place: Mapping[Node, str]) -> str:
    op, attrs = node.op, dict(node.attrs)
    if op == "slice":
        parts = node.inputs[0].shape[attrs["axis"]].times(attrs["size"])
        part = attrs["start"].times(attrs["size"])
        rows = attrs["axis"] == is_rows(node.inputs[0].shape)
        if rows and parts is not None and part is not None:  # one of the equal parts of a split
            op, said = "split", [str(parts), str(part)]
        else:
            said = [str(attrs["axis"]), *map(_size_text, (attrs["start"], attrs["size"]))]
    elif op in ("expand", "repeat"):
        said = [_size_text(dim) for dim in attrs["shape"]]
    elif op == "layer_norm":
        said = [repr(attrs["eps"]), *(key for key in ("gain", "bias") if attrs[key])]
    elif op == "concat":
        said = []
    else:
        said = [repr(value) for value in attrs.values()]
    head = f"{op}[{','.join(said)}]" if said else op
    # which positions a memory has goes without saying
    return " ".join((head, *(place[child] for child in node.inputs if not is_inside(child))))


def _size_text(dim: Dim) -> str:
    """As a size is written, and of rows behind a ' in how many blocks."""
    return str(dim).replace(" ", "") + (f"'{dim.blocks}" if dim.blocks else "")


def plain_values(constants: Mapping[str, Any]) -> dict[str, Any]:
    """Those constants that are None, text or finite numbers."""
    return {
        name: value
        for name, value in constants.items()
        if value is None
        or isinstance(value, str)
        or (isinstance(value, int | float) and math.isfinite(value))
    }


def rules_in_words(rules: Mapping[str, Any]) -> dict[str, float | str]:
    """Those rules of init that are a number or a word, or that a word spells."""
    words = {
        name: rule if isinstance(rule, int | float | str) else getattr(rule, "word", None)
        for name, rule in rules.items()
    }
    return {name: word for name, word in words.items() if word is not None}


def same_equations(a: Cell, b: Cell) -> bool:
    """Whether two cells compute the same, operation by operation, from the same inputs."""
    ours, theirs = ((*c.equations.inputs, *c.equations.outputs) for c in (a, b))
    same_arrays = a.arrays.keys() == b.arrays.keys() and all(
        np.array_equal(array, b.arrays[name]) for name, array in a.arrays.items()
    )
    # nodes of one structure are one object
    return ours == theirs and a.masks == b.masks and same_arrays


# ---- a document as a cell ------------------------------------------------------------------------


def cell_of_document(document: object) -> Cell:
    """The cell that `document_of` wrote down: of the same graph, the same names and the same rules.

    Raises:
        ValueError: when the document is none that `document_of` has written.
    """
    if not isinstance(document, dict) or set(document) - {"arrays"} != set(_ENTRIES):
        raise ValueError(f"graph: expected the entries {', '.join(_ENTRIES)}, got others.")
    for name, kind in _ENTRIES.items():
        if type(document[name]) is not kind:
            raise ValueError(f"graph: expected {name} as {kind.__name__}, got another kind.")
    if type(document.get("arrays", {})) is not dict:
        raise ValueError("graph: expected arrays as dict, got another kind.")
    _check_lengths(document)
    try:
        cell = _Reader(document).cell()
        again = document_of(cell)
    except CellError as error:
        # without the place: no file of the user's has a part in it
        said = str(error).splitlines()[0].partition(f", in {document['name']}: ")[2] or str(error)
        raise ValueError(f"graph: {said:.400}") from None
    except (KeyError, TypeError, ArithmeticError, AttributeError, IndexError) as error:
        raise ValueError(f"graph: expected what recurra has written, got {error!r:.200}.") from None
    differing = [name for name in _ENTRIES if again[name] != document[name]]
    differing += ["arrays"] if again.get("arrays") != document.get("arrays") else []
    if differing:
        raise ValueError(f"graph: expected {differing[0]} as recurra writes them, got others.")
    return cell


def _check_lengths(document: Document) -> None:
    for name, most in (("leaves", MAX_LEAVES), ("steps", MAX_STEPS)):
        if len(document[name]) > most:
            raise ValueError(f"graph: expected at most {most} {name}, got {len(document[name])}.")
        longest = max((len(str(line)) for line in document[name]), default=0)
        if longest > MAX_LINE:
            raise ValueError(f"graph: expected lines of {name} up to {MAX_LINE}, got {longest}.")
    numbers = sum(len(_text(text)) for text in document.get("arrays", {}).values())
    if numbers > MAX_ARRAYS:
        raise ValueError(f"graph: expected at most {MAX_ARRAYS} letters of arrays, got {numbers}.")
    few = {k: v for k, v in document.items() if isinstance(v, dict) and k != "names"}
    for name, entry in few.items():
        if len(entry) > MAX_LEAVES:
            raise ValueError(f"graph: expected at most {MAX_LEAVES} {name}, got {len(entry)}.")
    if len(document["name"]) > MAX_LINE or len(document["doc"]) > MAX_DOC:
        raise ValueError(f"graph: expected a name and a docstring of at most {MAX_DOC} letters.")


class _Reader:
    """A document on its way to a cell."""

    def __init__(self, document: Document) -> None:
        self._document = document
        if not document["name"].isprintable() or not document["name"].strip():
            raise ValueError(f"graph: expected a name, got {document['name']!r:.80}.")
        self._kinds: dict[str, str] = {}
        self._shapes: dict[str, Shape] = {}
        self._arrays: dict[str, np.ndarray] = {}
        for line in document["leaves"]:
            self._read_leaf(line)
        if "memory" in self._kinds.values():  # S is a size of calls then
            over = {"S": POSITIONS}
            shapes = self._shapes.items()
            self._shapes = {n: tuple(d.substitute(over) for d in shape) for n, shape in shapes}
        self._steps = [
            self._read_step(number, line) for number, line in enumerate(document["steps"])
        ]
        self._cell: Cell | None = None

    def _read_leaf(self, line: object) -> None:
        kind, name, *sizes = _text(line).split(" ")
        if kind not in _KINDS:
            raise ValueError(f"graph: expected a kind of leaf, got {kind!r:.80}.")
        if not name.isidentifier() or name in self._kinds:
            raise ValueError(f"graph: expected a name of its own for a leaf, got {name!r:.80}.")
        self._kinds[name] = kind
        self._shapes[name] = tuple(map(_size, sizes))
        if kind == "array":
            text = self._document.get("arrays", {}).get(name)
            self._arrays[name] = _decoded(_text(text), self._shapes[name])

    def _read_step(self, number: int, line: object) -> tuple[str, list[str], list[int | str]]:
        """The operation, what is in its brackets, and the leaves and steps that it reads."""
        found = _LINE.fullmatch(_text(line))
        if found is None:
            raise ValueError(f"graph: expected an operation, got {line!r:.80}.")
        said = found[2].split(",") if found[2] else []
        return found[1], said, [self._read_place(text, number) for text in found[3].split()]

    def _read_place(self, text: object, number: int) -> int | str:
        text = _text(text)
        if text in self._kinds:
            return text
        if not re.fullmatch(r"%\d{1,6}", text) or int(text[1:]) >= number:
            raise ValueError(f"graph: expected a leaf or a step before {number}, got {text!r:.80}.")
        return int(text[1:])

    def cell(self) -> Cell:
        """The cell, traced from what is read as it would be from its equations."""
        document = self._document
        masks = {name: self._mask(name, given) for name, given in document["masks"].items()}
        of_kind = {kind: [n for n, k in self._kinds.items() if k == kind] for kind in _KINDS}
        if sorted(masks) != sorted(of_kind["mask"]) or of_kind["step"] not in ([], ["t"]):
            raise ValueError("graph: expected each mask once, and the step as t, got others.")
        for name, rule in document["init"].items():
            if type(rule) not in (int, float, str):
                raise ValueError(f"graph: expected a rule in one word for {name!r:.80}.")
        options = Options(
            states=tuple(of_kind["state"]),
            context=tuple(of_kind["context"]),
            memory=tuple(of_kind["memory"]),
            inputs=(*of_kind["input"], *of_kind["further"]),
            sizes={
                n: s for n, s in self._shapes.items() if self._kinds[n] not in ("step", "array")
            },
            arrays=self._arrays,
            init=document["init"],
            output=document["output"],
            heads={name: _whole(count) for name, count in document["heads"].items()},
            default_sizes={k: str(_size(_text(v))) for k, v in document["default_sizes"].items()},
            masks=masks,
        )
        made = Cell(self._function(), options)
        known = {name for shape in self._shapes.values() for dim in shape for name in dim.names}
        used = {name for node in made.equations.nodes() for d in node.shape for name in d.names}
        defaults = {name for size in made.default_sizes.values() for name in size.names}
        if used - known or defaults - {"I", "H"}:
            raise ValueError("graph: expected sizes that a leaf has, got others.")
        self._cell = made
        return made

    def _mask(self, name: str, given: object) -> Mask:
        rate, scale, each = given if isinstance(given, list) and len(given) == 3 else (0, 0, "")
        is_one = all(type(v) in (int, float) and 0 <= v < math.inf for v in (rate, scale))
        if not is_one or rate > 1 or each not in KINDS or name not in self._shapes:
            raise ValueError(f"graph: expected a mask's rate, scale and turn, got {given!r:.80}.")
        return Mask(shape=self._shapes[name], rate=rate, scale=scale, each=each)

    def _function(self) -> Callable[..., Any]:
        """What stands for the equations' function: it says the steps again in the language.

        Called in the equations of another cell it goes through the graph of its own, which has
        sizes that become those of the other.
        """
        document = self._document
        defaults = dict.fromkeys(self._shapes, inspect.Parameter.empty) | document["constants"]
        signature = inspect.Signature(
            [
                inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
                for name, default in defaults.items()
            ]
        )

        def function(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            constants = {name: given.arguments.pop(name) for name in document["constants"]}
            if constants != document["constants"]:
                raise CellError(
                    f"{document['name']}: expected the constants that it was saved with, "
                    f"{document['constants']}, got {constants}. Define the cell to change them."
                )
            trace = trace_of(tuple(given.arguments.values()), document["name"])
            symbols = {name: lift(value, trace) for name, value in given.arguments.items()}
            if all(map(self._is_leaf, self._shapes, symbols.values())) or self._cell is None:
                return self._said(symbols, trace)
            values = NamedSymbols(self._cell, symbols, trace, lambda node, symbol, values: symbol)
            first, *others = values.returned()
            values.name_open_sizes({})
            return (first, *others) if others else first

        function.__signature__ = signature  # type: ignore[attr-defined]
        function.__name__ = function.__qualname__ = document["name"]
        function.__doc__ = document["doc"] or None
        function.names_its_values = True  # type: ignore[attr-defined] - not by its local variables
        return function

    def _is_leaf(self, name: str, symbol: Symbol) -> bool:
        """Whether the symbol is the leaf of that name itself, as it is when the cell is traced."""
        return symbol.label == name and symbol.shape == self._shapes[name]

    def _said(self, symbols: Mapping[str, Symbol], trace: Trace) -> Any:
        """The steps in the language, on the leaves of the cell itself; what it returns."""
        made: list[Symbol] = []

        def read(place: int | str) -> Symbol:
            return symbols[place] if isinstance(place, str) else made[place]

        for op, said, places in self._steps:
            made.append(_operation(op, said, [read(place) for place in places], trace))
        count = len(self._steps)
        for name, text in self._document["names"].items():
            if not name.isidentifier():
                raise ValueError(f"graph: expected an identifier as a name, got {name!r:.80}.")
            trace.names.setdefault(read(self._read_place(text, count)), name)
        outputs = [read(self._read_place(t, count)) for t in self._document["outputs"].values()]
        own = outputs if self._document["output"] else outputs[1:]
        return tuple(own) if len(own) != 1 else own[0]


_KINDS = ("input", "further", "state", "context", "memory", "step", "mask", "parameter", "array")


def _operation(op: str, said: list[str], operands: list[Symbol], trace: Trace) -> Symbol:
    """One operation of the language."""
    if op == "const" and not operands and len(said) == 1:
        return lift(_number(said[0]), trace)
    count = {"expand": 1, "split": 1, "slice": 1, "transpose": 1, "matvec": 2, "blocks_product": 2}
    count |= dict.fromkeys(_OF_PARAMETERS, 1) | {"solve": 2}
    count |= dict.fromkeys(_REDUCTIONS, 1) | _OPERANDS
    count |= dict.fromkeys(_OF_MATRICES, 1) | {"outer_vectors": 2}
    count |= {"columns_read": 2, "times_matrix": 2}
    count |= dict.fromkeys(_OVER_MEMORY, 1) | dict.fromkeys(_ROW_PRODUCTS, 2) | {"neighbours": 1}
    varying = {"concat": len(operands) >= 1, "layer_norm": 1 <= len(operands) <= 3}
    if not varying.get(op, count.get(op) == len(operands)):
        raise ValueError(f"graph: expected an operation and what it reads, got {op!r:.80}.")
    keys = _NUMBER_OF.get(op, ())
    if op in _OPERANDS and len(said) == len(keys):
        numbers = map(_number, said)
        return elementwise(op, *operands, **dict(zip(keys, numbers, strict=True)))
    match op, said:
        case "rows_dot", [] if over_rows(operands[0]) and not over_positions(operands[0]):
            return product(*operands).inputs[0]
        case (
            ("matvec" | "rows_product" | "rows_dot" | "read" | "columns_read" | "times_matrix"),
            [],
        ):
            return product(*operands)
        case "neighbours", [width]:
            return windows(operands[0], _whole(int(width)))
        case _, [] if op in _OVER_MEMORY:
            return over_memory(_OVER_MEMORY[op], operands[0], 0)
        case _, [] if op in _REDUCTIONS and over_positions(operands[0]):
            return over_memory(op, operands[0], -1)
        case _, [] if op in _REDUCTIONS and over_rows(operands[0]):
            return _of_rows(op, operands[0])
        case _, [] if op in _OVER_ROWS:
            return over_matrix(_OVER_ROWS[op], operands[0], 0)
        case "column", [blocks]:
            return outer(operands[0], 1, _whole(int(blocks)))
        case "outer_vectors", [blocks]:
            return outer(operands[0], operands[1], _whole(int(blocks)))
        case "rows", [parts]:
            return rows(operands[0], _whole(int(parts)))
        case "flatten", []:
            return flatten(operands[0])
        case "vector", [] if operands[0].op in (*_REDUCTIONS, "rows_dot"):
            return as_vector_of_rows(operands[0])
        case "matrix_rows", [blocks]:
            return shared_rows(operands[0], _whole(int(blocks)))
        case "blocks_product", [heads]:
            return blocks_product(operands[0], operands[1], _whole(int(heads)))
        case "transpose", []:
            return operands[0].T
        case "softmax", [] if len(operands[0].shape or ()) == 2:
            return over_parameters(op, operands[0], 1)
        case (("matrix_sum" | "matrix_mean"), [("0" | "1") as dim]):
            return over_parameters(op.removeprefix("matrix_"), operands[0], int(dim))
        case (("inverse" | "matrix_exp" | "diag" | "diagonal" | "solve"), []):
            return FUNCTIONS["diag" if op == "diagonal" else op](*operands)
        case (("sum" | "mean" | "var" | "max" | "softmax"), []):
            size = as_vector(operands[0], op)
            return Symbol(trace, op, (operands[0],), {}, (size,) if op == "softmax" else ())
        case "concat", []:
            total = Dim()
            for operand in operands:
                total = total + as_vector(operand, op)
            return Symbol(trace, op, tuple(operands), {"axis": 0}, (total,))
        case "split", [parts, part]:
            return _part(operands[0], _whole(int(parts)), int(part))
        case "slice", [axis, start, size]:
            return _slice(operands[0], axis, start, _size(size))
        case "repeat", [size]:
            return repeated(operands[0], _size(size))
        case "expand", [_, *_]:
            return _expanded(operands[0], tuple(map(_size, said)))
        case "layer_norm", [eps, *flags]:
            return _normalised(operands, _number(eps), flags)
    raise ValueError(f"graph: expected an operation of the language, got {op!r:.80}.")


def _of_rows(op: str, symbol: Symbol) -> Symbol:
    """A reduction over columns: of numbers a scalar, of rows numbers, which `vector` reads."""
    found = over_matrix(op, symbol, -1)
    return found.inputs[0] if found.op == "vector" else found


def _part(whole: Symbol, parts: int, part: int) -> Symbol:
    """One of the equal parts of a vector, of the rows of a matrix, or of rows over a memory."""
    if not 0 <= part < parts:
        raise ValueError(f"graph: expected one of {parts} parts, got part {part}.")
    if has_rows(whole):
        size = last_size(whole) / parts
        rows_attrs = {"axis": 1, "start": size * part, "size": size}
        shape = (row_count(whole), size)
        return Symbol(whole.trace, "slice", (whole,), rows_attrs, shape)
    is_matrix = len(whole.shape or ()) == 2
    rows, *columns = as_matrix(whole) if is_matrix else (as_vector(whole, "split"),)
    size = rows / parts
    attrs = {"axis": 0, "start": size * part, "size": size}
    return Symbol(whole.trace, "slice", (whole,), attrs, (size, *columns))


def _slice(whole: Symbol, axis: str, start: str, size: Dim) -> Symbol:
    """A part of a vector, of the rows or columns of a matrix, or of rows over a memory."""
    if axis not in ("0", "1") or (over_positions(whole) and axis == "0"):
        raise ValueError(f"graph: expected the axis of a slice, got {axis!r:.80}.")
    return cut(whole, int(axis), Dim() if start == "0" else _size(start), size)


def _expanded(scalar: Symbol, shape: Shape) -> Symbol:
    if scalar.shape != () or len(shape) > 2:
        raise ValueError("graph: expected a scalar to expand, got something else.")
    over = {} if scalar.trace.inside is None else {"S": POSITIONS}
    shape = tuple(dim.substitute(over) for dim in shape)
    return Symbol(scalar.trace, "expand", (scalar,), {"shape": shape}, shape)


def _normalised(operands: list[Symbol], eps: float, flags: list[str]) -> Symbol:
    if flags not in ([], ["gain"], ["bias"], ["gain", "bias"]) or len(operands) != 1 + len(flags):
        raise ValueError("graph: expected the gain and bias of a layer_norm, got others.")
    vector, trace = operands[0], operands[0].trace
    size = feature_size(vector, "layer_norm")
    if not all(trace.unify(as_vector(part, "layer_norm"), size) for part in operands[1:]):
        raise ValueError("graph: expected a gain and a bias of the size of the vector, got others.")
    attrs = {"eps": eps, "gain": "gain" in flags, "bias": "bias" in flags}
    return Symbol(trace, "layer_norm", tuple(operands), attrs, vector.shape)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"graph: expected text, got {type(value).__name__}.")
    return value


def _number(text: str) -> float:
    number = float(text)
    if math.isnan(number):
        raise ValueError("graph: expected a number, got nan.")
    return number


def _whole(value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MAX_NUMBER:
        raise ValueError(f"graph: expected a whole number >= 1, got {value!r:.80}.")
    return value


def _encoded(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f8").tobytes()).decode("ascii")


def _decoded(text: str, shape: Shape) -> np.ndarray:
    """The array of that shape, which has sizes that are numbers."""
    try:
        numbers = np.frombuffer(base64.b64decode(text, validate=True), "<f8").astype(np.float64)
        array = numbers.reshape([dim.evaluate({}) for dim in shape])
    except ValueError:
        raise ValueError("graph: expected the numbers of an array, got others.") from None
    if not 1 <= array.ndim <= 2 or not array.size or not np.isfinite(array).all():
        raise ValueError("graph: expected a vector or a matrix of finite numbers, got others.")
    array.setflags(write=False)
    return array


def _size(text: str) -> Dim:
    if len(text) > 200:
        raise ValueError(f"graph: expected a size, got {text!r:.80}.")
    text, mark, blocks = text.partition("'")
    dim = Dim.parse(text)
    numbers = [dim.constant, *(coefficient for _, coefficient in dim.terms)]
    largest = max(max(abs(n.numerator), n.denominator) for n in numbers)
    if largest > _MAX_NUMBER or not dim.may_be_positive:
        raise ValueError(f"graph: expected a size, got {text!r:.80}.")
    return dim.in_blocks(_whole(int(blocks))) if mark else dim
