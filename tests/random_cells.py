"""Cells drawn at random from the whole language, and cases to run them on.

`random_cell(rng)` writes the source of a cell and defines it; `source_of(cell)` is that source, and
`reproduction(cell, call)` a program that runs it, for messages. What is drawn is kept in a range
where two correct programs agree to rounding: values are squashed before they are used again, and
conditions compare with numbers that no value hits.
"""

import linecache
import random
import re
from collections.abc import Callable
from itertools import count

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

import recurra.lang
from compiled import DTYPES, Call
from oracle import Case
from random_parts import Parts
from recurra import cells, compose
from recurra.errors import CellError
from recurra.ir import POSITIONS
from recurra.lang import Cell

_SQUASH = ("tanh({0})", "sigmoid({0})", "sin({0})", "clamp({0}, -0.917, 0.931)", "torch.tanh({0})")
_SMOOTH = (
    *("cos({0})", "softplus({0})", "gelu({0})", "silu({0})", "exp(0.5 * {0})", "-{0}"),
    *("expm1(0.5 * {0})", "torch.expm1(0.5 * {0})", "log1p({0} * {0})", "log_sigmoid({0})"),
)
_KINKED = (
    "relu({0})",
    "F.relu({0})",
    "leaky_relu({0}, 0.2)",
    "elu({0}, 0.7)",
    "abs({0})",
    "{1} * sign({0} - 0.13721)",
    "{1} * ({0} != 0.23117)",
    "{1} * floor(2 * {0} + 0.13721)",
    "mod({0}, 0.73717) * {1}",
    "where({0} == 0.31313, {0}, {1})",
    "{0} + detach({1} - {0})",
    "torch.detach({0}) * {1}",
)
_SAFE = (
    "log(1.5 + {0} * {0})",
    "sqrt(0.6 + {0} * {0})",
    "{0} / (1.5 + {1} * {1})",
    "{0} ** 2",
    "torch.square({0})",
    "(0.5 + abs({0})) ** {1}",
    "1.3 ** {0}",
    "{0} ** 3 - {1}",
)
_PAIRS = (
    "{0} + {1}",
    "{0} - {1}",
    "{0} * {1}",
    "{0} * {1} + (1 - {0}) * {1}",
    "minimum({0}, {1})",
    "maximum({0}, {1})",
    "torch.maximum({0}, {1})",
    "-({0} - {1}) * {1}",
    "{0} - -{1}",
)
_REDUCTIONS = (
    "sum({0}) / 4.0",
    "mean({0})",
    "var({0})",
    "max({0})",
    "torch.mean({0}, dim=-1)",
    "log(1.1 + sum({0} * {0}))",
)
_SCALARS_OF_STEP = (
    *("cos(0.3 * t)", "1.0 / (1.0 + t)", "where(t < 1.5, 0.4, -0.7)"),
    *("0.5 * (t % 3)", "floor(0.5 * t) / 4"),
)

_numbers = count()
_sources: dict[Cell, str] = {}


def source_of(cell: Cell) -> str:
    """The source that `random_cell` wrote for the cell."""
    return _sources[cell]


def random_cell(rng: random.Random) -> Cell:
    """A cell of 1 to 4 states and up to a dozen statements."""
    return written_by(Writer(rng))


def written_by(writer: "Writer") -> Cell:
    """What a writer writes, as a cell."""
    rng = writer.rng
    writer.write()
    for explicit in (rng.random() < 0.3 or writer.explicit, True):
        try:
            return define(writer.source(explicit))
        except (
            CellError
        ) as error:  # a size that nothing fixes, or that nothing reads, must be given
            if explicit or not re.search("every (size to follow|parameter to be used)", str(error)):
                raise
    raise AssertionError("the second turn returns or raises")


_COMPOSERS = (
    "compose.layer_norm({0})",
    "compose.layer_norm({0}, each_product=True)",
    "compose.zoneout({0}, 0.3)",
    "compose.recurrent_dropout({0}, 0.4, {1!r})",
    "compose.variational_dropout({0}, 0.3)",
    "compose.weight_drop({0}, 0.4)",
    "compose.residual({0})",
    "compose.highway({0})",
    "compose.peephole({0}, {2!r}, {3!r})",
    "replace({0}, 'replaced', **{{ {1!r}: 0.75 }})",
)
# one divides by a state, the other's derivative is infinite where its gate is dropped
_SINGULAR = ("slstm", "rg_lru")


