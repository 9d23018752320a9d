"""A layered drawing of a directed graph: where its boxes stand and how its arrows run.

The method of Sugiyama, Tagawa, Toda (1981), IEEE Transactions on Systems, Man, and Cybernetics
11(2): layers by longest path, arrows over several layers cut by way points, order within a layer by
barycentres, then heights as near to the neighbours as the distances allow. Layers run from left to
right; x grows to the right and y downwards. Of a graph with very many way points, arrows from one
box run together until they part, and sorting stops early.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import networkx as nx

Vertex = int | tuple[int, int]  # a box, or the way point (edge, layer)
Chain = list[Vertex]  # an edge, with one vertex in each layer that it passes

_LAYER_GAP = 34.0
_BOX_GAP = 14.0
_ARROW_GAP = 9.0
_ARRIVAL_GAP = 8.0
_ATTEMPTS, _SWEEPS = 16, 8  # of sorting; crossings seldom fall after
_RELAXATIONS = 60  # of heights; long arrows are straight after
_MANY_POINTS = 3000  # way points; the largest cell of the registry has 500
_PATIENCE = 4000  # vertices for which all attempts and relaxations are worth their time


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Centres of the boxes, way points of each edge with both its ends, and the size of it all."""

    centres: tuple[tuple[float, float], ...]
    routes: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


def lay_out(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    *,
    late: Iterable[int] = (),
    last: Iterable[int] = (),
) -> Layout:
    """The layout of an acyclic graph.

    Args:
        sizes: width and height of each box.
        edges: pairs (from, to) of places in `sizes`.
        late: boxes without incoming edges that stand beside what reads them, not at the start.
        last: boxes without outgoing edges that stand at the end.
    """
    layer_of = _layers(len(sizes), edges, set(late), set(last))
    chains = _chains(edges, layer_of)
    layers: list[list[Vertex]] = [[] for _ in range(max(layer_of, default=0) + 1)]
    for box, layer in enumerate(layer_of):
        layers[layer].append(box)
    for chain in chains:
        for vertex in chain[1:-1]:
            layers[vertex[1]].append(vertex)  # type: ignore[index] - a way point
    links = _Links(chains)
    layers = _with_few_crossings(layers, links)
    heights = {v: sizes[v][1] if isinstance(v, int) else 0.0 for layer in layers for v in layer}
    y = _vertical(layers, links, heights)
    spans = _spans(layers, sizes)
    top = min((y[v] - heights[v] / 2 for v in y), default=0.0)
    y = {vertex: height - top for vertex, height in y.items()}
    centres = [(sum(spans[layer]) / 2, y[box]) for box, layer in enumerate(layer_of)]
    arrivals = _arrivals(chains, y)
    return Layout(
        centres=tuple(centres),
        routes=tuple(
            _route(chain, arrival, centres, y, spans, sizes)
            for chain, arrival in zip(chains, arrivals, strict=True)
        ),
        width=spans[-1][1],
        height=max((y[v] + heights[v] / 2 for v in y), default=0.0),
    )


# ---- layers --------------------------------------------------------------------------------------


def _layers(
    count: int, edges: Sequence[tuple[int, int]], late: set[int], last: set[int]
) -> list[int]:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(edges)
    layer = [0] * count
    for box in nx.topological_sort(graph):
        # what stands late has no say, but for being before its readers
        layer[box] = max((layer[before] + 1 for before in graph.predecessors(box)), default=0)
    for box in late:
        layer[box] = min((layer[after] for after in graph.successors(box)), default=1) - 1
    end = max(layer, default=0)
    for box in last:
        layer[box] = end
    return layer


