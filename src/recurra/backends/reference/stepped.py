"""The equations as they are written, one step after the other: each named value can be looked at,
and replaced.

Letters: T time, B batch, S positions of a memory.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.backends.runtime.call import Values, shape_of
from recurra.backends.runtime.leaves import input_of, others_of
from recurra.backends.runtime.ops import Kernel
from recurra.backends.runtime.padding import padded
from recurra.backends.runtime.program import Program
from recurra.backends.runtime.sizes import solve
from recurra.ir import (
    POSITIONS,
    Graph,
    Node,
    has_positions,
    is_inside,
    is_matrix,
    topological,
)
from recurra.lang import Cell
from recurra.passes.named import NamedStep, named_step
from recurra.passes.rates import Rate

# takes a value of all sequences, [B, ...], and the number of the step; gives what stands for it
Change = Callable[[Tensor, int], Tensor]

_FEW_BITS = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """What a run gave.

    Attributes:
        y: [T, B, O], zero past `lengths`.
        finals: the final states, [B, size] each.
        values: by name [T, B, size], of a number [T, B, 1]; over a memory [T, B, S] or
            [T, B, S, K], of a matrix state [T, B, P, Q]; zero past the ends of sequences and of
            memories. A matrix that is made of parameters alone is [T, R, C].
    """

    y: Tensor
    finals: tuple[Tensor, ...]
    values: dict[str, Tensor]


def run_stepped(
    cell: Cell,
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
    keep: Collection[str] | None = None,
    changes: Mapping[str, Change] | None = None,
) -> Stepped:
    """Run a cell over a batch of sequences, by torch operations that autograd follows.

    Args:
        x, states, parameters, inputs, context, memory, embedding, lengths, reverse, start: as for
            `PlannedBackend.run`.
        keep: the names of values to be kept, of `show.values.named_values`; None for all.
        changes: what stands in the place of a named value from where it is computed on.
    """
    dtype = states[0].dtype
    (x, *stepped), active = padded((x, *inputs), lengths if x.shape[0] and x.shape[1] else None)
    given = [*states, *stepped, *context, *memory]
    given += [parameters[name] for name in (*cell.parameters, *cell.arrays)]
    leaves = dict(zip(others_of(cell.equations), given, strict=True))
    x_node, ids = input_of(cell.equations), None if x.is_floating_point() else x
    if x_node is not None and ids is None:
        leaves[x_node] = x
    elif x_node is not None and embedding is not None:
        leaves[x_node], ids = F.embedding(x, embedding), None
    if cell.step is not None and dtype in _FEW_BITS:  # an index would be rounded as numbers are
        leaves = {node: value.float() for node, value in leaves.items()}
    scalars = {n: v.reshape(1) for n, v in leaves.items() if v.dim() == 0}
    with torch.autocast(x.device.type, enabled=False):
        step = named_step(cell.equations, keep, changes or (), one_hot=ids is not None)
        run = _Run(cell, step, leaves | scalars, x.shape[0], start, ids, dtype)
        y, finals, values = run(changes or {}, active, reverse=reverse)
    values = {name: value.to(dtype) for name, value in values.items()}
    # of no step a final state is the first one, which is the caller's
    ends = tuple(v.to(dtype, copy=True) for v in finals)
    return Stepped(y=y.to(dtype), finals=ends, values=values)


class _Run:
    """One run: first what does not wait for a state, then step by step."""

    def __init__(
        self,
        cell: Cell,
        step: NamedStep,
        leaves: Values,
        steps: int,
        start: int,
        ids: Tensor | None,
        dtype: torch.dtype,
    ) -> None:
        self._dtype = dtype  # in which changes are given values, and give them
        self._step, self._equations, self._values = step, cell.equations, dict(leaves)
        self._states = [n for n in cell.equations.inputs if n.attr("kind") == "state"]
        self._like = leaves[self._states[0]]
        self._steps, self._batch = steps, self._like.shape[0]
        self._inside = next(filter(is_inside, cell.equations.inputs), None)
        # what a matrix is made of is one for all sequences, as the matrix is
        self._of_matrices = set(topological(n for n in step.rates if is_matrix(n.shape)))
        self._positions = 0 if self._inside is None else leaves[self._inside].shape[-1]
        self._sizes = {n: size for n, size in solve(leaves).items() if n not in POSITIONS.names}
        self._now = 0  # the number of the step that runs
        self._set_index(start)
        self._compute(step.once)
        for product, matrix in step.looked_up.items():
            assert ids is not None, "only of token ids products are looked up"
            self._values[product] = F.embedding(ids, self._values[matrix].t())
        self._set_one_hot(ids)
        self._compute(step.before)

    def _set_index(self, start: int) -> None:
        """The index of the step, [T, 1, 1], where the equations read it."""
        for node in self._equations.inputs:
            if node.attr("kind") == "step":
                stop, device = start + self._steps, self._like.device
                index = torch.arange(start, stop, dtype=torch.int64, device=device)
                self._values[node] = index.to(self._like.dtype).reshape(-1, 1, 1)

    def _set_one_hot(self, ids: Tensor | None) -> None:
        """What token ids stand for, where more than products with it are wanted."""
        x = input_of(self._equations)
        step = self._step
        read = {*step.before.inputs, *step.body.inputs, *step.news, step.output}
        if ids is not None and x is not None and x in read:
            hot = F.one_hot(ids, x.shape[0].evaluate(self._sizes))
            self._values[x] = hot.to(self._like.dtype)

    def _compute(self, graph: Graph) -> None:
        program = Program(graph, self._sizes, self._like)
        found = program([self._values[node] for node in program.inputs])
        self._values.update(zip(program.outputs, found, strict=True))

    # ---- step by step

    def __call__(
        self, changes: Mapping[str, Change], active: Tensor | None, *, reverse: bool
    ) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """y, the final states, and the values that are kept.

        Args:
            active: [T, B, 1], the steps inside their sequence; None means all.
        """
        step, late = self._step, self._late_changes(changes)
        body = Program(step.body, self._sizes, self._like, changes=self._early_changes(changes))
        given = {*body.inputs, *step.news, step.output}.difference(self._states)
        given = given.intersection(self._values)
        rows = {node: self._rows(node) for node in given}
        made: dict[Node, list[Tensor]] = {node: [self._like] * self._steps for node in body.outputs}
        carried = [self._values[state] for state in self._states]
        news = [[state] * self._steps for state in carried]
        # an output that is a leaf and no new state: what a state was before the step, or x
        leaf = {step.output}.intersection(self._equations.inputs).difference(step.news)
        outputs = {node: [self._like] * self._steps for node in leaf}
        of_output = self._output_change(changes)
        for t in range(self._steps - 1, -1, -1) if reverse else range(self._steps):
            self._now = t
            now = {node: row[t] for node, row in rows.items()}
            now.update(zip(self._states, carried, strict=True))
            for node, value in zip(body.outputs, body([now[n] for n in body.inputs]), strict=True):
                now[node] = made[node][t] = value
            for node, values in outputs.items():
                values[t] = of_output(self._full(node, now[node]))
            for place, node in enumerate(step.news):
                new = late.get(place, _same)(self._full(node, now[node]))
                news[place][t] = new
                if active is not None:
                    new = torch.where(_beside(active[t], new), new, carried[place])
                carried[place] = new
        steps_of = {node: [self._full(node, v) for v in made[node]] for node in made}
        steps_of |= {**outputs, **dict(zip(step.news, news, strict=True))}
        values = {name: self._kept(node, steps_of, active) for name, node in step.values.items()}
        names = [node.name for node in self._states]
        values |= {
            name: self._kept(node, {node: news[place]}, active)
            for place, (name, node) in enumerate(zip(names, step.news, strict=True))
            if name in values
        }
        return self._kept(step.output, steps_of, active), carried, values

    def _early_changes(self, changes: Mapping[str, Change]) -> dict[Node, Kernel]:
        """What is done with values as they are computed."""
        found: dict[Node, Kernel] = {}
        for name, change in changes.items():
            node = self._step.changed[name]
            if node.inputs and node not in self._equations.inputs:
                found[node] = partial(self._changed, node, change, found.get(node, _same))
        return found

    def _late_changes(self, changes: Mapping[str, Change]) -> dict[int, Kernel]:
        """What is done with new states that are no value of their own, by their places."""
        names = [node.name for node in self._states]
        return {
            names.index(name): partial(self._changed, node, changes[name], _same)
            for name, node in self._step.changed.items()
            if name in names and (not node.inputs or node in self._equations.inputs)
        }

    def _output_change(self, changes: Mapping[str, Change]) -> Kernel:
        """What is done with an output that is a leaf, under a name of its own."""
        names = {node.name for node in self._states}
        for name, node in self._step.changed.items():
            if node is self._step.output and name not in names:
                return partial(self._changed, node, changes[name], _same)
        return _same

    def _changed(self, node: Node, change: Change, before: Kernel, value: Tensor) -> Tensor:
        value = before(value)
        full = self._full(node, value)
        # a copy: who changes it in place shall change nothing else
        new = change(self._past_zero(node, full).to(self._dtype, copy=True), self._now)
        new = new.to(value.dtype)
        if has_positions(node.shape) and self._inside is not None:
            # what is past the end of a memory has a meaning of its own, such as a score of -inf
            return torch.where(self._is_inside(node), new, full)
        if is_matrix(node.shape) or node not in self._of_matrices:
            return new
        if not torch.equal(new, new[:1].expand_as(new)):
            name = next(name for name, each in self._step.changed.items() if each is node)
            raise ValueError(
                f"{name}: expected one value for all sequences, since a matrix is made of it, got "
                f"{len(new)} sequences that differ. Give the same for each."
            )
        return new[0] if len(new) else value

    def _rows(self, node: Node) -> Sequence[Tensor]:
        """A value at each step that was there before the loop."""
        value = self._values[node]
        if self._step.rates[node] is Rate.SEQUENCE:
            return value.unbind(0)
        return [value] * self._steps

    def _full(self, node: Node, value: Tensor) -> Tensor:
        """A value of one step for each sequence and position, also where it is the same for all."""
        own = shape_of(node, self._sizes, self._positions)
        return value.expand(own if is_matrix(node.shape) else (self._batch, *own))

    def _kept(
        self, node: Node, steps_of: Mapping[Node, Sequence[Tensor]], active: Tensor | None
    ) -> Tensor:
        """A value at all steps, zero past the ends of sequences and of memories."""
        own = shape_of(node, self._sizes, self._positions)
        shape = (self._steps, *(() if is_matrix(node.shape) else (self._batch,)), *own)
        if node not in steps_of:
            value = self._values[node].expand(shape)  # a copy: it may be one for all steps, or x
            value = value.clone(memory_format=torch.contiguous_format)
        elif self._steps:
            value = torch.stack(list(steps_of[node]))
        else:
            value = self._like.new_empty(shape)
        if is_matrix(node.shape):
            return value
        if active is not None:
            value = torch.where(_beside(active, value), value, 0.0)
        return self._past_zero(node, value)

    def _is_inside(self, node: Node) -> Tensor:
        """Whether positions are in the memory of their sequence, beside values of this node."""
        assert self._inside is not None, "only of cells with a memory"
        inside = self._values[self._inside] != 0  # [B, S]
        return inside.unsqueeze(-1) if len(node.shape) > 1 else inside

    def _past_zero(self, node: Node, value: Tensor) -> Tensor:
        """A value, zero past the ends of memories."""
        if not has_positions(node.shape) or self._inside is None:
            return value
        return torch.where(self._is_inside(node), value, 0.0)


def _same(value: Tensor) -> Tensor:
    return value


def _beside(active: Tensor, value: Tensor) -> Tensor:
    """The steps inside their sequence, with as many dimensions as a value."""
    return active if active.dim() == value.dim() else active.unsqueeze(-1)
