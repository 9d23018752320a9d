"""A plan's loops, compiled, with what they take over of what is around them.

A loop takes over, for some steps at a time, the products of the input before its steps and the
sums that are the parameters' gradients after them, so that what is between stays in the cache.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.backends.cpu.invocation import Wanted
from recurra.backends.cpu.loops import CompiledLoop
from recurra.backends.cpu.schedule import Bulk, bulk, resolve
from recurra.backends.runtime.attempts import Attempts
from recurra.backends.runtime.call import Call, LoopResult, Values
from recurra.backends.runtime.execute import accumulate
from recurra.backends.runtime.parts import Parts
from recurra.backends.runtime.program import Programs
from recurra.errors import BackendError
from recurra.ir import POSITIONS, VIEWS, Graph, Node, is_rows, topological
from recurra.passes import Section, Target, When
from recurra.passes.cut import section

_Nodes = tuple[Node, ...]

_NUMBERS = ("const", "size")
FEW_STEPS = 32  # of so many packing the weights is a part that counts


def _in_chunks(node: Node, given: Collection[Node]) -> bool:
    return bulk(node, given) is not None


TARGET = Target(fuses=True, chunks=_in_chunks, pays_per_operation=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tail:
    """What follows the steps of the reverse loop.

    Attributes:
        outputs: pairs of a value and its cotangent; a value may have several, which add up.
        in_loop: the cotangents that the loop itself computes, and how.
        rows: other sums over rows that the loop computes, for what torch makes of them.
        chained: whether the sequence section's part is in it.
    """

    outputs: tuple[tuple[Node, Node], ...]
    in_loop: dict[Node, Bulk]
    rows: tuple[Bulk, ...]
    chained: bool

    @property
    def after(self) -> tuple[Bulk, ...]:
        """What the loop computes after its steps."""
        return tuple(self.in_loop.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What of a tail one set of wanted cotangents takes.

    Attributes:
        outputs: as of the tail, those that are asked for.
        in_loop: which of them the loop computes.
        sums: those, and what else it is to sum up.
        by_torch: the graph of the others.
        primal: what that reads which is no cotangent.
        arrays: what the loop is to give at every step.
    """

    outputs: tuple[tuple[Node, Node], ...]
    in_loop: frozenset[Node]
    sums: frozenset[Node]
    by_torch: Graph
    primal: tuple[Node, ...]
    arrays: frozenset[Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What calls of one kind have in common.

    Attributes:
        wanted: what the loop is to give.
        tables: which of the values are rows of a vocabulary.
        history: see `Parts.history`.
        asked: what follows the steps of a reverse loop.
    """

    loop: CompiledLoop
    wanted: Wanted
    tables: frozenset[Node]
    history: Mapping[Node, Node] = field(default_factory=dict)
    asked: Asked | None = None


class CpuLoops:
    """Both loops of a plan as compiled code; see `Loops`.

    Args:
        programs: runs what the loops leave over.
        products: bfloat16 to round the operands of products to it.
        attempts: what becomes of a loop that cannot be built.
        measured: loops count what their threads spend their time on.

    Attributes:
        heads: what the forward loop computes for some steps at a time, of the sequence section.
        only_transposes: whether torch has nothing to compute before the reverse loop.
        measured: as it was given.
    """

    def __init__(
        self,
        parts: Parts,
        programs: Programs,
        sizes: Mapping[str, int],
        *,
        products: torch.dtype = torch.float32,
        attempts: Attempts | None = None,
        measured: bool = False,
    ) -> None:
        self._parts, self._programs, self._sizes = parts, programs, sizes
        self._products, self.measured = products, measured
        self.widens = products is not torch.float32
        self._attempts = attempts or Attempts()
        self._plan = plan = parts.plan
        self._reads = set(parts.reads)
        # what the backward pass finds kept, and does not compute again
        self._keeps = self._reads.difference(plan.sequence.graph.keys if plan.low else ())
        self.heads = self._products_of_input()
        at_every_step = {*self._keeps, *plan.loop.before.inputs, *plan.loop.after.inputs}
        self.looked_up = frozenset(plan.sequence.graph.keys) - at_every_step
        # what comes before the reverse loop's steps is computed for some of them at a time
        given = {*plan.step.adjoint.inputs, *parts.early_fixed.output_nodes}
        self._reverse_heads = [_as_bulk(n, given) for n in parts.early_stepped.output_nodes]
        self._tails = {table: self._tail(table) for table in (False, True)}
        self._reverse_body = self._with_operands_of_tails()
        self._compiled: dict[tuple[Graph, _Nodes, _Nodes, int], CompiledLoop] = {}
        self._sequence = plan.sequence.graph.keys
        self._forward_runs: dict[tuple[object, ...], Run] = {}
        self._reverse_runs: dict[tuple[object, ...], Run] = {}
        fixed = parts.early_fixed.nodes()
        self.only_transposes = all(node.op == "transpose" for node in fixed)

    @property
    def loops(self) -> tuple[CompiledLoop, ...]:
        """Those that were run so far."""
        return tuple(self._compiled.values())

    # ---- forward -------------------------------------------------------------------------------

    def _products_of_input(self) -> dict[Node, Bulk]:
        graph, where = self._plan.sequence.graph, self._plan.forward_when
        made = zip(graph.keys, graph.output_nodes, strict=True)
        heads = [pair for pair in made if where[pair[1]] is When.BEFORE]
        return {leaf: replace(_as_bulk(node, graph.inputs), node=leaf) for leaf, node in heads}

    def forward(self, values: Values, call: Call, keep: bool) -> LoopResult:
        """See `Loops.forward`."""
        run = self.forward_run(values, call, keep)
        return run.loop.run(
            values,
            [values[state] for state in self._plan.states],
            call.order,
            wanted=run.wanted,
            history=run.history,
            active=call.active,
            ids=call.ids if run.tables else None,
            tables=run.tables,
            again=not keep and call.steps <= FEW_STEPS,
        )

    def forward_run(self, values: Values, call: Call, keep: bool) -> Run:
        """What forward calls of such values have in common."""
        key = (keep, call.positions, self._given(values))
        run = self._forward_runs.get(key)
        if run is None:
            run = self._forward_runs[key] = self._new_forward(values, call, keep)
        return run

    def _new_forward(self, values: Values, call: Call, keep: bool) -> Run:
        states, body = self._plan.states, self._parts.bodies[keep]
        # what has no value yet is computed in the loop; a table has rows and no time
        heads = [item for node, item in self.heads.items() if node not in values]
        with self._attempt():
            loop = self._begun(body, states, call, skip=False, before=heads)
            if keep:  # side by side with it
                self._begin_reverse(values, call)
            self._load(loop)
        arrays = body.output_nodes[len(states) :]
        if keep:
            arrays = (*arrays, *(item.node for item in heads if item.node in self._keeps))
        history = self._parts.history(keep)
        return Run(
            loop=loop,
            wanted=Wanted(
                carried=[i for i, node in enumerate(states) if node in history],
                arrays=frozenset(arrays),
                kept=self._parts.for_backward_alone if keep else (),
            ),
            tables=self._tables(values),
            history=history,
        )

    def _given(self, values: Values) -> tuple[int, ...]:
        """How the values of the sequence section came: 0 for one that the loop computes."""
        return tuple([values[n].dim() if n in values else 0 for n in self._sequence])

    def _tables(self, values: Values) -> frozenset[Node]:
        """Which values are tables, without time."""
        return frozenset(n for n in self._sequence if n in values and values[n].dim() == 2)

    def _gathered(self, values: Values, call: Call, nodes: Sequence[Node]) -> Values:
        """The values with those of `nodes` that are tables looked up for every step."""
        tables, ids = self._tables(values).intersection(nodes), call.ids
        if ids is None:  # without token ids there are no tables
            return values
        return {**values, **{node: F.embedding(ids, values[node]) for node in tables}}

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        """Note whether what is built within could be built."""
        try:
            yield
        except BackendError as error:
            self._attempts.failed(error)
            raise
        self._attempts.succeeded()

    def _load(self, loop: CompiledLoop) -> None:
        """Wait for a loop; one that cannot be built is begun anew when it is next asked for."""
        try:
            loop.load()
        except BackendError:
            self._compiled = {k: each for k, each in self._compiled.items() if each is not loop}
            raise

    def _begun(
        self,
        body: Graph,
        carried: Sequence[Node],
        call: Call,
        *,
        skip: bool,
        before: Sequence[Bulk] = (),
        after: Sequence[Bulk] = (),
    ) -> CompiledLoop:
        """A loop that is built, or is being built."""
        made = (tuple(item.node for item in before), tuple(item.node for item in after))
        key = (body, *made, call.positions)
        if key not in self._compiled:
            self._compiled[key] = CompiledLoop(
                body,
                carried,
                self._parts.stepped,
                {**self._sizes, **dict.fromkeys(POSITIONS.names, call.positions)},
                skip=skip,
                before=before,
                after=after,
                products=self._products,
                measured=self.measured,
            )
        return self._compiled[key]

    # ---- backward ------------------------------------------------------------------------------

    def _tail(self, table: bool) -> _Tail:
        """What follows the steps of the reverse loop, the sequence section's part included.

        With a token table that part is not: it runs on the table's rows.
        """
        plan = self._plan
        chained = not table and plan.tail is not None
        after = [(plan.step.wanted[int(name)], node) for name, node in plan.reverse.after.outputs]
        outputs = tuple(after) if table or plan.tail is None else plan.tail
        body, where = self._parts.reverse_body, plan.backward_when
        given = {*_in_memory(body), *self._reads, *plan.inputs, plan.step.seeds[0]}
        in_loop = [node for _, node in outputs if where.get(node) is When.AFTER]
        rows = [node for node in body.output_nodes if where.get(node) is When.AFTER]
        return _Tail(
            outputs=outputs,
            in_loop={node: _as_bulk(node, given) for node in in_loop},
            rows=tuple(_as_bulk(node, given) for node in rows if node not in in_loop),
            chained=chained,
        )

    def reverse(
        self,
        values: Values,
        call: Call,
        d_finals: Sequence[Tensor],
        needed: frozenset[Node],
        with_table: bool,
    ) -> tuple[Values, tuple[Section, ...]]:
        """See `Loops.reverse`."""
        plan = self._plan
        if not self.only_transposes:
            values.update(self._programs.run(self._parts.early_fixed, values))
        run = self.reverse_run(values, call, needed, with_table)
        asked = run.asked
        assert asked is not None, "it is a reverse run"
        looped = run.loop.run(
            values,
            d_finals,
            call.order[::-1],
            wanted=run.wanted,
            history={},
            active=call.active,
            ids=call.ids if run.tables else None,
            tables=run.tables,
        )
        values.update(looped.records)
        if asked.by_torch.outputs:
            inputs = self._gathered(values, call, asked.by_torch.inputs)
            given = _with_values_past_ends(inputs, asked, call)
            values.update(self._programs.run(asked.by_torch, given))
        found: Values = {}
        for of, node in asked.outputs:
            accumulate(found, {of: values[node]})
        if run.wanted.last:
            found.update(zip(plan.states, looped.carried, strict=True))
        left = () if self._tails[with_table].chained else (plan.sequence,)
        return found, (*left, plan.context, plan.once)

    def reverse_run(
        self, values: Values, call: Call, needed: frozenset[Node], with_table: bool
    ) -> Run:
        """What reverse calls of such values have in common."""
        key = (with_table, needed, call.positions, self._given(values))
        run = self._reverse_runs.get(key)
        if run is None:
            run = self._reverse_runs[key] = self._new_reverse(values, call, needed, with_table)
        return run

    def _new_reverse(
        self, values: Values, call: Call, needed: frozenset[Node], with_table: bool
    ) -> Run:
        asked = self._asked(self._tails[with_table], needed)
        with self._attempt():
            loop = self._begun_reverse(asked, values, call, with_table)
            self._load(loop)
        return Run(
            loop=loop,
            wanted=Wanted(
                arrays=asked.arrays,
                sums=asked.sums,
                last=not needed.isdisjoint(self._plan.states),
            ),
            tables=self._tables(values),
            asked=asked,
        )

    def _begun_reverse(
        self, asked: Asked, known: Collection[Node], call: Call, with_table: bool
    ) -> CompiledLoop:
        tail, body = self._tails[with_table], self._reverse_body
        read = {*body.inputs, *asked.by_torch.inputs}
        heads = [item for n, item in self.heads.items() if n in read and n not in known]
        return self._begun(
            body,
            self._plan.step.seeds[1:],
            call,
            skip=True,
            before=(*heads, *self._reverse_heads),
            after=(*tail.after, *tail.rows),
        )

    def _begin_reverse(self, values: Values, call: Call) -> None:
        """Begin to build the loop of the backward pass that will most likely come.

        Where another one comes, that is built when it is known, as is one that fails here.
        """
        looked_up = call.ids is not None and all(node in values for node in self._sequence)
        with_table = looked_up and bool(self._plan.table)
        tail = self._tails[with_table]
        asked = self._asked(tail, frozenset(of for of, _ in tail.outputs))
        with suppress(BackendError):
            self._begun_reverse(asked, {*values, *self._keeps}, call, with_table)

    def _with_operands_of_tails(self) -> Graph:
        """The reverse loop's body, recording also what is summed after its steps."""
        body = self._parts.reverse_body
        known = _in_memory(body)
        items = [b for tail in self._tails.values() for b in (*tail.in_loop.values(), *tail.rows)]
        read = [node for item in items for node in (item.operand, item.right) if node is not None]
        bases = dict.fromkeys(resolve(node, known)[0] for node in read)
        computed = set(body.nodes()).difference(body.output_nodes)
        missing = [node for node in bases if node in computed]
        more = ((f"operand{i}", node) for i, node in enumerate(missing))
        where = self._plan.backward_when
        own = [(name, n) for name, n in body.outputs if where.get(n) is not When.AFTER]
        return Graph(inputs=body.inputs, outputs=(*own, *more))

    def _asked(self, tail: _Tail, needed: frozenset[Node]) -> Asked:
        """What of a tail the needed cotangents take."""
        outputs = [(of, node) for of, node in tail.outputs if of in needed]
        in_loop = frozenset(node for _, node in outputs if node in tail.in_loop)
        rest = dict.fromkeys(node for _, node in outputs if node not in in_loop)
        body = self._reverse_body
        known = {*body.inputs, *body.output_nodes, *self._reads, *self._plan.inputs}
        known = {node for node in known if not _is_made_anywhere(node)}
        known.add(self._plan.step.seeds[0])
        sums = {item.node for item in tail.rows}
        by_torch = section(rest, known=known | sums)
        return Asked(
            outputs=tuple(outputs),
            in_loop=in_loop,
            sums=in_loop | sums.intersection(by_torch.inputs),
            by_torch=by_torch,
            primal=tuple(n for n in by_torch.inputs if not _is_cotangent(n)),
            arrays=in_loop.union(by_torch.inputs),
        )


def _as_bulk(node: Node, given: Collection[Node]) -> Bulk:
    found = bulk(node, set(given))
    assert found is not None, "it was placed before or after steps because it is one"
    return found


def _is_cotangent(node: Node) -> bool:
    """Whether it depends on a cotangent, and so is zero past the end of a sequence."""
    leaves = (each for each in topological([node]) if each.op == "input")
    return any(leaf.attr("kind") == "cotangent" for leaf in leaves)


def _with_values_past_ends(values: Values, asked: Asked, call: Call) -> Values:
    """The values that torch reads after a reverse loop, harmless past the end of a sequence.

    There loops leave zeros, of which a quotient or a logarithm is infinite; and that times a
    cotangent of zero is NaN. They become what the longest sequence has at its first step.
    """
    if call.active is None:
        return values
    at = (0, int(call.active.sum(0).argmax()))
    lead = (call.steps, call.batch)
    filled = {
        node: torch.where(call.active, values[node], values[node][at])
        for node in asked.primal
        # rows of a memory, [B, S, K], have no time, whatever S is
        if not is_rows(node.shape) and values[node].dim() == 3 and values[node].shape[:2] == lead
    }
    return {**values, **filled}


def _is_made_anywhere(node: Node) -> bool:
    """Whether a value costs nothing, and is in no memory."""
    if node.op == "expand":
        return node.inputs[0].op in _NUMBERS
    return node.op in ("transpose", *_NUMBERS)


def _in_memory(body: Graph) -> set[Node]:
    """What a loop's body reads or may record; slices are views of it."""
    return {*body.inputs, *(node for node in body.nodes() if node.op not in VIEWS)}
