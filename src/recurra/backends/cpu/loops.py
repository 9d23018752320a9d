"""A compiled time loop: memory for what it writes, and the call."""

import ctypes
import time
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from recurra.backends.cpu import abi, gate
from recurra.backends.cpu.abi import (
    LONG,
    LONG_BYTES,
    PARTS,
    POINTER,
)
from recurra.backends.cpu.building import Building
from recurra.backends.cpu.extents import UNWANTED, WANTED, Extents
from recurra.backends.cpu.inputs import (
    Fit,
    array_of,
    array_of_rows,
    check_fits,
    contiguous,
    expanded,
    misfit,
    over_all_rows,
)
from recurra.backends.cpu.invocation import (
    FIELDS,
    CallForm,
    Hand,
    Invocation,
    Made,
    Read,
    Wanted,
    hand,
)
from recurra.backends.cpu.loop_sizes import padded
from recurra.backends.cpu.packed import Packed
from recurra.backends.cpu.printer import print_loop
from recurra.backends.cpu.schedule import Bulk, Schedule, resolve, schedule, size_names
from recurra.backends.cpu.workspace import WORKSPACE, Workspace
from recurra.backends.forks import settle_after_fork
from recurra.backends.runtime.call import LoopResult
from recurra.errors import BackendError
from recurra.ir import Graph, Node, has_positions, is_rows

_MOST_FORMS = 1024  # of calls; what is forgotten is found again


