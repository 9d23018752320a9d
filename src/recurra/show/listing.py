"""A graph as a list of statements, as its author would write it: one named value after the other.

A node with a name is a statement of its own; so is a node without one that is nested too deep, or
read more than once and too long to repeat, under a name made here (v1, v2, ...). Equal slices of
one vector are one statement, a split. Everything else is written where it is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

import networkx as nx

from recurra.ir import OPS, Dim, Graph, Group, Node, is_rows, use_counts

_LONG = 2  # operations; a nameless value of more than that is not written twice
_DEEP = 40  # a nameless value in more brackets than that is a statement too


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """targets = value, or the equal parts of a split of value (None: a part that nothing reads)."""

    targets: tuple[Node | None, ...]
    value: Node
    is_split: bool = False

    @property
    def first(self) -> Node:
        """The first target that is read."""
        return next(node for node in self.targets if node is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Statements in order, then the results; `names` has every target of a statement."""

    statements: tuple[Statement, ...]
    results: tuple[Node, ...]
    names: Mapping[Node, str]


def make_listing(graph: Graph, names: Mapping[Node, str], *, reassign: bool) -> Listing:
    """The statements that compute the outputs of `graph`.

    Args:
        graph: any graph; its own `names` are not looked at.
        names: what to call values, in the order in which to write them; need not be unique.
        reassign: a statement may take the name of an input of the graph, as `c = f * c` does in
            Python. It then comes after all that reads the input, or gets another name.
    """
    results, splits = _results(graph), _splits(graph, names)
    computed = set(graph.nodes())
    named = _unique({node: name for node, name in names.items() if node in computed})
    parts = {node for split in splits for node in split.targets if node is not None}
    targets = {*named, *parts} | _long_shared(graph, results, splits, {*named, *parts})
    singles = [Statement(targets=(node,), value=node) for node in targets - parts]
    order = _dependencies([*splits, *singles], set(graph.inputs))
    if reassign:
        _reassign(order, named, graph, results)
    rank = {node: place for place, node in enumerate((*named, *graph.nodes()))}
    rank.update({node: place for place, node in enumerate(named)})
    late = _input_names(graph)  # a new state comes as late as it can
    statements = nx.lexicographical_topological_sort(
        order, key=lambda statement: (named.get(statement.first) in late, rank[statement.first])
    )
    return _with_all_names(tuple(statements), results, named, graph)


def _with_all_names(
    statements: tuple[Statement, ...],
    results: tuple[Node, ...],
    named: dict[Node, str],
    graph: Graph,
) -> Listing:
    """The listing, its nameless targets numbered in the order in which they are written."""
    taken = {*named.values(), *_input_names(graph)}
    fresh = (name for name in _numbered("v") if name not in taken)
    targets = [node for statement in statements for node in statement.targets if node is not None]
    names = {node: named[node] if node in named else next(fresh) for node in targets}
    return Listing(statements=statements, results=results, names=names)


def _results(graph: Graph) -> tuple[Node, ...]:
    """The outputs; the output of a cell is left out where it is its first state."""
    nodes = graph.output_nodes
    is_first_state = len(nodes) > 1 and graph.outputs[0][0] == "output" and nodes[0] is nodes[1]
    return nodes[1:] if is_first_state else nodes


# ---- names ---------------------------------------------------------------------------------------


def _input_names(graph: Graph) -> dict[str, Node]:
    return {node.name: node for node in graph.inputs if node.op == "input"}


def _numbered(prefix: str) -> Iterator[str]:
    return (f"{prefix}{number}" for number in count(1))


def _unique(named: Mapping[Node, str]) -> dict[Node, str]:
    """The same names, told apart by a number where two nodes share one."""
    unique: dict[Node, str] = {}
    taken: set[str] = set()
    for node, name in named.items():
        free = (other for other in _numbered(f"{name}_") if other not in {*named.values(), *taken})
        unique[node] = next(free) if name in taken else name
        taken.add(unique[node])
    return unique


# ---- what becomes a statement --------------------------------------------------------------------


