"""What the values of a graph are called, wherever they are looked at by name."""

from itertools import count

from recurra.ir import Graph, Node
from recurra.show.listing import make_listing


def named_values(graph: Graph) -> dict[str, Node]:
    """What a cell's equations compute, under the names that `print(cell)` has for it, in its order.

    A state's name is that of its new value. Where the equations have called another value so (`h`,
    before it is projected), that one gets a number: `h_1`. An output without a name is `y`.

    Args:
        graph: as `Cell.equations`.
    """
    results = dict(graph.outputs)
    output = results.pop("output")
    listing = make_listing(graph, graph.names, reassign=True)
    taken = {*results, *listing.names.values()}
    found: dict[str, Node] = {}
    for node, name in listing.names.items():
        if results.get(name, node) is not node:
            name = next(free for i in count(1) if (free := f"{name}_{i}") not in taken)
            taken.add(name)
        found[name] = node
    if output not in {*found.values(), *results.values()}:
        found["output" if "y" in taken else "y"] = output
    return {**found, **{name: node for name, node in results.items() if name not in found}}
