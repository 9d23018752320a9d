"""The reference backend: a plan run with torch operations. The oracle, and the fallback."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from recurra.backends.forks import settle_after_fork
from recurra.backends.reference import operators
from recurra.backends.reference.apart import Apart
from recurra.backends.reference.execute import Bound, Call, Executor, Values
from recurra.backends.reference.fingerprint import fingerprint
from recurra.backends.reference.gradients import Adjoint, ComposedAdjoint
from recurra.backends.reference.padding import padded
from recurra.backends.reference.repeated import RepeatedExecutor
from recurra.backends.reference.sizes import solve
from recurra.backends.report import describe
from recurra.backends.watching import GRADIENTS, is_watched, outliving, transform
from recurra.ir import POSITIONS, Node, has_positions
from recurra.lang import Cell
from recurra.passes import FIXED_KINDS, MASK_KINDS, Plan, plan

_KINDS = (
    *("input", "state", "further", "context", *MASK_KINDS, "memory", "positions"),
    *FIXED_KINDS,
)
_FEW_BITS = (torch.bfloat16, torch.float16)
# a state's numbers over all steps above which fresh memory costs more than calls to torch
_LEAN_ABOVE = 300_000


class ReferenceBackend:
    """Runs a cell with torch operations: any dtype, any device, any number of derivatives.

    First derivatives come from the plan's own adjoint; where a second one may follow
    (create_graph=True) the backward pass is replayed under torch's autograd.

    Args:
        gradients: "adjoint", or "autograd" to leave all derivatives to torch, which is slower and
            what the adjoint is tested against.
        memory: "low" to keep states alone for the backward pass and compute the rest again.
    """

    name = "reference"
    _composes = False  # whether gradients by torch.func come from the adjoint

    def __init__(self, cell: Cell, *, gradients: str = "adjoint", memory: str = "normal") -> None:
        if gradients not in ("adjoint", "autograd"):
            raise ValueError(
                f"ReferenceBackend: expected gradients 'adjoint' or 'autograd', got {gradients!r}. "
                f"Choose one of them."
            )
        self.cell = cell
        self._low = memory == "low"
        self.plan = _plan(cell, lean=False, low=self._low)
        self._gradients = gradients
        self._executors: dict[tuple[Any, ...], Executor] = {}
        self._key: str | None = None
        leaves = cell.equations.inputs
        of_kind = {kind: [n for n in leaves if n.attr("kind") == kind] for kind in _KINDS}
        self._x = next(iter(of_kind["input"]), None)
        self._inside = next(iter(of_kind["positions"]), None)
        self._others = tuple(node for kind in _KINDS[1:] for node in of_kind[kind])
        self._fixed = (*cell.parameters, *cell.arrays)
        self._scalars = tuple(node for node in of_kind["parameter"] if not node.shape)

    def run(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Mapping[str, Tensor],
        *,
        inputs: tuple[Tensor, ...] = (),
        context: tuple[Tensor, ...] = (),
        memory: tuple[Tensor, ...] = (),
        embedding: Tensor | None = None,
        lengths: Tensor | None = None,
        reverse: bool = False,
        start: int = 0,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the cell over a batch of sequences.

        Args:
            x: [T, B, I] float, or [T, B] int64 token ids.
            states: the first states, [B, size] each.
            parameters: by name, of the cell's shapes; its constant arrays among them.
            inputs: what else is given at each step, [T, B, size] each.
            context: [B, C] each, then the cell's random masks in the order of its inputs: those for
                each step [T, B, size], those for each sequence [B, size], those for each call.
            memory: [B, S, K] each, then [B, S], 1 at each sequence's own positions and 0 past them,
                as `within_memory` makes it.
            embedding: [V, I], what token ids stand for; None makes them one-hot vectors of size I.
            lengths: [B] int64 in 0..T; None means all T.
            reverse: run from the last step to the first.
            start: index of the first step, for cells that read it.

        Returns:
            y: [T, B, O], zero past `lengths`; the final states, [B, size] each.
        """
        dtype = states[0].dtype
        if self._rounds_index(dtype):
            # a step's index would be rounded as the numbers are: to 8 or 11 bits
            x = x.float() if x.is_floating_point() else x
            y, finals = self.run(
                x,
                tuple(state.float() for state in states),
                {name: parameters[name].float() for name in self._fixed},
                inputs=tuple(each.float() for each in inputs),
                context=tuple(each.float() for each in context),
                memory=tuple(each.float() for each in memory),
                embedding=None if embedding is None else embedding.float(),
                lengths=lengths,
                reverse=reverse,
                start=start,
            )
            return y.to(dtype), tuple(final.to(dtype) for final in finals)
        values = [parameters[name] for name in self._fixed]
        rest = [*context, *memory, *values, *([] if embedding is None else [embedding])]
        given = [x, *states, *inputs, *rest]
        if x.shape[0] == 0:
            bound = self.bound(given, None, reverse=reverse, start=start)
            y = states[0].new_zeros(0, x.shape[1], bound.executor.output_size(bound.call))
            return y, tuple(state.clone() for state in states)
        transformed = transform(given)
        if transformed is not None:
            self.check_transform(transformed)
        if self._gradients == "adjoint" and transformed is None and is_watched():
            return operators.run(
                operators.made_known(self),
                x,
                states,
                values,
                inputs=inputs,
                context=context,
                memory=memory,
                embedding=embedding,
                lengths=lengths,
                reverse=reverse,
                start=start,
            )
        (x, *stepped), active = padded((x, *inputs), lengths)
        bound = self.bound([x, *states, *stepped, *rest], active, reverse=reverse, start=start)
        executor, leaves, call = bound.executor, bound.leaves, bound.call
        if transformed is not None and not (transformed is GRADIENTS and self._composes):
            y, finals, _ = executor.forward(leaves, replace(call, plain=True))
            return y, tuple(finals)
        by_adjoint = self._gradients == "adjoint" and _needs_gradient(leaves)
        if transformed is not None or by_adjoint:
            without = replace(call, ids=None, active=None)
            tensors = (call.ids, active, *leaves.values())
            function = Adjoint if transformed is None else ComposedAdjoint
            y, *finals = function.apply(executor, without, tuple(leaves), *tensors)  # type: ignore[misc]
            return y, tuple(finals[: len(states)])
        with torch.set_grad_enabled(self._gradients == "autograd" and torch.is_grad_enabled()):
            y, finals, _ = executor.forward(leaves, call)
            apart = Apart(leaves.values())
            return apart(y), tuple(map(apart, finals))

    def _rounds_index(self, dtype: torch.dtype) -> bool:
        """Whether the cell reads the index of the step, and `dtype` has too few bits for it."""
        leaves = self.cell.equations.inputs
        return dtype in _FEW_BITS and any(leaf.attr("kind") == "step" for leaf in leaves)

    @property
    def key(self) -> str:
        """What this backend and its cell are called in traced graphs, in every process alike."""
        if self._key is None:
            plan = self.plan
            digest = fingerprint([self.cell.equations, plan.loop.body, plan.reverse.body])
            low = "-low" if plan.low else ""
            self._key = f"{self.name}{low}:{self.cell.name}:{digest}"
        return self._key

    def check(self, x: Tensor, state: Tensor) -> None:
        """Raise BackendError where this backend does not run such an input and state."""

    def check_transform(self, transformed: str) -> None:
        """Raise BackendError where this backend does not run under such a transform."""

    def bound(
        self,
        leaves: Sequence[Tensor],
        active: Tensor | None,
        *,
        reverse: bool,
        start: int,
        blank: bool = False,
    ) -> Bound:
        """A call, ready to run.

        Args:
            leaves: x, the states, the further inputs, the context, the masks, the parameters and
                arrays in the order of the cell, and the embedding if there is one; what is given at
                each step as `padded` gives it.
            active: [T, B, 1] bool, the steps inside their sequence; None means all.
            blank: the call is traced, its tensors are fake: only shapes are wanted.
        """
        settle_after_fork()
        x = leaves[0]
        is_ids = not x.is_floating_point()
        embedded = is_ids and len(leaves) > 1 + len(self._others)
        nodes = (None if is_ids else self._x, *self._others, *([self._x] if embedded else []))
        states = leaves[1 : 1 + len(self.cell.states)]
        self.check(x, states[0])
        values = {n: v for n, v in zip(nodes, leaves, strict=True) if n is not None}
        _check_alike(values, states[0])
        executor = self._executor(values, self._variant(x, tuple(states)), states[0], blank)
        for node in self._scalars:
            values[node] = values[node].reshape(1)
        call = Call(
            ids=x if is_ids else None,
            one_hot=is_ids and not embedded,
            active=active,
            steps=x.shape[0],
            batch=x.shape[1],
            reverse=reverse,
            start=start,
            positions=0 if self._inside is None else values[self._inside].shape[-1],
        )
        return Bound(executor=executor, call=call, leaves=values, nodes=nodes)

    def explain(self, sizes: Mapping[str, int]) -> str:
        """The plan in words."""
        return describe(self.cell, self.plan, sizes)

    def _variant(self, x: Tensor, states: tuple[Tensor, ...]) -> bool:
        """Which of the cell's two plans suits a call: here, whether the lean one does."""
        width = max(state.shape[-1] for state in states)
        return bool(x.shape[0] * x.shape[1] * width > _LEAN_ABOVE)  # symbolic, in a trace

    def _new_executor(self, variant: bool, sizes: Mapping[str, int], like: Tensor) -> Executor:
        make = RepeatedExecutor if like.device.type == "cuda" else Executor
        return make(_plan(self.cell, lean=variant, low=self._low), sizes, like)

    def _executor(self, values: Values, variant: bool, like: Tensor, blank: bool) -> Executor:
        """The executor for tensors of these shapes; solving for the sizes is not for every call."""
        if self._inside is None:  # the way of small calls
            shapes = tuple(v.shape[-len(n.shape) :] for n, v in values.items() if n.shape)
        else:
            shapes = tuple(_own_shape(node, v) for node, v in values.items() if node.shape)
            _check_positions(values)
        if blank:  # what it would keep are fake tensors
            executor = self._new_executor(variant, _sizes(values), like)
            executor.blank = True
            return executor
        key = (variant, self._x in values, shapes, like.dtype, like.device)
        if key not in self._executors:
            sizes = _sizes(values)
            _check_shapes(values, sizes)
            with outliving():
                executor = self._new_executor(variant, sizes, like)
            self._executors[key] = executor
        return self._executors[key]


