"""One layer of what runs step by step: its values, its tables and its loop, weights packed once.

Letters: B sequences, I input, O output, V tokens of a vocabulary.
"""

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from recurra.backends.cpu import abi, gate
from recurra.backends.cpu.compiler import found_compiler
from recurra.backends.cpu.invocation import Invocation
from recurra.backends.cpu.loops import CompiledLoop
from recurra.backends.cpu.packed import Packed
from recurra.backends.cpu.shared import LEAST_BYTES, SHARED
from recurra.backends.runtime.call import Values
from recurra.backends.runtime.program import Program
from recurra.ir import POSITIONS, Graph, Node, has_positions
from recurra.lang import Cell, cell
from recurra.passes import Step, whole_step

_LARGEST_TABLE = 16 << 20  # numbers; looking a row up never costs more, but making the table does
_DTYPES = (torch.float32, torch.bfloat16)  # of parameters; states and sums are float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepLayer:
    """One layer: a cell, the number behind each of its size names, its parameters and constant
    arrays by name, and its memories as `filled_memories` gives them."""

    cell: Cell
    sizes: Mapping[str, int]
    parameters: Mapping[str, Tensor]
    memory: tuple[Tensor, ...] = ()

    @property
    def num_positions(self) -> int:
        """S of its memories; 0 without any."""
        return self.memory[0].shape[1] if self.memory else 0

    @property
    def all_sizes(self) -> dict[str, int]:
        """With how many positions the memory has."""
        S = self.num_positions
        return {**self.sizes, **dict.fromkeys(POSITIONS.names if S else (), S)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tokens:
    """That the first layer reads token ids: rows of `embedding` [V, I], one-hot without one."""

    embedding: Tensor | None = None


def obstacle(tensors: Iterable[Tensor]) -> str | None:
    """Why layers with these parameters cannot be compiled to run step by step; None if they can."""
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    for tensor in tensors:
        if tensor.device.type != "cpu":
            return f"the layer is on the device {tensor.device}"
        if tensor.dtype not in _DTYPES:
            return f"the layer is of {tensor.dtype}, not of float32 or bfloat16"
    return None if found_compiler() else "no C++ compiler was found; see `recurra doctor`"


@cell(state="unused", output=True, sizes={"W": ("O", "I"), "b": "O", "unused": "1"})
def _affine(x, unused, W, b):  # pyright: ignore[reportMissingParameterType]
    """An output layer as a cell, so that it is one more layer of a step."""
    return W @ x + b, unused


def affine_layer(weight: Tensor, bias: Tensor | None) -> StepLayer:
    """W x + b as a layer; it has one state of one number, which it never reads."""
    rows, columns = weight.shape
    bias = weight.new_zeros(rows) if bias is None else bias
    return StepLayer(
        cell=_affine, sizes={"I": columns, "O": rows}, parameters={"W": weight, "b": bias}
    )


class LayerLoop:
    """One layer's loop, with everything it reads."""

    def __init__(
        self,
        layer: StepLayer,
        states: Sequence[Tensor],
        context: Sequence[Tensor],
        tokens: Tokens | None,
        weights: torch.dtype,
    ) -> None:
        self._layer, self._states, self._tokens = layer, tuple(states), tokens
        self._sizes = layer.all_sizes
        self._x = next(iter(_leaves(layer.cell, "input")), None)
        self._like = torch.empty(0, dtype=torch.float32, device="cpu")
        one_hot = tokens is not None and tokens.embedding is None
        rows = self._size(self._x) if one_hot and self._x is not None else 0
        if tokens is not None and tokens.embedding is not None:
            rows = tokens.embedding.shape[0]
        self.vocabulary = rows
        self._step = self._chosen_step(rows)
        self._programs: dict[tuple[Graph, int], Program] = {}
        self._context = tuple(context) if layer.cell.context else ()  # the decoder reads none
        self._fixed = self._fixed_values()
        self._values = self._known_values()
        self._tables = self._lookup_tables()
        self._weights = weights
        self._loop = self._loop_of_sizes()
        matrices = self._loop.plan.matrices
        self.weight_bytes = sum(weights.itemsize * self._size(matrix) for matrix in matrices)
        self.threads = 1

    def _loop_of_sizes(self) -> CompiledLoop:
        table = bool(self._step.rows.outputs)
        return _loop(self._layer.cell, table, tuple(self._sizes.items()), self._weights)

    # ---- values

    def _size(self, node: Node) -> int:
        """How many numbers a value has for one sequence."""
        count = 1
        for dim in node.shape:
            count *= dim.evaluate(self._sizes)
        return count

    def _chosen_step(self, vocabulary: int) -> Step:
        """The step with a table of the vocabulary, where there can be one and it is not too big."""
        if self._tokens is not None:
            step = _step(self._layer.cell, table=True)
            if step is not None:
                width = sum(self._size(node) for node in step.rows.output_nodes)
                if vocabulary * width <= _LARGEST_TABLE:
                    return step
        step = _step(self._layer.cell, table=False)
        assert step is not None, "a step without a table is always possible"
        return step

    def _fixed_values(self) -> Values:
        """The values of parameters, and of what depends on these alone."""
        values: Values = {}
        cell = self._layer.cell
        for node in (*_leaves(cell, "parameter"), *_leaves(cell, "array")):
            value = self._layer.parameters[node.name].detach().to(self._like)
            values[node] = value if node.shape else value.reshape(1)
        values.update(self._run(self._step.once, values))
        return {
            node: self._shared(value.resolve_neg().contiguous()) for node, value in values.items()
        }

    def _shared(self, value: Tensor) -> Tensor:
        """What follows from the parameters, in memory that all share who have the same.

        What lies in a parameter's own memory stays there: that is written to.
        """
        if value.nbytes < LEAST_BYTES:
            return value
        given = [*self._layer.parameters.values()]
        if self._tokens is not None and self._tokens.embedding is not None:
            given.append(self._tokens.embedding)
        of_parameters = map(gate.memory_of, given)
        return value if gate.memory_of(value) in of_parameters else SHARED.of(value)

    def _known_values(self) -> Values:
        """These, the values of contexts and memories, and of what depends on them."""
        values, cell = dict(self._fixed), self._layer.cell
        leaves = (*_leaves(cell, "context"), *_leaves(cell, "memory"), *_leaves(cell, "positions"))
        for node, value in zip(leaves, (*self._context, *self._layer.memory), strict=True):
            values[node] = value.detach().to(self._like)
        values.update(self._run(self._step.context, values))
        for node, value in values.items():
            if has_positions(node.shape):  # what is the same for all of them stands there once
                shape = (len(self._states[0]), *(d.evaluate(self._sizes) for d in node.shape))
                values[node] = value.expand(shape)
        return {node: value.resolve_neg().contiguous() for node, value in values.items()}

    def _run(self, graph: Graph, values: Values, identity: Node | None = None) -> Values:
        if not graph.outputs:
            return {}
        key = (graph, self._layer.num_positions)
        if key not in self._programs:
            self._programs[key] = Program(graph, self._sizes, self._like, identity)
        found = self._programs[key]([values[node] for node in graph.inputs])
        return dict(zip(graph.keys, found, strict=True))

    def _lookup_tables(self) -> Values:
        """By input of the body that depends on the token: its value for each token, [V, size]."""
        x = self._x
        if self._tokens is None or x is None:
            return {}
        embedding = self._tokens.embedding
        if embedding is None:
            rows = torch.eye(self.vocabulary, dtype=self._like.dtype, device=self._like.device)
        else:
            rows = embedding.detach().to(self._like)
        values = {**self._values, x: rows}
        identity = x if embedding is None else None
        tables = self._run(self._step.rows, values, identity)
        if x in self._step.body.inputs:
            tables[x] = values[x]
        return {
            node: self._shared(gate.bound(t.contiguous(), node)[0]) for node, t in tables.items()
        }

    # ---- the call

    def prepare(self, threads: int) -> None:
        """Take memory and pack the weights."""
        self.threads = threads
        self._invoke(None)

    def begin(self, layer: StepLayer, states: Sequence[Tensor], context: Sequence[Tensor]) -> None:
        """Go on with other sequences; what depends on the parameters alone stays as it is.

        Args:
            layer: with other memories.
            states, context: of any number of sequences.
        """
        before, packed = self._loop, self._packed
        self._layer, self._states = layer, tuple(states)
        self._context = tuple(context) if layer.cell.context else ()
        self._sizes = layer.all_sizes
        self._values = self._known_values()
        self._loop = self._loop_of_sizes()
        is_as_packed = self._loop.extents.packed_sizes == before.extents.packed_sizes
        self._invoke(packed if is_as_packed else None)

    def _invoke(self, packed: Packed | None) -> None:
        """Take memory for what changes from step to step.

        Args:
            packed: the weights, where they are packed already.
        """
        batch = self._states[0].shape[0]
        values = dict(self._values)
        self._buffers: Values = {}
        for node in self._loop.plan.inputs:
            if node not in values:  # the input, the index of the step, rows of tables
                shape = (batch, self._size(node)) if not _is_index(node) else (1,)
                self._buffers[node] = values[node] = self._like.new_zeros(shape)
        self.further = [
            self._buffers.get(node, self._like.new_empty(batch, self._size(node)))
            for node in _leaves(self._layer.cell, "further")
        ]
        self._packed = self._packed_now(values) if packed is None else packed
        first = [state.detach().to(self._like) for state in self._states]
        self._invocation: Invocation = self._loop.prepare(
            values,
            first,
            range(1),
            wanted=self._loop.everything,
            threads=self.threads,
            packed=self._packed,
        )
        self._call = self._invocation.call

    def _packed_now(self, values: Values) -> Packed:
        """The weights among all that the loop reads, packed."""
        form, given = self._loop.form(
            values,
            range(1),
            self._states[0].shape[0],
            wanted=self._loop.everything,
            threads=self.threads,
        )
        return form.packed_once(given)

    def renew(self, layer: StepLayer, tokens: Tokens | None) -> None:
        """Compute and pack again what depends on the values of the parameters.

        To other memory: what there was may be others' too.
        """
        self._layer, self._tokens = layer, tokens
        self._fixed = self._fixed_values()
        self._values = self._known_values()
        self._tables = self._lookup_tables()
        form = self._invocation.form
        given = form.given({**self._values, **self._buffers})
        assert given is not None, "what is read has the shapes and strides that it had"
        self._packed = form.packed_once(given)
        self._invocation = self._invocation.reading(given, self._packed)

    @property
    def carried(self) -> list[Tensor]:
        """The states before and after a step, [2, B, size] each."""
        return list(self._invocation.carried.values())

    @property
    def output_size(self) -> int:
        """O."""
        return self._size(self._step.output)

    def as_struct(self) -> abi.Layer:
        """The layer as generate.hpp knows it."""
        nexts = self._step.body.output_nodes[: len(self._step.states)]
        if self._step.output in nexts:
            rows = self.carried[nexts.index(self._step.output)]
            after = (gate.bound(rows[1], "output")[1], gate.bound(rows[0], "output")[1])
        else:
            made = self._invocation.arrays[self._step.output]
            after = (gate.bound(made, "output")[1],) * 2
        index = next((value for node, value in self._buffers.items() if _is_index(node)), None)
        x = self._x if self._tokens is None and self._x in self._buffers else None
        function: Any = self._invocation.function
        return abi.Layer(
            run=ctypes.cast(function, abi.POINTER),
            call=ctypes.addressof(self._call),
            x=-1 if x is None else self._loop.plan.inputs.index(x),
            step_index=None if index is None else gate.bound(index, "step")[1],
            output=after,
            affine=0 if x is None or self._layer.cell is not _affine else self._size(x),
        )

    def lookups(self) -> list[abi.Lookup]:
        """What is looked up by token."""
        batch = self._states[0].shape[0]
        return [
            abi.Lookup(
                input=self._loop.plan.inputs.index(node),
                table=gate.bound(table, node)[1],
                rows=gate.bound(self._buffers[node], node)[1] if batch > 1 else None,
                width=table.shape[1],
            )
            for node, table in self._tables.items()
        ]

    def explain_tokens(self) -> Iterable[str]:
        """What token ids become, in words."""
        if self._step.rows.outputs:
            numbers = sum(table.numel() for table in self._tables.values())
            yield f"token ids: rows of a table of {numbers * 4 / 1024:,.0f} KiB"
        elif self._tokens is not None:
            yield "token ids: rows of the embedding; the input's product runs in each step"


def _is_index(node: Node) -> bool:
    return node.op == "input" and node.attr("kind") == "step"


def _leaves(cell: Cell, kind: str) -> tuple[Node, ...]:
    return tuple(node for node in cell.equations.inputs if node.attr("kind") == kind)


@lru_cache(maxsize=512)
def _step(cell: Cell, *, table: bool) -> Step | None:
    return whole_step(cell.equations, table=table)


@lru_cache(maxsize=512)
def _loop(
    cell: Cell, table: bool, sizes: tuple[tuple[str, int], ...], weights: torch.dtype
) -> CompiledLoop:
    step = _step(cell, table=table)
    assert step is not None
    loop = CompiledLoop(step.body, step.states, set(), dict(sizes), skip=False, products=weights)
    loop.load()
    return loop
