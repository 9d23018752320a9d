"""The backward pass of a run: the plan's adjoint, or a replay for second derivatives."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.backends.reference.execute import Call, Executor, Values
from recurra.ir import Node


class Adjoint(torch.autograd.Function):
    """A run whose backward pass is the plan's adjoint."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, executor: Executor, call: Call, nodes: tuple[Node, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """y, then the final states."""
        leaves = dict(zip(nodes, tensors, strict=True))
        y, finals, values = executor.forward(leaves, call, keep=True)
        kept = executor.kept(leaves, call)
        ctx.executor, ctx.call, ctx.nodes, ctx.kept = executor, call, nodes, kept
        # leaves are saved as they are, so that a second derivative finds them in the graph
        ctx.save_for_backward(*tensors, *(values[node] for node in kept))
        # a state that came back unchanged must be another tensor than the one that went in
        given = {id(tensor) for tensor in tensors}
        return (y, *(f.clone() if id(f) in given else f for f in finals))

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """The cotangents of the tensors that went in."""
        executor, call, nodes = ctx.executor, ctx.call, ctx.nodes
        saved = ctx.saved_tensors
        leaves = dict(zip(nodes, saved[: len(nodes)], strict=True))
        needs = ctx.needs_input_grad[3:]
        wanted = {node for node, needed in zip(nodes, needs, strict=True) if needed}
        if torch.is_grad_enabled():
            found = replayed(executor, call, leaves, wanted, d_outputs)
        else:
            kept = dict(zip(ctx.kept, saved[len(nodes) :], strict=True))
            found = adjoint(executor, call, leaves, kept, d_outputs, wanted)
        return (None, None, None, *(found.get(node) for node in nodes))


def adjoint(
    executor: Executor,
    call: Call,
    leaves: Values,
    kept: Mapping[Node, Tensor],
    d_outputs: Sequence[Tensor],
    wanted: set[Node],
) -> Values:
    """The cotangents of the leaves in `wanted`, each in its leaf's shape.

    Args:
        kept: the values of `executor.kept`, as the run left them.
        d_outputs: the cotangents of y and of the final states.
    """
    values = {**leaves, **kept}
    found = executor.backward(leaves, values, call, d_outputs[0], d_outputs[1:], wanted)
    return {node: d.reshape(leaves[node].shape) for node, d in found.items()}


def replayed(
    executor: Executor,
    call: Call,
    leaves: Values,
    wanted: Iterable[Node],
    d_outputs: Sequence[Tensor | None],
) -> Values:
    """Cotangents that can be differentiated again, by torch's autograd.

    Raises:
        BackendError: when the backend has first derivatives only.
    """
    executor.check_second_derivative()
    y, finals, _ = executor.forward(leaves, call)
    chosen = [node for node in leaves if node in set(wanted)]
    seeded = [
        (value, d)
        for value, d in zip((y, *finals), d_outputs, strict=True)
        if value.requires_grad and d is not None
    ]
    found = torch.autograd.grad(
        [value for value, _ in seeded],
        [leaves[node] for node in chosen],
        [d for _, d in seeded],
        create_graph=True,
        allow_unused=True,
    )
    return {node: d for node, d in zip(chosen, found, strict=True) if d is not None}
