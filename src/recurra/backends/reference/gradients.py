"""The backward pass of a run: the plan's adjoint, or a replay for second derivatives."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from recurra.backends.reference.apart import Apart
from recurra.backends.reference.execute import Call, Executor, Values
from recurra.ir import Node


class Adjoint(torch.autograd.Function):
    """A run whose backward pass is the plan's adjoint."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        executor: Executor,
        call: Call,
        nodes: tuple[Node, ...],
        ids: Tensor | None,
        active: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        """y, then the final states.

        Args:
            call: without its tensors, which are `ids` and `active`.
            nodes: what each of `tensors` is the value of.
        """
        y, finals, kept = _run(executor, call, nodes, ids, active, tensors)
        ctx.executor, ctx.call, ctx.nodes = executor, call, nodes
        # leaves are saved as they are, so that a second derivative finds them in the graph
        ctx.save_for_backward(ids, active, *tensors, *kept)
        ctx.set_materialize_grads(False)
        return (y, *finals)

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """The cotangents of the tensors that went in."""
        executor, nodes = ctx.executor, ctx.nodes
        ids, active, *saved = ctx.saved_tensors
        call = replace(ctx.call, ids=ids, active=active)
        leaves = dict(zip(nodes, saved[: len(nodes)], strict=True))
        needs = ctx.needs_input_grad[5:]
        wanted = {node for node, needed in zip(nodes, needs, strict=True) if needed}
        if torch.is_grad_enabled():
            found = replayed(executor, call, leaves, wanted, d_outputs)
        else:
            names = executor.kept(leaves, call)
            kept = dict(zip(names, saved[len(nodes) :], strict=True))
            d_y, *d_finals = executor.cotangents_or_zeros(call, d_outputs[0], d_outputs[1:])
            found = adjoint(executor, call, leaves, kept, (d_y, *d_finals), wanted)
        apart = Apart((*saved, *d_outputs))
        found = {node: apart(d) for node, d in found.items()}
        return (*[None] * 5, *(found.get(node) for node in nodes))


def _run(
    executor: Executor,
    call: Call,
    nodes: tuple[Node, ...],
    ids: Tensor | None,
    active: Tensor | None,
    tensors: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """y and the final states, which share memory with nothing, and what is kept for backward."""
    leaves = dict(zip(nodes, tensors, strict=True))
    call = replace(call, ids=ids, active=active)
    y, finals, values = executor.forward(leaves, call, keep=True)
    kept = [values[node] for node in executor.kept(leaves, call)]
    apart = Apart((*tensors, *kept))
    return apart(y), [apart(final) for final in finals], kept


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
    return {node: _shaped(d, leaves[node].shape) for node, d in found.items()}


def _shaped(d: Tensor, shape: torch.Size) -> Tensor:
    """`d` in a shape; itself if it has it, because what torch reshapes is a view."""
    return d if d.shape == shape else d.reshape(shape)


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
