"""Calls of a kind that was run before, by the shortest way.

What a call takes follows from its tensors' shapes, strides and dtypes, and from what the thread has
switched on. Of a call that is like one before in all of these, nothing is decided again: a
`KnownCall` compares them and goes from the tensors' addresses to the loops. Where one differs it
says so, and the call is run as any other.

Letters: T time, B batch.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from recurra.backends.cpu import gate
from recurra.backends.cpu.execute import FEW_STEPS, CpuLoops
from recurra.backends.cpu.inputs import Fit
from recurra.backends.cpu.invocation import FIELDS, CallForm
from recurra.backends.cpu.packed import PACKED, Packed
from recurra.backends.cpu.workspace import WORKSPACE
from recurra.backends.forks import settle_after_fork
from recurra.backends.runtime.apart import Apart
from recurra.backends.runtime.call import Call, Values
from recurra.backends.runtime.execute import Executor, accumulate
from recurra.backends.runtime.gradients import composed_cotangents, cotangents, is_batched
from recurra.backends.runtime.program import Program
from recurra.backends.watching import is_transformed, outliving, refuse_tangents
from recurra.errors import BackendError
from recurra.ir import Graph, Node

_PLAIN = frozenset((Tensor, nn.Parameter))
_MOST_BLOCKS = 4  # as many calls at once, from several threads
_shape, _strides, _needs = attrgetter("shape"), Tensor.stride, attrgetter("requires_grad")
_PACKED_ALREADY = FIELDS["packed_already"]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the address comes from that a loop reads.

    Attributes:
        at: where it goes.
        slot: whose address it is.
        shift: bytes from there.
        fits: what the value goes through first.
    """

    at: int
    slot: int
    shift: int
    fits: tuple[Fit, ...]


@dataclass(slots=True)
class _Block:
    """A form's block of numbers with the addresses that do not change from call to call.

    Attributes:
        begin: where it lies.
        work, packed: where the working memory and the packed matrices lay when it was used last.
    """

    numbers: Any
    begin: int
    work: int = 0
    packed: int = 0


