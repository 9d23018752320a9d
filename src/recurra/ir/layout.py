"""A layered drawing of a directed graph: where its boxes stand and how its arrows run.

The method of Sugiyama, Tagawa, Toda (1981), IEEE Transactions on Systems, Man, and Cybernetics
11(2): layers by longest path, arrows over several layers cut by way points, order within a layer by
barycentres, then heights as near to the neighbours as the distances allow. Layers run from left to
right; x grows to the right and y downwards.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

Vertex = int | tuple[int, int]  # a box, or the way point (edge, layer)

_LAYER_GAP = 34.0
_BOX_GAP = 14.0
_ARROW_GAP = 9.0
_SWEEPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Centres of the boxes, way points of each edge with both its ends, and the size of it all."""

    centres: tuple[tuple[float, float], ...]
    routes: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


def place(
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
    chains = [_chain(place, edge, layer_of) for place, edge in enumerate(edges)]
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
    return Layout(
        centres=tuple(centres),
        routes=tuple(_route(chain, centres, y, spans, sizes) for chain in chains),
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


def _chain(place: int, edge: tuple[int, int], layer_of: list[int]) -> list[Vertex]:
    """The edge as a path with one vertex in each layer."""
    start, stop = edge
    between = range(layer_of[start] + 1, layer_of[stop])
    return [start, *((place, layer) for layer in between), stop]


class _Links:
    """Neighbours of every vertex in the layers before and after its own."""

    def __init__(self, chains: Iterable[list[Vertex]]) -> None:
        self.before: dict[Vertex, list[Vertex]] = {}
        self.after: dict[Vertex, list[Vertex]] = {}
        for chain in chains:
            for a, b in zip(chain, chain[1:], strict=False):
                self.after.setdefault(a, []).append(b)
                self.before.setdefault(b, []).append(a)


# ---- order within layers -------------------------------------------------------------------------


def _with_few_crossings(layers: list[list[Vertex]], links: _Links) -> list[list[Vertex]]:
    """The best order met while sorting layers by barycentre, to the right and back."""
    best, fewest = layers, _crossings(layers, links)
    current = [list(layer) for layer in layers]
    for sweep in range(_SWEEPS):
        rightwards = sweep % 2 == 0
        neighbours = links.before if rightwards else links.after
        order = range(1, len(current)) if rightwards else range(len(current) - 2, -1, -1)
        for place in order:
            fixed = current[place - 1 if rightwards else place + 1]
            current[place] = _by_barycentre(current[place], fixed, neighbours)
        crossings = _crossings(current, links)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in current], crossings
    return best


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
    for left, right in zip(layers, layers[1:], strict=False):
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
    """Heights that pull every vertex to its neighbours, way points most of all."""
    y: dict[Vertex, float] = {}
    for layer in layers:
        wanted = [0.0] * len(layer)
        y.update(zip(layer, _apart(layer, wanted, heights), strict=True))
    for sweep in range(2 * _SWEEPS):
        order = layers if sweep % 2 == 0 else layers[::-1]
        for layer in order:
            wanted = [_pulled(vertex, y, links) for vertex in layer]
            y.update(zip(layer, _apart(layer, wanted, heights), strict=True))
    return y


def _pulled(vertex: Vertex, y: Mapping[Vertex, float], links: _Links) -> float:
    near = [*links.before.get(vertex, ()), *links.after.get(vertex, ())]
    weights = [1.0 if isinstance(vertex, int) and isinstance(n, int) else 3.0 for n in near]
    if not near:
        return y[vertex]
    return sum(w * y[n] for w, n in zip(weights, near, strict=True)) / sum(weights)


def _apart(
    layer: list[Vertex], wanted: list[float], heights: Mapping[Vertex, float]
) -> list[float]:
    """The places nearest to the wanted ones (least squares) that keep order and distances.

    With the distances taken off, this is isotonic regression: neighbours that are out of order
    are pooled at their mean.
    """
    offset, offsets = 0.0, [0.0]
    for above, below in zip(layer, layer[1:], strict=False):
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


def _route(
    chain: list[Vertex],
    centres: Sequence[tuple[float, float]],
    y: Mapping[Vertex, float],
    spans: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
) -> tuple[tuple[float, float], ...]:
    """The points of an edge: it runs level through the layers between its two boxes."""
    start, stop = chain[0], chain[-1]
    assert isinstance(start, int)
    assert isinstance(stop, int)
    points = [(centres[start][0] + sizes[start][0] / 2, y[start])]
    for vertex in chain[1:-1]:
        assert isinstance(vertex, tuple)
        points += [(edge, y[vertex]) for edge in spans[vertex[1]]]
    return (*points, (centres[stop][0] - sizes[stop][0] / 2, y[stop]))
