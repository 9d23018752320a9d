"""The backward pass of a run: the plan's adjoint, or a replay for second derivatives."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor

from recurra.backends.runtime.apart import Apart
from recurra.backends.runtime.call import Call, Values
from recurra.backends.runtime.execute import Executor
from recurra.backends.watching import is_transformed, no_forward_mode, refuse_tangents
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
        wanted = _wanted(ctx)
        ids, active, *saved = ctx.saved_tensors
        call = ctx.call.given(ids, active)
        if torch.is_grad_enabled():
            leaves = dict(zip(nodes, saved[: len(nodes)], strict=True))
            found = replayed(executor, call, leaves, set(wanted), d_outputs)
        elif is_transformed():
            return _composed(ctx, d_outputs)
        else:
            found = cotangents(executor, call, nodes, wanted, saved, d_outputs)
        return (*[None] * 5, *(found.get(node) for node in nodes))


class ComposedAdjoint(torch.autograd.Function):
    """`Adjoint` in the form that transforms of torch.func can compose, which takes torch longer.

    What the backward pass reads is given as results after the final states, because such a function
    may save only what goes in or comes out.
    """

    @staticmethod
    def forward(
        executor: Executor,
        call: Call,
        nodes: tuple[Node, ...],
        ids: Tensor | None,
        active: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        """y, the final states, and what is kept; see `Adjoint.forward`."""
        y, finals, kept = _run(executor, call, nodes, ids, active, tensors)
        apart = Apart((*tensors, y, *finals))
        return (y, *finals, *map(apart, kept))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the backward pass reads."""
        ctx.executor, ctx.call, ctx.nodes, *tensors = inputs
        kept = output[1 + len(ctx.executor.plan.states) :]
        ctx.mark_non_differentiable(*kept)
        ctx.save_for_backward(*tensors, *kept)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """The cotangents of the tensors that went in."""
        return _composed(ctx, d_outputs[: 1 + len(ctx.executor.plan.states)])


class _Cotangents(torch.autograd.Function):
    """The backward pass as a function of its own, for transforms of it: one run for each of many
    cotangents (the rows of a Jacobian), and no derivative."""

    @staticmethod
    def forward(
        executor: Executor,
        call: Call,
        nodes: tuple[Node, ...],
        wanted: frozenset[Node],
        ids: Tensor | None,
        active: Tensor | None,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """The cotangents of `wanted`, in the order of `nodes`.

        Args:
            tensors: the leaves, what is kept, the cotangents of y and of the final states.
        """
        call = call.given(ids, active)
        last = len(tensors) - 1 - len(executor.plan.states)
        saved = [tensor for tensor in tensors[:last] if tensor is not None]
        found = cotangents(executor, call, nodes, wanted, saved, tensors[last:])
        leaves = dict(zip(nodes, saved, strict=False))
        chosen = [node for node in nodes if node in wanted]
        return tuple(found.get(node, torch.zeros_like(leaves[node])) for node in chosen)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Remember who would have to differentiate once more."""
        ctx.executor = inputs[0]

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """A second derivative, which torch's own operations have."""
        ctx.executor.check_second_derivative()
        raise AssertionError("executors without this derivative say so")

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refused: what is differentiated forwards is so from the layer's call on."""
        raise no_forward_mode()

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], *inputs: Any
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """One run for each cotangent of a batch."""
        pairs = list(zip(inputs, in_dims, strict=True))
        runs = [
            _Cotangents.apply(*(v.select(d, i) if isinstance(d, int) else v for v, d in pairs))
            for i in range(info.batch_size)
        ]
        stacked = tuple(torch.stack(each) for each in zip(*runs, strict=True))  # type: ignore[arg-type]
        return stacked, (0,) * len(stacked)


def _wanted(ctx: Any) -> frozenset[Node]:
    needs = ctx.needs_input_grad[5:]
    return frozenset(n for n, needed in zip(ctx.nodes, needs, strict=True) if needed)


def _composed(ctx: Any, d_outputs: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The backward pass where torch transforms it."""
    call = (ctx.executor, ctx.call, ctx.nodes)
    found = composed_cotangents(*call, _wanted(ctx), ctx.saved_tensors, d_outputs)
    return (*[None] * 5, *map(found.get, ctx.nodes))


def composed_cotangents(
    executor: Executor,
    call: Call,
    nodes: tuple[Node, ...],
    wanted: frozenset[Node],
    saved: Sequence[Tensor | None],
    d_outputs: Sequence[Tensor | None],
) -> Values:
    """`cotangents` where torch transforms the backward pass: vmap over many of them.

    Args:
        saved: the token ids and the active steps, or None, and then as for `cotangents`.
    """
    found: Any = _Cotangents.apply(executor, call, nodes, wanted, *saved, *d_outputs)
    return dict(zip((node for node in nodes if node in wanted), found, strict=True))


def is_batched(d: Tensor | None) -> bool:
    """Whether it stands for many cotangents, as torch.autograd.grad makes them on request."""
    return d is not None and is_legacy_batchedtensor(d)


def _for_each(
    run: Callable[[Sequence[Tensor | None]], Values], d_outputs: Sequence[Tensor | None]
) -> Values:
    """What `run` gives for each of a batch of cotangents, again in one batch."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    batches = [
        torch._remove_batch_dim(d, level, 1, 0)  # pyright: ignore[reportPrivateImportUsage]
        if d is not None and is_batched(d)
        else None
        for d in d_outputs
    ]
    count = next(len(batch) for batch in batches if batch is not None)
    runs = [
        run([d if b is None else b[i] for d, b in zip(d_outputs, batches, strict=True)])
        for i in range(count)
    ]
    stacked = {node: torch.stack([found[node] for found in runs]) for node in runs[0]}
    batched = torch._add_batch_dim  # pyright: ignore[reportPrivateImportUsage]
    return {node: batched(d, 0, level) for node, d in stacked.items()}


def cotangents(
    executor: Executor,
    call: Call,
    nodes: tuple[Node, ...],
    wanted: Iterable[Node],
    saved: Sequence[Tensor],
    d_outputs: Sequence[Tensor | None],
) -> Values:
    """The cotangents of the leaves in `wanted`, which share memory with nothing; in one batch where
    those of the outputs are a batch.

    Args:
        saved: the leaves, in the order of `nodes`, and what `executor.kept` names.

    Raises:
        BackendError: when cotangents have tangents, which only torch's own operations follow.
    """
    refuse_tangents(d_outputs)
    if any(map(is_batched, d_outputs)):
        return _for_each(
            lambda some: cotangents(executor, call, nodes, wanted, saved, some), d_outputs
        )
    leaves = dict(zip(nodes, saved[: len(nodes)], strict=True))
    kept = dict(zip(executor.kept(leaves, call), saved[len(nodes) :], strict=True))
    d_y, *d_finals = executor.cotangents_or_zeros(call, d_outputs[0], d_outputs[1:])
    found = adjoint(executor, call, leaves, kept, (d_y, *d_finals), set(wanted))
    apart = Apart((*saved, *d_outputs))
    return {node: apart(d) for node, d in found.items()}


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
    call = call.given(ids, active)
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
