"""The oracle: a cell's own function on plain torch tensors, one step of one sequence at a time.

Nothing of recurra computes here: the names that a cell's function reads are exchanged for torch's
own functions, and Python runs the equations as they are written, unbatched, W @ x and all.
"""

import inspect
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import product
from types import CodeType, FunctionType
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import over_memory
import own_rows
from over_memory import Positions, over, plain, reduction
from own_rows import Own, own
from recurra import cells, lang
from recurra.backends import ReferenceBackend, within_memory
from recurra.backends.reference import engine
from recurra.ir import POSITIONS, Dim, has_own_rows, is_inside
from recurra.lang import Cell
from recurra.lang.symbols import language_names

Results = dict[str, Tensor]

# ---- the language in torch -----------------------------------------------------------------------


def _tensors(*values: Any) -> list[Tensor]:
    """The values as tensors of the dtype of the tensors among them, float64 if there are none."""
    dtypes = [value.dtype for value in values if isinstance(value, Tensor)]
    dtype = dtypes[0] if dtypes else torch.float64
    return [torch.as_tensor(value, dtype=dtype) for value in values]


def _on_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: function(*_tensors(*values))


def _where(condition: Any, a: Any, b: Any) -> Tensor:
    condition = condition if isinstance(condition, Tensor) else torch.as_tensor(condition)
    return torch.where(condition != 0, *_tensors(a, b))


