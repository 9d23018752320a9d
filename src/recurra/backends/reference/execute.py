"""Running a plan on torch tensors: forward, and backward by the plan's own adjoint.

Letters: T time, B batch, V rows of a token table. Values are kept by node; those that change from
step to step ("stepped") have time in front.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.backends.reference.blank import blank_run
from recurra.backends.reference.loops import LoopResult, TimeLoop, shape_of
from recurra.backends.reference.program import Program, reads_identity
from recurra.backends.watching import outliving
from recurra.ir import Graph, Node, apply
from recurra.passes import Plan, Section
from recurra.passes.hoist import dependents, section
from recurra.passes.rates import LEAF_RATES, Rate

Values = dict[Node, Tensor]

# numbers in a value of some steps that stay in the cache while the reverse loop prepares them
_CHUNK = 262_144
_MIN_CHUNK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one run over a sequence is, besides the tensors that may have gradients.

    Attributes:
        ids: [T, B] int64 when the input is token ids, else None.
        one_hot: ids stand for one-hot vectors, not for rows of an embedding.
        active: [T, B, 1] bool, True inside each sequence's length; None when all are.
        steps: T.
        batch: B.
        reverse: run from the last step to the first.
        start: index of the first step, for cells that read it.
        plain: only operations that torch can transform, none of which writes to memory in place.
        positions: S, how many vectors the memory has; 0 where there is none.
    """

    ids: Tensor | None
    one_hot: bool
    active: Tensor | None
    steps: int
    batch: int
    reverse: bool
    start: int
    plain: bool = False
    positions: int = 0

    @property
    def order(self) -> range:
        """The steps in the order in which they run."""
        return range(self.steps - 1, -1, -1) if self.reverse else range(self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A call with the executor that runs it.

    Attributes:
        leaves: the value of each input of the cell, by node.
        nodes: the node of each tensor that came with the call, in order; None for one that is no
            input of the cell, such as token ids.
    """

    executor: "Executor"
    call: Call
    leaves: Values
    nodes: tuple[Node | None, ...]

    def wanted(self, needs: Iterable[bool]) -> set[Node]:
        """The nodes of the tensors that need a gradient."""
        pairs = zip(self.nodes, needs, strict=True)
        return {node for node, needed in pairs if needed and node is not None}


class Executor:
    """One plan at given sizes, dtype and device; its graphs become programs when first run.

    Threads may share it: what it keeps between calls is made whole before it is kept, and made
    twice at worst.

    Attributes:
        blank: loops are not run, only their results allocated, which is enough to trace a call.
        writes_output: loops write an output that is also kept to memory of its own at each step,
            which costs less than a copy at the end where one pass over a row does both.
    """

    writes_output = False

    def __init__(self, plan: Plan, sizes: Mapping[str, int], like: Tensor) -> None:
        self.plan = plan
        self.blank = False
        self._sizes = dict(sizes)
        self._like = torch.empty(0, dtype=like.dtype, device=like.device)
        self._programs: dict[tuple[Graph, bool], Program] = {}
        self._on_the_way: dict[frozenset[Node], frozenset[Node]] = {}
        self._loops: dict[Graph, TimeLoop] = {}
        self._kept: dict[tuple[bool, bool, bool], tuple[Node, ...]] = {}
        self._restricted: dict[tuple[Graph, frozenset[str]], Graph] = {}
        self._x = next(iter(plan.leaves("input")), None)
        self._t = next(iter(plan.leaves("step")), None)
        stepped = set(plan.sequence.graph.output_nodes)
        stepped |= {n for n in plan.inputs if LEAF_RATES[n.attr("kind")] is Rate.SEQUENCE}
        stepped |= {*plan.states, *plan.residuals, *plan.step.seeds}
        stepped |= dependents(plan.loop.before, stepped)
        self._stepped = stepped | dependents(plan.reverse.before, stepped)
        self._in_loop = {*plan.loop.body.nodes(), *plan.states}
        self._outputs = {
            keep: self._handed_out(plan.residuals if keep else ()) for keep in (False, True)
        }
        self._before = {keep: self._before_loop(keep) for keep in (False, True)}
        self._after = {keep: self._after_loop(keep) for keep in (False, True)}
        self._bodies = {keep: self._body(keep) for keep in (False, True)}
        self._reverse_body = self._with_late_carried()
        before = plan.reverse.before
        self._early_fixed, self._early_stepped = (
            section(
                [n for n in before.output_nodes if (n in self._stepped) is varies], before.inputs
            )
            for varies in (False, True)
        )
        self._extended = {
            (part, keep): _extended(part) if keep else part.graph
            for part in (plan.once, plan.context, plan.sequence)
            for keep in (False, True)
        }

    def _handed_out(self, residuals: Iterable[Node]) -> Node:
        """The output, or where others hold it too a node that stands for it once more."""
        output, body = self._output, self.plan.loop.body
        held = {*body.inputs, *body.output_nodes[: len(self.plan.states)], *residuals}
        if self.writes_output and output.shape and output in self._in_loop & held:
            return apply("expand", output, shape=output.shape)
        return output

    def _before_loop(self, keep: bool) -> Graph:
        """What is computed before the loop for all steps at once, with what `keep` wants of it."""
        before, residuals = self.plan.loop.before, self.plan.residuals if keep else ()
        made = set(before.nodes())
        outputs = (*before.output_nodes, *(node for node in residuals if node in made))
        return section(dict.fromkeys(outputs), known=before.inputs)

    def _after_loop(self, keep: bool) -> Graph:
        """What is computed after the loop for all steps at once, with what `keep` wants of it."""
        after, residuals = self.plan.loop.after, self.plan.residuals if keep else ()
        known = {*self._in_loop, *self._before[keep].output_nodes}
        late = [node for node in residuals if node not in known]
        recorded = self._in_loop.intersection(residuals)
        known = {*after.inputs, *self.plan.loop.body.inputs, *recorded}
        own = [] if self._is_written(keep) else after.output_nodes
        return section([*own, *late], known=known)

    def _body(self, keep: bool) -> Graph:
        """The loop's body, giving also what is to be recorded besides the states themselves."""
        states = self.plan.loop.body.outputs[: len(self.plan.states)]
        residuals = self.plan.residuals if keep else ()
        record = dict.fromkeys(n for n in residuals if n in self._in_loop)
        record.update(dict.fromkeys(n for n in self._after[keep].inputs if n in self._in_loop))
        by_history = {*self.plan.states, *(node for _, node in states)}
        extra = [(f"record{i}", node) for i, node in enumerate(record) if node not in by_history]
        if self._is_written(keep):
            extra.append(("output", self._outputs[keep]))
        return Graph(inputs=self.plan.loop.body.inputs, outputs=(*states, *extra))

    @property
    def _output(self) -> Node:
        return self.plan.step.graph.output("output")

    def _is_written(self, keep: bool) -> bool:
        """Whether the loop writes the output to memory of its own."""
        return self._outputs[keep] is not self._output

    def _with_late_carried(self) -> Graph:
        """The reverse loop's body, giving also the carried cotangents that are read after it."""
        body, after = self.plan.reverse.body, self.plan.reverse.after
        late = [leaf for leaf in self.plan.step.seeds[1:] if leaf in after.inputs]
        inputs = (*body.inputs, *(leaf for leaf in late if leaf not in body.inputs))
        extra = tuple((f"late{i}", leaf) for i, leaf in enumerate(late))
        return Graph(inputs=inputs, outputs=(*body.outputs, *extra))

    def check_second_derivative(self) -> None:
        """Raise BackendError where only first derivatives are to be had."""

    # ---- running one graph ---------------------------------------------------------------------

    def _run(self, graph: Graph, values: Mapping[Node, Tensor], identity: bool = False) -> Values:
        """The outputs of `graph`, by node."""
        if not graph.outputs:
            return {}
        program = self._program(graph, identity)
        found = program([values[node] for node in graph.inputs])
        return dict(zip(graph.output_nodes, found, strict=True))

    def _program(self, graph: Graph, identity: bool = False) -> Program:
        key = (graph, identity)
        if key not in self._programs:
            x = self._x if identity else None
            with outliving():
                self._programs[key] = Program(graph, self._sizes, self._like, x)
        return self._programs[key]

    def _run_adjoint(
        self,
        part: Graph,
        wanted: Sequence[Node],
        values: Values,
        needed: frozenset[Node],
        identity: bool,
    ) -> Values:
        """The cotangents that an adjoint gives of the inputs `wanted`, those in `needed` only."""
        names = frozenset(name for name, _ in part.outputs if wanted[int(name)] in needed)
        key = (part, names)
        if key not in self._restricted:
            outputs = [(name, node) for name, node in part.outputs if name in names]
            self._restricted[key] = section(
                [node for _, node in outputs], known=part.inputs, names=outputs
            )
        chosen = self._restricted[key]
        found = self._run(chosen, values, identity)
        return {wanted[int(name)]: found[node] for name, node in chosen.outputs}

    # ---- forward -------------------------------------------------------------------------------

    def forward(
        self, leaves: Values, call: Call, keep: bool = False
    ) -> tuple[Tensor, list[Tensor], Values]:
        """Run all sections of the plan.

        Args:
            leaves: the value of each input of the cell; for token ids x is the embedding [V, I],
                or absent for one-hot ids. States are [B, H].
            keep: also give what the backward pass reads.

        Returns:
            y [T, B, O], the final states, and all values by node (with `keep`).
        """
        plan = self.plan
        values = self._with_sequence_inputs(leaves, call)
        values.update(self._run(self._extended[plan.once, keep], values))
        values.update(self._run(self._extended[plan.context, keep], values))
        values.update(self._run_sequence(values, leaves, call, keep))
        values.update(self._run(self._before[keep], values))
        looped = self._loop(keep, values, call)
        values.update(looped.records)
        late = self._run(self._after[keep], values)
        if looped.cleared:  # of zeros past the ends of sequences it may not be finite there
            late = {node: self._zero_past_ends(value, call) for node, value in late.items()}
        values.update(late)
        y = values[self._outputs[keep]]
        # One that does not vary with time or sequence; [B, O] may be as large as [T, B].
        if y.dim() != 3 or y.shape[:2] != (call.steps, call.batch):
            y = y.expand(call.steps, call.batch, y.shape[-1])
        if call.active is not None and not (looped.cleared and self._is_written(keep)):
            y = torch.where(call.active, y, 0.0)
        return y, looped.carried, values if keep else {}

    @staticmethod
    def _zero_past_ends(value: Tensor, call: Call) -> Tensor:
        steps = value.dim() == 3 and value.shape[:2] == (call.steps, call.batch)
        return torch.where(call.active, value, 0.0) if steps and call.active is not None else value

    def uses_table(self, leaves: Mapping[Node, Tensor], call: Call) -> bool:
        """Whether the sequence section runs on the rows of the vocabulary, not on all steps."""
        if call.ids is None or not self.plan.table:
            return False
        return call.one_hot or leaves[self._in()].shape[0] <= call.ids.numel()

    def table_rows(self, leaves: Mapping[Node, Tensor], call: Call) -> int:
        """V."""
        return self._size(self._in()) if call.one_hot else leaves[self._in()].shape[0]

    def shape_of(self, node: Node, call: Call) -> tuple[int, ...]:
        """The shape of a node's value, without time and batch; (1,) of a number."""
        return shape_of(node, self._sizes, call.positions)

    def _in(self) -> Node:
        assert self._x is not None
        return self._x

    def _with_sequence_inputs(self, leaves: Values, call: Call) -> Values:
        """The leaves with what runs over time in its final form: x [T, B, I] and t [T, 1, 1]."""
        values = dict(leaves)
        if self._t is not None:
            stop = call.start + call.steps
            index = torch.arange(call.start, stop, dtype=torch.int64, device=self._like.device)
            values[self._t] = index.to(self._like.dtype).reshape(-1, 1, 1)
        if self._x is not None and self._needs_rows(leaves, call):
            assert call.ids is not None
            if call.one_hot:
                hot = F.one_hot(call.ids, self._size(self._x))
                values[self._x] = hot.to(self._like.dtype)
            else:
                values[self._x] = F.embedding(call.ids, leaves[self._x])
        return values

    def _needs_rows(self, leaves: Mapping[Node, Tensor], call: Call) -> bool:
        """Whether what token ids stand for is wanted at every step, not only in a table."""
        if call.ids is None or self._x is None:
            return False
        read = (*self.plan.loop.body.inputs, *self.plan.loop.after.inputs)
        return not self.uses_table(leaves, call) or self._x in read

    def _run_sequence(self, values: Values, leaves: Values, call: Call, keep: bool) -> Values:
        if not self.uses_table(leaves, call):
            return self._run(self._extended[self.plan.sequence, keep], values)
        graph = self.plan.sequence.graph
        table = self._run(graph, self._table_values(graph, values, leaves, call), call.one_hot)
        assert call.ids is not None
        return {node: F.embedding(call.ids, rows) for node, rows in table.items()}

    def _table_values(self, graph: Graph, values: Values, leaves: Values, call: Call) -> Values:
        """`values` with x standing for every token of the vocabulary."""
        x = self._in()
        if not call.one_hot:
            return {**values, x: leaves[x]}
        size = self._size(self._in()) if reads_identity(graph, x) else 0
        eye = torch.eye(size, dtype=self._like.dtype, device=self._like.device)
        return {**values, x: eye}

    def _loop(self, keep: bool, values: Values, call: Call) -> LoopResult:
        """The time loop, recording the states and what else `keep` and the output want."""
        states = self.plan.states
        body, history = self._body_and_history(keep)
        first = [values[state] for state in states]
        if self.blank:
            shape = partial(self.shape_of, call=call)
            looped = blank_run(body, states, first, call.steps, history, shape)
        else:
            loop = self._time_loop(body, states, skip=False)
            looped = loop.run(
                values,
                first,
                call.order,
                history=history,
                active=call.active,
                plain=call.plain,
                positions=call.positions,
            )
        return self._only_made(looped, keep)

    def _only_made(self, looped: LoopResult, keep: bool, others: Iterable[Node] = ()) -> LoopResult:
        """What the loop computed, and `others`; a new state or an output that was computed before
        the loop keeps its value from there."""
        made = {*self._in_loop, *others}
        if self._is_written(keep):
            made.add(self._outputs[keep])
        return replace(looped, records={n: v for n, v in looped.records.items() if n in made})

    def _body_and_history(self, keep: bool) -> tuple[Graph, dict[Node, Node]]:
        """The forward loop's body, and the states whose values at all steps somebody reads."""
        body, states = self._bodies[keep], self.plan.states
        wanted = {*self._after[keep].inputs, *(self.plan.residuals if keep else ())}
        pairs = zip(states, body.output_nodes[: len(states)], strict=True)
        return body, {old: new for old, new in pairs if old in wanted or new in wanted}

    def _time_loop(self, body: Graph, carried: Sequence[Node], *, skip: bool) -> TimeLoop:
        if body not in self._loops:
            with outliving():
                self._loops[body] = TimeLoop(
                    body, carried, self._stepped, self._sizes, self._like, skip=skip
                )
        return self._loops[body]

    def output_size(self, call: Call) -> int:
        """O."""
        return self.shape_of(self._output, call)[0]

    def _size(self, node: Node) -> int:
        return node.shape[0].evaluate(self._sizes) if node.shape else 1

    # ---- backward ------------------------------------------------------------------------------

    def backward(
        self,
        leaves: Values,
        kept: Values,
        call: Call,
        d_y: Tensor,
        d_finals: Sequence[Tensor],
        wanted: set[Node],
    ) -> Values:
        """The cotangents of the leaves in `wanted`, from those of y and of the final states.

        Args:
            leaves: as given to `forward`.
            kept: what `forward` with `keep` returned, for the nodes of `backward_reads`.
        """
        plan = self.plan
        values = dict(kept)
        values[plan.step.seeds[0]] = (
            d_y if call.active is None else torch.where(call.active, d_y, 0.0)
        )
        if plan.low:
            values.update(self._run_sequence(values, leaves, call, False))
        needed, with_table = self.on_the_way(wanted), self.uses_table(leaves, call)
        found, sections = self._step_cotangents(values, call, d_finals, needed, with_table)
        for part in sections:
            table = part is plan.sequence and with_table
            rows = self._section_cotangents(part, leaves, values, found, call, needed, table)
            if table and self._x in found:
                found[self._in()] = self._to_table(found[self._in()], leaves, call)
            accumulate(found, rows)
        if call.ids is not None and self._x in found and not with_table:
            found[self._in()] = self._to_table(found[self._in()], leaves, call)
        return {node: d for node, d in found.items() if node in wanted}

    def _step_cotangents(
        self,
        values: Values,
        call: Call,
        d_finals: Sequence[Tensor],
        needed: frozenset[Node],
        with_table: bool,
    ) -> tuple[Values, tuple[Section, ...]]:
        """The cotangents of what the step reads, and the sections they have still to go through.

        `values` is updated with what those sections read.
        """
        plan = self.plan
        values.update(self._run(self._early_fixed, values))
        looped = self._reverse_loop(values, call, d_finals)
        values.update(looped.records)
        found = self._run_adjoint(plan.reverse.after, plan.step.wanted, values, needed, False)
        found.update(zip(plan.states, looped.carried, strict=True))
        return found, (plan.sequence, plan.context, plan.once)

    def cotangents_or_zeros(
        self, call: Call, d_y: Tensor | None, d_finals: Iterable[Tensor | None]
    ) -> list[Tensor]:
        """The cotangents of y and of the final states, with memory: torch has None for zeros, and
        a kind of zeros that take none."""
        nodes = [(self._output, (call.steps, call.batch))]
        nodes += [(state, (call.batch,)) for state in self.plan.states]
        return [
            self._zeros(node, lead, call) if d is None or d._is_zerotensor() else d
            for (node, lead), d in zip(nodes, (d_y, *d_finals), strict=True)
        ]

    def kept(self, leaves: Mapping[Node, Tensor], call: Call) -> tuple[Node, ...]:
        """What `backward` reads besides the leaves: the values that a run hands on to it."""
        table, rows = self.uses_table(leaves, call), self._needs_rows(leaves, call)
        key = (table, rows, call.one_hot)
        if key not in self._kept:
            plan, sequence = self.plan, self.plan.sequence.graph
            given = set(leaves) - set(plan.states)  # of states, those of all steps are read
            if self._x is not None and rows:
                given.discard(self._x)  # the leaf is the embedding, the value its rows
            elif self._x is not None and call.one_hot:
                given.add(self._x)  # the identity matrix, which is no one's value
            if table:
                given |= {*sequence.nodes()} - {*sequence.output_nodes}
            if plan.low:
                given |= {*sequence.output_nodes}
            self._kept[key] = tuple(node for node in self.backward_reads() if node not in given)
        return self._kept[key]

    def backward_reads(self) -> tuple[Node, ...]:
        """The values that `backward` reads."""
        plan = self.plan
        reverse = plan.reverse
        graphs = [reverse.before, reverse.body, reverse.after]
        graphs += [part.adjoint for part in (plan.sequence, plan.context, plan.once)]
        graphs.append(plan.sequence.graph)  # a token table's section runs again
        made = {*reverse.before.output_nodes, *reverse.body.output_nodes}
        return tuple(
            dict.fromkeys(
                node
                for graph in graphs
                for node in graph.inputs
                if node not in made
                and not (node.op == "input" and node.attr("kind") == "cotangent")
            )
        )

    def on_the_way(self, wanted: set[Node]) -> frozenset[Node]:
        """The nodes on a way from a wanted leaf."""
        key = frozenset(wanted)
        if key not in self._on_the_way:
            needed = wanted
            for part in (self.plan.once, self.plan.context, self.plan.sequence):
                needed = dependents(part.graph, needed)
            self._on_the_way[key] = frozenset(needed)
        return self._on_the_way[key]

    def _reverse_loop(self, values: Values, call: Call, d_finals: Sequence[Tensor]) -> LoopResult:
        """The reverse loop: the cotangents of the first states, and what comes after reads."""
        body, leaves = self._reverse_body, self.plan.step.seeds[1:]
        if self.blank:
            shape = partial(self.shape_of, call=call)
            return blank_run(body, leaves, d_finals, call.steps, {}, shape)
        width = max(d.shape[-1] for d in d_finals)

        def early(steps: slice) -> Values:
            inputs = self._early_stepped.inputs
            sliced = {n: values[n][steps] if n in self._stepped else values[n] for n in inputs}
            return self._run(self._early_stepped, sliced)

        return self._time_loop(body, leaves, skip=True).run(
            values,
            d_finals,
            call.order[::-1],
            history={},
            active=call.active,
            early=early,
            chunk=max(_CHUNK // max(call.batch * width, 1), _MIN_CHUNK),
            positions=call.positions,
        )

    def _section_cotangents(
        self,
        part: Section,
        leaves: Values,
        values: Values,
        found: Values,
        call: Call,
        needed: frozenset[Node],
        table: bool,
    ) -> Values:
        """The cotangents of a section's inputs, from those of its outputs in `found`."""
        lead: tuple[int, ...] = ()
        if part is not self.plan.once:
            lead = (call.batch,) if part is self.plan.context else (call.steps, call.batch)
        seeds: Values = {}
        for seed, node in zip(part.seeds, part.graph.output_nodes, strict=True):
            d = found.pop(node, None)
            if d is None:  # nothing that was asked for depends on it
                d = self._zeros(node, lead, call)
            seeds[seed] = self._to_table(d, leaves, call) if table else d
        if not seeds:
            return {}
        values = {**values, **seeds}
        identity = table and call.one_hot
        if table:
            # what the adjoint reads of the section itself is wanted for the table's rows now
            values = self._table_values(part.adjoint, values, leaves, call)
            inner = set(part.graph.nodes()).intersection(part.adjoint.inputs)
            again = section(inner, known=part.graph.inputs)
            rows = self._table_values(again, values, leaves, call)
            values.update(self._run(again, rows, identity))
        return self._run_adjoint(part.adjoint, part.wanted, values, needed, identity)

    def _zeros(self, node: Node, lead: tuple[int, ...], call: Call) -> Tensor:
        return self._like.new_zeros(*lead, *self.shape_of(node, call))

    def vocabulary(self, leaves: Mapping[Node, Tensor], call: Call) -> int:
        """V: how many tokens there are, where the input is token ids."""
        return self._size(self._in()) if call.one_hot else leaves[self._in()].shape[0]

    def _to_table(self, d: Tensor, leaves: Values, call: Call) -> Tensor:
        """Cotangents [T, B, G] of looked-up rows, summed for each row of the table [V, G]."""
        assert call.ids is not None
        rows = self.vocabulary(leaves, call)
        return torch.ops.aten.embedding_dense_backward(d, call.ids, rows, -1, False)


def _extended(part: Section) -> Graph:
    """A section's graph, giving also the values that its adjoint reads."""
    inner = set(part.graph.nodes())
    outputs = dict.fromkeys(part.graph.output_nodes)
    outputs.update(dict.fromkeys(node for node in part.adjoint.inputs if node in inner))
    return section(outputs, known=part.graph.inputs)


def accumulate(into: Values, more: Values) -> None:
    """Add cotangents to those that were found before."""
    for node, d in more.items():
        into[node] = into[node] + d if node in into else d
