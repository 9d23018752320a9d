"""Running a plan on torch tensors: forward, and backward by the plan's own adjoint.

Letters: T time, B batch, V rows of a token table. Values are kept by node; those that change from
step to step ("stepped") have time in front.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.backends.runtime.call import Call, Values, shape_of
from recurra.backends.runtime.engine import Engine
from recurra.backends.runtime.parts import Parts
from recurra.backends.runtime.program import Programs, reads_identity
from recurra.errors import BackendError
from recurra.ir import Graph, Node, has_positions
from recurra.passes import Section
from recurra.passes.cut import restricted


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
    """One plan at given sizes, dtype and device, its loops run by an engine.

    Threads may share it: what it keeps between calls is made whole before it is kept, and made
    twice at worst.

    Args:
        like: a tensor of the dtype and on the device of the states.
        variant: which way of the engine's the plan is for.
    """

    def __init__(
        self,
        engine: Engine,
        parts: Parts,
        sizes: Mapping[str, int],
        like: Tensor,
        *,
        variant: bool = False,
    ) -> None:
        self.plan, self.parts = parts.plan, parts
        self._engine = engine
        self._sizes = dict(sizes)
        dtype = torch.float32 if engine.in_float32 else like.dtype
        self._like = torch.empty(0, dtype=dtype, device=like.device)
        self._programs = Programs(self._sizes, self._like, parts.x)
        self.loops = engine.loops(parts, self._programs, self._sizes, variant=variant)
        self._kept: dict[tuple[bool, bool, bool], tuple[Node, ...]] = {}
        self._shapes: dict[Node, tuple[int, ...]] = {}
        self.rest = {keep: self._rest_of_sequence(keep) for keep in (False, True)}
        self._made = {keep: self._made_in_loop(keep) for keep in (False, True)}

    @property
    def programs(self) -> Programs:
        """What runs graphs of the plan outside its loops."""
        return self._programs

    def _rest_of_sequence(self, keep: bool) -> Graph:
        """What of the sequence section the loops leave over."""
        graph = self.parts.sections[self.plan.sequence, keep]
        if not self.loops.heads:
            return graph
        return restricted(graph, [key for key in graph.keys if key not in self.loops.heads])

    def check_second_derivative(self) -> None:
        """Raise BackendError where only first derivatives are to be had."""
        if self._engine.derivatives < 2:
            name = self._engine.name
            raise BackendError(
                f"backend {name!r}: expected a first derivative, got create_graph=True. "
                f"Use backend='reference' for second derivatives."
            )

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
            y [T, B, O] and the final states, in the dtype of the leaves, and all values by node
            (with `keep`).
        """
        if not self.loops.widens:
            return self._forward(leaves, call, keep)
        dtype = leaves[self.plan.states[0]].dtype
        with torch.autocast(self._like.device.type, enabled=False):
            y, finals, values = self._forward(_as_float32(leaves), call, keep)
        return y.to(dtype), [final.to(dtype) for final in finals], values

    def _forward(
        self, leaves: Values, call: Call, keep: bool
    ) -> tuple[Tensor, list[Tensor], Values]:
        plan, parts, run = self.plan, self.parts, self._programs.run
        values = self._with_sequence_inputs(leaves, call)
        values.update(run(parts.sections[plan.once, keep], values))
        values.update(run(parts.sections[plan.context, keep], values))
        values.update(self._run_sequence(values, leaves, call, keep))
        values.update(run(parts.before[keep], values))
        looped = self.loops.forward(values, call, keep)
        made = self._made[keep]
        values.update((node, value) for node, value in looped.records.items() if node in made)
        late = run(parts.after[keep], values)
        if looped.cleared:  # of zeros past the ends of sequences it may not be finite there
            late = {node: self._zero_past_ends(value, call) for node, value in late.items()}
        values.update(late)
        y = values[parts.outputs[keep]]
        # One that does not vary with time or sequence; [B, O] may be as large as [T, B].
        if y.dim() != 3 or y.shape[:2] != (call.steps, call.batch):
            y = y.expand(call.steps, call.batch, y.shape[-1])
        if call.active is not None and not (looped.cleared and parts.is_written(keep)):
            y = torch.where(call.active, y, 0.0)
        if keep:
            recorded = zip(plan.step.kept.keys, plan.step.kept.output_nodes, strict=True)
            values.update({leaf: values[node] for leaf, node in recorded})
        return y, looped.carried, values if keep else {}

    @staticmethod
    def _zero_past_ends(value: Tensor, call: Call) -> Tensor:
        steps = value.dim() == 3 and value.shape[:2] == (call.steps, call.batch)
        return torch.where(call.active, value, 0.0) if steps and call.active is not None else value

    def _made_in_loop(self, keep: bool) -> frozenset[Node]:
        """What the loop computes: a new state or an output that was computed before the loop keeps
        its value from there."""
        parts = self.parts
        own = (parts.outputs[keep],) if parts.is_written(keep) else ()
        return parts.in_loop.union(self.loops.heads, own)

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
        shape = self._shapes.get(node)
        if shape is None:
            shape = shape_of(node, self._sizes, call.positions)
            if not has_positions(node.shape):
                self._shapes[node] = shape
        return shape

    def _in(self) -> Node:
        assert self.parts.x is not None
        return self.parts.x

    def _with_sequence_inputs(self, leaves: Values, call: Call) -> Values:
        """The leaves with what runs over time in its final form: x [T, B, I] and t [T, 1, 1]."""
        values = dict(leaves)
        if self.parts.t is not None:
            stop = call.start + call.steps
            index = torch.arange(call.start, stop, dtype=torch.int64, device=self._like.device)
            values[self.parts.t] = index.to(self._like.dtype).reshape(-1, 1, 1)
        if self.parts.x is not None and self._needs_rows(leaves, call):
            assert call.ids is not None
            if call.one_hot:
                hot = F.one_hot(call.ids, self._size(self.parts.x))
                values[self.parts.x] = hot.to(self._like.dtype)
            else:
                values[self.parts.x] = F.embedding(call.ids, leaves[self.parts.x])
        return values

    def _needs_rows(self, leaves: Mapping[Node, Tensor], call: Call) -> bool:
        """Whether what token ids stand for is wanted at every step, not only in a table."""
        if call.ids is None or self.parts.x is None:
            return False
        read = (*self.plan.loop.body.inputs, *self.plan.loop.after.inputs)
        return not self.uses_table(leaves, call) or self.parts.x in read

    def _run_sequence(self, values: Values, leaves: Values, call: Call, keep: bool) -> Values:
        if not self.uses_table(leaves, call):
            return self._programs.run(self.rest[keep], values)
        graph, looked_up = self.plan.sequence.graph, self.loops.looked_up
        rows = self._table_values(graph, values, leaves, call)
        table = self._programs.run(graph, rows, call.one_hot)
        assert call.ids is not None
        return {
            node: each if node in looked_up else F.embedding(call.ids, each)
            for node, each in table.items()
        }

    def _table_values(self, graph: Graph, values: Values, leaves: Values, call: Call) -> Values:
        """`values` with x standing for every token of the vocabulary."""
        x = self._in()
        if not call.one_hot:
            return {**values, x: leaves[x]}
        size = self._size(self._in()) if reads_identity(graph, x) else 0
        eye = torch.eye(size, dtype=self._like.dtype, device=self._like.device)
        return {**values, x: eye}

    def output_size(self, call: Call) -> int:
        """O."""
        return self.shape_of(self.parts.output, call)[0]

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
            kept: what `forward` with `keep` returned, for the nodes of `Parts.reads`.

        Returns:
            Each in the dtype of its leaf.
        """
        if not self.loops.widens:
            return self._backward(leaves, kept, call, d_y, d_finals, wanted)
        finals = [d.float() for d in d_finals]
        with torch.autocast(self._like.device.type, enabled=False):
            found = self._backward(
                _as_float32(leaves), _as_float32(kept), call, d_y.float(), finals, wanted
            )
        return {node: d.to(leaves[node].dtype) for node, d in found.items()}

    def _backward(
        self,
        leaves: Values,
        kept: Values,
        call: Call,
        d_y: Tensor,
        d_finals: Sequence[Tensor],
        wanted: set[Node],
    ) -> Values:
        plan = self.plan
        values = dict(kept)
        values[plan.step.seeds[0]] = (
            d_y if call.active is None else torch.where(call.active, d_y, 0.0)
        )
        if plan.low:
            values.update(self._run_sequence(values, leaves, call, False))
        needed, with_table = self.parts.on_the_way(wanted), self.uses_table(leaves, call)
        found, sections = self.loops.reverse(values, call, d_finals, needed, with_table)
        for part in sections:
            table = part is plan.sequence and with_table
            rows = self.section_cotangents(part, leaves, values, found, call, needed, table)
            if table and self.parts.x in found:
                found[self._in()] = self._to_table(found[self._in()], leaves, call)
            accumulate(found, rows)
        if call.ids is not None and self.parts.x in found and not with_table:
            found[self._in()] = self._to_table(found[self._in()], leaves, call)
        return {node: d for node, d in found.items() if node in wanted}

    def cotangents_or_zeros(
        self, call: Call, d_y: Tensor | None, d_finals: Iterable[Tensor | None]
    ) -> list[Tensor]:
        """The cotangents of y and of the final states, with memory: torch has None for zeros, and
        a kind of zeros that take none."""
        nodes = [(self.parts.output, (call.steps, call.batch))]
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
            plan, sequence = self.plan, self.plan.sequence
            given = set(leaves) - set(plan.states)  # of states, those of all steps are read
            if self.parts.x is not None and rows:
                given.discard(self.parts.x)  # the leaf is the embedding, the value its rows
            elif self.parts.x is not None and call.one_hot:
                given.add(self.parts.x)  # the identity matrix, which is no one's value
            if table:
                given |= {*sequence.kept.keys} - {*sequence.graph.keys}
            if plan.low:
                given |= {*sequence.graph.keys}
            self._kept[key] = tuple(node for node in self.parts.reads if node not in given)
        return self._kept[key]

    def section_cotangents(
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
        for seed, node in zip(part.seeds, part.graph.keys, strict=True):
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
            again = restricted(part.kept, part.adjoint.inputs)
            rows = self._table_values(again, values, leaves, call)
            values.update(self._programs.run(again, rows, identity))
        return self._programs.run_adjoint(part.adjoint, part.wanted, values, needed, identity)

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


def accumulate(into: Values, more: Values) -> None:
    """Add cotangents to those that were found before."""
    for node, d in more.items():
        into[node] = into[node] + d if node in into else d


def _as_float32(values: Mapping[Node, Tensor]) -> Values:
    return {n: v.float() if v.dtype is torch.bfloat16 else v for n, v in values.items()}