def _layer_norm(v: Tensor, gain: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    if isinstance(v, Own):
        return own_rows.layer_norm(v, gain, bias, eps)
    found = F.layer_norm(plain(v), v.shape[-1:], gain, bias, eps)
    return over(found) if isinstance(v, Positions) else found


def _concat(*vectors: Any) -> Tensor:
    parts = vectors[0] if isinstance(vectors[0], list | tuple) else vectors
    return torch.cat([part.reshape(-1) for part in _tensors(*parts)])


def _split(v: Tensor, parts: Any, dim: int = 0) -> tuple[Tensor, ...]:
    if isinstance(v, Positions):
        return over_memory.split(v, parts)
    if isinstance(v, Own):
        return own_rows.split(v, parts)
    if isinstance(parts, list):
        return torch.split(v, parts)
    assert v.shape[0] % parts == 0
    assert dim in (0, -1)
    return v.chunk(parts)


IN_TORCH: dict[str, Any] = {
    "sigmoid": _on_tensors(torch.sigmoid),
    "tanh": _on_tensors(torch.tanh),
    "relu": _on_tensors(torch.relu),
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": lambda v: F.softplus(v, threshold=40.0),
    "exp": _on_tensors(torch.exp),
    "expm1": _on_tensors(torch.expm1),
    "log": _on_tensors(torch.log),
    "log1p": _on_tensors(torch.log1p),
    "log_sigmoid": _on_tensors(F.logsigmoid),
    "sqrt": _on_tensors(torch.sqrt),
    "sin": _on_tensors(torch.sin),
    "cos": _on_tensors(torch.cos),
    "sign": _on_tensors(torch.sign),
    "floor": _on_tensors(torch.floor),
    "detach": lambda v: torch.as_tensor(v).detach(),
    "mod": _on_tensors(torch.remainder),
    "abs": _on_tensors(torch.abs),
    "where": _where,
    "minimum": _on_tensors(torch.minimum),
    "maximum": _on_tensors(torch.maximum),
    "clamp": torch.clamp,
    "sum": reduction(torch.sum),
    "mean": reduction(torch.mean),
    "var": reduction(lambda v, dim: torch.var(v, dim, correction=0)),
    "max": reduction(torch.amax),
    "softmax": reduction(torch.softmax),
    "windows": over_memory.windows,
    "outer": own_rows.outer,
    "rows": own_rows.rows,
    "flatten": own_rows.flatten,
    "expand": None,  # of which `Eager` has one with its sizes
    "eye": None,
    "diag": torch.diag,
    "inverse": torch.linalg.inv,
    "solve": torch.linalg.solve,
    "matrix_exp": torch.linalg.matrix_exp,
    "layer_norm": _layer_norm,
    "concat": _concat,
    "split": _split,
    "chunk": _split,
}


def in_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with every name of the language that it reads exchanged for torch's."""
    function = inspect.unwrap(function)
    assert isinstance(function, FunctionType)
    scope: dict[str, Any] = {"__builtins__": function.__globals__["__builtins__"]}
    for name in _names(function.__code__) & function.__globals__.keys():
        value = function.__globals__[name]
        if isinstance(value, Cell):
            scope[name] = partial(in_torch(value.function), **value.options.constants)
        elif getattr(lang, getattr(value, "__name__", "?"), None) is value:
            scope[name] = IN_TORCH[value.__name__]
        elif isinstance(value, np.ndarray):
            scope[name] = torch.as_tensor(value)
        elif inspect.isfunction(value) and not value.__module__.startswith("torch"):
            scope[name] = in_torch(value)
        else:
            scope[name] = value
    copy = FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _names(code: CodeType) -> set[str]:
    """The global names that the code reads, inner functions and comprehensions included."""
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def written(
    cell: Cell,
    sizes: Mapping[str, int] | None = None,
    rewrite: Callable[[str], str] = lambda body: body,
) -> Callable[..., Any]:
    """A function of the lines that the cell prints: for a cell that was made of another.

    Args:
        rewrite: takes the lines and gives those to be run.
    """

    def number(size: re.Match[str]) -> str:
        return str(Dim.parse(size[1]).evaluate(sizes or {}))

    body = str(cell).partition("\n\n")[2]
    body = re.sub(r"\[[^\[\]]*\]", lambda part: re.sub(r'"([^"]*)"', number, part[0]), body)
    inputs = [node for node in cell.equations.inputs if not is_inside(node)]
    names = [node.name for node in inputs] + list(cell.constants)
    scope: dict[str, Any] = {name: getattr(lang, name) for name in language_names()}
    exec(f"def {cell.name}({', '.join(names)}):\n{rewrite(body)}", scope)
    return scope[cell.name]


def fitted(cell: Cell, sizes: Mapping[str, int]) -> Cell:
    """The cell with as many heads as go into H, where it has heads, of two features at least where
    there are two: what is normalised over one is its sign, and its gradient noise."""
    if "heads" not in cell.constants:
        return cell
    H, common = sizes["H"], math.gcd(cell.constants["heads"], sizes["H"])
    heads = (d for d in range(common, 0, -1) if common % d == 0 and (2 * d <= H or d == 1))
    return cell.with_constants(heads=next(heads))


# Cells that between them have all that a compiled loop can meet: every kind of state and product.
_CORE = {
    *("driven_system", "dynamical_system", "gru", "lstm", "lstm_1997", "lstm_fgr", "lstm_stacked"),
    *("mut1", "mut2", "mut3", "naive_memory", "peephole_lstm", "qrnn_fo", "rhn", "rnn", "rnn_relu"),
    *("slstm", "taugru", "torch_gru", "torch_lstm", "torch_lstm_projected", "torch_rnn_tanh"),
}

# Of these, variants of others of them: `make check` leaves them to `make test`.
_VARIANTS = {
    *("dynamical_system", "lstm_1997", "lstm_fgr", "mut2", "mut3", "rnn_relu", "torch_rnn_tanh"),
}


# of whose tests the cases have no memory
WITHOUT_MEMORY = [name for name in cells.names() if not cells.get(name).memory]


def registry(cases: Mapping[str, Any], always: Sequence[str] = ()) -> list[Any]:
    """Parameters (name, case): every registered cell with every case.

    Cells that are not of the core are tried on the cases of `always`; on the others, slowly.
    """
    return [
        pytest.param(
            name,
            case,
            id=f"{name}-{label}",
            marks=() if name in _CORE or label in always else pytest.mark.slow,
        )
        for name in cells.names()
        for label, case in cases.items()
    ]


def in_part_slow(values: Mapping[str, Any], slow: Collection[str]) -> list[Any]:
    """Parameters by their names, some of which are left to `make test-slow`."""
    return [
        pytest.param(value, id=name, marks=pytest.mark.slow if name in slow else ())
        for name, value in values.items()
    ]


def slow_beyond_the_core(names: Sequence[str]) -> list[Any]:
    """Parameters (name): registered cells that are not of the core are left to `make test-slow`."""
    more = beyond_the_core()
    return [pytest.param(name, marks=pytest.mark.slow if name in more else ()) for name in names]


@cache
def beyond_the_core() -> frozenset[str]:
    """Names of the registered cells that are not of the core."""
    return frozenset(cells.names()) - _CORE


@cache
def left_to_make_test() -> frozenset[str]:
    """Names of the registered cells whose tests `make check` leaves out."""
    return beyond_the_core() | _VARIANTS


# ---- what a cell is run on -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The tensors and options of one call of `Backend.run`."""

    x: Tensor
    states: tuple[Tensor, ...]
    parameters: dict[str, Tensor]
    arrays: dict[str, Tensor] = field(default_factory=dict)
    further: tuple[Tensor, ...] = ()
    context: tuple[Tensor, ...] = ()
    masks: tuple[Tensor, ...] = ()
    memory: tuple[Tensor, ...] = ()
    memory_lengths: Tensor | None = None
    embedding: Tensor | None = None
    lengths: Tensor | None = None
    reverse: bool = False
    start: int = 0

    def run(self, runner: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A backend, or the eager stand-in for one, on these inputs."""
        options: dict[str, Any] = {"lengths": self.lengths, "reverse": self.reverse}
        options["start"], run = self.start, runner.run
        if self.memory:
            options |= {"memory": self.memory, "memory_lengths": self.memory_lengths}
            run = run if isinstance(runner, Eager) else within_memory(runner.cell, run)
        return run(
            self.x,
            self.states,
            self.weights(),
            inputs=self.further,
            context=(*self.context, *self.masks),
            embedding=self.embedding,
            **options,
        )

    def weights(self) -> dict[str, Tensor]:
        """What a backend takes as parameters."""
        return {**self.parameters, **self.arrays}

    def leaves(self) -> dict[str, Tensor]:
        """Everything that has a gradient, by a name for messages."""
        leaves = {"x": self.x} if self.x.is_floating_point() else {}
        leaves |= {f"state {i}": state for i, state in enumerate(self.states)}
        leaves |= {f"further {i}": value for i, value in enumerate(self.further)}
        leaves |= {f"context {i}": value for i, value in enumerate(self.context)}
        leaves |= {f"memory {i}": value for i, value in enumerate(self.memory)}
        leaves |= {"embedding": self.embedding} if self.embedding is not None else {}
        return {**leaves, **self.parameters}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Sizes and options of a call; `tensors` draws what it is called with.

    Attributes:
        T: time. B: batch.
        sizes: a number for every size name of the cell.
        lengths: steps of each sequence; None means all T.
        ids: None for a float input, "one-hot", or "embedding".
        vocabulary: rows of the embedding.
        positions: S of the longest memory, where the cell has one; others are shorter, unless
            `whole_memories`.
        nan_padding: inputs are NaN past the lengths, so that a leak shows.
    """

    T: int = 4
    B: int = 3
    sizes: Mapping[str, int] = field(default_factory=lambda: {"I": 3, "H": 5})
    lengths: tuple[int, ...] | None = None
    reverse: bool = False
    start: int = 0
    ids: str | None = None
    vocabulary: int = 4
    positions: int = 4
    whole_memories: bool = False
    nan_padding: bool = True
    seed: int = 0

    def tensors(self, cell: Cell, dtype: torch.dtype = torch.float64) -> Inputs:
        """Fresh leaves that require gradients, the same numbers for every dtype."""
        generator = torch.Generator().manual_seed(self.seed)

        def draw(scale: float, *shape: int) -> Tensor:
            values = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
            return values.to(dtype).requires_grad_()

        def shape(dims: tuple[Dim, ...]) -> tuple[int, ...]:
            sizes = {**self.sizes, **dict.fromkeys(POSITIONS.names, self.positions)}
            return tuple(dim.evaluate(sizes) for dim in dims)

        size = shape(cell.equations.inputs[0].shape or (Dim.of(1),))[0] if cell.input else 1
        parameters = {}
        for name, dims in cell.parameters.items():
            scale = 0.6 if len(dims) < 2 else 1.2 / max(1, shape(dims)[1]) ** 0.5
            parameters[name] = draw(scale, *shape(dims))
        states = tuple(draw(0.7, self.B, *shape(dims)) for dims in cell.state_shapes)
        context = tuple(draw(0.8, self.B, *shape((dim,))) for dim in cell.context_sizes)
        S = self.positions
        memory = tuple(draw(0.8, self.B, S, *shape((dim,))) for dim in cell.memory_sizes)
        memory_lengths = None
        if memory and not self.whole_memories:
            memory_lengths = torch.tensor([S - 2 * b % S for b in range(self.B)])
            with torch.no_grad():
                for value in memory if self.nan_padding else ():
                    value[torch.arange(S) >= memory_lengths[:, None]] = float("nan")
        lead = {"step": (self.T, self.B), "sequence": (self.B,), "call": ()}
        masks = []
        for node in cell.equations.inputs:
            if node.name in cell.masks:
                mask = cell.masks[node.name]
                own = shape(mask.shape) or (1,)
                numbers = torch.rand(*lead[mask.each], *own, generator=generator)
                masks.append((numbers < mask.rate).to(dtype) * mask.scale)
        further = []
        for dims in cell.further_shapes.values():  # above 0, as times are
            own = (self.T, self.B, *(shape(dims) or (1,)))
            numbers = torch.rand(own, generator=generator, dtype=torch.float64) + 0.05
            further.append(numbers.to(dtype).requires_grad_())
        x, embedding = draw(0.9, self.T, self.B, size), None
        if self.ids is not None:
            rows = self.vocabulary if self.ids == "embedding" else size
            x = torch.randint(rows, (self.T, self.B), generator=generator)
            embedding = draw(0.9, rows, size) if self.ids == "embedding" else None
        lengths = None
        if self.lengths is not None:
            lengths = torch.tensor(self.lengths)
            padded = [*further, *([x] if self.ids is None else [])] if self.nan_padding else []
            with torch.no_grad():
                for each in padded:
                    each[torch.arange(self.T)[:, None] >= lengths] = float("nan")
        return Inputs(
            x=x,
            states=states,
            parameters=parameters,
            arrays={name: torch.tensor(array, dtype=dtype) for name, array in cell.arrays.items()},
            further=tuple(further),
            context=context,
            masks=tuple(masks),
            memory=memory,
            memory_lengths=memory_lengths,
            embedding=embedding,
            lengths=lengths,
            reverse=self.reverse,
            start=self.start,
        )


# ---- running it ----------------------------------------------------------------------------------


class Eager:
    """Stands in for a backend: the cell's function, step by step, sequence by sequence.

    Args:
        sizes: a number for every size name; only one-hot token ids need it.
    """

    def __init__(self, cell: Cell, sizes: Mapping[str, int] | None = None) -> None:
        self.cell, self.sizes, self.positions = cell, dict(sizes or {}), 0
        # what numpy says in a cell's own lines is said of tensors in those that it prints
        by_its_text = hasattr(cell.function, "names_its_values") or cell.arrays
        self.function = in_torch(written(cell, self.sizes) if by_its_text else cell.function)
        scope = getattr(self.function, "__globals__", {})
        scope["expand"] = self._expanded
        scope["split"] = self._split
        scope["eye"] = lambda size: torch.eye(self._number(size), dtype=torch.float64)
        self.constants = dict(cell.constants)
        self.scalars = {node.name for node in cell.equations.inputs if not node.shape}

    def _expanded(self, s: Any, size: str | tuple[str | int, ...]) -> Tensor:
        """A number as a vector or a matrix, or each of a vector's as often as makes one of the
        size; over positions one for each."""
        if self.cell.memory and (size == "S" or size[0] == "S"):
            sizes = [self._number(each) for each in size[1:]] if isinstance(size, tuple) else []
            return over(torch.ones([self.positions, *sizes], dtype=torch.float64) * s)
        if isinstance(size, tuple):
            return torch.ones([self._number(each) for each in size], dtype=torch.float64) * s
        count = self._number(size)
        if isinstance(s, Tensor) and s.dim() == 1:
            return s.repeat_interleave(count // len(s))
        return torch.ones(count, dtype=torch.float64) * s

    def _split(self, v: Tensor, parts: Any, dim: int = 0) -> tuple[Tensor, ...]:
        return _split(v, list(map(self._number, parts)) if isinstance(parts, list) else parts, dim)

    def _number(self, size: str | int) -> int:
        return Dim.parse(str(size)).evaluate(self.sizes)

    def run(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Mapping[str, Tensor],
        *,
        inputs: tuple[Tensor, ...] = (),
        context: tuple[Tensor, ...] = (),
        memory: tuple[Tensor, ...] = (),
        memory_lengths: Tensor | None = None,
        embedding: Tensor | None = None,
        lengths: Tensor | None = None,
        reverse: bool = False,
        start: int = 0,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `Backend.run`, with memories as `within_memory` takes them."""
        T, B = x.shape[:2]
        is_over = [size == POSITIONS for size in self.cell.state_sizes]
        size = self.cell.equations.inputs[0].shape
        if not x.is_floating_point() and self.cell.input is not None:
            if embedding is None:
                embedding = torch.eye(size[0].evaluate(self.sizes), dtype=states[0].dtype)
            x = embedding[x]
        rows: list[list[Tensor]] = []
        finals: list[list[Tensor]] = []
        for b in range(B):
            steps = range(T if lengths is None else int(lengths[b]))
            own = dict(zip(self.cell.context, (value[b] for value in context), strict=False))
            own |= {n: value[:, b] for n, value in zip(self.cell.further, inputs, strict=True)}
            S = 0 if not memory else memory[0].shape[1]
            count = S if memory_lengths is None else int(memory_lengths[b])
            self.positions = count
            own |= self._masks(context[len(self.cell.context) :], b, count)
            values = (over(value[b, :count]) for value in memory)
            own |= dict(zip(self.cell.memory, values, strict=True))
            outputs, last = self._sequence(
                x[:, b],
                [s[b, :count] if o else s[b] for s, o in zip(states, is_over, strict=True)],
                {**parameters, **own},
                [t + start for t in range(T)],
                reversed(steps) if reverse else steps,
            )
            if self.cell.output_size == POSITIONS:
                outputs = {t: F.pad(value, (0, S - count)) for t, value in outputs.items()}
            width = next(iter(outputs.values())).shape[0]
            blank = outputs[next(iter(outputs))].new_zeros(width)
            rows.append([outputs.get(t, blank) for t in range(T)])
            pairs = zip(last, is_over, strict=True)
            finals.append([F.pad(value, (0, S - count)) if o else value for value, o in pairs])
        y = torch.stack([torch.stack(row) for row in rows], dim=1)
        return y, tuple(torch.stack(values) for values in zip(*finals, strict=True))

    def _masks(self, masks: Sequence[Tensor], b: int, count: int) -> dict[str, Any]:
        """The masks of one sequence: a list of one for each step, or one for all."""
        names = [node.name for node in self.cell.equations.inputs if node.name in self.cell.masks]
        found: dict[str, Any] = {}
        for name, value in zip(names, masks, strict=True):
            each = self.cell.masks[name].each
            found[name] = (
                value if each == "call" else value[b] if each == "sequence" else value[:, b]
            )
            if self.cell.masks[name].shape == (POSITIONS,):
                found[name] = over(found[name][..., :count])
        return found

    def _sequence(
        self,
        x: Tensor,
        states: list[Tensor],
        fixed: Mapping[str, Tensor],
        index: list[int],
        steps: Any,
    ) -> tuple[dict[int, Tensor], list[Tensor]]:
        cell, outputs, forms = self.cell, {}, [state.shape for state in states]
        for t in steps:
            values: dict[str, Any] = {**self.constants, **fixed}
            sized = zip(cell.states, states, cell.state_shapes, strict=True)
            values |= {n: _as_state(s, shape) for n, s, shape in sized}
            for name, mask in cell.masks.items():
                if mask.each == "step":
                    values[name] = values[name][t]
            for name in cell.further:
                values[name] = values[name][t]
            if cell.input is not None:
                values[cell.input] = x[t]
            if cell.step is not None:
                values[cell.step] = torch.tensor(float(index[t]), dtype=states[0].dtype)
            for name, heads in cell.heads.items():
                for each in (name, f"drop_{name}"):  # a mask of its entries too
                    if each in values and name not in cell.states:
                        values[each] = torch.block_diag(*values[each].chunk(heads))
            for name in self.scalars:
                values[name] = values[name].reshape(())
            returned = self.function(**values)
            returned = list(returned) if isinstance(returned, tuple | list) else [returned]
            flat = [own_rows.plain(plain(v)).reshape(-1) for v in _like(returned, states[0])]
            outputs[t], states = flat[0], flat[-len(states) :]
            states = [s.reshape(form) for s, form in zip(states, forms, strict=True)]
        return outputs, states


def _as_state(state: Tensor, shape: tuple[Dim, ...]) -> Tensor:
    if has_own_rows(shape):
        return own(state.reshape(shape[0].blocks, -1, state.shape[-1]))
    return over(state) if shape[0] == POSITIONS else state


def _like(values: list[Any], tensor: Tensor) -> list[Tensor]:
    return [torch.as_tensor(value, dtype=tensor.dtype) for value in values]


def results(runner: Any, inputs: Inputs) -> Results:
    """Output, final states, and the gradient of each leaf for random cotangents on all of them."""
    y, finals = inputs.run(runner)
    found = {"y": y, **{f"final {i}": final for i, final in enumerate(finals)}}
    generator = torch.Generator().manual_seed(11)
    loss = torch.zeros((), dtype=torch.float64)
    for value in found.values():
        weight = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        loss = loss + (weight.to(value.dtype) * value).sum().double()
    leaves = inputs.leaves()
    gradients: Sequence[Tensor | None] = [None] * len(leaves)
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        found[f"d {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return {name: value.detach() for name, value in found.items()}


def assert_same(found: Results, expected: Results, tolerance: float, message: str = "") -> None:
    """Every result within `tolerance` of what is expected, relative to the largest number in it."""
    assert found.keys() == expected.keys(), message
    for name, value in expected.items():
        assert found[name].shape == value.shape, f"{name}: {tuple(found[name].shape)}\n{message}"
        difference = (found[name].to(value.dtype) - value).abs().max() if value.numel() else 0.0
        largest = value.abs().max() if value.numel() else 0.0
        # a comparison with NaN is False, so NaN fails
        assert difference <= tolerance * (1.0 + largest), (
            f"{name}: off by {float(difference):.2e} of {float(largest):.2e}\n{message}"
        )


def reference_results(cell: Cell, case: Case) -> Iterator[tuple[str, Results]]:
    """What each way through the reference backend gives, with its name.

    Derivatives come from torch or from the plan, and elementwise work stays in the loop ("lean") or
    leaves it; by itself the backend takes the lean plan for large values only.
    """
    for gradients, lean in product(("autograd", "adjoint"), (False, True)):
        with (
            mock.patch.object(engine, "_LEAN_ABOVE", -1 if lean else 2**62),
            mock.patch.multiple(engine, _CHUNK=0, _MIN_CHUNK=2),  # several chunks of few steps
        ):
            found = results(ReferenceBackend(cell, gradients=gradients), case.tensors(cell))
        yield f"{gradients}{', lean' * lean}", found


def check_reference(cell: Cell, case: Case, message: str) -> None:
    """Fail unless eager evaluation, autograd and adjoint agree for a cell.

    Args:
        message: the cell and the case; torch's own errors do not name them.
    """
    expected = results(Eager(cell, case.sizes), case.tensors(cell))
    try:
        for way, found in reference_results(cell, case):
            assert_same(found, expected, 1e-9, f"{way}, {message}")
    except RuntimeError as error:
        raise AssertionError(message) from error
