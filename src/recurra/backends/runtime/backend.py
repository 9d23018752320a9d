"""A backend: calls as torch makes them, for an engine that runs the loops of a plan."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from recurra.backends.forks import settle_after_fork
from recurra.backends.report import describe
from recurra.backends.runtime import operators
from recurra.backends.runtime.apart import Apart
from recurra.backends.runtime.attempts import AttemptingExecutor, Attempts
from recurra.backends.runtime.blank import BlankEngine
from recurra.backends.runtime.call import Call, Values
from recurra.backends.runtime.engine import Engine
from recurra.backends.runtime.execute import Bound, Executor
from recurra.backends.runtime.fingerprint import fingerprint
from recurra.backends.runtime.gradients import Adjoint, ComposedAdjoint
from recurra.backends.runtime.leaves import input_of, others_of
from recurra.backends.runtime.ops import WAITING
from recurra.backends.runtime.padding import padded
from recurra.backends.runtime.parts import Parts
from recurra.backends.runtime.repeated import RepeatedExecutor
from recurra.backends.runtime.sizes import solve
from recurra.backends.watching import GRADIENTS, is_watched, outliving, transform
from recurra.ir import POSITIONS, Node, has_positions, is_inside
from recurra.lang import Cell

_FEW_BITS = (torch.bfloat16, torch.float16)
_MOST_CALLED = 1024  # shapes of calls; what is forgotten is found again
_MOST_SIZES = 128  # of layers, likewise
_shape, _dtype, _device = attrgetter("shape"), attrgetter("dtype"), attrgetter("device")


class PlannedBackend:
    """Runs a cell by its plan, with an engine.

    Args:
        low: keep states alone for the backward pass and compute the rest again.
        by_adjoint: first derivatives come from the plan's own adjoint; else torch differentiates.
        instead: the engine that runs what the other one cannot build, after these attempts; None
            where that is an error.

    Attributes:
        can_be_recorded: whether calls may be launched as CUDA graphs, in which nothing may wait for
            the GPU; torch's random numbers do not survive a recording that fails.
    """

    def __init__(
        self,
        cell: Cell,
        engine: Engine,
        *,
        low: bool = False,
        by_adjoint: bool = True,
        instead: tuple[Engine, Attempts] | None = None,
    ) -> None:
        self.cell, self.engine = cell, engine
        self.plan = engine.plan(cell, variant=False, low=low)
        self._low, self._by_adjoint, self._instead = low, by_adjoint, instead
        self.can_be_recorded = not any(node.op in WAITING for node in cell.equations.nodes())
        self._parts: dict[bool, Parts] = {}
        self._executors: dict[tuple[Any, ...], Executor] = {}
        self._called: dict[tuple[Any, ...], Executor] = {}
        self._key: str | None = None
        leaves = cell.equations.inputs
        self._x, self._others = input_of(cell.equations), others_of(cell.equations)
        self._inside = next(filter(is_inside, leaves), None)
        self._fixed = (*cell.parameters, *cell.arrays)
        self._scalars = tuple(
            node for node in leaves if node.attr("kind") == "parameter" and not node.shape
        )

    @property
    def name(self) -> str:
        """What the engine is called."""
        return self.engine.name

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
            self.engine.check_transform(transformed)
        if self._by_adjoint and transformed is None and is_watched():
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
        if transformed is not None and not (transformed is GRADIENTS and self.engine.composes):
            y, finals, _ = executor.forward(leaves, replace(call, plain=True))
            return y, tuple(finals)
        by_adjoint = self._by_adjoint and _needs_gradient(leaves)
        if transformed is not None or by_adjoint:
            without = call.given(None, None)
            tensors = (call.ids, active, *leaves.values())
            function = Adjoint if transformed is None else ComposedAdjoint
            y, *finals = function.apply(executor, without, tuple(leaves), *tensors)  # type: ignore[misc]
            return y, tuple(finals[: len(states)])
        with torch.set_grad_enabled(not self._by_adjoint and torch.is_grad_enabled()):
            y, finals, _ = executor.forward(leaves, call)
            apart = Apart(leaves.values())
            return apart(y), tuple(map(apart, finals))

    def _rounds_index(self, dtype: torch.dtype) -> bool:
        """Whether the cell reads the index of the step, and `dtype` has too few bits for it."""
        if self.engine.in_float32:
            return False
        leaves = self.cell.equations.inputs
        return dtype in _FEW_BITS and any(leaf.attr("kind") == "step" for leaf in leaves)

    @property
    def key(self) -> str:
        """What this backend and its cell are called in traced graphs, in every process alike."""
        if self._key is None:
            plan = self.plan
            digest = fingerprint([self.cell.equations, plan.loop.body, plan.reverse.body])
            low = "-low" if plan.low else ""
            # what may run otherwise is another backend
            instead = "-or-else" if self._instead is not None else ""
            self._key = f"{self.name}{low}:{self.cell.name}:{digest}{instead}"
        return self._key

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
        self.engine.check(x, states[0])
        values = {n: v for n, v in zip(nodes, leaves, strict=True) if n is not None}
        _check_alike(values, states[0])
        variant = self.engine.variant(x, tuple(states))
        if blank:
            executor = self._executor(values, variant, states[0], blank)
        else:  # found by the shapes of all: sizes are not for every call
            key = (variant, states[0].dtype, states[0].device, *map(_shape, leaves), embedded)
            executor = self._called.get(key)
            if executor is None:
                executor = self._executor(values, variant, states[0], blank)
                if len(self._called) >= _MOST_CALLED:
                    self._called.clear()
                self._called[key] = executor
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
        lines = [describe(self.cell, self.plan, sizes), *self.engine.explain(self.plan, sizes)]
        return "\n".join(lines)

    def _parts_of(self, variant: bool) -> Parts:
        if variant not in self._parts:
            plan = self.engine.plan(self.cell, variant=variant, low=self._low)
            self._parts[variant] = Parts(plan, writes_output=self.engine.writes_output)
        return self._parts[variant]

    def _new_executor(self, variant: bool, sizes: Mapping[str, int], like: Tensor) -> Executor:
        engine, parts = self.engine, self._parts_of(variant)
        if self._instead is not None:
            other, attempts = self._instead
            return AttemptingExecutor(
                engine, parts, sizes, like, variant=variant, other=other, attempts=attempts
            )
        records = like.device.type == "cuda" and self.can_be_recorded
        make = RepeatedExecutor if records else Executor
        return make(engine, parts, sizes, like, variant=variant)

    def _executor(self, values: Values, variant: bool, like: Tensor, blank: bool) -> Executor:
        """The executor for tensors of these shapes; solving for the sizes is not for every call."""
        if self._inside is None:  # the way of small calls
            shapes = tuple(v.shape[-len(n.shape) :] for n, v in values.items() if n.shape)
        else:
            shapes = tuple(_own_shape(node, v) for node, v in values.items() if node.shape)
            _check_positions(values)
        if blank:  # what it would keep are fake tensors
            blank_engine, parts = BlankEngine(self.engine), self._parts_of(variant)
            return Executor(blank_engine, parts, _sizes(values), like, variant=variant)
        key = (variant, self._x in values, shapes, like.dtype, like.device)
        executor = self._executors.get(key)
        if executor is None:
            sizes = _sizes(values)
            _check_shapes(values, sizes)
            with outliving():
                executor = self._new_executor(variant, sizes, like)
            if len(self._executors) >= _MOST_SIZES:  # of a search over sizes
                self._executors.clear()
                self._called.clear()
            self._executors[key] = executor
        return executor


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
    dtype, device, count = like.dtype, like.device, len(values)
    tensors = values.values()
    if [*map(_dtype, tensors)].count(dtype) == [*map(_device, tensors)].count(device) == count:
        return
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
