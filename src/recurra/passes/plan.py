"""plan: the whole pipeline, from a cell's equations to the program that a backend runs.

Forward:  once -> context -> sequence -> loop (-> after)
Backward: before -> reverse loop -> after -> sequence adjoint -> context adjoint -> once adjoint

Every arrow is a graph over leaves; nothing here knows a target, a tensor or a number of steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from recurra.ir import Graph, Node, Stage, leaf, substitute, verify, verify_part
from recurra.passes.adjoint import adjoint, cotangent_of, reads
from recurra.passes.arrange import arrange, spread
from recurra.passes.cut import Leaves, Loop, Sections, cut, cut_loop, with_kept
from recurra.passes.decompose import decompose
from recurra.passes.narrow import narrow
from recurra.passes.place import Target, When, place, place_heads, place_loop, place_tail
from recurra.passes.products import merge, separate
from recurra.passes.rates import CONSTANT_KINDS, FIXED_KINDS, LEAF_RATES, Rate, leaf_rates
from recurra.passes.residuals import recompute
from recurra.passes.simplify import simplify, zeros
from recurra.passes.widen import widen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Section:
    """One section's graph with its adjoint.

    `wanted` are the inputs that the adjoint differentiates by: its output "i" is the cotangent of
    wanted[i]. `seeds` are the adjoint's leaves for the cotangents of the graph's outputs, in order.
    `kept` is the graph giving also what the adjoint reads; of a step that alone.
    """

    graph: Graph
    kept: Graph
    adjoint: Graph
    wanted: tuple[Node, ...]
    seeds: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What a backend runs for one cell, whatever the sizes are.

    `loop` and `reverse` are the forward and the reverse time loop, each with what runs before and
    after it; `forward_when` and `backward_when` say when each value is computed. `tail`: for a
    target that computes in chunks, what follows the steps of the reverse loop through the sequence
    section, as pairs of a value and its cotangent; None where that section is not reached.
    `residuals` are the values of the step that the reverse loop reads, states as they are and the
    others by the leaves of `step.kept`; `names` is what the user called values. `table`: for token
    ids the sequence section can run on the vocabulary instead. `low`: the sequence section runs
    again in the backward pass, so that its values need not be kept.
    """

    inputs: tuple[Node, ...]
    states: tuple[Node, ...]
    state_names: tuple[str, ...]
    once: Section
    context: Section
    sequence: Section
    step: Section
    loop: Loop
    reverse: Loop
    forward_when: Mapping[Node, When]
    backward_when: Mapping[Node, When]
    tail: tuple[tuple[Node, Node], ...] | None
    residuals: tuple[Node, ...]
    names: Mapping[Node, str]
    table: bool
    low: bool

    def leaves(self, kind: str) -> tuple[Node, ...]:
        """The cell's inputs of one kind, in order."""
        return tuple(node for node in self.inputs if node.attr("kind") == kind)


