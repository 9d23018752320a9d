"""A graph as a straight list of torch calls."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.backends.runtime.call import Values
from recurra.backends.runtime.ops import Kernel, Sizes, kernel
from recurra.backends.watching import outliving
from recurra.ir import Graph, Node, use_counts
from recurra.passes.cut import section


class Program:
    """Runs a graph on tensors: called with the values of `inputs`, returns those of `outputs`."""

    def __init__(
        self,
        graph: Graph,
        sizes: Sizes,
        like: Tensor,
        identity: Node | None = None,
        changes: Mapping[Node, Kernel] | None = None,
    ) -> None:
        """Prepare to run `graph` for these `sizes`, with the dtype and device of `like`.

        `identity` is an input known to be the identity matrix (all one-hot vectors, one a row):
        products with it are transposes, and its value is not read unless something else needs it.
        `changes` gives, of some outputs, what stands in their place from a value as it is computed.
        """
        self._changes = dict(changes or {})
        self._slots: dict[Node, int] = {node: i for i, node in enumerate(graph.inputs)}
        self._constants: list[Tensor] = []
        self._steps: list[tuple[Kernel, tuple[int, ...]]] = []
        self._identity = identity
        nodes = graph.nodes()
        for node in nodes:  # numbers first: they are slots that every call shares
            if not node.inputs:
                self._slots[node] = len(self._slots)
                self._constants.append(number(node, sizes, like))
        fused = {} if identity is not None else fused_products(graph)
        inside = set(fused.values())
        for node in nodes:
            if node.inputs and node not in inside:
                self._add_step(node, fused.get(node), sizes)
        self.inputs, self.outputs = graph.inputs, graph.keys
        self._outputs = [self._slots[node] for node in graph.output_nodes]

    def _add_step(self, node: Node, product: Node | None, sizes: Sizes) -> None:
        if product is not None:
            (other,) = (child for child in node.inputs if child is not product)
            operands = (other, product.inputs[1], product.inputs[0])
            step: Kernel = _add_product
        elif self._is_product_with_identity(node):
            operands, step = node.inputs[:1], torch.t
        else:
            operands, step = node.inputs, kernel(node, sizes)
        if node in self._changes:
            step = partial(_changed, step, self._changes[node])
        self._steps.append((step, tuple(self._slots[child] for child in operands)))
        self._slots[node] = len(self._slots)

    def _is_product_with_identity(self, node: Node) -> bool:
        products = ("matvec", "outer")
        return self._identity is node.inputs[-1] and node.op in products

    def __call__(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The values of the outputs for these values of the inputs."""
        slots = [*values, *self._constants]
        for step, operands in self._steps:
            slots.append(step(*[slots[i] for i in operands]))
        return [slots[i] for i in self._outputs]


class Programs:
    """Runs the graphs of a plan at given sizes, dtype and device; each becomes a program when it
    first runs.

    Threads may share it: what it keeps is made whole before it is kept, and made twice at worst.

    Args:
        like: a tensor of the dtype and device to compute with.
        x: the cell's input, which may stand for all one-hot vectors.
    """

    def __init__(self, sizes: Sizes, like: Tensor, x: Node | None) -> None:
        self.like = like
        self._sizes, self._x = sizes, x
        self._programs: dict[tuple[Graph, bool], Program] = {}
        self._restricted: dict[tuple[Graph, frozenset[str]], Graph] = {}

    def run(self, graph: Graph, values: Mapping[Node, Tensor], identity: bool = False) -> Values:
        """The outputs of `graph`, by their keys.

        Args:
            identity: x is the identity matrix; see `Program`.
        """
        if not graph.outputs:
            return {}
        program = self.program(graph, identity)
        found = program([values[node] for node in program.inputs])
        return dict(zip(program.outputs, found, strict=True))

    def program(self, graph: Graph, identity: bool = False) -> Program:
        """What runs a graph; see `run`."""
        key = (graph, identity)
        program = self._programs.get(key)
        if program is None:
            x = self._x if identity else None
            with outliving():
                program = self._programs[key] = Program(graph, self._sizes, self.like, x)
        return program

    def run_adjoint(
        self,
        part: Graph,
        wanted: Sequence[Node],
        values: Values,
        needed: frozenset[Node],
        identity: bool = False,
    ) -> Values:
        """The cotangents that an adjoint gives of the inputs `wanted`, those in `needed` only."""
        names = frozenset(name for name, _ in part.outputs if wanted[int(name)] in needed)
        key = (part, names)
        if key not in self._restricted:
            outputs = [(name, node) for name, node in part.outputs if name in names]
            self._restricted[key] = section(
                [node for _, node in outputs], known=part.inputs, names=outputs
            )
        chosen = self._restricted[key]
        found = self.run(chosen, values, identity)
        return {wanted[int(name)]: found[node] for name, node in chosen.outputs}


def _changed(step: Kernel, change: Kernel, *operands: Tensor) -> Tensor:
    return change(step(*operands))


def _add_product(other: Tensor, vector: Tensor, matrix: Tensor) -> Tensor:
    """other + matrix @ vector in one call where torch has one."""
    if other.dim() == 1:
        return F.linear(vector, matrix, other)
    return F.linear(vector, matrix) + other


def fused_products(graph: Graph) -> dict[Node, Node]:
    """Sums that can take a product in: the sum, and the product, read only there."""
    uses, inputs, fused = use_counts(graph), set(graph.inputs), {}
    for node in graph.nodes():
        if node.op != "add" or node.inputs[0] is node.inputs[1]:
            continue
        for child in reversed(node.inputs):
            is_product = child.op == "matvec" and len(child.shape) == 1 and child not in inputs
            if is_product and uses[child] == 1 and child.shape == node.shape:
                fused[node] = child
                break
    return fused


def reads_identity(graph: Graph, identity: Node) -> bool:
    """Whether the value of `identity` is needed, and not only products with it."""
    products = ("matvec", "outer")
    return identity in graph.output_nodes or any(
        identity in node.inputs[: -1 if node.op in products else None] for node in graph.nodes()
    )


def number(node: Node, sizes: Sizes, like: Tensor) -> Tensor:
    """A constant or a size as a tensor."""
    value = node.attr("value") if node.op == "const" else node.attr("dim").evaluate(sizes)
    return torch.tensor([value], dtype=like.dtype, device=like.device)