def random_composition(rng: random.Random) -> Cell:
    """One to three composers around a random cell or one of the registry."""
    if rng.random() < 0.5:
        of = random_cell(rng)
        source = source_of(of)
    else:
        name = rng.choice([n for n in cells.names() if n not in _SINGULAR])
        of, source = cells.get(name), f"random_cell = cells.{name}\n"
    scope = {"compose": compose, "replace": recurra.lang.replace, "__name__": "random_cells"}
    for _ in range(rng.choice((1, 1, 2, 3))):
        named = list(of.equations.names.values()) or ["nothing"]
        gates = rng.sample(named, min(len(named), 2))
        text = rng.choice(_COMPOSERS).format(
            "random_cell", rng.choice(named), rng.choice(of.states), gates
        )
        try:
            of = eval(text, {**scope, "random_cell": of})
        except CellError:  # of what the composer needs the cell has nothing
            continue
        source += f"random_cell = {text}\n"
    _sources[of] = source
    return of


def random_case(cell: Cell, rng: random.Random) -> Case:
    """Sizes that suit the cell, ragged lengths, either direction, token ids or vectors."""
    return _case(cell, rng, _sizes(cell, rng, (1, 2, 3, 4, 6, 8)), (1, 2, 3, 5), (1, 2, 3))


def random_call(cell: Cell, rng: random.Random) -> Call:
    """A case for compiled loops: no steps or many, one sequence or many, sizes on both sides of a
    vector's and a panel's width and now and then large, threads, strides, few gradients."""
    widths: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
    steps, batches = (1, 2, 3, 5, 0), (1, 2, 3, 5)
    kind = rng.choices(("small", "odd", "wide", "long", "large"), weights=(5, 4, 3, 2, 0.6))[0]
    if kind == "odd":
        widths, batches = (7, 9, 15, 16, 17, 31, 33, 34), (1, 2, 5, 7)
    elif kind == "wide":
        widths, steps, batches = (12, 62, 64, 66, 70, 130), (1, 2, 3), (1, 4, 13, 18, 35)
    elif kind == "long":
        steps = (9, 20, 41)
    elif kind == "large":
        widths, steps, batches = (256, 514, 1024, 2048), (1, 2), (1, 2, 3)
    case = _case(cell, rng, _sizes(cell, rng, widths), steps, batches)
    names = ("x", *(f"state {i}" for i in range(len(cell.states))), *cell.parameters)
    names += tuple(f"further {i}" for i in range(len(cell.further)))
    return Call(
        case=case,
        dtype=rng.choice(DTYPES),
        threads=rng.choice((1, 2, 3)),
        strided=rng.random() < 0.25,
        frozen=tuple(n for n in names if rng.random() < 0.5) if rng.random() < 0.2 else (),
        inference=rng.random() < 0.2,
        memory=rng.choice(("normal", "normal", "low")),
        chunk_rows=rng.choice((256, 256, 20, 3)),
        cache_bytes=rng.choice((1 << 20, 0)),
    )


def reproduction(cell: Cell, call: Call) -> str:
    """A Python program, to be run in tests/, that compares the compiled cell with the reference."""
    return (
        "import numpy as np\n"
        "import torch\n"
        "from torch.nn import functional as F\n\n"
        "from compiled import Call, compare\n"
        "from oracle import Case\n"
        "from recurra import cells, compose\n"
        "from recurra.lang import *\n"
        "from recurra.lang import abs, max, sum\n\n\n"
        f"{source_of(cell)}\n\n"
        f"compare(random_cell, {call}, strict=False)\n"
    )


def _sizes(cell: Cell, rng: random.Random, choices: tuple[int, ...]) -> dict[str, int]:
    """A number for every size name of the cell, for which all sizes in it are whole."""
    if re.search(r"split\((?!stack)\w+, 2\)|heads=|rows\(", source_of(cell)):
        choices = tuple(n for n in choices if n % 2 == 0)
    for _ in range(20):
        sizes = {name: rng.choice(choices) for name in cell.size_names}
        if _whole(cell, sizes):
            return sizes
    sizes = dict.fromkeys(cell.size_names, 12)
    assert _whole(cell, sizes), source_of(cell)
    return sizes


