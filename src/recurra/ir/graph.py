"""The one node type and the graph: what a cell is traced to and what every pass rewrites.

A value in a graph is what one sequence has at one step: a scalar (), a vector (H,) or a matrix
(H, I). Time and batch never appear in a shape; a backend adds them.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from recurra.ir.dims import Shape

Attrs = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True, kw_only=True)
class Node:
    """One operation. Nodes are interned by `intern`: equal structure is the same object."""

    op: str
    inputs: tuple["Node", ...] = ()
    attrs: Attrs = ()
    shape: Shape = ()

    def attr(self, name: str) -> Any:
        """The attribute called `name`; KeyError is a bug of ours."""
        return dict(self.attrs)[name]

    @property
    def name(self) -> str:
        """The name of a leaf (op "input")."""
        return self.attr("name")

    def __deepcopy__(self, memo: object) -> "Node":
        return self

    def __reduce__(self) -> tuple[Callable[..., "Node"], tuple[Any, ...]]:
        return intern, (self.op, self.inputs, self.attrs, self.shape)

    def __repr__(self) -> str:
        attrs = "".join(f" {key}={value}" for key, value in self.attrs)
        return f"<{self.op}{attrs} {'x'.join(map(str, self.shape)) or 'scalar'}>"


_interned: WeakValueDictionary[tuple[Any, ...], Node] = WeakValueDictionary()
_interning = Lock()  # two threads must not make one node twice
if hasattr(os, "register_at_fork"):  # nor may a child get the lock of a thread that it has not
    os.register_at_fork(
        before=_interning.acquire,
        after_in_parent=_interning.release,
        after_in_child=_interning.release,
    )


def intern(op: str, inputs: tuple[Node, ...], attrs: Attrs, shape: Shape) -> Node:
    """The node of this structure. Interning makes common subexpressions one node by itself."""
    # The type of an attribute is part of the key because 1 == 1.0 == True.
    kinds = tuple(type(value) for _, value in attrs)
    key = (op, inputs, attrs, kinds, shape)
    node = _interned.get(key)
    if node is None:
        with _interning:
            node = _interned.setdefault(key, Node(op=op, inputs=inputs, attrs=attrs, shape=shape))
    return node


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """Named outputs computed from `inputs`.

    Of a part of a cut graph, `leaves` stand for the outputs, in order, wherever another part reads
    them: nothing there can look behind them.
    """

    inputs: tuple[Node, ...]
    outputs: tuple[tuple[str, Node], ...]
    names: Mapping[Node, str] = field(default_factory=dict)
    leaves: tuple[Node, ...] = ()

    def output(self, name: str) -> Node:
        """The output called `name`."""
        return dict(self.outputs)[name]

    @property
    def output_nodes(self) -> tuple[Node, ...]:
        """The outputs without their names."""
        return tuple(node for _, node in self.outputs)

    @property
    def keys(self) -> tuple[Node, ...]:
        """What the value of each output is known by: its leaf, or itself where nothing is cut."""
        return self.leaves or self.output_nodes

    def nodes(self) -> tuple[Node, ...]:
        """Every node between the inputs and the outputs, each after what it reads."""
        return topological(self.output_nodes, stop=self.inputs)


def topological(roots: Iterable[Node], stop: Iterable[Node] = ()) -> tuple[Node, ...]:
    """All nodes that `roots` need, each after its inputs; does not look behind `stop`."""
    seen = dict.fromkeys(stop)
    order: list[Node] = []
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif node not in seen:
            seen[node] = None
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(node.inputs))
    return tuple(order)


def rebuild(graph: Graph, rule: Callable[[Node, tuple[Node, ...]], Node]) -> Graph:
    """The graph with every node replaced by `rule(node, new_inputs)`, from the inputs up.

    Inputs of the graph stay as they are; the user's names follow their nodes.
    """
    new: dict[Node, Node] = {node: node for node in graph.inputs}
    for node in graph.nodes():
        new[node] = rule(node, tuple(new[child] for child in node.inputs))
    outputs = tuple((name, new[node]) for name, node in graph.outputs)
    names = {new[node]: name for node, name in graph.names.items() if node in new}
    return Graph(inputs=graph.inputs, outputs=outputs, names=names, leaves=graph.leaves)


def substitute(graph: Graph, known: Mapping[Node, Node]) -> Graph:
    """The graph with each input in `known` replaced, and nothing else changed."""
    new = {node: known.get(node, node) for node in graph.inputs}
    for node in graph.nodes():
        inputs = tuple(new[child] for child in node.inputs)
        new[node] = intern(node.op, inputs, node.attrs, node.shape)
    return Graph(
        inputs=tuple(new[node] for node in graph.inputs),
        outputs=tuple((name, new[node]) for name, node in graph.outputs),
        names={new[node]: name for node, name in graph.names.items() if node in new},
        leaves=graph.leaves,
    )


def use_counts(graph: Graph) -> dict[Node, int]:
    """How often each node is read, outputs counted as a read."""
    counts: dict[Node, int] = dict.fromkeys((*graph.inputs, *graph.nodes()), 0)
    for node in graph.nodes():
        for child in node.inputs:
            counts[child] += 1
    for node in graph.output_nodes:
        counts[node] += 1
    return counts
