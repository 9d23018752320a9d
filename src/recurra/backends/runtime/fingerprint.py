"""A name for what graphs compute: compilers keep what they traced under it, across processes."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from recurra.ir import Dim, Graph, Node


def fingerprint(graphs: Sequence[Graph]) -> str:
    """A digest of what graphs compute, the same in every process."""
    digest = blake2b(digest_size=8)
    for graph in graphs:
        place = {node: i for i, node in enumerate((*graph.inputs, *graph.nodes()))}
        for node in place:
            digest.update(_described(node, place).encode())
        digest.update(repr([(name, place[node]) for name, node in graph.outputs]).encode())
    return digest.hexdigest()


def _described(node: Node, place: Mapping[Node, int]) -> str:
    attrs = [(name, str(v) if isinstance(v, Dim) else repr(v)) for name, v in node.attrs]
    inputs = [place.get(child) for child in node.inputs]
    return repr((node.op, attrs, [str(dim) for dim in node.shape], inputs))