def _case(
    cell: Cell,
    rng: random.Random,
    sizes: dict[str, int],
    steps: tuple[int, ...],
    batches: tuple[int, ...],
) -> Case:
    T, B = rng.choice(steps), rng.choice(batches)
    ids = rng.choice((None, None, "one-hot", "embedding")) if cell.input else None
    if ids == "one-hot" and not any("I" in map(str, s) for s in cell.parameters.values()):
        ids = None  # nothing says how long a one-hot vector is
    ragged, lengths = rng.random(), None
    if ragged < 0.4 and T > 0:
        lengths = tuple(rng.randint(1, T) for _ in range(B))
        if ragged < 0.2:  # from the longest to the shortest
            lengths = tuple(sorted(lengths, reverse=True))
    return Case(
        T=T,
        B=B,
        sizes=sizes,
        lengths=lengths,
        reverse=rng.random() < 0.3,
        start=rng.choice((0, 0, 7)) if cell.step else 0,
        ids=ids,
        vocabulary=rng.choice((1, 2, 5, 40)),
        seed=rng.randrange(2**31),
    )


def _whole(cell: Cell, sizes: dict[str, int]) -> bool:
    """Whether every size in the cell's graph is a whole number above 0."""
    dims = {dim for n in (*cell.equations.inputs, *cell.equations.nodes()) for dim in n.shape}
    dims.discard(POSITIONS)
    try:
        return all(dim.evaluate(sizes) > 0 for dim in dims)
    except ValueError:
        return False


def define(source: str) -> Cell:
    """The cell `random_cell` of the source, run as if it stood in a file: errors show its lines."""
    file = f"<random cell {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    scope = {
        name: getattr(recurra.lang, name) for name in [*recurra.lang.__all__, "abs", "max", "sum"]
    }
    scope |= {"torch": torch, "np": np, "F": F, "__name__": "random_cells"}
    exec(compile(source, file, "exec"), scope)
    cell = scope["random_cell"]
    assert isinstance(cell, Cell)
    _sources[cell] = source
    return cell


