"""What each step adds to the gradient of the parameters: the immediate partial derivatives.

dL/dW = sum_k dL/dh_k d+h_k/dW, where d+h_k/dW is how step k depends on W with the states before it
held where they are. How large each term is says from which steps a model can learn; that the terms
sum to the gradient of a whole run is checked.

Source: Pascanu, Mikolov, Bengio (2013), "On the difficulty of training recurrent neural networks",
ICML, arXiv:1211.5063, eq. (3) to (5).

Letters: T time, B batch, O output, W parameters.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from recurra.insight.calls import LayerCall, call_of, chosen_steps
from recurra.insight.forms import drawn_cotangents, in_form
from recurra.insight.linearized import Linearized, computing_dtype
from recurra.insight.runs import linearized_runs
from recurra.nn.stack import CellStack

Term = Callable[[str, int, Tensor], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partials:
    """The terms of the gradient of each parameter, by step.

    Attributes:
        parameters: their names in the layer.
        norms: [W, T]: the norm of step k's term, summed over the sequences.
        totals: [W]: the norm of the gradient, the sum of the terms.
        error: the largest difference of that sum from the gradient of the whole run, relative to
            the norm of that.
    """

    parameters: tuple[str, ...]
    norms: Float64[np.ndarray, "parameters time"]
    totals: Float64[np.ndarray, " parameters"]
    error: float

    @property
    def shares(self) -> Float64[np.ndarray, "parameters time"]:
        """[W, T]: each term's norm over the sum of those of all steps."""
        sums = self.norms.sum(1, keepdims=True)
        return np.divide(self.norms, sums, out=np.zeros_like(self.norms), where=sums > 0)


def immediate_partials(
    layer: CellStack,
    x: Any,
    d_y: Tensor | None = None,
    *,
    at: int | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> Partials:
    """The terms of the parameters' gradients, of a loss with these derivatives by the output.

    Args:
        layer: `rc.Recurrent` or a drop-in, of any cell.
        x: what the layer is called with.
        d_y: dL/dy_t, in the form of the layer's output; None draws a direction for each step and
            sequence, of norm 1.
        at: the one step whose loss it is; None for the losses of all steps.
        seed: of what is drawn.
        dtype: to compute in; None for the layer's.
        options: the layer's other arguments: state, lengths, context, memory, ...

    Cost: a step forward and back by itself for each step.
    """
    call = call_of(layer, x, **options)
    given = drawn_cotangents(call.y, seed) if d_y is None else in_form(layer, call, d_y)
    if at is not None:
        only = torch.zeros_like(given)
        (at,) = chosen_steps("immediate_partials, at", [at], len(given))
        only[at] = given[at]
        given = only
    return partials_of_call(call, given, dtype=dtype)


def partials_of_call(
    call: LayerCall,
    d_y: Tensor,
    d_finals: Sequence[Tensor] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Partials:
    """The same of a call that was captured.

    Args:
        d_y: [T, B, D*O].
        d_finals: [L*D, B, S] each, of the final states.
    """
    layer, steps = call.layer, d_y.shape[0]
    names = [name for place in layer.places for name in layer.names_of(*place)]
    norms = np.zeros((len(names), steps))
    sums: dict[str, Tensor] = {}

    def term(name: str, k: int, value: Tensor) -> None:
        norms[names.index(name), k] = float(value.double().norm())
        sums[name] = sums[name] + value if name in sums else value.clone()

    whole = terms(call, d_y, d_finals, term, dtype=dtype)
    error = max(
        (
            float((sums[name] - value).norm() / value.norm().clamp(min=1e-300))
            for name, value in whole.items()
            if float(value.norm()) > 0
        ),
        default=0.0,
    )
    return Partials(
        parameters=tuple(names),
        norms=norms,
        totals=np.array(
            [float(sums[name].double().norm()) if name in sums else 0.0 for name in names]
        ),
        error=error,
    )


def terms(
    call: LayerCall,
    d_y: Tensor,
    d_finals: Sequence[Tensor] | None,
    term: Term,
    *,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Give `term` each parameter's name, a step, and what this adds to its gradient.

    Returns:
        The gradients of the whole run, by name.
    """
    layer, dtype = call.layer, dtype or computing_dtype(call.layer)
    D, whole = layer.num_directions, {}
    d_y = d_y.detach().to(dtype)
    with torch.no_grad():
        runs = linearized_runs(call, dtype)
        for index in reversed(range(layer.num_layers)):
            x = call.x if index == 0 else torch.cat([r.y for r in runs[-2 * D : -D]], -1)
            below = []
            for direction in range(D):
                row = index * D + direction
                run, size = runs[row], runs[row].y.shape[-1]
                d_out = d_y[..., direction * size : (direction + 1) * size]
                ends = [
                    torch.zeros_like(final) if d_finals is None else d_finals[i][row].to(dtype)
                    for i, final in enumerate(run.finals)
                ]
                parts = _Steps(call, (index, direction), x, row, run.order, dtype)
                named = dict(
                    zip(layer.cell.parameters, layer.names_of(*layer.places[row]), strict=True)
                )
                for k, found in parts.back(d_out, ends):
                    for name, value in found.items():
                        term(named[name], k, value)
                gradients, _, d_x = run.gradients(d_out, ends, to_input=index > 0)
                whole |= {named[name]: value for name, value in gradients.items()}
                below.append(d_x)
            del runs[-D:]
            if index > 0:
                d_y = torch.stack(below).sum(0)
    return whole


class _Steps:
    """A layer and direction as runs of one step each.

    Args:
        x: what this layer reads, [T, B, I] or token ids.
        row: of its states.
        order: the steps in the order in which they run.
    """

    def __init__(
        self,
        call: LayerCall,
        place: tuple[int, int],
        x: Tensor,
        row: int,
        order: range,
        dtype: torch.dtype,
    ) -> None:
        self._runs: list[tuple[int, Linearized]] = []
        states: Sequence[Tensor] = [state[row] for state in call.states]
        for k in order:
            lengths = None if call.lengths is None else (call.lengths - k).clamp(0, 1)
            run = Linearized(
                call.layer,
                place,
                x[k : k + 1],
                states,
                lengths=lengths,
                inputs=[each[k : k + 1] for each in call.inputs],
                context=call.context,
                memory=call.memory,
                memory_lengths=call.memory_lengths,
                embedding=call.embedding if place[0] == 0 else None,
                start=call.start + k,
                dtype=dtype,
            )
            states = run.finals
            self._runs.append((k, run))

    def back(
        self, d_y: Tensor, d_finals: Sequence[Tensor]
    ) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """From the last step that runs to the first: its number, and its part of the gradients."""
        d_states = tuple(d_finals)
        for k, run in reversed(self._runs):
            found, d_states, _ = run.gradients(d_y[k : k + 1], d_states)
            yield k, found