class CompiledLoop:
    """A loop body compiled to run all steps, with what can be computed for many steps at once.

    It is being built from when it is made on; `load` waits for that, and is called before it runs.

    Args:
        body: its first outputs become `carried` in the next step, the others are recorded.
        carried: the inputs of the body that come from the step before.
        stepped: the inputs that have time in front.
        sizes: the number behind each size name.
        skip: whether nothing flows through a step past a sequence's end; see `TimeLoop`.
        before: how inputs of the body are computed from what `run` gets.
        after: what is computed from what the body records.
        products: bfloat16 to round the operands of products to it; sums stay in float32.
        measured: count what its threads spend their time on.

    Attributes:
        spent: by thread and part (`PARTS`), ticks of all runs so far, where they are counted.
        launched_s: seconds of all runs so far, likewise.
        skip: as it was given.
        everything: to want all that a run without sums can give.
        extents: how large what it reads and writes is.
    """

    def __init__(
        self,
        body: Graph,
        carried: Sequence[Node],
        stepped: set[Node],
        sizes: Mapping[str, int],
        *,
        skip: bool,
        before: Sequence[Bulk] = (),
        after: Sequence[Bulk] = (),
        products: torch.dtype = torch.float32,
        measured: bool = False,
    ) -> None:
        self.spent: Tensor | None = None
        self.launched_s = 0.0
        self.skip = skip
        self._measured = measured
        self._spent_at = 0
        self._stepped = stepped
        self.plan, self._size_names, self.source = _printed(
            body, tuple(carried), tuple(before), tuple(after), skip=skip
        )
        head = "#define MEASURED\n" * measured + '#include "runtime.hpp"\n'
        self._kernels = abi.Kernels(products, sums=any(item.is_sum for item in (*before, *after)))
        self._building = Building(head + self.source, ("run",))
        # what follows from the sizes is worked out here, not at every call
        self.extents = Extents(self.plan, sizes, halved=products is torch.bfloat16)
        self._numbers = (LONG * len(self._size_names))(*(sizes[n] for n in self._size_names))
        flat = {item.operand for item in (*before, *after)}
        flat |= {item.right for item in after if item.right is not None}
        self._flat = {resolve(node, set(self.plan.arrays))[0] for node in flat}
        self._forms: dict[tuple[object, ...], CallForm] = {}
        self.everything = Wanted(carried=range(len(self.plan.carried)), arrays=self.plan.arrays)

    def load(self) -> None:
        """Wait for what is being built.

        Raises:
            BuildError: when it cannot be built.
        """
        self._table, self._first_outside = self._kernels.load()
        self._function = self._building.loaded()["run"]
        self._function.restype = None
        self._function.argtypes = (POINTER,)

    def run(
        self,
        values: Mapping[Node, Tensor],
        first: Sequence[Tensor],
        order: range,
        *,
        wanted: Wanted,
        history: Mapping[Node, Node],
        active: Tensor | None,
        ids: Tensor | None = None,
        tables: frozenset[Node] = frozenset(),
        again: bool = False,
    ) -> LoopResult:
        """Run all steps.

        Args:
            values: by node, what the body and what comes before it read; read where they lie.
            first: the carried values before the first step, [B, size] each.
            order: the steps in the order in which they run.
            wanted: what to give; calls that want the same pass the same one.
            history: the carried nodes that are wanted, each with the node of its next value, given
                with it.
            active: [T, B, 1] bool, False past a sequence's end; None when all steps are taken.
            ids: [T, B], the token ids that choose rows of `tables`.
            tables: the inputs whose values are [V, size].
            again: see `prepare`.
        """
        lengths = live = None
        if active is not None:
            lengths = active.sum(0).reshape(-1)
            if bool((lengths[1:] <= lengths[:-1]).all()):
                live = active.sum(1).reshape(-1)
        invocation = self.prepare(
            values,
            first,
            order,
            wanted=wanted,
            lengths=lengths,
            live=live,
            ids=ids,
            tables=tables,
            pool=WORKSPACE,
            again=again,
        )
        begun = time.perf_counter() if self._measured else 0.0
        invocation.launch()
        if self._measured:
            self.launched_s += time.perf_counter() - begun
        last = invocation.last() if wanted.last else []
        WORKSPACE.give(invocation.work)
        found: dict[Node, Tensor] = {**invocation.arrays, **invocation.sums}
        steps, ahead = len(order), 1 if order.step > 0 else 0
        for i, rows in invocation.carried.items():
            node = self.plan.carried[i]
            found[node] = rows[1 - ahead : 1 - ahead + steps]
            found[history[node]] = rows[ahead : ahead + steps]
        return LoopResult(carried=last, records=found, cleared=live is not None)

    def prepare(
        self,
        values: Mapping[Node, Tensor],
        first: Sequence[Tensor],
        order: range,
        *,
        wanted: Wanted,
        lengths: Tensor | None = None,
        live: Tensor | None = None,
        ids: Tensor | None = None,
        tables: frozenset[Node] = frozenset(),
        threads: int = 0,
        pool: Workspace | None = None,
        again: bool = False,
        packed: Packed | None = None,
    ) -> Invocation:
        """Memory for a run and its call, which can be launched any number of times.

        Args:
            values: by node, for the inputs of the body; read where they lie, at every launch.
            wanted: what to give; calls that want the same pass the same one.
            lengths: [B], the steps of each sequence; None for all.
            live: [T], how many sequences take each step, where they lie from the longest to the
                shortest: the others cost nothing then.
            threads: 0 for as many as torch has, where there is enough to share.
            pool: where the working memory comes from; None for memory that nobody else has.
            again: look whether the weights were packed by a call before, and keep them packed.
            packed: the weights, packed by the form of these values, or of a loop with matrices of
                the same sizes.
        """
        settle_after_fork()
        steps, batch = len(order), len(first[0])
        form, given = self.form(values, order, batch, wanted=wanted, tables=tables, threads=threads)
        fields: dict[str, int | None] = {}
        alive: list[Tensor] = []
        if lengths is not None:
            lengths, fields["lengths"] = gate.bound(
                lengths.to(torch.int64).contiguous(), "lengths", torch.int64
            )
            alive.append(lengths)
        if live is not None:
            assert lengths is not None, "what is left out is masked by the lengths"
            live, fields["live"] = gate.bound(
                live.to(torch.int64).contiguous(), "live", torch.int64
            )
            alive.append(live)
        if ids is not None:
            ids, ids_at = gate.bound(ids.contiguous(), "token ids", torch.int64)
            fields["ids"] = ids_at
            alive.append(ids)
            if tables:
                rows = min(len(values[node]) for node in tables)
                self._check_ids(ids_at, ids, (steps, batch), rows)
        if self._measured:
            fields["spent"] = self._counters(form.threads)
        packed = form.packed(self, given) if again else packed
        size = form.work_size if packed is None else form.work_size - form.packed_size
        work = gate.fresh(size) if pool is None else pool.take(size)
        return form.invocation(given, first, work, fields, tuple(alive), packed)

    def form(
        self,
        values: Mapping[Node, Tensor],
        order: range,
        batch: int,
        *,
        wanted: Wanted,
        tables: frozenset[Node] = frozenset(),
        threads: int = 0,
    ) -> tuple[CallForm, list[Tensor]]:
        """What calls with such values have in common, and what it reads of these; see `prepare`."""
        steps, most = len(order), threads or torch.get_num_threads()
        key = (wanted, steps, batch, order.step, threads, most, tables)
        form = self._forms.get(key)
        given = None if form is None else form.given(values)
        if form is None or given is None:
            if len(self._forms) >= _MOST_FORMS:  # of lengths that keep changing
                self._forms.clear()
            shared = threads or self.extents.useful_threads(steps, batch, most)
            form = self._forms[key] = self._new_form(values, order, batch, shared, wanted, tables)
            given = [values[read.of] for read in form.reads]
        return form, given

    def _new_form(
        self,
        values: Mapping[Node, Tensor],
        order: range,
        batch: int,
        threads: int,
        wanted: Wanted,
        tables: frozenset[Node],
    ) -> CallForm:
        """What calls with such values have in common."""
        plan, extents, steps = self.plan, self.extents, len(order)
        memory = extents.working_memory(steps, batch, threads, wanted)
        numbers: list[int] = [0] * len(FIELDS)
        inside: list[tuple[int, int]] = []
        working = [
            (FIELDS["scratch"], memory.scratch),
            (FIELDS["space"], memory.space),
        ]
        packing: list[tuple[int, int]] = []
        reads: list[Read] = []

        def begins(part: str) -> None:
            inside.append((FIELDS[part], LONG_BYTES * len(numbers)))

        begins("arrays")
        for node, shape in zip(plan.inputs, extents.input_shapes, strict=True):
            value = gate.bound(values[node], node)[0]
            fits, rest = self._array(node, value, (steps, batch, *shape), node in tables)
            reads.append(Read(at=len(numbers), node=node, of=node, fits=fits))
            numbers += (0, *rest)
        made: list[Made] = []
        for node, width, count, place in zip(
            extents.made, extents.widths, extents.counts, memory.arrays, strict=True
        ):
            at, row = len(numbers), width
            if place == WANTED:
                lead = (count,) if is_rows(node.shape) else ()
                own = (steps, batch, *lead, width)
                made.append(Made(at=at, node=node, shape=own, kept=node in wanted.kept))
            elif place != UNWANTED:
                row = padded(width)
                working.append((at, place))
            local = int(place not in (WANTED, UNWANTED))
            numbers += (0, batch * count * row, row, local, 0)
        begins("matrices")
        num_inputs = len(reads)
        for node, shape, place in zip(
            plan.matrices, extents.matrix_shapes, memory.packed, strict=True
        ):
            if place == UNWANTED:
                numbers += (0, 0, 0, 0)
                continue
            of = node if node in values else node.inputs[0]
            value = gate.bound(values[of], node)[0]
            value = value if of is node else value.t()
            if value.shape != shape:
                raise misfit(node, value, shape)
            at = len(numbers)
            reads.append(Read(at=at, node=node, of=of))
            packing.append((at + 3, place))
            numbers += (0, *value.stride(), 0)
        weights = slice(num_inputs, len(reads))
        begins("biases")
        for node, width in zip(plan.biases, extents.bias_widths, strict=True):
            if values[node].numel() != width:
                raise misfit(node, values[node], (width,))
            fits = contiguous(values[node])
            reads.append(Read(at=len(numbers), node=node, of=node, fits=fits))
            numbers.append(0)
        begins("carried")
        hands: list[Hand] = []
        for i, (node, shape) in enumerate(zip(plan.carried, extents.carried_shapes, strict=True)):
            whole, kept = i in wanted.carried, node in wanted.kept
            each = hand(node, (batch, *shape), order, len(numbers), whole=whole, kept=kept)
            hands.append(each)
            if not each.rows:
                working.append((each.at, memory.carried[i]))
            numbers += (0, int(whole))
        begins("sums")
        sums: list[Made] = []
        for node, shape in extents.sum_shapes.items():
            if node in wanted.sums:
                sums.append(Made(at=len(numbers), node=node, shape=shape))
            numbers.append(0)
        for node, shape in extents.total_shapes.items():
            sums.append(Made(at=len(numbers), node=node, shape=(batch, *shape), zero=True))
            numbers.append(0)
        for name, number in {
            "steps": steps,
            "batch": batch,
            "first": order.start,
            "direction": order.step,
            "chunk": memory.chunk,
            "sizes": ctypes.addressof(self._numbers),
            "space_size": memory.space_size,
            "threads": threads,
            "by_panel": int(memory.by_panel),
            "kernels": self._table,
        }.items():
            numbers[FIELDS[name]] = number
        given = [values[read.of] for read in reads]
        as_they_lie = not any(read.fits for read in reads)
        return CallForm(
            function=self._function,
            block=array("q", numbers),
            inside=tuple(inside),
            working=tuple(working),
            work_size=memory.size,
            packing=tuple(packing),
            packed_size=memory.packed_size,
            weights=weights,
            threads=threads,
            reads=tuple(reads),
            made=tuple(made),
            sums=tuple(sums),
            carried=tuple(hands),
            shapes=[value.shape for value in given],
            strides=[value.stride() for value in given],
            spans=[*map(gate.span_of, given)] if as_they_lie else [],
        )

    def _array(
        self, node: Node, value: Tensor, shape: tuple[int, ...], is_table: bool
    ) -> tuple[tuple[Fit, ...], tuple[int, int, int, int]]:
        """How an input of [T, B, *size] is read, given one like it."""
        steps, batch, *own = shape
        fits: tuple[Fit, ...] = ()
        if has_positions(node.shape):
            fits = expanded(value, over_all_rows(value, tuple(own)))
            for fit in fits:
                value = fit(value)
        if not is_table and value.shape != shape:
            check_fits(node, value, shape)
        flat = node in self._flat
        if len(own) == 1:
            stepped = node in self._stepped
            more, numbers = array_of(
                value, steps, batch, stepped=stepped, flat=flat, table=is_table
            )
        else:
            more, numbers = array_of_rows(value, steps, batch, flat=flat)
        return (*fits, *more), numbers

    def _counters(self, threads: int) -> int | None:
        """Where so many threads count their time; None where they don't."""
        if not self._measured:
            return None
        if self.spent is None or len(self.spent) < threads:
            self.spent, self._spent_at = gate.fresh(threads, len(PARTS), dtype=torch.int64)
            self.spent.zero_()
        return self._spent_at

    def _check_ids(self, at: int, ids: Tensor, shape: tuple[int, int], rows: int) -> None:
        """Raise ValueError for ids that are no rows of the smallest table."""
        if ids.shape != shape:
            raise BackendError(
                f"compiled code: expected token ids of shape {shape}, got {tuple(ids.shape)}. "
                f"Pass one for each step and sequence."
            )
        outside = self._first_outside(at, ids.numel(), rows)
        if outside >= 0:
            raise ValueError(
                f"compiled code: expected token ids in 0..{rows - 1}, got "
                f"{ids.reshape(-1)[outside].item()}. Use the vocabulary that the layer was made "
                f"for."
            )


@lru_cache(maxsize=1024)
def _printed(
    body: Graph,
    carried: tuple[Node, ...],
    before: tuple[Bulk, ...],
    after: tuple[Bulk, ...],
    *,
    skip: bool,
) -> tuple[Schedule, tuple[str, ...], str]:
    """The schedule of a loop, the names of its sizes and its source, which are for any sizes."""
    plan = schedule(body, carried, len(carried), before=before, after=after)
    names = size_names(body, before, after)
    return plan, names, print_loop("run", plan, names, skip=skip)