class Writer(Parts):
    """Writes one cell; remembers what has been defined and of which size it is ("1": a scalar)."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.lines: list[str] = []
        self.parameters: dict[str, tuple[str, ...]] = {}
        self.constants: dict[str, float] = {}
        self.heads: dict[str, int] = {}
        self.sized: set[str] = set()  # parameters whose sizes are always named
        self.explicit = False  # whether all of them are
        self.values: dict[str, str] = {}
        self.step = rng.random() < 0.25
        self.output = rng.random() < 0.3
        self.input = rng.random() < 0.88
        further = rng.choice((0, 0, 1, 2)) if self.input else 0
        sizes = {f"m{i}": rng.choice(("1", "1", "H", "I", f"I_m{i}")) for i in range(further)}
        self.further = sizes
        self.contexts = [f"v{i}" for i in range(rng.choice((0, 0, 0, 1, 2)))]
        self.states = [f"s{i}" for i in range(rng.choice((1, 1, 2, 2, 3, 4)))]
        self.state_sizes = {
            s: rng.choice(("H", "H", "H", "H", "H", "P", "1", "4")) for s in self.states
        }
        self.arrays: dict[str, str] = {}
        self.returned: list[str] = []

    # -- the whole

    def write(self) -> None:
        rng = self.rng
        if self.input and rng.random() < 0.93:
            self.values["x"] = "I"
        self.values.update({s: n for s, n in self.state_sizes.items() if rng.random() < 0.93})
        self.values.update(self.further)
        for name in self.contexts:
            self.values[name] = self._context_size(name)
        if self.step:
            self.lines.append(f"when = {rng.choice(_SCALARS_OF_STEP)}")
            self.values["when"] = "1"
        for _ in range(rng.randint(1, 11)):
            rng.choices(self._statements(), weights=(6, 3, 2, 4, 1.5, 1, 1, 1, 2.5, 1.5, 2))[0]()
        self._return()
        used = set(re.findall(r"\w+", " ".join((*self.lines, *self.returned))))
        self.parameters = {n: size for n, size in self.parameters.items() if n in used}
        self.heads = {n: count for n, count in self.heads.items() if n in used}
        self.arrays = {n: text for n, text in self.arrays.items() if n in used}

    def source(self, explicit: bool) -> str:
        """The cell as Python; `explicit` names every size instead of leaving it to inference."""
        sizes = {s: size for s, size in self.state_sizes.items() if size != "H"}
        for name, size in self.parameters.items():
            if size == ("1",) or name in self.sized or (explicit and size):
                sizes[name] = size if len(size) == 2 else size[0]
        sizes |= {name: size for name, size in self.further.items() if size == "1"}
        if explicit:
            sizes |= self.further
            sizes |= {name: self._context_size(name) for name in self.contexts}
        first = ["x", *self.further] if self.input else []
        step = ["t"] if self.step else []
        constants = [f"{name}={value}" for name, value in self.constants.items()]
        arguments = [*first, *self.states, *self.contexts, *step, *self.parameters, *constants]
        options = [f"state={tuple(self.states)!r}"]
        options += [f"inputs={('x', *self.further)!r}"] if self.further else []
        options += [f"context={tuple(self.contexts)!r}"] if self.contexts else []
        options += [f"sizes={sizes!r}"] if sizes else []
        options += [f"heads={self.heads!r}"] if self.heads else []
        options += ["output=True"] if self.output else []
        body = [*self.lines, f"return {', '.join(self.returned)}"]
        head = "".join(f"{name} = {text}\n" for name, text in self.arrays.items())
        head += f"@cell({', '.join(options)})\ndef random_cell({', '.join(arguments)}):\n"
        return head + "\n".join(f"    {line}" for line in body) + "\n"

    def _context_size(self, name: str) -> str:
        return "C" if len(self.contexts) == 1 else f"C_{name}"

    def _statements(self) -> tuple[Callable[[], object], ...]:
        return (
            self._pointwise,
            self._affine,
            self._stacked,
            self._combination,
            self._normalised,
            self._rearranged,
            self._matrix_product,
            self._multiplicative,
            self._scalar,
            self._constant_array,
            self._of_parameters,
        )

    def _return(self) -> None:
        """New states: new values, old ones, or another state's; a fifth of them pass through."""
        for state in self.states:
            size = self.state_sizes[state]
            same = [s for s in self.states if self.state_sizes[s] == size]
            if self.rng.random() < 0.12:
                self.returned.append(self.rng.choice(same))
            elif size == "1":
                vector = self._any() or self._parameter(("H",))
                text = f"{self._of_size('1')} + mean({vector}) * {state}"
                self.returned.append(self._assign("1", f"tanh({text})"))
            else:
                new, gate = self._of_size(size, fresh=True), self._of_size(size)
                form = self.rng.choice(
                    ("tanh({0})", "{2} * sigmoid({1}) + {0}", "(1 - sigmoid({1})) * {2} + {0}")
                )
                text = form.format(new, gate, state)
                self.returned.append(self._assign(size, text))
        if self.output:
            self.returned.insert(0, self._output())

    def _output(self) -> str:
        """An old value, or one that no state needs: its equations can leave the loop."""
        old = self._any(vector=self.rng.random() < 0.85) or self.returned[0]
        vector = self._any()
        if self.rng.random() < 0.5 or vector is None:
            return old
        size = self.values[vector]
        text = f"{self._squashed(self._product(size, vector))} * {self._of_size(size)}"
        return self._assign(size, f"{text} + {vector}")

    # -- values and parameters

    def _assign(self, size: str, text: str) -> str:
        """A new local variable, or now and then an old one again."""
        old = [v for v in self.values if v.startswith("u") and self.values[v] == size]
        again = old and self.rng.random() < 0.15
        name = self.rng.choice(old) if again else f"u{len(self.values)}"
        self.lines.append(f"{name} = {text}")
        self.values[name] = size
        return name

    def _any(self, vector: bool = True) -> str | None:
        names = [name for name, size in self.values.items() if (size != "1") == vector]
        late = names[-3:] if self.rng.random() < 0.5 else names  # or most would never be read
        return self.rng.choice(late) if late else None

    def _of_size(self, size: str, fresh: bool = False) -> str:
        """A value of that size: an old one, one that is learned, or a product."""
        names = [name for name, own in self.values.items() if own == size]
        if names and not fresh and self.rng.random() < 0.8:
            return self.rng.choice(names)
        vector = self._any()
        if size == "1" or vector is None or (not fresh and self.rng.random() < 0.3):
            return self._learned(size)
        return self._assign(size, self._squashed(self._product(size, vector)))

    def _parameter(self, size: tuple[str, ...]) -> str:
        """A parameter, shared with an earlier use a third of the time."""
        same = [name for name, own in self.parameters.items() if own == size]
        if same and self.rng.random() < 0.33:
            return self.rng.choice(same)
        letter = {1: "b", 2: "W"}[len(size)] if size != ("1",) else "a"
        name = f"{letter}{len(self.parameters)}"
        self.parameters[name] = size
        return name

    def _learned(self, size: str) -> str:
        """A vector of parameters, now and then one that a matrix makes of another."""
        if size == "1" or self.rng.random() < 0.7:
            return self._parameter((size,))
        columns = self.rng.choice((size, "H", "P"))
        return f"({self._parameter((size, columns))} @ {self._parameter((columns,))})"

    def _product(self, rows: str, vector: str) -> str:
        columns = self.values[vector]
        if self.rng.random() < 0.06:
            name = f"R{len(self.parameters)}"
            self.parameters[name] = ()  # its blocks follow from what it multiplies
            self.heads[name] = 2
            return f"({name} @ {vector} + {self._parameter((rows,))})"
        if self.rng.random() < 0.15:
            return f"{self._parameter((columns, rows))}.T @ {vector}"
        return f"{self._parameter((rows, columns))} @ {vector}"

    def _squashed(self, text: str) -> str:
        return self.rng.choice(_SQUASH).format(text)

    def _constant(self) -> str:
        if self.rng.random() < 0.5:
            return f"({self.rng.uniform(-1.5, 1.5):.5f})"
        name = f"alpha{len(self.constants)}"
        self.constants[name] = round(self.rng.uniform(0.2, 1.2), 5)
        return name

    # -- statements

    def _pointwise(self) -> None:
        a = self._any(vector=self.rng.random() < 0.9)
        if a is None:
            return
        size = self.values[a]
        b = self._of_size(size) if self.rng.random() < 0.7 else self._of_size("1")
        text = self.rng.choice((*_SMOOTH, *_KINKED, *_SAFE)).format(a, b)
        self._assign(size, self._squashed(text))

    def _affine(self) -> None:
        a, size = self._any(), self.rng.choice(("H", "H", "H", "P"))
        if a is None:
            return
        text = self._product(size, a)
        other = self._any()
        if other is not None and self.rng.random() < 0.6:
            text = f"{text} + {self._product(size, other)}"
        if self.rng.random() < 0.7:
            text = f"{text} + {self._of_size(self.rng.choice((size, size, size, '1')))}"
        if self.rng.random() < 0.2:
            text = f"{self._constant()} * ({text})"
        self._assign(size, self._squashed(text))

    def _stacked(self) -> None:
        """i, f = split(W @ concat(x, h) + b, 2): one product, several gates."""
        a, b, parts = self._any(), self._any(), self.rng.choice((2, 3, 4))
        if a is None or b is None or a == b:
            return
        matrix, bias = f"W{len(self.parameters)}", f"b{len(self.parameters) + 1}"
        # their sizes have no name of their own: they follow from what the parts meet
        self.parameters[matrix] = self.parameters[bias] = ()
        self.lines.append(f"stack = {matrix} @ concat({a}, {b}) + {bias}")
        names = [f"u{len(self.values) + i}" for i in range(parts)]
        self.lines.append(f"{', '.join(names)} = split(stack, {parts})")
        for name in names:
            met = self._parameter(("H",))
            self.lines.append(f"{name} = " + self._squashed(f"{name} + {met}"))
            self.values[name] = "H"

    def _combination(self) -> None:
        a = self._any()
        if a is None:
            return
        size = self.values[a]
        b, c = self._of_size(size), self._of_size(self.rng.choice((size, size, "1")))
        if self.rng.random() < 0.25:
            limit = f"{self.rng.uniform(-0.6, 0.6):.5f}"
            sign = self.rng.choice(("<", "<=", ">", ">="))
            text = f"where({a} {sign} {limit}, {b}, {c})"
        elif self.rng.random() < 0.2:
            text = f"({a} > {self.rng.uniform(-0.6, 0.6):.5f}) * {b} + {self._constant()} * {c}"
        else:
            text = self.rng.choice(_PAIRS).format(a, self.rng.choice((b, c)))
            text = f"{text} * {c}" if self.rng.random() < 0.3 else f"{text} + {c} * {b}"
        self._assign(size, self._squashed(text) if self.rng.random() < 0.6 else f"0.4 * ({text})")

    def _normalised(self) -> None:
        a = self._any()
        if a is None:
            return
        size = self.values[a]
        if self.rng.random() < 0.4:
            self._assign(size, f"softmax({a})")
            return
        options = ["eps=0.1"]
        if self.rng.random() < 0.6:
            options.insert(0, f"gain={self._of_size(size)}")
        if self.rng.random() < 0.6:
            options.insert(0, f"bias={self._of_size(size)}")
        text = f"layer_norm({a}, {', '.join(options)})"
        self._assign(size, self._squashed(text) if self.rng.random() < 0.5 else f"0.5 * {text}")

    def _rearranged(self) -> None:
        """Pieces of a vector in another order, or two vectors through one product."""
        a = self._any()
        if a is None:
            return
        size = self.values[a]
        if size in ("H", "4") and self.rng.random() < 0.4:
            self._sliced(a, size)
            return
        if self.rng.random() < 0.6:
            first, second = (f"u{len(self.values) + i}" for i in range(2))
            self.lines.append(f"{first}, {second} = split({a}, 2)")
            order = self.rng.choice((f"{second}, {first}", f"{first}, 0.5 * {second}"))
            self._assign(size, f"concat({order})")
            return
        other = self._any()
        if other is not None:
            extra = f", {self._of_size('1')}" if self.rng.random() < 0.3 else ""
            self._assign(size, f"mean(concat({a}, {other}{extra})) * {a}")

    def _matrix_product(self) -> None:
        """(V @ W.T) @ v: a product of matrices is computed once a call."""
        a = self._any()
        if a is None:
            return
        size = self.values[a]
        left, right = self._parameter(("H", size)), self._parameter((size, size))
        form = self.rng.choice(("({0}.T.T @ {1}.T) @ {2}", "{0} @ ({1}.T @ {2})"))
        self._assign("H", self._squashed(form.format(left, right, a)))

    def _multiplicative(self) -> None:
        """(W @ x) * (V @ h), and now and then that through one more matrix."""
        a, b = self._any(), self._any()
        if a is None or b is None:
            return
        text = f"({self._product('H', a)}) * ({self._product('H', b)})"
        if self.rng.random() < 0.4:
            text = f"{self._parameter(('H', 'H'))} @ ({text})"
        self._assign("H", self._squashed(text))

    def _constant_array(self) -> None:
        """A matrix or a vector of numbers, of numpy's or torch's, beside what is of its size."""
        a = self._any()
        if a is None:
            return
        if self.values[a] != "4":
            a = self._assign("4", self._squashed(self._product("4", a)))
        form = self.rng.choice(
            ("{0} @ {1}", "{0} * {1}", "{1} + {0}", "({0} * {2}) @ {1}", "({0} @ {2}.T) @ {1}")
        )
        rows = self.rng.choice(("2", "4")) if form == "{0} @ {1}" else "4"
        shape = f"{rows}, 4" if "@" in form else "4"
        count, name = int(rows) * (4 if "@" in form else 1), f"A{len(self.arrays)}"
        self.arrays[name] = self.rng.choice(
            (
                f"np.cos(np.arange({count}.0).reshape({shape}) + {len(self.arrays)})",
                f"torch.cos(torch.arange({count}.0, dtype=torch.float64)).reshape({shape})",
            )
        )
        text = form.format(name, a, self._parameter(("4", "4")) if "{2}" in form else "")
        self._assign(rows, self._squashed(text))

    def _scalar(self) -> None:
        """A number of the step: reduced, learned, or both."""
        a = self._any()
        if a is None:
            return
        text = self.rng.choice(_REDUCTIONS).format(a)
        if self.rng.random() < 0.5:
            text = f"{self._parameter(('1',))} * {text}"
        self._assign("1", f"tanh({text})" if self.rng.random() < 0.6 else text)
