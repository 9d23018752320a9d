"""A call of a compiled loop: the struct `Call` and all that it points to, as one block of numbers.

What calls of one shape have in common is worked out once, as a form. An invocation is a copy of its
block with the addresses of this call's tensors put in.
"""

import ctypes
import math
from array import array
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import torch
from torch import Tensor

from recurra.backends.cpu import abi, gate
from recurra.backends.cpu.abi import LONG_BYTES, Array, Carried, LoopCall, Matrix
from recurra.backends.cpu.inputs import Fit, misfit
from recurra.backends.cpu.kept import KEPT
from recurra.backends.cpu.packed import PACKED, Packed
from recurra.backends.cpu.shared import SHARED
from recurra.backends.cpu.workspace import Piece
from recurra.ir import Node

abi.written_in_order(Array, "data", "step", "row", "local", "gathered")
abi.written_in_order(Matrix, "data", "row_stride", "column_stride", "packed")
abi.written_in_order(Carried, "data", "whole")
FIELDS = {name: i for i, (name, *_) in enumerate(LoopCall._fields_)}
assert ctypes.sizeof(LoopCall) == LONG_BYTES * len(FIELDS), "a number of the block for each member"
_NUMBER_BYTES = 4

_shape, _strides = attrgetter("shape"), Tensor.stride


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wanted:
    """What a run is to give.

    Attributes:
        carried: which carried values of all steps, by position.
        arrays: what is recorded or computed at every step.
        sums: what is summed over all steps.
        last: whether the last carried values are wanted.
        kept: what of it only the backward pass reads.
    """

    carried: Collection[int] = ()
    arrays: Collection[Node] = ()
    sums: Collection[Node] = ()
    last: bool = True
    kept: Collection[Node] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a loop reads.

    Attributes:
        at: where its address goes.
        node: what it is called in messages.
        of: whose value it is: of a transposed matrix, the matrix.
        fits: what the value goes through first; nothing where it is read where it lies.
    """

    at: int
    node: Node
    of: Node
    fits: tuple[Fit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a loop writes to memory of its own.

    Attributes:
        at: where its address goes.
        zero: it is added to.
        kept: only the backward pass reads it.
    """

    at: int
    node: Node
    shape: tuple[int, ...]
    zero: bool = False
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """A value that a step hands on to the next.

    Attributes:
        at: where the address of its memory goes.
        shape: [B, size], of a matrix [B, P, Q].
        rows: how many of these its memory holds, where all steps are wanted; else 0, and it lies in
            the working memory.
        first, last: the bytes from there to the value before the first step, and after the last.
        size: bytes of a value.
        kept: only the backward pass reads those of all steps.
    """

    at: int
    node: Node
    shape: tuple[int, ...]
    rows: int
    first: int
    last: int
    size: int
    kept: bool

    def memory(self) -> tuple[Tensor, int]:
        """For those of all steps, with its address."""
        return (KEPT.take if self.kept else gate.fresh)(self.rows, *self.shape)


