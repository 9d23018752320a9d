"""Running a plan on torch tensors: forward, and backward by the plan's own adjoint.

Letters: T time, B batch, V rows of a token table. Values are kept by node; those that change from
step to step ("stepped") have time in front.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.backends.reference.program import Program, reads_identity
from recurra.ir import Graph, Node
from recurra.passes import Plan, Section
from recurra.passes.hoist import dependents, section

Values = dict[Node, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one run over a sequence is, besides the tensors that may have gradients.

    Attributes:
        ids: [T, B] int64 when the input is token ids, else None.
        one_hot: ids stand for one-hot vectors, not for rows of an embedding.
        active: [T, B, 1] bool, True inside each sequence's length; None when all are.
        order: the steps in the order in which they run.
        start: index of the first step, for cells that read it.
    """

    ids: Tensor | None
    one_hot: bool
    active: Tensor | None
    order: range
    batch: int
    start: int


class Executor:
    """One plan at given sizes, dtype and device; its graphs become programs when first run."""

    def __init__(self, plan: Plan, sizes: Mapping[str, int], like: Tensor) -> None:
        self.plan = plan
        self._sizes = dict(sizes)
        self._like = torch.empty(0, dtype=like.dtype, device=like.device)
        self._programs: dict[tuple[Graph, bool], Program] = {}
        self._restricted: dict[tuple[Graph, frozenset[str]], Graph] = {}
        self._x = next(iter(plan.leaves("input")), None)
        self._t = next(iter(plan.leaves("step")), None)
        stepped = {*plan.sequence.graph.output_nodes, *plan.leaves("input"), *plan.leaves("step")}
        stepped |= {*plan.states, *plan.residuals, *plan.step.seeds}
        self._stepped = stepped | dependents(plan.reverse.before, stepped)
        in_loop = {*plan.loop.body.nodes(), *plan.states}
        self._forward_bodies = {
            keep: self._body(plan.residuals if keep else (), in_loop) for keep in (False, True)
        }
        late = [node for node in plan.residuals if node not in in_loop]
        known = {*plan.loop.after.inputs, *self._forward_bodies[True].inputs, *in_loop}
        self._after = {
            False: plan.loop.after,
            True: section([*plan.loop.after.output_nodes, *late], known=known),
        }

        self._extended = {
            (part, keep): _extended(part) if keep else part.graph
            for part in (plan.once, plan.context, plan.sequence)
            for keep in (False, True)
        }

    def _body(self, residuals: Iterable[Node], in_loop: set[Node]) -> Graph:
        """The loop's body, giving also the residuals that it computes."""
        body = self.plan.loop.body
        extra = dict.fromkeys(node for _, node in body.outputs[len(self.plan.states) :])
        extra.update(dict.fromkeys(node for node in residuals if node in in_loop))
        extra.update(dict.fromkeys(n for n in self.plan.loop.after.inputs if n in in_loop))
        kept = tuple((f"keep{i}", node) for i, node in enumerate(extra))
        return Graph(inputs=body.inputs, outputs=(*body.outputs[: len(self.plan.states)], *kept))

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
            self._programs[key] = Program(graph, self._sizes, self._like, x)
        return self._programs[key]

    def _run_adjoint(
        self, part: Graph, wanted: Sequence[Node], values: Values, needed: set[Node], identity: bool
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
        finals, stacked = self._loop(keep, values, call)
        values.update(stacked)
        values.update(self._run(self._after[keep], values))
        y = values[plan.step.graph.output("output")]
        y = y.expand(len(call.order), call.batch, y.shape[-1])
        if call.active is not None:
            y = torch.where(call.active, y, 0.0)
        return y, finals, values if keep else {}

    def uses_table(self, leaves: Mapping[Node, Tensor], call: Call) -> bool:
        """Whether the sequence section runs on the rows of the vocabulary instead of on all steps."""
        if call.ids is None or not self.plan.table:
            return False
        return call.one_hot or leaves[self._in()].shape[0] <= call.ids.numel()

    def _in(self) -> Node:
        assert self._x is not None
        return self._x

    def _with_sequence_inputs(self, leaves: Values, call: Call) -> Values:
        """The leaves with what runs over time in its final form: x [T, B, I] and t [T, 1, 1]."""
        values = dict(leaves)
        if self._t is not None:
            first, count = call.start, len(call.order)
            index = torch.arange(first, first + count, device=self._like.device)
            values[self._t] = index.to(self._like.dtype).reshape(-1, 1, 1)
        if call.ids is not None and self._x is not None:
            needs_rows = not self.uses_table(leaves, call) or self._x in self.plan.loop.body.inputs
            needs_rows = needs_rows or self._x in self.plan.loop.after.inputs
            if needs_rows and call.one_hot:
                hot = F.one_hot(call.ids, self._sizes["I"])
                values[self._x] = hot.to(self._like.dtype)
            elif needs_rows:
                values[self._x] = F.embedding(call.ids, leaves[self._x])
        return values

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
        size = self._sizes["I"] if reads_identity(graph, x) else 0
        eye = torch.eye(size, dtype=self._like.dtype, device=self._like.device)
        return {**values, x: eye}

    def _loop(self, keep: bool, values: Values, call: Call) -> tuple[list[Tensor], Values]:
        """The time loop: the final states, and the values to keep, stacked over time."""
        body, states = self._forward_bodies[keep], self.plan.states
        program = self._program(body)
        carried = [values[state] for state in states]
        reads = self._readers(body.inputs, states, values)
        extra = body.output_nodes[len(states) :]
        kept: list[list[Tensor]] = [[carried[0]] * len(call.order) for _ in extra]
        for t in call.order:
            found = program([read[t] if at < 0 else carried[at] for at, read in reads])
            for rows, value in zip(kept, found[len(states) :], strict=True):
                rows[t] = value
            new = [value.expand_as(old) for value, old in zip(found, carried, strict=False)]
            if call.active is not None:
                inside = call.active[t]
                new = [torch.where(inside, a, b) for a, b in zip(new, carried, strict=True)]
            carried = new
        return carried, {
            node: torch.stack(rows) for node, rows in zip(extra, kept, strict=True) if rows
        }

    def _readers(
        self, inputs: Sequence[Node], carried: Sequence[Node], values: Mapping[Node, Tensor]
    ) -> list[tuple[int, Sequence[Tensor]]]:
        """For each input of a loop body, where step t finds it: the place among the carried
        values, or -1 and a sequence indexed by t."""
        place = {node: i for i, node in enumerate(carried)}
        readers: list[tuple[int, Sequence[Tensor]]] = []
        for node in inputs:
            if node in place:
                readers.append((place[node], ()))
            elif node in self._stepped:
                readers.append((-1, values[node].unbind(0)))
            else:
                readers.append((-1, _Constant(values[node])))
        return readers

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
        values.update(self._run(plan.reverse.before, values))
        d_states, taps = self._reverse_loop(values, call, d_finals)
        values.update(taps)
        needed = self._needed(wanted)
        found = self._run_adjoint(plan.reverse.after, plan.step.wanted, values, needed, False)
        found.update(zip(plan.states, d_states, strict=True))
        for part in (plan.sequence, plan.context, plan.once):
            table = part is plan.sequence and self.uses_table(leaves, call)
            rows = self._section_cotangents(part, leaves, values, found, call, needed, table)
            if table and self._x in found:
                found[self._in()] = self._to_table(found[self._in()], leaves, call)
            _accumulate(found, rows)
        if call.ids is not None and self._x in found and not self.uses_table(leaves, call):
            found[self._in()] = self._to_table(found[self._in()], leaves, call)
        return {node: d for node, d in found.items() if node in wanted}

    def backward_reads(self) -> tuple[Node, ...]:
        """The values that `backward` reads."""
        plan = self.plan
        graphs = [plan.reverse.before, plan.reverse.body, plan.reverse.after]
        graphs += [part.adjoint for part in (plan.sequence, plan.context, plan.once)]
        graphs.append(plan.sequence.graph)  # a token table's section runs again
        made = {*plan.reverse.before.output_nodes, *plan.reverse.body.output_nodes}
        return tuple(
            dict.fromkeys(
                node
                for graph in graphs
                for node in graph.inputs
                if node not in made
                and not (node.op == "input" and node.attr("kind") == "cotangent")
            )
        )

    def _needed(self, wanted: set[Node]) -> set[Node]:
        """The nodes on a way from a wanted leaf."""
        needed = set(wanted)
        for part in (self.plan.once, self.plan.context, self.plan.sequence):
            needed = dependents(part.graph, needed)
        return needed

    def _reverse_loop(
        self, values: Values, call: Call, d_finals: Sequence[Tensor]
    ) -> tuple[list[Tensor], Values]:
        """The reverse loop: the cotangents of the first states, and what comes after reads."""
        plan, body = self.plan, self.plan.reverse.body
        leaves = plan.step.seeds[1:]
        program = self._program(body)
        reads = self._readers(body.inputs, leaves, values)
        carried = [d.contiguous() for d in d_finals]
        extra = body.output_nodes[len(leaves) :]
        kept: list[list[Tensor]] = [[carried[0]] * len(call.order) for _ in extra]
        read_late = [i for i, leaf in enumerate(leaves) if leaf in plan.reverse.after.inputs]
        late: list[list[Tensor]] = [[carried[0]] * len(call.order) for _ in read_late]
        for t in reversed(call.order):
            outside: list[Tensor] | None = None
            if call.active is not None:  # steps past a sequence's end hand their cotangent on
                inside = call.active[t]
                outside = [torch.where(inside, 0.0, d) for d in carried]
                carried = [torch.where(inside, d, 0.0) for d in carried]
            for i, rows in zip(read_late, late, strict=True):
                rows[t] = carried[i]
            found = program([read[t] if at < 0 else carried[at] for at, read in reads])
            for rows, value in zip(kept, found[len(leaves) :], strict=True):
                rows[t] = value
            carried = [new.expand_as(old) for new, old in zip(found, carried, strict=False)]
            if outside is not None:
                carried = [d + more for d, more in zip(carried, outside, strict=True)]
        taps = {node: torch.stack(rows) for node, rows in zip(extra, kept, strict=True)}
        taps.update({leaves[i]: torch.stack(rows) for i, rows in zip(read_late, late, strict=True)})
        return carried, taps

    def _section_cotangents(
        self,
        part: Section,
        leaves: Values,
        values: Values,
        found: Values,
        call: Call,
        needed: set[Node],
        table: bool,
    ) -> Values:
        """The cotangents of a section's inputs, from those of its outputs in `found`."""
        lead: tuple[int, ...] = ()
        if part is not self.plan.once:
            lead = (call.batch,) if part is self.plan.context else (len(call.order), call.batch)
        seeds: Values = {}
        for seed, node in zip(part.seeds, part.graph.output_nodes, strict=True):
            d = found.pop(node, None)
            if d is None:  # nothing that was asked for depends on it
                d = self._zeros(node, lead)
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

    def _zeros(self, node: Node, lead: tuple[int, ...]) -> Tensor:
        shape = tuple(dim.evaluate(self._sizes) for dim in node.shape) or (1,)
        return self._like.new_zeros(*lead, *shape)

    def _to_table(self, d: Tensor, leaves: Values, call: Call) -> Tensor:
        """Cotangents [T, B, G] of looked-up rows, summed for each row of the table [V, G]."""
        assert call.ids is not None
        rows = self._sizes["I"] if call.one_hot else leaves[self._in()].shape[0]
        return torch.ops.aten.embedding_dense_backward(d, call.ids, rows, -1, False)


def _extended(part: Section) -> Graph:
    """A section's graph, giving also the values that its adjoint reads."""
    inner = set(part.graph.nodes())
    outputs = dict.fromkeys(part.graph.output_nodes)
    outputs.update(dict.fromkeys(node for node in part.adjoint.inputs if node in inner))
    return section(outputs, known=part.graph.inputs)


class _Constant(Sequence[Tensor]):
    """The same tensor at every step."""

    def __init__(self, value: Tensor) -> None:
        self._value = value

    def __getitem__(self, index: object) -> Tensor:  # type: ignore[override]
        return self._value

    def __len__(self) -> int:
        return 1


def _accumulate(into: Values, more: Values) -> None:
    for node, d in more.items():
        into[node] = into[node] + d if node in into else d
