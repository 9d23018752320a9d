"""A graph as a straight list of torch calls."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.backends.reference.ops import IN_PLACE, Kernel, Sizes, kernel
from recurra.ir import Graph, Node, use_counts


class Program:
    """Runs a graph on tensors: called with the values of `graph.inputs`, returns the outputs."""

    def __init__(
        self, graph: Graph, sizes: Sizes, like: Tensor, identity: Node | None = None
    ) -> None:
        """Prepare to run `graph` for these `sizes`, with the dtype and device of `like`.

        `identity` is an input known to be the identity matrix (all one-hot vectors, one a row):
        products with it are transposes, and its value is not read unless something else needs it.
        """
        self._slots: dict[Node, int] = {node: i for i, node in enumerate(graph.inputs)}
        self._constants: list[Tensor] = []
        # the call, the slots it reads, and which output it can write in place (-1: none)
        self._steps: list[tuple[Kernel, tuple[int, ...], int]] = []
        self._identity = identity
        self._place = {node: i for i, node in reversed(list(enumerate(graph.output_nodes)))}
        nodes = graph.nodes()
        for node in nodes:  # numbers first: they are slots that every call shares
            if not node.inputs:
                self._slots[node] = len(self._slots)
                self._constants.append(_number(node, sizes, like))
        fused = {} if identity is not None else _fused_products(graph)
        inside = set(fused.values())
        for node in nodes:
            if node.inputs and node not in inside:
                self._add_step(node, fused.get(node), sizes)
        self._outputs = [self._slots[node] for node in graph.output_nodes]

    def _add_step(self, node: Node, product: Node | None, sizes: Sizes) -> None:
        place = self._place.get(node, -1) if node.op in IN_PLACE else -1
        if product is not None:
            (other,) = (child for child in node.inputs if child is not product)
            operands = (other, product.inputs[1], product.inputs[0])
            step: Kernel = _add_product
        elif self._is_product_with_identity(node):
            operands, step = node.inputs[:1], torch.t
        else:
            operands, step = node.inputs, kernel(node, sizes)
        self._steps.append((step, tuple(self._slots[child] for child in operands), place))
        self._slots[node] = len(self._slots)

    def _is_product_with_identity(self, node: Node) -> bool:
        products = ("matvec", "outer")
        return self._identity is node.inputs[-1] and node.op in products

    def __call__(
        self, values: Sequence[Tensor], into: Sequence[Tensor | None] | None = None
    ) -> list[Tensor]:
        """The values of the outputs for these values of the inputs.

        Args:
            values: one for each input of the graph.
            into: for each output, memory that may be written instead of new memory, of exactly
                the output's shape; whether it was can be seen by identity. Not under autograd.
        """
        slots = [*values, *self._constants]
        for step, operands, place in self._steps:
            target = into[place] if into is not None and place >= 0 else None
            if target is None:
                slots.append(step(*[slots[i] for i in operands]))
            else:
                slots.append(step(*[slots[i] for i in operands], out=target))
        return [slots[i] for i in self._outputs]


def _add_product(
    other: Tensor, vector: Tensor, matrix: Tensor, out: Tensor | None = None
) -> Tensor:
    """other + matrix @ vector in one call where torch has one."""
    if vector.dim() == 2 and other.dim() <= 2:
        return torch.addmm(other, vector, matrix.t(), out=out)
    if other.dim() == 1 and out is None:
        return F.linear(vector, matrix, other)
    return torch.add(F.linear(vector, matrix), other, out=out)


def _fused_products(graph: Graph) -> dict[Node, Node]:
    """Sums that can take a product in: the sum, and the product, read only there."""
    uses, inputs, fused = use_counts(graph), set(graph.inputs), {}
    for node in graph.nodes():
        if node.op != "add" or node.inputs[0] is node.inputs[1]:
            continue
        for child in reversed(node.inputs):
            is_product = child.op == "matvec" and len(child.shape) == 1 and child not in inputs
            if is_product and uses[child] == 1:
                fused[node] = child
                break
    return fused


def reads_identity(graph: Graph, identity: Node) -> bool:
    """Whether the value of `identity` is needed, and not only products with it."""
    products = ("matvec", "outer")
    return identity in graph.output_nodes or any(
        identity in node.inputs[: -1 if node.op in products else None] for node in graph.nodes()
    )


def _number(node: Node, sizes: Sizes, like: Tensor) -> Tensor:
    value = node.attr("value") if node.op == "const" else node.attr("dim").evaluate(sizes)
    return torch.tensor([value], dtype=like.dtype, device=like.device)
