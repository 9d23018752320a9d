"""A run of one layer in one direction, linearised at each step: cotangents pulled back through it.

The values are those of the reference backend, and the derivatives those of the graph's own adjoint:
exact, and for many cotangents at once at the price of one pass.

Letters: T time, B batch, R rows of cotangents, I input, O output, N numbers in all states together.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.backends import ReferenceBackend, filled_memories, filled_state
from recurra.backends.runtime.execute import Bound
from recurra.backends.runtime.padding import padded
from recurra.ir import POSITIONS, Graph, Node, apply, substitute
from recurra.lang import Cell
from recurra.nn.stack import CellStack
from recurra.passes import Plan, section
from recurra.passes.simplify import zeros

_AT_ONCE = 4_000_000  # numbers in a value of so many rows: what a pass keeps stays below a gigabyte


class Linearized:
    """A run of one layer in one direction, with what its derivatives read.

    Random masks stand at their means, as in evaluation. Where autograd is on, all that comes out
    can be differentiated by what went in.

    Args:
        layer: whose equations and parameters.
        place: which of its layers, and which direction.
        x: [T, B, I] features, or for the first layer [T, B] token ids.
        states: the first states of this layer and direction, [B, S] or [B, P, Q] each.
        lengths: [B] int64 in 0..T; None means all T. Past them states are held.
        inputs: what else the cell reads at each step, [T, B, size] each.
        context: [B, C] each.
        memory: [B, S, K] each.
        memory_lengths: [B] int64 in 1..S.
        embedding: [V, I], what token ids stand for.
        start: the index of the first step.
        dtype: to compute in; None for that of the layer, at least float32.

    Attributes:
        y: [T, B, O].
        finals: the states after the last step.
        shapes: of each state in one sequence.
        order: the steps in the order in which they run.
        output_is_state: the output is the new value of the first state.
        input_size: I.
    """

    def __init__(
        self,
        layer: CellStack,
        place: tuple[int, int],
        x: Tensor,
        states: Sequence[Tensor],
        *,
        lengths: Tensor | None = None,
        inputs: Sequence[Tensor] = (),
        context: Sequence[Tensor] = (),
        memory: Sequence[Tensor] = (),
        memory_lengths: Tensor | None = None,
        embedding: Tensor | None = None,
        start: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.dtype = dtype or computing_dtype(layer)
        cell = layer.cell.evaluation
        parameters = layer.checked_parameters(*place)
        values = [parameters[name] for name in (*cell.parameters, *cell.arrays)]
        positions: tuple[Tensor, ...] = ()
        self._within: tuple[Tensor | None, ...] = (None,) * len(cell.states)
        self._y_within: Tensor | None = None
        if memory:
            positions, within = filled_memories(tuple(memory), memory_lengths)
            self._within = tuple(within if size == POSITIONS else None for size in cell.state_sizes)
            self._y_within = within if cell.output_size == POSITIONS else None
            pairs = zip(states, self._within, strict=True)
            states = [s if inside is None else filled_state(s, inside) for s, inside in pairs]
        (x, *stepped), active = padded((x, *inputs), lengths)
        if x.dtype == torch.int64 and embedding is not None:
            x = F.embedding(x, embedding)
        given = [x, *states, *stepped, *context, *positions, *values]
        given = [v if v.dtype == torch.int64 else v.to(self.dtype) for v in given]
        self.input_size = layer.layer_sizes[place[0]]["I"]
        equations = cell.equations
        self.output_is_state = equations.output("output") is equations.output(cell.states[0])
        reverse = layer.reverse or place[1] == 1
        bound = _backend(cell).bound(given, active, reverse=reverse, start=start)
        self._run(bound)

    def _run(self, bound: Bound) -> None:
        executor, call = bound.executor, bound.call
        # where autograd follows, nothing may be written in place
        following = replace(call, plain=True) if torch.is_grad_enabled() else call
        y, finals, values = executor.forward(bound.leaves, following, keep=True)
        self.y, self.finals = y, tuple(finals)
        self.shapes = tuple(tuple(final.shape[1:]) for final in finals)
        self.order = call.order
        self._bound, self._values = bound, values
        self._output_size = y.shape[-1]

    @property
    def size(self) -> int:
        """N."""
        return sum(map(prod, self.shapes))

    @property
    def inside(self) -> Tensor:
        """[T, B] bool: the steps that each sequence has."""
        active = self._bound.call.active
        if active is None:
            return torch.ones(self.y.shape[:2], dtype=torch.bool, device=self.y.device)
        return active[..., 0]

    def split(self, flat: Tensor) -> tuple[Tensor, ...]:
        """[..., N] as the states that it is made of, [..., S] or [..., P, Q] each."""
        return split(flat, self.shapes)

    def pull(
        self,
        k: int,
        d_states: Sequence[Tensor],
        d_y: Tensor | None = None,
        *,
        to_input: bool = False,
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Cotangents before step k from those after it.

        Past a sequence's end they come back as they are, as states are held there.

        Args:
            k: which step, by its place in x.
            d_states: of the states that step k makes, [R, B, S] each.
            d_y: of the output of step k, [R, B, O]; None for zero.
            to_input: give that of the step's input too.

        Returns:
            Those of the states that step k reads, [R, B, S] each, and of x_k, [R, B, I] or None.
        """
        call, lead = self._bound.call, d_states[0].shape[:2]
        if d_y is None:
            d_y = d_states[0].new_zeros(1, 1, self._output_size)
        inside = None if call.active is None else call.active[k]
        if self._y_within is not None:
            d_y = torch.where(self._y_within, d_y, 0.0)
        given = held = self._at_positions(d_states)
        if inside is not None:
            given = tuple(torch.where(_beside(inside, d), d, 0.0) for d in held)
            d_y = torch.where(inside, d_y, 0.0)
        found = self._pulled(k, given, d_y, to_input)
        pairs = zip(found, self.shapes, strict=False)
        before = self._at_positions([d.expand(*lead, *shape) for d, shape in pairs])
        if inside is not None:
            beside = zip(before, held, strict=True)
            before = tuple(torch.where(_beside(inside, d), d, own) for d, own in beside)
        return before, found[-1].expand(*lead, found[-1].shape[-1]) if to_input else None

    def push(self, k: int, tangents: Tensor) -> Tensor:
        """[R, B, N]: how the states after step k change along changes [R, B, N] of those before.

        The transpose of `pull`, by differentiating that, which is linear, by what it is given.
        """
        with torch.enable_grad():
            zero = torch.zeros_like(tangents, requires_grad=True)
            before, _ = self.pull(k, self.split(zero))
            pulled = flat(before, self.shapes)
        if not pulled.requires_grad:
            return torch.zeros_like(tangents)
        (found,) = torch.autograd.grad(
            pulled,
            zero,
            tangents,
            create_graph=torch.is_grad_enabled(),
            allow_unused=True,
            materialize_grads=True,
        )
        return found

    def jacobian(self, k: int) -> Tensor:
        """[B, N, N]: how the states after step k change with those before it.

        Row i is that of the i-th number of the states after it, in the order of the cell's states,
        matrices row by row. One pass back over N rows.
        """
        size, batch = self.size, self.y.shape[1]
        eye = torch.eye(size, dtype=self.dtype, device=self.y.device)
        count = max(1, _AT_ONCE // max(1, size * batch))
        found = []
        for rows in eye.split(count):
            seeds = rows[:, None].expand(-1, batch, -1)
            before, _ = self.pull(k, self.split(seeds))
            found.append(flat(before, self.shapes))
        return torch.cat(found).transpose(0, 1)

    def gradients(
        self, d_y: Tensor, d_finals: Sequence[Tensor], *, to_input: bool = False
    ) -> tuple[dict[str, Tensor], tuple[Tensor, ...], Tensor | None]:
        """Through all steps at once, by the plan's own reverse loop.

        Args:
            d_y: [T, B, O].
            d_finals: of the final states, [B, S] each.
            to_input: give that of the input too.

        Returns:
            The gradients of the parameters, by the cell's names; the cotangents of the first
            states, [B, S] each; and of x, [T, B, I] or None.
        """
        bound, plan = self._bound, self._bound.executor.plan
        parameters = plan.leaves("parameter")
        x = bound.executor.parts.x if to_input else None
        wanted = {*parameters, *plan.states, *([] if x is None else [x])}
        if self._y_within is not None:
            d_y = torch.where(self._y_within, d_y, 0.0)
        d_finals = self._at_positions(d_finals)
        found = bound.executor.backward(
            bound.leaves, self._values, bound.call, d_y, d_finals, wanted
        )

        def of(node: Node) -> Tensor:
            return found.get(node, torch.zeros_like(bound.leaves[node]))

        return (
            # a learned scalar has no dimension, and its value one
            {node.name: of(node) if node.shape else of(node).sum() for node in parameters},
            self._at_positions([of(state) for state in plan.states]),
            None if x is None else of(x),
        )

    def _pulled(
        self, k: int, d_states: tuple[Tensor, ...], d_y: Tensor, to_input: bool
    ) -> list[Tensor]:
        """Of steps that are all inside their sequences: what `pull` gives, unexpanded."""
        executor = self._bound.executor
        x = executor.parts.x if to_input else None
        assert not to_input or (x is not None and self._bound.call.ids is None), "x has features"
        graph = _pulling(executor.plan, x)
        seeds = dict(zip(executor.plan.step.seeds, (d_y, *d_states), strict=True))
        values = {
            node: seeds[node] if node in seeds else self._at(k, node) for node in graph.inputs
        }
        found = executor.programs.run(graph, values)
        return [found[node] for node in graph.output_nodes]

    def _at_positions(self, d_states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Cotangents of states; of those over positions nothing past the end of each memory."""
        pairs = zip(d_states, self._within, strict=True)
        return tuple(d if inside is None else torch.where(inside, d, 0.0) for d, inside in pairs)

    def _at(self, k: int, node: Node) -> Tensor:
        value = self._values[node]
        return value[k] if node in self._bound.executor.parts.stepped else value


def computing_dtype(layer: CellStack) -> torch.dtype:
    """That of a layer's parameters, at least float32."""
    dtype = layer.home.dtype
    return torch.promote_types(dtype, torch.float32)


def flat(states: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> Tensor:
    """States [..., S] or [..., P, Q] as one vector each, [..., N]."""
    pairs = zip(states, shapes, strict=True)
    # sizes in full: of no states at all, -1 could be any
    parts = [s.reshape(*s.shape[: s.dim() - len(shape)], prod(shape)) for s, shape in pairs]
    return torch.cat(parts, -1)


def split(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
    """The other way."""
    parts = flat.split([prod(shape) for shape in shapes], -1)
    lead = flat.shape[:-1]
    return tuple(part.reshape(*lead, *shape) for part, shape in zip(parts, shapes, strict=True))


@lru_cache(maxsize=256)
def _backend(cell: Cell) -> ReferenceBackend:
    backend = ReferenceBackend(cell)
    backend.can_be_recorded = False  # what a recorded run keeps is the next one's too
    return backend


@lru_cache(maxsize=512)
def _pulling(plan: Plan, x: Node | None) -> Graph:
    """The cotangents of the states before a step, and of x, from those after it, as one graph."""
    step, sequence = plan.step, plan.sequence
    of = {step.wanted[int(name)]: node for name, node in step.adjoint.outputs}
    outputs = [of[state] for state in plan.states]
    known = {*step.adjoint.inputs, *step.seeds}
    if x is not None:
        made = zip(sequence.seeds, sequence.graph.keys, strict=True)
        seeds = {seed: of.get(node, zeros(node.shape)) for seed, node in made}
        through = substitute(sequence.adjoint, seeds)
        found = {sequence.wanted[int(name)]: node for name, node in through.outputs}
        pieces = [part[x] for part in (of, found) if x in part]
        outputs.append(apply("add", *pieces) if len(pieces) == 2 else (*pieces, zeros(x.shape))[0])
        known |= set(sequence.adjoint.inputs) - set(sequence.seeds)
    return section(outputs, known=known)


def _beside(inside: Tensor, d: Tensor) -> Tensor:
    """[B, 1] with as many dimensions as a state's cotangents [R, B, ...]."""
    return inside.reshape(-1, *(1 for _ in d.shape[2:]))
