"""The reference backend: a plan run with torch operations. The oracle, and the fallback."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from recurra.backends.reference.execute import Call, Executor, Values
from recurra.backends.report import describe
from recurra.ir import Node
from recurra.lang import Cell
from recurra.passes import Plan, plan

# a state's numbers over all steps above which fresh memory costs more than calls to torch
_LEAN_ABOVE = 300_000


class ReferenceBackend:
    """Runs a cell with torch operations: any dtype, any device, any number of derivatives.

    First derivatives come from the plan's own adjoint; where a second one may follow
    (create_graph=True) the backward pass is replayed under torch's autograd.

    Args:
        gradients: "adjoint", or "autograd" to leave all derivatives to torch, which is slower and
            what the adjoint is tested against.
    """

    name = "reference"

    def __init__(self, cell: Cell, *, gradients: str = "adjoint") -> None:
        if gradients not in ("adjoint", "autograd"):
            raise ValueError(
                f"ReferenceBackend: expected gradients 'adjoint' or 'autograd', got {gradients!r}. "
                f"Choose one of them."
            )
        self.cell = cell
        self.plan = _plan(cell, lean=False)
        self._gradients = gradients
        self._executors: dict[tuple[Any, ...], Executor] = {}

    def run(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Mapping[str, Tensor],
        *,
        context: tuple[Tensor, ...] = (),
        embedding: Tensor | None = None,
        lengths: Tensor | None = None,
        reverse: bool = False,
        start: int = 0,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the cell over a batch of sequences.

        Args:
            x: [T, B, I] float, or [T, B] int64 token ids.
            states: the first states, [B, size] each.
            parameters: by name, of the cell's shapes.
            context: [B, C] each.
            embedding: [V, I], what token ids stand for; None makes them one-hot vectors of size I.
            lengths: [B] int64 in 1..T; None means all T.
            reverse: run from the last step to the first.
            start: index of the first step, for cells that read it.

        Returns:
            y: [T, B, O], zero past `lengths`; the final states, [B, size] each.
        """
        ids = x if not x.is_floating_point() else None
        like = states[0]
        if x.shape[0] == 0:
            sizes = self._sizes(x, states, embedding, context, parameters)
            return like.new_zeros(0, x.shape[1], self.cell.output_size.evaluate(sizes)), states
        active = None if lengths is None else _active(lengths, x.shape[0])
        if active is not None:
            x = _filled(x, active)
            ids = x if ids is not None else None
        call = Call(
            ids=ids,
            one_hot=ids is not None and embedding is None,
            active=active,
            order=range(x.shape[0] - 1, -1, -1) if reverse else range(x.shape[0]),
            batch=x.shape[1],
            start=start,
        )
        executor = self._executor(x, states, parameters, embedding, context)
        leaves = self._leaves(x if ids is None else embedding, states, parameters, context)
        if self._gradients == "autograd" or not _needs_gradient(leaves):
            y, finals, _ = executor.forward(leaves, call)
            return y, tuple(finals)
        y, *finals = _Adjoint.apply(executor, call, tuple(leaves), *leaves.values())  # type: ignore[misc]
        return y, tuple(finals)

    def explain(self, sizes: Mapping[str, int]) -> str:
        """The plan in words."""
        return describe(self.cell, self.plan, sizes)

    def _variant(self, x: Tensor, states: tuple[Tensor, ...]) -> bool:
        """Which of the cell's two plans suits a call: here, whether the lean one does."""
        return x.shape[0] * max(state.numel() for state in states) > _LEAN_ABOVE

    def _new_executor(self, variant: bool, sizes: Mapping[str, int], like: Tensor) -> Executor:
        return Executor(_plan(self.cell, lean=variant), sizes, like)

    def _leaves(
        self,
        x: Tensor | None,
        states: tuple[Tensor, ...],
        parameters: Mapping[str, Tensor],
        context: tuple[Tensor, ...],
    ) -> Values:
        leaves: Values = {}
        for kind, values in (("input", (x,)), ("state", states), ("context", context)):
            nodes = self.plan.leaves(kind)
            for node, value in zip(nodes, values, strict=False):
                if value is not None:
                    leaves[node] = value
        for node in self.plan.leaves("parameter"):
            value = parameters[node.name]
            leaves[node] = value if node.shape else value.reshape(1)
        return leaves

    def _sizes(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        embedding: Tensor | None,
        context: tuple[Tensor, ...],
        parameters: Mapping[str, Tensor],
    ) -> dict[str, int]:
        """The number behind every size name, read off the tensors."""
        shapes: list[tuple[Node, torch.Size]] = []
        if x.is_floating_point():
            shapes += [(node, x.shape[-1:]) for node in self.plan.leaves("input")]
        elif embedding is not None:
            shapes += [(node, embedding.shape[-1:]) for node in self.plan.leaves("input")]
        shapes += [(n, s.shape[-1:]) for n, s in zip(self.plan.states, states, strict=True)]
        contexts = self.plan.leaves("context")
        shapes += [(n, c.shape[-1:]) for n, c in zip(contexts, context, strict=True)]
        leaves = self.plan.leaves("parameter")
        shapes += [(node, parameters[node.name].shape) for node in leaves]
        return _solve(shapes)

    def _executor(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Mapping[str, Tensor],
        embedding: Tensor | None,
        context: tuple[Tensor, ...],
    ) -> Executor:
        """The executor for these shapes; solving for the sizes is not for every call."""
        given = x if x.is_floating_point() else embedding
        widths = (None if given is None else given.shape[-1], *(s.shape[-1] for s in states))
        shapes = tuple(parameters[node.name].shape for node in self.plan.leaves("parameter"))
        others = tuple(c.shape[-1] for c in context)
        variant = self._variant(x, states)
        key = (variant, widths, others, shapes, states[0].dtype, states[0].device)
        if key not in self._executors:
            sizes = self._sizes(x, states, embedding, context, parameters)
            self._executors[key] = self._new_executor(variant, sizes, states[0])
        return self._executors[key]