@lru_cache(maxsize=512)
def _plan(cell: Cell, *, lean: bool, low: bool) -> Plan:
    return plan(cell.equations, lean=lean, low=low)


def _sizes(values: Values) -> dict[str, int]:
    """The sizes of a layer: all but the number of positions, which is the call's."""
    return {name: size for name, size in solve(values).items() if name not in POSITIONS.names}


def _own_shape(node: Node, value: Tensor) -> tuple[int, ...]:
    """The shape of a node's value, without time and batch, and without positions."""
    own = value.shape[-len(node.shape) :]
    return own[1:] if has_positions(node.shape) else own


def _check_positions(values: Values) -> None:
    """Raise ValueError unless all that is over positions has as many."""
    counts = {n.name: v.shape[-len(n.shape)] for n, v in values.items() if has_positions(n.shape)}
    if len(set(counts.values())) > 1:
        got = ", ".join(f"{name} with {count}" for name, count in counts.items())
        raise ValueError(
            f"backend: expected memories and states over positions of one length, got {got}. Pass "
            f"tensors of sizes that agree."
        )


def _check_alike(values: Mapping[Node, Tensor], like: Tensor) -> None:
    """Raise TypeError or ValueError unless all are of one dtype, on one device."""
    dtype, device = like.dtype, like.device
    for node, value in values.items():
        if value.dtype is not dtype:
            raise TypeError(
                f"backend: expected {node.name} of {dtype}, like the states, got {value.dtype}. "
                f"Convert it with .to({dtype})."
            )
        if value.device != device:
            raise ValueError(
                f"backend: expected {node.name} on {device}, like the states, got {value.device}. "
                f"Move it with .to({str(device)!r})."
            )


def _check_shapes(values: Mapping[Node, Tensor], sizes: Mapping[str, int]) -> None:
    """Raise ValueError unless every value has the shape that the cell gives it, lead aside."""
    for node, value in values.items():
        # how many positions there are was looked at by itself
        own = node.shape[1:] if has_positions(node.shape) else node.shape
        known = all(name in sizes for dim in own for name in dim.names)
        shape = tuple(dim.evaluate(sizes) for dim in own) if known else ()
        if known and tuple(value.shape)[value.dim() - len(shape) :] != shape:
            raise ValueError(
                f"backend: expected {node.name} of shape {shape} for {dict(sizes)}, got "
                f"{tuple(value.shape)}. Pass tensors of sizes that agree."
            )


def _needs_gradient(leaves: Values) -> bool:
    return torch.is_grad_enabled() and any(value.requires_grad for value in leaves.values())
