"""A compiled time loop: memory for what it writes, and the call."""

import ctypes
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurra.backends.cpu.compiler import load_library
from recurra.backends.cpu.printer import print_loop
from recurra.backends.cpu.schedule import Schedule, schedule
from recurra.backends.reference.loops import LoopResult
from recurra.ir import Dim, Graph, Node

_LONG = ctypes.c_long
_POINTER = ctypes.c_void_p
_L2_BYTES = 1 << 20
_PANEL = 64  # scratch rows are rounded up to this many numbers, whatever the target's panels


class _Input(ctypes.Structure):
    _fields_ = (("data", _POINTER), ("step_stride", _LONG), ("row_stride", _LONG))


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("data", _POINTER),
        ("row_stride", _LONG),
        ("column_stride", _LONG),
        ("packed", _POINTER),
    )


class _Carried(ctypes.Structure):
    _fields_ = (("data", _POINTER), ("whole", _LONG))


class Call(ctypes.Structure):
    """The struct `Call` of runtime.hpp."""

    _fields_ = (
        ("steps", _LONG),
        ("batch", _LONG),
        ("first", _LONG),
        ("direction", _LONG),
        ("sizes", _POINTER),
        ("inputs", _POINTER),
        ("matrices", _POINTER),
        ("carried", _POINTER),
        ("records", _POINTER),
        ("scratch", _POINTER),
        ("lengths", _POINTER),
        ("threads", _LONG),
        ("by_panel", _LONG),
        ("packed_already", _LONG),
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call to a compiled loop with all its memory.

    Attributes:
        carried: [T + 1, B, size] or [2, B, size] each; see the struct `Carried` of runtime.hpp.
        records: [T, B, size] each.
        alive: what the call points to.
    """

    function: Callable[..., None]
    call: Call
    carried: list[Tensor]
    records: list[Tensor]
    alive: tuple[object, ...]

    def launch(self) -> None:
        """Run all steps."""
        self.function(ctypes.byref(self.call))


class CompiledLoop:
    """A loop body compiled to run all steps; the same interface as the reference's TimeLoop."""

    def __init__(
        self,
        body: Graph,
        carried: Sequence[Node],
        stepped: set[Node],
        sizes: Mapping[str, int],
        *,
        skip: bool,
    ) -> None:
        self.plan: Schedule = schedule(body, carried, len(carried))
        self._stepped = stepped
        self._size_names = _size_names(body)
        self.source = print_loop("run", self.plan, self._size_names, skip=skip)
        self._function = load_library('#include "runtime.hpp"\n' + self.source)["run"]
        self._function.restype = None
        self._function.argtypes = (ctypes.POINTER(Call),)
        self._extra = body.output_nodes[len(carried) :]
        # what follows from the sizes is worked out here, not at every call
        self._widths = [_evaluated(node, sizes) for node in self._extra]
        self._scratch = sum(_padded(dim.evaluate(sizes)) for dim in self.plan.scratch)
        self._numbers = (_LONG * len(self._size_names))(*(sizes[n] for n in self._size_names))
        self._largest = max((_bytes(matrix, sizes) for matrix in self.plan.matrices), default=0)

    def run(
        self,
        values: Mapping[Node, Tensor],
        first: Sequence[Tensor],
        order: range,
        *,
        history: Mapping[Node, Node],
        active: Tensor | None,
        early: Callable[[slice], Mapping[Node, Tensor]] | None = None,
        chunk: int | None = None,
    ) -> LoopResult:
        """Run all steps; see `TimeLoop.run`. What is `early` is had for all steps at once."""
        steps = len(order)
        if early is not None:
            values = {**values, **early(slice(0, steps))}
        lengths = None if active is None else active.sum(0).reshape(-1)
        whole = {i for i, node in enumerate(self.plan.carried) if node in history}
        prepared = self.prepare(values, first, order, whole=whole, lengths=lengths)
        prepared.launch()
        found = dict(zip(self._extra, prepared.records, strict=True))
        last = []
        ahead = 1 if order.step > 0 else 0
        for i, (rows, node) in enumerate(zip(prepared.carried, self.plan.carried, strict=True)):
            if i in whole:
                found[node] = rows[1 - ahead : 1 - ahead + steps]
                found[history[node]] = rows[ahead : ahead + steps]
                last.append(rows[steps if ahead else 0])
            else:
                last.append(rows[steps & 1])
        return LoopResult(carried=last, records=found)

    def prepare(
        self,
        values: Mapping[Node, Tensor],
        first: Sequence[Tensor],
        order: range,
        *,
        whole: Collection[int] = (),
        lengths: Tensor | None = None,
        threads: int | None = None,
    ) -> "Prepared":
        """Memory for a run and its call, which can be launched any number of times.

        Args:
            values: by node, for the inputs of the body; read where they lie, at every launch.
            whole: which carried values keep those of all steps.
            lengths: [B], the steps of each sequence; None for all.
        """
        plan, steps, like = self.plan, len(order), first[0]
        batch, threads = like.shape[0], threads or torch.get_num_threads()
        keep: list[Tensor] = []
        inputs = (_Input * max(len(plan.inputs), 1))(
            *(self._input(values[node], node in self._stepped, keep) for node in plan.inputs)
        )
        matrices = (_Matrix * max(len(plan.matrices), 1))(
            *(self._matrix(_matrix_value(node, values), keep) for node in plan.matrices)
        )
        start = order.start if order.step < 0 else order.start - 1
        carried = []
        for i, value in enumerate(first):
            rows = value.new_empty(steps + 1 if i in whole else 2, batch, value.shape[-1])
            rows[start + 1 if i in whole else 0].copy_(value)
            carried.append(rows)
        places = (_Carried * len(carried))(
            *(_Carried(rows.data_ptr(), i in whole) for i, rows in enumerate(carried))
        )
        records = [like.new_empty(steps, batch, width) for width in self._widths]
        pointers = (_POINTER * max(len(records), 1))(*(r.data_ptr() for r in records))
        scratch = like.new_empty(max(batch * self._scratch, 1))
        if lengths is not None:
            lengths = lengths.to(torch.int64).contiguous()
            keep.append(lengths)
        call = Call(
            steps=steps,
            batch=batch,
            first=order.start,
            direction=order.step,
            sizes=ctypes.addressof(self._numbers),
            inputs=ctypes.addressof(inputs),
            matrices=ctypes.addressof(matrices),
            carried=ctypes.addressof(places),
            records=ctypes.addressof(pointers),
            scratch=scratch.data_ptr(),
            lengths=lengths.data_ptr() if lengths is not None else None,
            threads=threads,
            by_panel=int(self._by_panel(batch, threads)),
            packed_already=0,
        )
        alive = (inputs, matrices, places, pointers, scratch, *keep)
        return Prepared(self._function, call, carried, records, alive)

    def _by_panel(self, batch: int, threads: int) -> bool:
        """Whether threads share the columns of each product, meeting after it, instead of each
        taking sequences of its own: for few sequences, and for weights that then fit its cache."""
        return threads > 1 and (batch < 2 * threads or self._largest > _L2_BYTES)

    @staticmethod
    def _input(value: Tensor, stepped: bool, keep: list[Tensor]) -> _Input:
        if value.shape[-1] > 1 and value.stride(-1) != 1:
            value = value.contiguous()
        keep.append(value)
        strides = [0 if n == 1 else s for n, s in zip(value.shape, value.stride(), strict=True)]
        step = strides[0] if stepped and value.dim() == 3 else 0
        row = strides[-2] if value.dim() >= 2 else 0
        return _Input(value.data_ptr(), step, row)

    @staticmethod
    def _matrix(value: Tensor, keep: list[Tensor]) -> _Matrix:
        rows, columns = value.shape
        packed = value.new_empty(_padded(rows) * columns)
        keep += [value, packed]
        return _Matrix(value.data_ptr(), value.stride(0), value.stride(1), packed.data_ptr())


def _matrix_value(node: Node, values: Mapping[Node, Tensor]) -> Tensor:
    return values[node] if node in values else values[node.inputs[0]].t()


def _padded(width: int) -> int:
    return math.ceil(width / _PANEL) * _PANEL


def _bytes(matrix: Node, sizes: Mapping[str, int]) -> int:
    rows, columns = (dim.evaluate(sizes) for dim in matrix.shape)
    return 4 * rows * columns


def _size_names(body: Graph) -> tuple[str, ...]:
    """The size names that occur in the shapes and slices of a graph."""
    nodes = (*body.inputs, *body.nodes())
    dims = [dim for node in nodes for dim in node.shape]
    dims += [value for node in nodes for _, value in node.attrs if isinstance(value, Dim)]
    return tuple(sorted({name for dim in dims for name in dim.names}))


def _evaluated(node: Node, sizes: Mapping[str, int]) -> int:
    return node.shape[0].evaluate(sizes) if node.shape else 1