def _splits(graph: Graph, names: Mapping[Node, str]) -> list[Statement]:
    """The slices that together, or with some left out, cut a vector into equal parts."""
    groups: dict[tuple[Node, Dim], dict[int, Node]] = {}
    no_parts = {*graph.inputs, *(node for node in _numbers(graph) if node not in names)}
    for node in graph.nodes():
        if node.op != "slice" or node in no_parts:
            continue
        whole, size = node.inputs[0], node.attr("size")
        if node.attr("axis") != is_rows(whole.shape):
            continue
        place = node.attr("start").times(size)
        if place is not None and _length(whole).times(size) is not None:
            groups.setdefault((whole, size), {})[place] = node
    return [
        Statement(
            targets=tuple(parts.get(place) for place in range(_length(whole).times(size) or 0)),
            value=whole,
            is_split=True,
        )
        for (whole, size), parts in groups.items()
    ]


def _numbers(graph: Graph) -> set[Node]:
    """Slices that stand for one number, as in v[0], wherever they are read."""
    ones = {n for n in graph.nodes() if n.op == "slice" and n.shape == (Dim.of(1),)}
    others = {child for n in graph.nodes() if n.op != "sum" for child in n.inputs}
    return ones - others - set(graph.output_nodes)


def _length(whole: Node) -> Dim:
    """What a split cuts: of rows of a memory the features."""
    return whole.shape[is_rows(whole.shape)]


def _long_shared(
    graph: Graph, results: tuple[Node, ...], splits: list[Statement], named: set[Node]
) -> set[Node]:
    """Nodes without a name that are read more than once and are long where they are written, or
    that are nested too deep to be read."""
    reads = use_counts(graph)
    for node in graph.output_nodes:
        reads[node] -= 1
    for node in results:
        reads[node] += 1
    for split in splits:  # its parts read the whole once, together
        reads[split.value] -= sum(node is not None for node in split.targets) - 1
    found: set[Node] = set()
    length = dict.fromkeys(graph.inputs, 0)
    depth = dict.fromkeys(graph.inputs, 0)
    for node in graph.nodes():
        length[node] = 1 + sum(length[child] for child in node.inputs)
        depth[node] = 1 + max((depth[child] for child in node.inputs), default=0)
        is_long = reads[node] > 1 and length[node] > _LONG
        if node not in named and (is_long or depth[node] > _DEEP):
            found.add(node)
        if node in named or node in found or OPS[node.op].group is Group.LEAF:
            length[node] = depth[node] = 0
    return found


# ---- in which order ------------------------------------------------------------------------------


def _dependencies(statements: list[Statement], inputs: set[Node]) -> nx.DiGraph:
    """Statements, each behind those it reads; node data "reads" has the inputs it mentions."""
    made_by = {node: s for s in statements for node in s.targets if node is not None}
    known = inputs | set(made_by)
    order = nx.DiGraph()
    for statement in statements:
        roots = (statement.value,) if statement.is_split else statement.value.inputs
        read = {node for root in roots for node in _frontier(root, known)}
        order.add_node(statement, reads=read & inputs)
        order.add_edges_from((made_by[node], statement) for node in read if node in made_by)
    return order


def _frontier(node: Node, known: set[Node]) -> set[Node]:
    """The nearest nodes at or below `node` that are in `known`."""
    found: set[Node] = set()
    seen: set[Node] = set()
    stack = [node]
    while stack:
        top = stack.pop()
        if top in known:
            found.add(top)
        elif top not in seen:
            seen.add(top)
            stack.extend(top.inputs)
    return found


def _reassign(
    order: nx.DiGraph, names: dict[Node, str], graph: Graph, results: tuple[Node, ...]
) -> None:
    """Put each statement that takes an input's name behind the input's readers, or rename it."""
    inputs = _input_names(graph)
    made_by = {node: s for s in order for node in s.targets if node is not None}
    known = {*graph.inputs, *made_by}
    returned = {node for result in results for node in _frontier(result, known)}
    for node, name in list(names.items()):
        if name not in inputs:
            continue
        old, statement = inputs[name], made_by[node]
        readers = [s for s in order if s is not statement and old in order.nodes[s]["reads"]]
        if old in returned or any(nx.has_path(order, statement, reader) for reader in readers):
            taken = {*names.values(), *inputs}
            free = (other for other in _numbered(f"{name}_new") if other not in taken)
            names[node] = f"{name}_new" if f"{name}_new" not in taken else next(free)
        else:
            order.add_edges_from((reader, statement) for reader in readers)
