"""A plan as a table: where every value is computed, forward and backward."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from recurra.ir import OPS, VIEWS, Graph, Group, Node
from recurra.passes import Plan, When, section
from recurra.passes.opened import opened
from recurra.show.listing import Statement, make_listing
from recurra.show.spelling import TextWriter

_WIDTH = max(len(str(when)) for when in When) + 2
_LONGEST_STEP = 60  # lines of an unrolled step that is looked for
_HEAD, _TAIL = 90, 40  # characters that are left of a sum over all unrolled steps

_Pairs = Sequence[tuple[Node, Node]]  # a value, and its cotangent


def table(plan: Plan) -> list[str]:
    """Lines of two columns: when, and what is computed then, in the language of cells.

    A cotangent is called d_ and what it is of; values without a name of the user's are v1, v2, ...
    """
    plan = opened(plan)
    writing = _Writing(plan)
    lines = ["forward"]
    for when, graph in _forward(plan):
        lines += writing.rows(when, graph, ())
    lines.append("backward")
    for when, graph, of in _backward(plan):
        lines += writing.rows(when, graph, of)
    return lines


def folded(lines: list[str]) -> list[str]:
    """The table of a cell that unrolls steps: lines that come again and again, but for the numbers
    of nameless values, are written once, and of long sums both ends."""
    alike = [re.sub(r"\bv\d+\b", "v", line) for line in lines]
    found: list[str] = []
    place = 0
    while place < len(lines):
        period, times = _repeated(alike, place)
        found += map(_shortened, lines[place : place + period])
        if times > 1:
            which = "this line" if period == 1 else f"these {period} lines"
            found.append(f"  {'':<{_WIDTH}}({which}, {times} times in all)")
        place += period * times
    return found


def _shortened(line: str) -> str:
    left_out = len(line) - _WIDTH - _HEAD - _TAIL
    return line if left_out <= 0 else f"{line[: _WIDTH + _HEAD]} … {line[-_TAIL:]}"


def _repeated(lines: list[str], start: int) -> tuple[int, int]:
    """How many lines from `start` on come at least four times in a row, and how often; or 1, 1."""
    for period in range(1, min(_LONGEST_STEP, (len(lines) - start) // 4) + 1):
        times, own = 1, lines[start : start + period]
        while lines[start + times * period : start + (times + 1) * period] == own:
            times += 1
        if times >= 4:
            return period, times
    return 1, 1


def _forward(plan: Plan) -> Iterator[tuple[When, Graph]]:
    yield When.ONCE, plan.once.graph
    yield When.CONTEXT, plan.context.graph
    yield from _by_when(plan.sequence.graph, plan.forward_when)
    yield from _by_when(plan.loop.before, plan.forward_when)
    yield When.STEP, plan.loop.body
    yield When.LATE, plan.loop.after


def _backward(plan: Plan) -> Iterator[tuple[When, Graph, _Pairs]]:
    """When, a graph, and which of its outputs is the cotangent of what."""
    reverse = plan.reverse
    for when, graph in _by_when(reverse.before, plan.backward_when):
        yield when, graph, ()
    in_chunks = {node for node, when in plan.backward_when.items() if when is When.AFTER}
    body = reverse.body
    own = [node for node in body.output_nodes if node not in in_chunks]
    yield When.STEP, section(own, known=body.inputs), ()
    rest = [node for node in body.output_nodes if node in in_chunks]
    made = {node for node in body.nodes() if node.op not in VIEWS}.difference(rest)
    yield When.AFTER, section(rest, known=made.union(body.inputs)), ()
    after = [(plan.step.wanted[int(name)], node) for name, node in reverse.after.outputs]
    pairs = after if plan.tail is None else plan.tail
    known = {*reverse.body.inputs, *reverse.body.output_nodes, *plan.step.adjoint.inputs}
    known.update(plan.inputs)
    for part in (plan.once, plan.context, plan.sequence):
        known.update(part.graph.output_nodes)
    for when in (When.AFTER, When.LATE):
        chosen = [(of, n) for of, n in pairs if (n in in_chunks) == (when is When.AFTER)]
        yield when, section([node for _, node in chosen], known=known), chosen
    sections = [(When.CONTEXT, plan.context), (When.ONCE, plan.once)]
    for when, part in sections if plan.tail else [(When.LATE, plan.sequence), *sections]:
        yield when, part.adjoint, [(part.wanted[int(i)], n) for i, n in part.adjoint.outputs]


def _by_when(graph: Graph, where: Mapping[Node, When]) -> Iterator[tuple[When, Graph]]:
    for when in sorted({where[node] for node in graph.output_nodes}):
        yield when, section([n for n in graph.output_nodes if where[n] is when], known=graph.inputs)


class _Writing:
    """Names for values, the same in all rows."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._labels = {node: node.name for node in plan.inputs}
        self._labels |= {seed: f"d_{seed.name}" for seed in plan.step.seeds}
        # what becomes a state in the next step, and a state's cotangent in the step before
        body, reverse = plan.loop.body.output_nodes, plan.reverse.body.output_nodes
        for state, after, before in zip(plan.states, body, reverse, strict=False):
            self._labels.setdefault(after, f"next {state.name}")
            self._labels.setdefault(before, f"next d_{state.name}")
        parts = (plan.sequence, plan.context, plan.once)
        seeds = (zip(part.seeds, part.graph.output_nodes, strict=True) for part in parts)
        self._seeds = {seed: node for pairs in seeds for seed, node in pairs}
        self._fresh = (f"v{number}" for number in count(1))
        graphs = [*(graph for _, graph in _forward(plan)), *(each[1] for each in _backward(plan))]
        self._read = {node for graph in graphs for node in graph.inputs}
        self._taken = set(self._labels.values())

    def rows(self, when: When, graph: Graph, cotangents: _Pairs) -> list[str]:
        """The lines of a graph; empty where it computes nothing."""
        for node in graph.inputs:
            self._label(node)
        inputs, nodes = set(graph.inputs), graph.nodes()
        shown = [n for n in nodes if n not in inputs and OPS[n.op].group is not Group.LEAF]
        own = self._read.union(graph.output_nodes, self._plan.names)
        targets = {node: "" for node in shown if node in own}
        listing = make_listing(graph, targets, reassign=False)
        names = [(node, f"d_{self._label(of)}") for of, node in cotangents]
        for node, name in names:
            self._labels.setdefault(node, name)
        lines = [self._line(statement) for statement in listing.statements]
        writer = TextWriter(self._labels)
        for node, name in names:  # of two values that have one cotangent, or what the loop gave
            if self._labels[node] != name:
                lines.append(f"{name} = {writer.operand(node)}")
        first = [str(when), *[""] * len(lines)]
        return [f"  {w:<{_WIDTH}}{line}" for w, line in zip(first, lines, strict=False)]

    def _line(self, statement: Statement) -> str:
        targets = ", ".join(self._label(node) if node else "_" for node in statement.targets)
        writer = TextWriter(self._labels)
        if statement.is_split:
            return f"{targets} = split({writer.operand(statement.value)}, {len(statement.targets)})"
        return f"{targets} = {writer.value(statement.value)}"

    def _label(self, node: Node) -> str:
        if node not in self._labels:
            if node in self._seeds:
                self._labels[node] = f"d_{self._label(self._seeds[node])}"
                return self._labels[node]
            name = self._plan.names.get(node)
            if name is None or name in self._taken:
                name = next(n for n in self._fresh if n not in self._taken)
            self._taken.add(name)
            self._labels[node] = name
        return self._labels[node]
