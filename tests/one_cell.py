"""A cell as a layer of one direction, on what a case draws; its derivatives by torch's autograd."""

from dataclasses import replace

import torch
from torch import Tensor

from oracle import Case, Inputs
from recurra.backends import ReferenceBackend
from recurra.insight.calls import LayerCall
from recurra.insight.linearized import flat, split
from recurra.ir import POSITIONS
from recurra.lang import Cell
from recurra.nn import Recurrent


def layer_and_call(cell: Cell, case: Case) -> tuple[Recurrent, LayerCall, Inputs]:
    """A layer of the cell with the case's parameters, and the case as a call of it.

    Masks are left out: what is differentiated is the cell in evaluation.
    """
    of = cell.evaluation
    inputs = case.tensors(of)
    sizes = {name: size for name, size in case.sizes.items() if name in cell.size_names[2:]}
    sizes = {name: size for name, size in sizes.items() if name not in POSITIONS.names}
    given = case.sizes.get("I", 1)
    named = {name for leaf in of.equations.inputs for dim in leaf.shape for name in dim.names}
    hidden = case.sizes["H"] if "H" in named else inputs.states[0].shape[1]
    if cell.input:
        leaf = next(node for node in of.equations.inputs if node.attr("kind") == "input")
        given = leaf.shape[0].evaluate(case.sizes) if leaf.shape else given
    layer = Recurrent(
        cell,
        given if cell.input else 0,
        hidden,
        sizes=sizes,
        reverse=case.reverse,
        dtype=torch.float64,
        backend="reference",
    )
    with torch.no_grad():
        for name, full in zip(cell.parameters, layer.names_of(0), strict=True):
            getattr(layer, full).copy_(inputs.parameters[name])
        y, finals = inputs.run(ReferenceBackend(of))
    call = LayerCall(
        layer=layer,
        x=inputs.x.detach(),
        states=tuple(state.detach()[None] for state in inputs.states),
        lengths=inputs.lengths,
        inputs=tuple(each.detach() for each in inputs.further),
        context=tuple(each.detach() for each in inputs.context),
        memory=tuple(each.detach() for each in inputs.memory),
        memory_lengths=inputs.memory_lengths,
        embedding=None if inputs.embedding is None else inputs.embedding.detach(),
        start=inputs.start,
        y=y.detach(),
        finals=tuple(final.detach()[None] for final in finals),
    )
    return layer, call, inputs


class ByAutograd:
    """Parts of a case's run, left to torch's autograd."""

    def __init__(self, cell: Cell, inputs: Inputs) -> None:
        self.inputs, self.cell = inputs, cell.evaluation
        self.backend = ReferenceBackend(self.cell, gradients="autograd")
        self.steps = inputs.x.shape[0]
        self.shapes = tuple(tuple(state.shape[1:]) for state in inputs.states)

    def run(self, states: Tensor, steps: slice) -> tuple[Tensor, Tensor]:
        """y and the final states [B, N] of some neighbouring steps, from states [B, N]."""
        given = self.inputs
        lengths = given.lengths
        if lengths is not None:
            lengths = (lengths - steps.start).clamp(0, steps.stop - steps.start)
        part = replace(
            given,
            x=given.x[steps],
            further=tuple(each[steps] for each in given.further),
            states=split(states, self.shapes),
            lengths=lengths,
            start=given.start + steps.start,
        )
        y, finals = part.run(self.backend)
        return y, flat(finals, self.shapes)

    def first(self) -> Tensor:
        """The first states, [B, N]."""
        return flat([state.detach() for state in self.inputs.states], self.shapes)

    def before(self, k: int) -> slice:
        """The steps that run before step k."""
        return slice(k + 1, self.steps) if self.inputs.reverse else slice(0, k)

    def after(self, k: int) -> slice:
        """The steps that run after step k."""
        return slice(0, k) if self.inputs.reverse else slice(k + 1, self.steps)

    def states_before(self, k: int) -> Tensor:
        """[B, N]: the states that step k reads."""
        before, first = self.before(k), self.first()
        return first if before.start == before.stop else self.run(first, before)[1].detach()

    def jacobian(self, k: int) -> Tensor:
        """[B, N, N]: the derivatives of the states after step k by those before it."""

        def summed(states: Tensor) -> Tensor:
            return self.run(states, slice(k, k + 1))[1].sum(0)  # sequences do not meet

        found = torch.autograd.functional.jacobian(summed, self.states_before(k))
        assert isinstance(found, Tensor)
        return found.transpose(0, 1)

    def flow(self, d_y: Tensor) -> dict[tuple[int, int], Tensor]:
        """dL_t/ds_k [B, N] for each pair (t, k), where L_t is d_y[t] * y[t], summed."""
        found = {}
        is_state = self.cell.equations.output("output") is self.cell.equations.output(
            self.cell.states[0]
        )
        for k in range(self.steps):
            after = self.after(k)
            states = self.run(self.states_before(k), slice(k, k + 1))[1].detach().requires_grad_()
            own = torch.zeros_like(states)
            if is_state:
                width = d_y.shape[-1]
                inside = 1.0
                if self.inputs.lengths is not None:
                    inside = (k < self.inputs.lengths)[:, None].double()
                own[:, :width] = d_y[k] * inside
            found[k, k] = own
            if after.start == after.stop:
                continue
            y, _ = self.run(states, after)
            for i, t in enumerate(range(after.start, after.stop)):
                if not y.requires_grad:  # no state decides what comes out
                    found[t, k] = torch.zeros_like(states)
                    continue
                (d,) = torch.autograd.grad(
                    (y[i] * d_y[t]).sum(),
                    states,
                    retain_graph=True,
                    allow_unused=True,
                    materialize_grads=True,
                )
                found[t, k] = d
        return found
