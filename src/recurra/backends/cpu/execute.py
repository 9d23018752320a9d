"""Running a plan with compiled loops: what the loops do not take over runs by torch.

A loop takes over, for some steps at a time, the products of the input before its steps and the
sums that are the parameters' gradients after them, so that what is between stays in the cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.backends.cpu.attempts import Attempts
from recurra.backends.cpu.loops import CompiledLoop
from recurra.backends.cpu.schedule import Bulk, bulk, resolve
from recurra.backends.reference.execute import Call, Executor, Values, accumulate
from recurra.backends.reference.loops import LoopResult
from recurra.errors import BackendError
from recurra.ir import Graph, Node, substitute, topological
from recurra.passes import Plan, Section
from recurra.passes.hoist import section

_Nodes = tuple[Node, ...]

_NUMBERS = ("const", "size")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tail:
    """What follows the steps of the reverse loop.

    Attributes:
        outputs: pairs of a value and its cotangent; a value may have several, which add up.
        in_loop: the cotangents that the loop itself computes, and how.
        chained: whether the sequence section's part is in it.
    """

    outputs: tuple[tuple[Node, Node], ...]
    in_loop: dict[Node, Bulk]
    chained: bool

    @property
    def after(self) -> tuple[Bulk, ...]:
        """What the loop computes after its steps."""
        return tuple(self.in_loop.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What of a tail one set of wanted cotangents takes.

    Attributes:
        outputs: as of the tail, those that are asked for.
        in_loop: which of them the loop computes.
        by_torch: the graph of the others.
        primal: what that reads which is no cotangent.
        arrays: what the loop is to give at every step.
    """

    outputs: tuple[tuple[Node, Node], ...]
    in_loop: frozenset[Node]
    by_torch: Graph
    primal: tuple[Node, ...]
    arrays: frozenset[Node]