def plan(equations: Graph, target: Target | None = None, *, low: bool = False) -> Plan:
    """The plan for a cell's equations.

    Args:
        equations: as `Cell.equations`.
        target: what it is planned for; None for one that runs each operation by itself.
        low: keep as little as can be for the backward pass, and compute it again there.
    """
    target = target or Target()
    graph = forward_graph(equations, wide=target.pays_per_operation)
    where = place(graph, leaf_rates(graph), target)
    leaves = Leaves(graph.names.values())
    sections = cut(graph, where, leaves)
    states = tuple(node for node in graph.inputs if node.attr("kind") == "state")
    names = tuple(node.name for node in states)
    step = _step_section(sections, states)
    if target.fuses or low:
        late = sections.sequence.leaves
        step = replace(step, adjoint=recompute(step.graph, step.adjoint, late, low=low))
    step = _closed(step, Rate.SEQUENCE, leaves)
    carried = {
        cotangent_of(name, step.graph.output(name)): str(step.wanted.index(state))
        for name, state in zip(names, states, strict=True)
    }
    in_loop = _placed(step.graph, dict(zip(states, names, strict=True)), target)
    backward = _placed(step.adjoint, carried, target, reverse=True)
    loop = cut_loop(step.graph, dict(zip(states, names, strict=True)), in_loop)
    reverse = cut_loop(step.adjoint, carried, backward)
    once = _section(sections.once, Rate.ONCE, leaves)
    context = _section(sections.context, Rate.CONTEXT, leaves)
    sequence = _section(sections.sequence, Rate.SEQUENCE, leaves)
    tail = _tail(step, reverse, sequence) if target.chunks_steps else None
    known = {*equations.inputs, *step.adjoint.inputs, *sequence.adjoint.inputs}
    known -= set(sequence.seeds)
    backward |= place_tail([node for _, node in tail or ()], known, backward, target)
    elsewhere = {*loop.before.inputs, *loop.after.inputs}
    forward = {
        node: when
        for part, when in ((once, When.ONCE), (context, When.CONTEXT), (sequence, When.EARLY))
        for node in part.graph.nodes()
    }
    return Plan(
        inputs=equations.inputs,
        states=states,
        state_names=names,
        once=once,
        context=context,
        sequence=sequence,
        step=step,
        loop=loop,
        reverse=reverse,
        forward_when={**forward, **in_loop, **place_heads(sections.sequence, elsewhere, target)},
        backward_when=backward,
        tail=tail,
        names=graph.names,
        residuals=tuple(n for n in reads(step.adjoint) if n in {*states, *step.kept.leaves}),
        table=all(n.attr("kind") in ("input", *FIXED_KINDS) for n in sections.sequence.inputs),
        low=low,
    )


def _placed(
    graph: Graph,
    carried: Mapping[Node, str],
    target: Target,
    *,
    reverse: bool = False,
) -> dict[Node, When]:
    """When each value of a loop is computed; see `place_loop`."""
    names = set(carried.values())
    next_values = [node for name, node in graph.outputs if name in names]
    fixed = {node for node in graph.inputs if LEAF_RATES.get(node.attr("kind")) is Rate.ONCE}
    return place_loop(graph, carried, next_values, target, fixed=fixed, reverse=reverse)


def _tail(step: Section, reverse: Loop, sequence: Section) -> tuple[tuple[Node, Node], ...] | None:
    """What follows the steps of the reverse loop through the sequence section."""
    after = {step.wanted[int(name)]: node for name, node in reverse.after.outputs}
    made = sequence.graph.leaves
    if any(node not in after for node in made):
        return None
    seeds = dict(zip(sequence.seeds, (after[node] for node in made), strict=True))
    linked = substitute(sequence.adjoint, seeds)
    outputs = [(of, node) for of, node in after.items() if of not in made]
    return (*outputs, *((sequence.wanted[int(name)], node) for name, node in linked.outputs))


def forward_graph(equations: Graph, *, wide: bool = True, in_loop: Rate = Rate.STEP) -> Graph:
    """A cell's equations after every pass that rewrites the forward graph, each checked.

    Args:
        equations: as `Cell.equations`.
        wide: join elementwise siblings into wide operations.
        in_loop: the lowest rate of what the loop will compute.
    """
    verify(equations, Stage.CELL)
    given = leaf_rates(equations)
    passes: list[Callable[[Graph], Graph]] = [
        decompose,
        simplify,
        separate,
        lambda graph: arrange(graph, given),
        lambda graph: merge(graph, given),
        simplify,
    ]
    passes.append(widen if wide else lambda graph: narrow(graph, given, in_loop))
    passes.append(lambda graph: arrange(graph, given))
    graph = equations
    for rewrite in passes:
        graph = verify(rewrite(graph), Stage.PRIMITIVE)
    return graph


def _summed(node: Node, rate: Rate) -> str | None:
    """How the cotangent of an input is summed over what it does not vary with, of a section whose
    values change so often."""
    own = LEAF_RATES[node.attr("kind")]
    return None if own is rate else {Rate.ONCE: "total", Rate.CONTEXT: "total_time"}.get(own)