def _chains(edges: Sequence[tuple[int, int]], layer_of: list[int]) -> list[Chain]:
    """The edges as chains from box to box.

    Where that makes too many way points, only the longest edge from each box has its own; the
    others begin at the way point where they part from it.
    """
    lengths = [layer_of[stop] - layer_of[start] for start, stop in edges]
    own = range(len(edges))
    if sum(lengths) - len(edges) > _MANY_POINTS:
        longest: dict[int, int] = {}
        for place in sorted(own, key=lengths.__getitem__):
            longest[edges[place][0]] = place
        own = [longest[start] for start, _ in edges]
    chains: list[Chain] = []
    for place, (trunk, (start, stop)) in enumerate(zip(own, edges, strict=True)):
        between = range(layer_of[start] + 1, layer_of[stop])
        path: Chain = [start, *((trunk, layer) for layer in between)]
        chains.append([*(path if trunk == place else path[-1:]), stop])
    return chains


class _Links:
    """The edges as chains, and the neighbours of every vertex in the layers beside its own."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self.chains = chains
        self.before: dict[Vertex, list[Vertex]] = {}
        self.after: dict[Vertex, list[Vertex]] = {}
        for chain in chains:
            for a, b in pairwise(chain):
                self.after.setdefault(a, []).append(b)
                self.before.setdefault(b, []).append(a)


# ---- order within layers -------------------------------------------------------------------------


def _with_few_crossings(layers: list[list[Vertex]], links: _Links) -> list[list[Vertex]]:
    """The best order met while sorting layers by barycentre, from the given order and others."""
    shuffler = Random(0)
    best, fewest = layers, _crossings(layers, links)
    for attempt in range(_as_patient(_ATTEMPTS, layers)):
        order = [list(layer) for layer in layers]
        if attempt > 0:  # equal barycentres keep the order they start with, which may be a bad one
            for layer in order:
                shuffler.shuffle(layer)
        for sweep in range(_SWEEPS):
            _sort_layers(order, links, rightwards=sweep % 2 == 0)
            crossings = _crossings(order, links)
            if crossings < fewest:
                best, fewest = [list(layer) for layer in order], crossings
    return best


def _as_patient(times: int, layers: list[list[Vertex]]) -> int:
    """How often to do something over all layers, at most `times`."""
    return max(1, min(times, times * _PATIENCE // max(sum(map(len, layers)), 1)))


def _sort_layers(order: list[list[Vertex]], links: _Links, *, rightwards: bool) -> None:
    """Sort every layer, one after the other, by its neighbours in the layer before it."""
    neighbours, step = (links.before, 1) if rightwards else (links.after, -1)
    places = range(1, len(order)) if rightwards else range(len(order) - 2, -1, -1)
    for place in places:
        order[place] = _by_barycentre(order[place], order[place - step], neighbours)


def _by_barycentre(
    layer: list[Vertex], fixed: list[Vertex], neighbours: Mapping[Vertex, list[Vertex]]
) -> list[Vertex]:
    """The layer sorted by the mean place of neighbours; what has none keeps its place."""
    places = {vertex: place for place, vertex in enumerate(fixed)}
    means: dict[Vertex, float] = {}
    for own, vertex in enumerate(layer):
        near = [places[n] for n in neighbours.get(vertex, ())]
        means[vertex] = sum(near) / len(near) if near else own * len(fixed) / len(layer)
    return sorted(layer, key=means.__getitem__)


def _crossings(layers: list[list[Vertex]], links: _Links) -> int:
    """How many pairs of arrows cross."""
    total = 0
    for left, right in pairwise(layers):
        places = {vertex: place for place, vertex in enumerate(right)}
        seen: list[int] = []
        for vertex in left:
            ends = sorted(places[n] for n in links.after.get(vertex, ()))
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


# ---- coordinates ---------------------------------------------------------------------------------


def _spans(
    layers: list[list[Vertex]], sizes: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """From where to where each layer reaches."""
    spans = []
    left = 0.0
    for layer in layers:
        width = max((sizes[v][0] for v in layer if isinstance(v, int)), default=0.0)
        spans.append((left, left + width))
        left += width + _LAYER_GAP
    return spans


def _vertical(
    layers: list[list[Vertex]], links: _Links, heights: Mapping[Vertex, float]
) -> dict[Vertex, float]:
    """Heights at which every vertex is near its neighbours."""
    y: dict[Vertex, float] = {}
    for layer in layers:
        wanted = [0.0] * len(layer)
        y.update(zip(layer, _apart(layer, wanted, heights), strict=True))
    totals = [sum(y[v] for v in chain[1:-1]) for chain in links.chains]
    for sweep in range(_as_patient(_RELAXATIONS, layers)):
        order = layers if sweep % 2 == 0 else layers[::-1]
        for layer in order:
            wanted = [_pulled(vertex, y, totals, links) for vertex in layer]
            for vertex, height in zip(layer, _apart(layer, wanted, heights), strict=True):
                if isinstance(vertex, tuple):
                    totals[vertex[0]] += height - y[vertex]
                y[vertex] = height
    return y


def _pulled(
    vertex: Vertex, y: Mapping[Vertex, float], totals: Sequence[float], links: _Links
) -> float:
    """Where a vertex would stand: a box amid its neighbours, an arrow's way points on one level.

    `totals` has the sum of the heights of each chain's way points.
    """
    if isinstance(vertex, int):
        near = [*links.before.get(vertex, ()), *links.after.get(vertex, ())]
        return _mean([y[n] for n in near]) if near else y[vertex]
    chain = links.chains[vertex[0]]
    level = totals[vertex[0]] / (len(chain) - 2)
    return 0.9 * level + 0.1 * _mean([y[chain[0]], y[chain[-1]]])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _apart(
    layer: list[Vertex], wanted: list[float], heights: Mapping[Vertex, float]
) -> list[float]:
    """The places nearest to the wanted ones (least squares) that keep order and distances.

    With the distances taken off, this is isotonic regression: neighbours that are out of order
    are pooled at their mean.
    """
    offset, offsets = 0.0, [0.0]
    for above, below in pairwise(layer):
        both_boxes = isinstance(above, int) and isinstance(below, int)
        gap = _BOX_GAP if both_boxes else _ARROW_GAP
        offset += (heights[above] + heights[below]) / 2 + gap
        offsets.append(offset)
    pools: list[tuple[float, int]] = []  # sum and count
    for place, value in enumerate(wanted):
        total, count = value - offsets[place], 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            above_total, above_count = pools.pop()
            total, count = total + above_total, count + above_count
        pools.append((total, count))
    levels = [total / count for total, count in pools for _ in range(count)]
    return [level + offset for level, offset in zip(levels, offsets, strict=False)]


def _arrivals(chains: Sequence[Chain], y: Mapping[Vertex, float]) -> list[float]:
    """The height at which each edge enters its box: side by side, in the order they come from."""
    entering: dict[Vertex, list[int]] = {}
    for place, chain in enumerate(chains):
        entering.setdefault(chain[-1], []).append(place)
    heights = [0.0] * len(chains)
    for box, places in entering.items():
        places.sort(key=lambda place: y[chains[place][-2]])
        step = min(_ARRIVAL_GAP, 2 * _ARRIVAL_GAP / max(len(places) - 1, 1))
        for rank, place in enumerate(places):
            heights[place] = y[box] + step * (rank - (len(places) - 1) / 2)
    return heights


def _route(
    chain: Chain,
    arrival: float,
    centres: Sequence[tuple[float, float]],
    y: Mapping[Vertex, float],
    spans: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
) -> tuple[tuple[float, float], ...]:
    """The points of an edge: it runs level through the layers between its two boxes."""
    start, stop = chain[0], chain[-1]
    assert isinstance(stop, int)
    if isinstance(start, int):
        points = [(centres[start][0] + sizes[start][0] / 2, y[start])]
    else:  # where it parts from another edge
        points = [(spans[start[1]][1], y[start])]
    for vertex in chain[1:-1]:
        assert isinstance(vertex, tuple)
        points += [(edge, y[vertex]) for edge in spans[vertex[1]]]
    return (*points, (centres[stop][0] - sizes[stop][0] / 2, arrival))