class _Likeness:
    """What some tensors are like, so that others can be compared with them."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.shapes, self._strides = [*map(_shape, tensors)], [*map(_strides, tensors)]
        self._spans = [*map(gate.span_of, tensors)]

    def addresses(self, tensors: Sequence[Any]) -> list[int] | None:
        """Where tensors lie that are like these; None where one is not."""
        try:
            if (
                not _PLAIN.issuperset(map(type, tensors))
                or [*map(_shape, tensors)] != self.shapes
                or [*map(_strides, tensors)] != self._strides
            ):
                return None
        except RuntimeError:  # of tensors that have no strides
            return None
        return gate.addresses(tensors, self._spans)


@dataclass(slots=True)
class _Looped:
    """What a loop gave: the values by node, the rows of carried values by position, the last."""

    values: Values
    rows: dict[int, Tensor]
    last: list[Tensor]


class _Loop:
    """A loop as it is called at one form.

    Args:
        sources: of each of the form's `reads`, the slot of its value and the bytes from there.
        last: whether the values after the last step are wanted.
    """

    def __init__(self, form: CallForm, sources: Sequence[tuple[int, int]], *, last: bool) -> None:
        self.form, self._wants_last = form, last
        self._sources = [
            _Source(read.at, slot, shift, read.fits)
            for read, (slot, shift) in zip(form.reads, sources, strict=True)
        ]
        self._blocks: list[_Block] = []

    def _block(self) -> _Block:
        if self._blocks:
            try:
                return self._blocks.pop()
            except IndexError:  # another thread took it
                pass
        numbers = self.form.block[:]
        begin = numbers.buffer_info()[0]
        for at, offset in self.form.inside:
            numbers[at] = begin + offset
        return _Block(numbers, begin)

    def run(
        self,
        slots: Sequence[Tensor],
        addresses: Sequence[int],
        first: Sequence[int],
        packed: Packed | None = None,
    ) -> _Looped:
        """Run all steps.

        Args:
            slots, addresses: the values, and where they lie.
            first: where the carried values before the first step lie, whole; 0 for zeros.
            packed: the matrices, where they are packed already.
        """
        form = self.form
        block = self._block()
        numbers = block.numbers
        work = WORKSPACE.take(form.work_size)
        work_at = work[1]
        if block.work != work_at:
            block.work = work_at
            for at, offset in form.working:
                numbers[at] = work_at + offset
        packed_at = work_at if packed is None else packed.place
        if block.packed != packed_at:
            block.packed = packed_at
            for at, offset in form.packing:
                numbers[at] = packed_at + offset
        numbers[_PACKED_ALREADY] = 0 if packed is None else 1
        alive = []
        for source in self._sources:
            if source.fits:
                value = slots[source.slot]
                for fit in source.fits:
                    value = fit(value)
                value, numbers[source.at] = gate.bound(value, "what is read")
                alive.append(value)
            else:
                numbers[source.at] = addresses[source.slot] + source.shift
        values = form.memory_of(form.made, numbers) | form.memory_of(form.sums, numbers)
        rows: dict[int, Tensor] = {}
        for i, (hand, place) in enumerate(zip(form.carried, first, strict=True)):
            if hand.rows:
                rows[i], numbers[hand.at] = hand.memory()
            if place:
                ctypes.memmove(numbers[hand.at] + hand.first, place, hand.size)
            else:
                ctypes.memset(numbers[hand.at] + hand.first, 0, hand.size)
        form.function(block.begin)
        last = []
        for hand in form.carried if self._wants_last else ():
            value, place = gate.fresh(1, *hand.shape)
            ctypes.memmove(place, numbers[hand.at] + hand.last, hand.size)
            last.append(value)
        WORKSPACE.give(work)
        if len(self._blocks) < _MOST_BLOCKS:
            self._blocks.append(block)
        return _Looped(values, rows, last)


class Unknown(Exception):  # noqa: N818 - no error
    """There is no shorter way for such a call."""


class KnownCall:
    """A call of one layer and direction, on features, of which all was decided before.

    Attributes:
        keep: whether what the backward pass reads is kept.
    """

    def __init__(
        self,
        executor: Executor,
        nodes: Sequence[Node],
        call: Call,
        tensors: Sequence[Tensor],
        *,
        keep: bool,
    ) -> None:
        """Decide how calls like this one run.

        Args:
            nodes: what each of `tensors` is the value of: x, the states unless they are zeros, the
                parameters.

        Raises:
            Unknown: where such a call has no shorter way.
        """
        loops, parts = executor.loops, executor.parts
        plan = parts.plan
        if not isinstance(loops, CpuLoops) or loops.measured or loops.widens or plan.low:
            raise Unknown
        if call.ids is not None or call.active is not None or call.positions or parts.t is not None:
            raise Unknown
        if not parts.is_written(keep) or parts.after[keep].outputs or not plan.states:
            raise Unknown
        self.keep = keep
        self.executor, self.loops, self.call = executor, loops, call
        self.nodes = tuple(nodes)
        self._states = slice(1, 1 + len(plan.states))
        self._zeros = (0,) * len(plan.states)
        self._starts = self.nodes[self._states] == plan.states
        self.like = _Likeness(tensors)
        if self._starts and not all(map(Tensor.is_contiguous, tensors[self._states])):
            raise Unknown
        self._before = self._programs_before(parts.before[keep])
        slots, at = self._filled(tensors), self._slots
        values = {node: slots[i] for node, i in at.items()}
        run = loops.forward_run(values, call, keep)
        if run.tables or parts.outputs[keep] not in run.wanted.arrays:
            raise Unknown
        form, _ = run.loop.form(values, call.order, call.batch, wanted=run.wanted)
        self._loop = _Loop(form, [(at[read.of], 0) for read in form.reads], last=run.wanted.last)
        weights = [at[read.of] for read in form.reads[form.weights]]
        few = not keep and call.steps <= FEW_STEPS and bool(weights)
        self._packs = few and all(slots[i].is_contiguous() for i in weights)
        self._weights, self._packed_for = weights, run.loop
        self._y = parts.outputs[keep]
        self._run = run
        self._saved: tuple[Any, ...] = ()
        self._row_bytes: dict[int, int] = {}
        self.kept = self._keep(dict(zip(nodes, tensors, strict=True))) if keep else {}
        self._reverses: dict[tuple[object, ...], _Reverse | None] = {}

    # ---- what is decided -------------------------------------------------------------------------

    def _programs_before(self, before: Graph) -> tuple[tuple[Program, tuple[int, ...]], ...]:
        """What torch computes before the loop, of which slots; its values are given slots."""
        executor, plan = self.executor, self.executor.parts.plan
        sections = executor.parts.sections
        graphs = (
            sections[plan.once, self.keep],
            sections[plan.context, self.keep],
            executor.rest[self.keep],
            before,
        )
        at = {node: i for i, node in enumerate(self.nodes)}
        found, count = [], len(at)
        for graph in graphs:
            if graph.outputs:
                program = executor.programs.program(graph)
                found.append((program, tuple(at[node] for node in program.inputs)))
                for node in program.outputs:
                    at[node] = count
                    count += 1
        self._slots: dict[Node, int] = at
        return tuple(found)

    def _keep(self, leaves: Mapping[Node, Tensor]) -> dict[Node, tuple[int, int]]:
        """Decide what is saved, and where each value that the backward pass reads besides the
        leaves then is: its slot there, and from which step on."""
        executor, run = self.executor, self._run
        plan, form = executor.parts.plan, self._loop.form
        made = dict(zip(plan.step.kept.keys, plan.step.kept.output_nodes, strict=True))
        ahead = 1 if self.call.order.step > 0 else 0
        rows: dict[Node, tuple[int, int]] = {}
        for i, hand in enumerate(form.carried):
            if hand.rows:
                node = run.loop.plan.carried[i]
                rows[node], rows[run.history[node]] = (i, 1 - ahead), (i, ahead)
        arrays = {each.node for each in form.made}
        kept: dict[Node, tuple[int, int]] = {}
        place: dict[object, int] = {}
        for leaf in executor.kept(leaves, self.call):
            node = made.get(leaf, leaf)
            what, step = rows.get(node, (node, 0))
            if node not in rows and node not in arrays and node not in self._slots:
                raise Unknown
            kept[leaf] = place.setdefault(what, len(self.nodes) + len(place)), step
        self._saved = tuple(place)
        self._row_bytes = {place[i]: form.carried[i].size for i in place if isinstance(i, int)}
        return kept

    def kept_of(self, slots: Sequence[Tensor], looped: "_Looped") -> list[Tensor]:
        """What is saved besides the leaves."""
        return [
            looped.rows[what]
            if isinstance(what, int)
            else looped.values[what]
            if what in looped.values
            else slots[self._slots[what]]
            for what in self._saved
        ]

    def row_bytes(self, slot: int) -> int:
        """How far apart the steps of a carried value are, in bytes."""
        return self._row_bytes.get(slot, 0)

    def value_of(self, leaf: Node, slots: Sequence[Tensor]) -> Tensor:
        """One of what is kept, of what was saved."""
        slot, step = self.kept[leaf]
        value = slots[slot]
        return value[step : step + self.call.steps] if slot in self._row_bytes else value

    # ---- forward ---------------------------------------------------------------------------------

    def _filled(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The slots of such a call."""
        slots = list(tensors)
        for program, operands in self._before:
            slots += program([slots[i] for i in operands])
        return slots

    def __call__(self, tensors: Sequence[Any]) -> tuple[Tensor, ...] | None:
        """y [T, B, O] and the final states, [1, B, size] each; None where it is another call.

        Args:
            tensors: as the nodes say, states as [1, B, size]; what is none is another call.
        """
        addresses = self.like.addresses(tensors)
        if addresses is None:
            return None
        if torch.is_grad_enabled():
            if any(map(_needs, tensors)) is not self.keep:
                return None
            if self.keep:
                return _apply(self, addresses, *tensors)
        elif self.keep:
            return None
        y, _, looped = self.forward(tensors, addresses)
        return (y, *looped.last)

    def forward(
        self, tensors: Sequence[Tensor], addresses: list[int]
    ) -> tuple[Tensor, Sequence[Tensor], _Looped]:
        """y, the slots, and what else the loop gave."""
        slots = tensors
        if self._before:
            slots = self._filled(tensors)
            made = slots[len(tensors) :]
            addresses = [*addresses, *(gate.bound(v, "a value")[1] for v in made)]
        packed = None
        if self._packs:
            weights = self._weights
            packed = PACKED.of(
                self._packed_for,
                [slots[i] for i in weights],
                [addresses[i] for i in weights],
                self._loop.form.packed_size,
                self._loop.form.pack,
            )
        first = addresses[self._states] if self._starts else self._zeros
        looped = self._loop.run(slots, addresses, first, packed)
        return looped.values[self._y], slots, looped

    # ---- backward --------------------------------------------------------------------------------

    def backward(
        self, slots: Sequence[Tensor], d_outputs: Sequence[Tensor | None], needs: tuple[bool, ...]
    ) -> list[Tensor | None]:
        """The cotangents of the tensors that went in.

        Args:
            slots: these, and what was saved besides.
            needs: of which they are asked for.
        """
        settle_after_fork()
        key = (needs, torch.get_num_threads(), *(d is None for d in d_outputs))
        plain = not is_transformed() and not any(map(is_batched, d_outputs))
        if plain and not torch.is_grad_enabled():
            refuse_tangents(d_outputs)
            if key not in self._reverses:
                self._reverses[key] = self._reverse(slots, d_outputs, needs)
            reverse = self._reverses[key]
            found = None if reverse is None else reverse(slots, d_outputs)
            if found is not None:
                return found
        if torch.is_grad_enabled():
            self.executor.check_second_derivative()
        wanted = frozenset(n for n, needed in zip(self.nodes, needs, strict=True) if needed)
        saved = [*slots[: len(self.nodes)], *(self.value_of(leaf, slots) for leaf in self.kept)]
        d_y, *d_finals = d_outputs
        own = [d_y, *(None if d is None else d.squeeze(0) for d in d_finals)]
        call = (self.executor, self.call, self.nodes, wanted)
        if is_transformed():
            by_node = composed_cotangents(*call, [None, None, *saved], own)
        else:
            by_node = cotangents(*call, saved, own)
        return [by_node.get(node) for node in self.nodes]

    def _reverse(
        self, slots: Sequence[Tensor], d_outputs: Sequence[Tensor | None], needs: tuple[bool, ...]
    ) -> "_Reverse | None":
        if d_outputs[0] is None or not _PLAIN.issuperset(map(type, (*slots, d_outputs[0]))):
            return None
        try:
            with outliving():
                return _Reverse(self, slots, d_outputs[0], needs)
        except (Unknown, BackendError):  # who takes the long way is told what cannot be built
            return None