@lru_cache(maxsize=512)
def _plan(cell: Cell, *, lean: bool) -> Plan:
    return plan(cell.equations, lean=lean)


def _solve(shapes: list[tuple[Node, torch.Size]]) -> dict[str, int]:
    """The sizes for which every node has the shape of its tensor."""
    sizes: dict[str, int] = {}
    pending = [
        (dim, length)
        for node, shape in shapes
        for dim, length in zip(node.shape, shape, strict=False)
    ]
    while pending:
        left = []
        for dim, length in pending:
            open_terms = [(name, c) for name, c in dim.terms if name not in sizes]
            if len(open_terms) == 1:
                name, coefficient = open_terms[0]
                rest = dim.constant + sum(c * sizes[n] for n, c in dim.terms if n in sizes)
                sizes[name] = int((length - rest) / coefficient)
            elif open_terms:
                left.append((dim, length))
        if len(left) == len(pending):
            break
        pending = left
    return sizes


def _active(lengths: Tensor, steps: int) -> Tensor:
    """[T, B, 1] bool: which steps are inside their sequence."""
    index = torch.arange(steps, device=lengths.device)
    return (index[:, None] < lengths[None, :]).unsqueeze(-1)


def _filled(x: Tensor, active: Tensor) -> Tensor:
    """`x` with each sequence's first step in its padding.

    Padding may hold anything, NaN included, which must not reach a gradient through 0 * NaN; the
    first step is a value that the cell takes (zero might not be: log(x)).
    """
    if x.is_floating_point():
        return torch.where(active, x, x[:1].detach())
    return torch.where(active.squeeze(-1), x, x[:1])


def _needs_gradient(leaves: Values) -> bool:
    return torch.is_grad_enabled() and any(value.requires_grad for value in leaves.values())


class _Adjoint(torch.autograd.Function):
    """A run whose backward pass is the plan's adjoint."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, executor: Executor, call: Call, nodes: tuple[Node, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        leaves = dict(zip(nodes, tensors, strict=True))
        y, finals, values = executor.forward(leaves, call, keep=True)
        kept = [node for node in executor.backward_reads() if node in values]
        ctx.executor, ctx.call, ctx.nodes, ctx.kept = executor, call, nodes, kept
        # leaves are saved as they are, so that a second derivative finds them in the graph
        ctx.save_for_backward(*tensors, *(values[node] for node in kept))
        # a state that came back unchanged must be another tensor than the one that went in
        given = {id(tensor) for tensor in tensors}
        return (y, *(f.clone() if id(f) in given else f for f in finals))

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        executor, call, nodes = ctx.executor, ctx.call, ctx.nodes
        saved = ctx.saved_tensors
        tensors, kept = saved[: len(nodes)], saved[len(nodes) :]
        leaves = dict(zip(nodes, tensors, strict=True))
        needs = ctx.needs_input_grad[3:]
        wanted = {node for node, needed in zip(nodes, needs, strict=True) if needed}
        if torch.is_grad_enabled():
            executor.check_second_derivative()
            found = _replayed(executor, call, leaves, wanted, d_outputs)
        else:
            values = {**leaves, **dict(zip(ctx.kept, kept, strict=True))}
            found = executor.backward(leaves, values, call, d_outputs[0], d_outputs[1:], wanted)
        gradients = [
            found[node].reshape(leaves[node].shape) if node in found and node in wanted else None
            for node in nodes
        ]
        return (None, None, None, *gradients)


def _replayed(
    executor: Executor,
    call: Call,
    leaves: Values,
    wanted: set[Node],
    d_outputs: tuple[Tensor, ...],
) -> Values:
    """Cotangents that can be differentiated again, by torch's autograd."""
    y, finals, _ = executor.forward(leaves, call)
    chosen = [node for node in leaves if node in wanted]
    seeded = [
        (value, d) for value, d in zip((y, *finals), d_outputs, strict=True) if value.requires_grad
    ]
    found = torch.autograd.grad(
        [value for value, _ in seeded],
        [leaves[node] for node in chosen],
        [d for _, d in seeded],
        create_graph=True,
        allow_unused=True,
    )
    return {node: d for node, d in zip(chosen, found, strict=True) if d is not None}