def _section(graph: Graph, rate: Rate, leaves: Leaves) -> Section:
    """A section with its adjoint, in which everything is known but the cotangents.

    Args:
        rate: how often its values change.
    """
    accumulate = {node: _summed(node, rate) for node in graph.inputs if not _is_constant(node)}
    raw = verify(adjoint(graph, accumulate), Stage.BACKWARD)
    seeds = tuple(cotangent_of(name, node) for name, node in graph.outputs)
    given = dict.fromkeys((*raw.inputs, *seeds), Rate.SEQUENCE)
    section = Section(
        graph=graph,
        kept=graph,
        adjoint=_tidy(raw, {node: given[node] for node in raw.inputs}),
        wanted=tuple(accumulate),
        seeds=seeds,
    )
    return _closed(section, rate, leaves)


def _closed(section: Section, rate: Rate, leaves: Leaves) -> Section:
    """The section with its adjoint reading leaves in place of the graph's own values."""
    verify_part(section.graph, Stage.PRIMITIVE)
    kept, adjoint = with_kept(
        section.graph, section.adjoint, rate, leaves, extending=bool(section.graph.leaves)
    )
    verify_part(kept, Stage.PRIMITIVE)
    return replace(section, kept=kept, adjoint=verify_part(adjoint, Stage.BACKWARD))


def _step_section(sections: Sections, states: tuple[Node, ...]) -> Section:
    graph = sections.step
    # a state that the step never reads is carried all the same
    missing = tuple(state for state in states if state not in graph.inputs)
    graph = replace(graph, inputs=(*graph.inputs, *missing))
    accumulate: dict[Node, str | None] = dict.fromkeys(states)
    accumulate.update(
        {
            node: _summed(node, Rate.STEP)
            for node in graph.inputs
            if node not in accumulate and not _is_constant(node)
        }
    )
    raw = verify(_with_zero_states(adjoint(graph, accumulate), states), Stage.BACKWARD)
    seeds = tuple(cotangent_of(name, node) for name, node in graph.outputs)
    carried = {cotangent_of(node.name, graph.output(node.name)) for node in states}
    given = {node: Rate.STEP if node in carried else Rate.SEQUENCE for node in raw.inputs}
    return Section(
        graph=graph,
        kept=graph,
        adjoint=_tidy(_with_inputs(raw, carried), {**dict.fromkeys(carried, Rate.STEP), **given}),
        wanted=tuple(accumulate),
        seeds=seeds,
    )


def _with_zero_states(graph: Graph, states: tuple[Node, ...]) -> Graph:
    """The adjoint of a step with a zero for every state that the step does not read."""
    from_states = {str(i): state for i, state in enumerate(states)}
    present = {name for name, _ in graph.outputs}
    zero = tuple(
        (name, zeros(state.shape)) for name, state in from_states.items() if name not in present
    )
    return Graph(inputs=graph.inputs, outputs=(*zero, *graph.outputs))


def _with_inputs(graph: Graph, more: set[Node]) -> Graph:
    extra = tuple(node for node in sorted(more, key=lambda n: n.name) if node not in graph.inputs)
    return Graph(inputs=(*graph.inputs, *extra), outputs=graph.outputs)


def _tidy(graph: Graph, given: Mapping[Node, Rate]) -> Graph:
    """An adjoint simplified, its factors gathered by rate.

    Its inputs stand behind leaves meanwhile: a rule must not look into how an input was computed,
    because what it would find there is not at hand.
    """
    hidden = {node: leaf("given", str(i), node.shape) for i, node in enumerate(graph.inputs)}
    rates = {hidden[node]: rate for node, rate in given.items()}
    tidy = arrange(simplify(substitute(graph, hidden)), rates)
    # the pieces of a cotangent have come together now; each can meet its own factor
    tidy = simplify(arrange(spread(tidy), rates))
    shown = {stand_in: node for node, stand_in in hidden.items()}
    return verify(substitute(tidy, shown), Stage.BACKWARD)


def _is_constant(node: Node) -> bool:
    """Whether it is an input that has no cotangent."""
    return node.op == "input" and node.attr("kind") in CONSTANT_KINDS
