"""A plan's graphs as they run: forward with what the backward pass reads or without, and backward.

Graphs alone, no tensor and no number: what follows from the plan is found once for all sizes.
"""

from recurra.ir import Graph, Node, apply
from recurra.passes import Plan
from recurra.passes.cut import section
from recurra.passes.place import dependents
from recurra.passes.rates import LEAF_RATES, Rate


class Parts:
    """What of a plan runs before, in and after its loops.

    Args:
        writes_output: loops write an output that is also kept to memory of its own at each step,
            which costs less than a copy at the end where one pass over a row does both.

    Attributes:
        x, t: the input and the index of the step, where the cell reads them.
        stepped: the values that change from step to step.
        in_loop: what the forward loop computes or carries.
        outputs: the output, or where others hold it too a node that stands for it once more.
        before, after: what is computed for all steps at once, before and after the forward loop.
        bodies: the forward loop's body, giving also what is recorded besides the states.
        sections: the graph of each section, giving also what its adjoint reads.
        reverse_body: the reverse loop's body, giving also the carried cotangents read after it.
        early_fixed, early_stepped: what comes before the reverse loop, by whether it has time.
        reads: the values that the backward pass reads.

    Those with `keep` for a key differ by whether the backward pass will run.
    """

    def __init__(self, plan: Plan, *, writes_output: bool = False) -> None:
        self.plan = plan
        self._writes_output = writes_output
        self._on_the_way: dict[frozenset[Node], frozenset[Node]] = {}
        self.x = next(iter(plan.leaves("input")), None)
        self.t = next(iter(plan.leaves("step")), None)
        made = {*plan.sequence.kept.keys, *plan.step.kept.keys}
        stepped = {n for n in plan.inputs if LEAF_RATES[n.attr("kind")] is Rate.SEQUENCE}
        stepped |= {*made, *plan.states, *plan.step.seeds}
        stepped |= dependents(plan.loop.before, stepped)
        self.stepped = stepped | dependents(plan.reverse.before, stepped)
        self.in_loop = frozenset((*plan.loop.body.nodes(), *plan.states))
        self.output = plan.step.graph.output("output")
        # what the backward pass reads of the step, as the forward loop computes it
        states = (node for node in plan.states if node in plan.residuals)
        self._residuals = {False: (), True: (*states, *plan.step.kept.output_nodes)}
        self.outputs = {keep: self._handed_out(keep) for keep in (False, True)}
        self.before = {keep: self._before_loop(keep) for keep in (False, True)}
        self.after = {keep: self._after_loop(keep) for keep in (False, True)}
        self.bodies = {keep: self._body(keep) for keep in (False, True)}
        self.reverse_body = self._with_late_carried()
        before = plan.reverse.before
        self.early_fixed, self.early_stepped = (
            section(
                [n for n in before.output_nodes if (n in self.stepped) is varies], before.inputs
            )
            for varies in (False, True)
        )
        self.sections = {
            (part, keep): part.kept if keep else part.graph
            for part in (plan.once, plan.context, plan.sequence)
            for keep in (False, True)
        }
        self.reads = self._backward_reads()
        self.for_backward_alone = self._for_backward_alone()

    def _handed_out(self, keep: bool) -> Node:
        output, body = self.output, self.plan.loop.body
        held = {*body.inputs, *body.output_nodes[: len(self.plan.states)], *self._residuals[keep]}
        if self._writes_output and output.shape and output in self.in_loop & held:
            return apply("expand", output, shape=output.shape)
        return output

    def is_written(self, keep: bool) -> bool:
        """Whether the loop writes the output to memory of its own."""
        return self.outputs[keep] is not self.output

    def _before_loop(self, keep: bool) -> Graph:
        before, residuals = self.plan.loop.before, self._residuals[keep]
        made = set(before.nodes())
        outputs = (*before.output_nodes, *(node for node in residuals if node in made))
        return section(dict.fromkeys(outputs), known=before.inputs)

    def _after_loop(self, keep: bool) -> Graph:
        after, residuals = self.plan.loop.after, self._residuals[keep]
        known = {*self.in_loop, *self.before[keep].output_nodes}
        late = [node for node in residuals if node not in known]
        recorded = self.in_loop.intersection(residuals)
        known = {*after.inputs, *self.plan.loop.body.inputs, *recorded}
        own = [] if self.is_written(keep) else after.output_nodes
        return section([*own, *late], known=known)

    def _body(self, keep: bool) -> Graph:
        states = self.plan.loop.body.outputs[: len(self.plan.states)]
        record = dict.fromkeys(n for n in self._residuals[keep] if n in self.in_loop)
        record.update(dict.fromkeys(n for n in self.after[keep].inputs if n in self.in_loop))
        by_history = {*self.plan.states, *(node for _, node in states)}
        extra = [(f"record{i}", node) for i, node in enumerate(record) if node not in by_history]
        if self.is_written(keep):
            extra.append(("output", self.outputs[keep]))
        return Graph(inputs=self.plan.loop.body.inputs, outputs=(*states, *extra))

    def _with_late_carried(self) -> Graph:
        body, after = self.plan.reverse.body, self.plan.reverse.after
        late = [leaf for leaf in self.plan.step.seeds[1:] if leaf in after.inputs]
        inputs = (*body.inputs, *(leaf for leaf in late if leaf not in body.inputs))
        extra = tuple((f"late{i}", leaf) for i, leaf in enumerate(late))
        return Graph(inputs=inputs, outputs=(*body.outputs, *extra))

    def _backward_reads(self) -> tuple[Node, ...]:
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
                if node not in made and node.attr("kind") != "cotangent"
            )
        )

    def _for_backward_alone(self) -> frozenset[Node]:
        """What a forward loop records that goes to nobody but the backward pass; of a state whose
        values it records, those before the steps."""
        recorded = set(self.reads).union(self._residuals[True])
        given = {self.outputs[True], self.output, *self.after[True].inputs}
        if self.is_written(True):
            given.discard(self.output)
        states, made = self.plan.states, self.plan.loop.body.output_nodes
        own = {old for old, new in zip(states, made, strict=False) if not {old, new} & given}
        return frozenset((recorded - given - set(states)) | own)

    def history(self, keep: bool) -> dict[Node, Node]:
        """The states whose values at all steps somebody reads, each with its next value."""
        body, states = self.bodies[keep], self.plan.states
        wanted = {*self.after[keep].inputs, *self._residuals[keep]}
        pairs = zip(states, body.output_nodes[: len(states)], strict=True)
        return {old: new for old, new in pairs if old in wanted or new in wanted}

    def on_the_way(self, wanted: set[Node]) -> frozenset[Node]:
        """The nodes on a way from a wanted leaf."""
        key = frozenset(wanted)
        if key not in self._on_the_way:
            needed = wanted
            for part in (self.plan.once, self.plan.context, self.plan.sequence):
                needed = dependents(part.graph, needed)
                made = zip(part.graph.keys, part.graph.output_nodes, strict=True)
                needed |= {key for key, node in made if node in needed}
            self._on_the_way[key] = frozenset(needed)
        return self._on_the_way[key]