class _Reverse:
    """The backward pass of known calls, for some cotangents.

    Args:
        known: the calls.
        slots, d_y: what it reads, of one of them.
        needs: of which tensors cotangents are asked for.
    """

    def __init__(
        self, known: KnownCall, slots: Sequence[Tensor], d_y: Tensor, needs: tuple[bool, ...]
    ) -> None:
        executor, loops, parts = known.executor, known.loops, known.executor.parts
        plan = parts.plan
        if plan.tail is None or not loops.only_transposes:
            raise Unknown
        self._executor, self._call, self._nodes = executor, known.call, known.nodes
        self._known, self._needs = known, needs
        wanted = {node for node, needed in zip(known.nodes, needs, strict=True) if needed}
        self._needed = parts.on_the_way(wanted)
        values: Values = dict(zip(known.nodes, slots, strict=False))
        values.update({leaf: known.value_of(leaf, slots) for leaf in known.kept})
        values[plan.step.seeds[0]] = d_y
        run = loops.reverse_run(values, known.call, self._needed, False)
        assert run.asked is not None, "it is a reverse run"
        if run.tables or run.asked.by_torch.outputs:
            raise Unknown
        order = known.call.order[::-1]
        form, _ = run.loop.form(values, order, known.call.batch, wanted=run.wanted)
        made = {each.node for each in (*form.made, *form.sums)}
        if not made.issuperset(node for _, node in run.asked.outputs):
            raise Unknown
        self._outputs = run.asked.outputs
        self._states = plan.states if run.wanted.last else ()
        self._sections = [part for part in (plan.context, plan.once) if part.graph.outputs]
        self._read_later = self._inputs_of_sections(values)
        at = {node: (i, 0) for i, node in enumerate(known.nodes)}
        at.update(
            {n: (slot, step * known.row_bytes(slot)) for n, (slot, step) in known.kept.items()}
        )
        at[plan.step.seeds[0]] = (len(slots), 0)
        places = [at[read.of] for read in form.reads]
        if any(shift and read.fits for read, (_, shift) in zip(form.reads, places, strict=True)):
            raise Unknown
        self._read = tuple(dict.fromkeys(slot for slot, _ in places))
        compact = {slot: i for i, slot in enumerate(self._read)}
        sources = [(compact[slot], shift) for slot, shift in places]
        self._loop = _Loop(form, sources, last=run.wanted.last)
        self._like = _Likeness([(*slots, d_y)[slot] for slot in self._read])

    def _inputs_of_sections(self, values: Mapping[Node, Tensor]) -> tuple[Node, ...]:
        read = [node for part in self._sections for node in part.adjoint.inputs if node in values]
        return tuple(dict.fromkeys(read))

    def __call__(
        self, slots: Sequence[Tensor], d_outputs: Sequence[Tensor | None]
    ) -> list[Tensor | None] | None:
        """The cotangents of the tensors that went in; None where it is another call."""
        all_slots = (*slots, d_outputs[0])
        read: list[Any] = [all_slots[slot] for slot in self._read]
        addresses = self._like.addresses(read)
        if addresses is None:
            return None
        first, alive = [], []
        for d in d_outputs[1:]:
            if d is None:
                first.append(0)
            else:
                whole, place = gate.bound(d.contiguous(), "the cotangent of a state")
                first.append(place)
                alive.append(whole)
        looped = self._loop.run(read, addresses, first)
        found: Values = {}
        for of, node in self._outputs:
            accumulate(found, {of: looped.values[node]})
        found.update(zip(self._states, looped.last, strict=True))
        if self._sections:
            self._go_through_sections(found, slots)
        return self._apart(found, slots, d_outputs, looped)

    def _go_through_sections(self, found: Values, slots: Sequence[Tensor]) -> None:
        """The cotangents of what the sections before the loop read."""
        known, leaves = self._known, dict(zip(self._nodes, slots, strict=False))
        values: Values = {
            n: known.value_of(n, slots) if n in known.kept else leaves[n] for n in self._read_later
        }
        for part in self._sections:
            rows = self._executor.section_cotangents(
                part, leaves, values, found, self._call, self._needed, False
            )
            accumulate(found, rows)

    def _apart(
        self,
        found: Values,
        slots: Sequence[Tensor],
        d_outputs: Sequence[Tensor | None],
        looped: _Looped,
    ) -> list[Tensor | None]:
        """The cotangents, which share memory with nothing; what the loop made is nobody else's."""
        made = (*looped.values.values(), *looped.last)
        own, handed_out = {*map(id, made)}, set()
        apart: Apart | None = None
        results: list[Tensor | None] = []
        for node, needed, shape in zip(
            self._nodes, self._needs, self._known.like.shapes, strict=True
        ):
            d = found.get(node) if needed else None
            if d is not None:
                d = d if d.shape == shape else d.reshape(shape)
                if id(d) not in own:
                    apart = apart or Apart((*slots, *d_outputs, *made))
                    d = apart(d)
                elif id(d) in handed_out:
                    d = d.clone()
                else:
                    handed_out.add(id(d))
            results.append(d)
        return results


class KnownAdjoint(torch.autograd.Function):
    """A known call whose backward pass is the plan's adjoint; see `gradients.Adjoint`."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, known: KnownCall, addresses: list[int], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """y, then the final states."""
        y, slots, looped = known.forward(tensors, addresses)
        ctx.known = known
        ctx.save_for_backward(*tensors, *known.kept_of(slots, looped))
        ctx.set_materialize_grads(False)
        return (y, *looped.last)

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """The cotangents of the tensors that went in."""
        needs = ctx.needs_input_grad[2:]
        return (None, None, *ctx.known.backward(ctx.saved_tensors, d_outputs, needs))


# without what torch does first for transforms by torch.func, of which there are none
_apply = super(torch.autograd.Function, KnownAdjoint).apply  # pyright: ignore[reportAttributeAccessIssue]