def hand(
    node: Node, shape: tuple[int, ...], order: range, at: int, *, whole: bool, kept: bool
) -> Hand:
    """A carried value as the struct `Carried` at such a place."""
    steps, ahead, size = len(order), order.step > 0, _NUMBER_BYTES * math.prod(shape)
    return Hand(
        at=at,
        node=node,
        shape=shape,
        rows=steps + 1 if whole else 0,
        first=0 if ahead or not whole else steps * size,
        last=(steps * ahead if whole else steps & 1) * size,
        size=size,
        kept=kept,
    )


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call of a compiled loop, ready to run.

    Attributes:
        block: the struct `Call`, and what it points to.
        carried: by position, those of which all steps are wanted: [T + 1, B, size].
        arrays: [T, B, size] each, what was wanted of them.
        sums: by node, each in its own shape.
        work: the working memory.
        alive: what else the call points to: what it reads, the packed matrices, and the rest.
    """

    function: Callable[..., None]
    block: "array[int]"
    form: "CallForm"
    work: Piece
    carried: dict[int, Tensor]
    arrays: dict[Node, Tensor]
    sums: dict[Node, Tensor]
    alive: tuple[object, ...]

    @property
    def call(self) -> LoopCall:
        """The struct; what is written to it is in force."""
        return LoopCall.from_buffer(self.block)

    def launch(self) -> None:
        """Run all steps."""
        self.function(self.block.buffer_info()[0])

    def reading(self, given: Sequence[Tensor], packed: Packed) -> "Invocation":
        """The same call from here on, which goes on with other values of what it reads.

        Args:
            given: what is read, as the form gives it.
            packed: the matrices among it.
        """
        alive = (self.form.point(self.block, given), packed, *self.alive[2:])
        for at, offset in self.form.packing:
            self.block[at] = packed.place + offset
        return replace(self, alive=alive)

    def last(self) -> list[Tensor]:
        """The carried values after the last step, each in memory of its own."""
        found = []
        for hand in self.form.carried:
            value, place = gate.fresh(*hand.shape)
            ctypes.memmove(place, self.block[hand.at] + hand.last, hand.size)
            found.append(value)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm:
    """What calls of one shape have in common.

    Attributes:
        block: all numbers but those that each call has of its own.
        inside: places in the block that hold the address of another one, and how many bytes that is
            from the block's beginning.
        working: the same of places in the working memory.
        work_size: numbers that the working memory holds.
        packing: the same of where matrices are packed: there, or in memory that is kept.
        packed_size: numbers that packed matrices take.
        weights: which of `reads` are matrices.
        threads: that share the work.
        shapes, strides: of the values of `reads`, which others than these have another form.
        spans: bytes from the first number of each to its last; none where one has to be made fit.
    """

    function: Callable[..., None]
    block: "array[int]"
    inside: tuple[tuple[int, int], ...]
    working: tuple[tuple[int, int], ...]
    work_size: int
    packing: tuple[tuple[int, int], ...]
    packed_size: int
    weights: slice
    reads: tuple[Read, ...]
    made: tuple[Made, ...]
    sums: tuple[Made, ...]
    carried: tuple[Hand, ...]
    threads: int
    shapes: list[torch.Size]
    strides: list[tuple[int, ...]]
    spans: list[int]

    def given(self, values: Mapping[Node, Tensor]) -> list[Tensor] | None:
        """What is read, of these values; None where they lie otherwise than the form is for."""
        given = [values[read.of] for read in self.reads]
        try:
            if [*map(_shape, given)] == self.shapes and [*map(_strides, given)] == self.strides:
                return given
        except RuntimeError:  # of tensors that have no strides
            pass
        return None

    def packed(self, what: Hashable, given: Sequence[Tensor]) -> Packed | None:
        """The matrices, packed now or by a call before; None where they have to be made fit."""
        addresses = gate.addresses(given, self.spans)
        weights = given[self.weights]
        if addresses is None or not weights or not all(map(Tensor.is_contiguous, weights)):
            return None
        return PACKED.of(what, weights, addresses[self.weights], self.packed_size, self.pack)

    def packed_once(self, given: Sequence[Tensor]) -> Packed:
        """The matrices, packed now, in memory that all share who have packed the same."""
        reads = self.reads[self.weights]
        weights = [gate.bound(w, r.node) for w, r in zip(given[self.weights], reads, strict=True)]
        memory, place = gate.fresh(self.packed_size)
        memory.zero_()  # panels of the target may leave room at the end of a matrix
        addresses = tuple(at for _, at in weights)
        self.pack(Packed(copies=(), addresses=addresses, memory=memory, place=place))
        memory, place = gate.bound(SHARED.of(memory), "packed weights")
        return Packed(copies=(), addresses=(), memory=memory, place=place)

    def pack(self, packed: Packed) -> None:
        """Pack the weights at the addresses that are there, into the memory that is there."""
        block = self.block[:]
        begin = block.buffer_info()[0]
        for at, offset in self.inside:
            block[at] = begin + offset
        for at, offset in self.packing:
            block[at] = packed.place + offset
        for at, _ in self.working:  # where nothing is written
            block[at] = packed.place
        for read, address in zip(self.reads[self.weights], packed.addresses, strict=True):
            block[read.at] = address
        block[FIELDS["steps"]] = 0  # nothing but packing
        self.function(begin)

    def invocation(
        self,
        given: Sequence[Tensor],
        first: Sequence[Tensor],
        work: Piece,
        fields: Mapping[str, int | None],
        alive: tuple[object, ...],
        packed: Packed | None = None,
    ) -> Invocation:
        """A call with these values.

        Args:
            given: what is read.
            first: the carried values before the first step.
            work: the working memory, without the place of matrices that are packed already.
            fields: addresses that each call has of its own.
            alive: what these point to.
            packed: the matrices, where they are packed already.
        """
        block = self.block[:]
        begin, work_at = block.buffer_info()[0], work[1]
        for at, offset in self.inside:
            block[at] = begin + offset
        packed_at = work_at
        if packed is not None:  # then nothing lies where they would, which is first
            packed_at, work_at = packed.place, work_at - _NUMBER_BYTES * self.packed_size
        for at, offset in self.working:
            block[at] = work_at + offset
        for at, offset in self.packing:
            block[at] = packed_at + offset
        block[FIELDS["packed_already"]] = int(packed is not None)
        for name, address in fields.items():
            block[FIELDS[name]] = address or 0
        given = self.point(block, given)
        arrays, sums = self.memory_of(self.made, block), self.memory_of(self.sums, block)
        carried: dict[int, Tensor] = {}
        for i, (hand, value) in enumerate(zip(self.carried, first, strict=True)):
            if hand.rows:
                carried[i], block[hand.at] = hand.memory()
            _begin(hand, value, block[hand.at] + hand.first)
        function, alive = self.function, (given, packed, *alive)
        return Invocation(function, block, self, work, carried, arrays, sums, alive)

    def point(self, block: "array[int]", given: Sequence[Tensor]) -> Sequence[Tensor]:
        """Put the addresses of what is read into a block; what lies there."""
        addresses = gate.addresses(given, self.spans)
        if addresses is None:
            return [_put(block, *each) for each in zip(self.reads, given, strict=True)]
        for read, address in zip(self.reads, addresses, strict=True):
            block[read.at] = address
        return given

    @staticmethod
    def memory_of(made: Iterable[Made], block: "array[int]") -> dict[Node, Tensor]:
        """Memory for what a loop gives, zero where it adds to it; its addresses go into a block."""
        found: dict[Node, Tensor] = {}
        for each in made:
            memory = KEPT.take if each.kept else gate.fresh
            found[each.node], block[each.at] = memory(*each.shape)
            if each.zero:
                found[each.node].zero_()
        return found


def _put(block: "array[int]", read: Read, value: Tensor) -> Tensor:
    """Put the address of a value into the block; what lies there."""
    for fit in read.fits:
        value = fit(value)
    value, block[read.at] = gate.bound(value, read.node)
    return value


def _begin(hand: Hand, value: Tensor, place: int) -> None:
    """Write a value before the first step to where it belongs."""
    if value.shape != hand.shape:
        raise misfit(hand.node, value, hand.shape)
    value, at = gate.bound(value.contiguous(), hand.node)
    ctypes.memmove(place, at, hand.size)