class CpuExecutor(Executor):
    """Sections by torch, loops compiled; float32 whatever the dtype of the leaves is.

    Args:
        products: bfloat16 to round the operands of products to it.
        attempts: what becomes of a loop that cannot be built.
        measured: loops count what their threads spend their time on.
    """

    writes_output = True

    def __init__(
        self,
        plan: Plan,
        sizes: Mapping[str, int],
        like: Tensor,
        *,
        products: torch.dtype = torch.float32,
        attempts: Attempts | None = None,
        measured: bool = False,
    ) -> None:
        super().__init__(plan, sizes, like)
        self._products = products
        self._measured = measured
        self._attempts = attempts or Attempts()
        self._by_torch: Executor | None = None
        self._reads = set(self.backward_reads())
        # what the backward pass finds kept, and does not compute again
        self._keeps = self._reads.difference(plan.sequence.graph.output_nodes if plan.low else ())
        self._heads = self._products_of_input()
        self._rest = {keep: self._rest_of_sequence(keep) for keep in (False, True)}
        self._whole_body, self._reverse_heads = self._reverse_parts()
        self._tails = {table: self._tail(table) for table in (False, True)}
        self._whole_body = self._with_operands_of_tails()
        self._compiled: dict[tuple[Graph, _Nodes, _Nodes], CompiledLoop] = {}
        self._asked_before: dict[tuple[bool, frozenset[Node]], _Asked] = {}
        fixed = self._early_fixed.nodes()
        self._only_transposes = all(node.op == "transpose" for node in fixed)

    @property
    def loops(self) -> tuple[CompiledLoop, ...]:
        """Those that were run so far."""
        return tuple(self._compiled.values())

    def check_second_derivative(self) -> None:
        """Compiled loops have first derivatives only."""
        raise BackendError(
            "backend 'cpu': expected a first derivative, got create_graph=True. "
            "Use backend='reference' for second derivatives."
        )

    # ---- forward -------------------------------------------------------------------------------

    def forward(
        self, leaves: Values, call: Call, keep: bool = False
    ) -> tuple[Tensor, list[Tensor], Values]:
        """See `Executor.forward`; y and the states are in the dtype of the leaves."""
        if self._products is torch.float32:
            return self._forward(leaves, call, keep)
        dtype = leaves[self.plan.states[0]].dtype
        with torch.autocast("cpu", enabled=False):
            y, finals, values = self._forward(_as_float32(leaves), call, keep)
        return y.to(dtype), [final.to(dtype) for final in finals], values

    def _forward(
        self, leaves: Values, call: Call, keep: bool
    ) -> tuple[Tensor, list[Tensor], Values]:
        if not self._attempts.waiting:
            try:
                return super().forward(leaves, call, keep)
            except BackendError as error:
                self._attempts.excused(error)
        return self._instead().forward(leaves, call, keep)

    def _instead(self) -> Executor:
        """The same plan, run by torch: what it keeps is what compiled loops keep."""
        if self._by_torch is None:
            with torch.inference_mode(False):
                self._by_torch = Executor(self.plan, self._sizes, self._like)
        return self._by_torch

    def _products_of_input(self) -> dict[Node, Bulk]:
        """What the forward loop computes for some steps at a time, of the sequence section."""
        plan, graph = self.plan, self.plan.sequence.graph
        elsewhere = {*plan.loop.before.inputs, *plan.loop.after.inputs}
        elsewhere |= {child for node in graph.nodes() for child in node.inputs}
        given = set(graph.inputs)
        found = {n: bulk(n, given) for n in graph.output_nodes if n not in elsewhere}
        return {node: item for node, item in found.items() if item is not None}

    def _rest_of_sequence(self, keep: bool) -> Graph:
        """What is left of the sequence section, with what `keep` wants of its inner values."""
        graph = self._extended[self.plan.sequence, keep]
        rest = [node for node in graph.output_nodes if node not in self._heads]
        return section(rest, known=graph.inputs)

    def _run_sequence(self, values: Values, leaves: Values, call: Call, keep: bool) -> Values:
        if self.blank:
            return super()._run_sequence(values, leaves, call, keep)
        if not self.uses_table(leaves, call):
            return self._run(self._rest[keep], values)
        graph, plan = self.plan.sequence.graph, self.plan
        table = self._run(graph, self._table_values(graph, values, leaves, call), call.one_hot)
        assert call.ids is not None
        at_every_step = {*self._keeps, *plan.loop.before.inputs, *plan.loop.after.inputs}
        return {
            node: F.embedding(call.ids, rows) if node in at_every_step else rows
            for node, rows in table.items()
        }

    def _loop(self, keep: bool, values: Values, call: Call) -> LoopResult:
        if self.blank:
            return super()._loop(keep, values, call)
        states = self.plan.states
        body, history = self._body_and_history(keep)
        # what has no value yet is computed in the loop; a table has rows and no time
        heads = [item for node, item in self._heads.items() if node not in values]
        loop = self._compiled_loop(body, states, skip=False, before=heads)
        wanted = body.output_nodes[len(states) :]
        if keep:
            wanted = (*wanted, *(item.node for item in heads if item.node in self._keeps))
        looped = loop.run(
            values,
            [values[state] for state in states],
            call.order,
            history=history,
            active=call.active,
            arrays=wanted,
            **self._lookup(values, call),
        )
        return self._only_made(looped, keep, self._heads)

    def _lookup(self, values: Values, call: Call) -> dict[str, Any]:
        """Arguments of a loop's run: which values are tables, without time, and of what ids."""
        sequence = self.plan.sequence.graph.output_nodes
        tables = {node for node in sequence if node in values and values[node].dim() == 2}
        return {"ids": call.ids if tables else None, "tables": tables}

    def _gathered(self, values: Values, call: Call, nodes: Sequence[Node]) -> Values:
        """The values with those of `nodes` that are tables looked up for every step."""
        tables = self._lookup(values, call)["tables"].intersection(nodes)
        ids = call.ids
        if ids is None:  # without token ids there are no tables
            return values
        return {**values, **{node: F.embedding(ids, values[node]) for node in tables}}

    def _compiled_loop(
        self,
        body: Graph,
        carried: Sequence[Node],
        *,
        skip: bool,
        before: Sequence[Bulk] = (),
        after: Sequence[Bulk] = (),
    ) -> CompiledLoop:
        key = (body, tuple(item.node for item in before), tuple(item.node for item in after))
        if key not in self._compiled:
            try:
                self._compiled[key] = CompiledLoop(
                    body,
                    carried,
                    self._stepped,
                    self._sizes,
                    skip=skip,
                    before=before,
                    after=after,
                    products=self._products,
                    measured=self._measured,
                )
            except BackendError as error:
                self._attempts.failed(error)
                raise
            self._attempts.succeeded()
        return self._compiled[key]

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
        """See `Executor.backward`; each cotangent is in the dtype of its leaf."""
        if self._products is torch.float32:
            return self._backward(leaves, kept, call, d_y, d_finals, wanted)
        finals = [d.float() for d in d_finals]
        with torch.autocast("cpu", enabled=False):
            found = self._backward(
                _as_float32(leaves), _as_float32(kept), call, d_y.float(), finals, wanted
            )
        return {node: d.to(leaves[node].dtype) for node, d in found.items()}

    def _backward(self, leaves: Values, kept: Values, *call: Any) -> Values:
        if not self._attempts.waiting:
            try:
                return super().backward(leaves, kept, *call)
            except BackendError as error:
                self._attempts.excused(error)
        return self._instead().backward(leaves, kept, *call)

    def _tail(self, table: bool) -> _Tail:
        """What follows the steps of the reverse loop, the sequence section's part included.

        With a token table that part is not: it runs on the table's rows.
        """
        plan = self.plan
        after = {plan.step.wanted[int(name)]: n for name, n in plan.reverse.after.outputs}
        outputs = list(after.items())
        sequence = plan.sequence
        made = sequence.graph.output_nodes
        chained = not table and all(node in after for node in made)
        if chained:
            seeds = dict(zip(sequence.seeds, (after[node] for node in made), strict=True))
            linked = substitute(sequence.adjoint, seeds)
            outputs = [(of, node) for of, node in outputs if of not in made]
            outputs += [(sequence.wanted[int(name)], node) for name, node in linked.outputs]
        given = {*_in_memory(self._whole_body), *self._reads, *self.plan.inputs}
        found = {node: bulk(node, given) for _, node in outputs}
        return _Tail(
            outputs=tuple(outputs),
            in_loop={node: item for node, item in found.items() if item is not None},
            chained=chained,
        )

    def _step_cotangents(
        self,
        values: Values,
        call: Call,
        d_finals: Sequence[Tensor],
        needed: frozenset[Node],
        with_table: bool,
    ) -> tuple[Values, tuple[Section, ...]]:
        if self.blank:
            return super()._step_cotangents(values, call, d_finals, needed, with_table)
        plan, tail = self.plan, self._tails[with_table]
        if not self._only_transposes:
            values.update(self._run(self._early_fixed, values))
        asked = self._asked(tail, needed)
        body = self._whole_body
        read = {*body.inputs, *asked.by_torch.inputs}
        heads = [item for n, item in self._heads.items() if n in read and n not in values]
        loop = self._compiled_loop(
            body,
            plan.step.seeds[1:],
            skip=True,
            before=(*heads, *self._reverse_heads),
            after=tail.after,
        )
        looped = loop.run(
            values,
            d_finals,
            call.order[::-1],
            history={},
            active=call.active,
            arrays=asked.arrays,
            sums=asked.in_loop,
            **self._lookup(values, call),
        )
        values.update(looped.records)
        inputs = self._gathered(values, call, asked.by_torch.inputs)
        values.update(self._run(asked.by_torch, _with_values_past_ends(inputs, asked, call)))
        found: Values = {}
        for of, node in asked.outputs:
            accumulate(found, {of: values[node]})
        found.update(zip(plan.states, looped.carried, strict=True))
        left = () if tail.chained else (plan.sequence,)
        return found, (*left, plan.context, plan.once)

    def _reverse_parts(self) -> tuple[Graph, list[Bulk]]:
        """The reverse loop's body with all that could run before it for every step, but for the
        products, which do so for some steps at a time."""
        body, early = self._reverse_body, self._early_stepped
        known = {*body.inputs, *early.inputs}.difference(early.output_nodes)
        whole = section(body.output_nodes, known=known, names=body.outputs)
        given = set(whole.inputs).difference(self.plan.step.seeds[1:])
        found = [bulk(node, given) for node in whole.nodes() if node.op == "matvec"]
        heads = [item for item in found if item is not None]
        known |= {item.node for item in heads}
        return section(whole.output_nodes, known=known, names=whole.outputs), heads

    def _with_operands_of_tails(self) -> Graph:
        """The reverse loop's body, recording also what is summed after its steps."""
        body = self._whole_body
        known = _in_memory(body)
        items = [item for tail in self._tails.values() for item in tail.in_loop.values()]
        read = [node for item in items for node in (item.operand, item.right) if node is not None]
        bases = dict.fromkeys(resolve(node, known)[0] for node in read)
        computed = set(body.nodes()).difference(body.output_nodes)
        missing = [node for node in bases if node in computed]
        more = ((f"operand{i}", node) for i, node in enumerate(missing))
        return Graph(inputs=body.inputs, outputs=(*body.outputs, *more))

    def _asked(self, tail: _Tail, needed: frozenset[Node]) -> _Asked:
        """What of a tail the needed cotangents take."""
        key = (tail.chained, needed)
        if key not in self._asked_before:
            outputs = [(of, node) for of, node in tail.outputs if of in needed]
            in_loop = frozenset(node for _, node in outputs if node in tail.in_loop)
            rest = dict.fromkeys(node for _, node in outputs if node not in in_loop)
            body = self._whole_body
            known = {*body.inputs, *body.output_nodes, *self._reads, *self.plan.inputs}
            known = {node for node in known if not _is_made_anywhere(node)}
            known.add(self.plan.step.seeds[0])
            by_torch = section(rest, known=known)
            self._asked_before[key] = _Asked(
                outputs=tuple(outputs),
                in_loop=in_loop,
                by_torch=by_torch,
                primal=tuple(n for n in by_torch.inputs if not _is_cotangent(n)),
                arrays=in_loop.union(by_torch.inputs),
            )
        return self._asked_before[key]


def _is_cotangent(node: Node) -> bool:
    """Whether it depends on a cotangent, and so is zero past the end of a sequence."""
    leaves = (each for each in topological([node]) if each.op == "input")
    return any(leaf.attr("kind") == "cotangent" for leaf in leaves)


def _with_values_past_ends(values: Values, asked: _Asked, call: Call) -> Values:
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
        if values[node].dim() == 3 and values[node].shape[:2] == lead
    }
    return {**values, **filled}


def _is_made_anywhere(node: Node) -> bool:
    """Whether a value costs nothing, and is in no memory."""
    if node.op == "expand":
        return node.inputs[0].op in _NUMBERS
    return node.op in ("transpose", *_NUMBERS)


def _in_memory(body: Graph) -> set[Node]:
    """What a loop's body reads or may record; slices are views of it."""
    return {*body.inputs, *(node for node in body.nodes() if node.op != "slice")}


def _as_float32(values: Mapping[Node, Tensor]) -> Values:
    return {n: v.float() if v.dtype is torch.bfloat16 else v for n, v in values.items()}
