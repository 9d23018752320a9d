"""Gradients through time: how much of the loss at each step reaches the states of each other step.

One reverse pass does all losses at once. Each is a row beside the batch, so that a step is pulled
back for all rows together; a row joins where its loss is, and norms are all that is kept.

The states of a step are the coordinates of one vector: dL_t/dc_k of an LSTM holds h_k where it is,
and is what flows along the cell state alone.

Letters: T time, B batch, R rows (losses), O output, P layers and directions, S states.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.linalg import vector_norm

from recurra.insight.calls import LayerCall, call_of, captured, checked_call, chosen_steps
from recurra.insight.forms import drawn_cotangents, in_form
from recurra.insight.linearized import Linearized, computing_dtype
from recurra.insight.runs import linearized_runs
from recurra.lang import Cell
from recurra.nn import Recurrent
from recurra.nn.stack import CellStack

_ROWS = 1024  # of one pass: enough for a product to be fast, few enough for a value to stay cached
_HANDED_DOWN = 32_000_000  # numbers that one layer hands to the one below, for the rows of a pass

Visit = Callable[[int, int, slice, tuple[Tensor, ...]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientFlow:
    """How much of each loss reaches each state.

    Attributes:
        places: each layer and direction (1: from the end), as the layer orders them.
        from_end: of each, whether it reads sequences from their end.
        states: names of the cell's states.
        losses: [R], the steps t whose losses they are.
        norms: [P, S, R, T]: the norm of dL_t/ds_k, s the states of a step, mean over the sequences
            that have step k and a loss at t. NaN where none has, or where L_t does not come after
            k in any way.
        joint: [P, R, T]: the same of all states of a step as one vector.
    """

    places: tuple[tuple[int, int], ...]
    from_end: tuple[bool, ...]
    states: tuple[str, ...]
    losses: Int64[np.ndarray, " losses"]
    norms: Float64[np.ndarray, "places states losses time"]
    joint: Float64[np.ndarray, "places losses time"]

    def by_lag(self, place: int = 0, state: str | None = None) -> Float64[np.ndarray, " time"]:
        """[T]: the mean norm at each lag, how many steps the loss is away in reading order.

        Args:
            place: index among `places`.
            state: name of a state; None for all as one vector.

        Returns:
            NaN at lags that no pair has.
        """
        norms = self.joint[place] if state is None else self.norms[place, self.states.index(state)]
        steps = np.arange(norms.shape[1])
        lags = self.losses[:, None] - steps
        lags = -lags if self.from_end[place] else lags
        found = np.full(len(steps), np.nan)
        for lag in steps:
            values = norms[lags == lag]
            values = values[~np.isnan(values)]
            if len(values):
                found[lag] = values.mean()
        return found


def gradient_flow(
    layer: CellStack,
    x: Any,
    d_y: Tensor | None = None,
    *,
    losses: Sequence[int] | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> GradientFlow:
    """The gradient flow of `layer(x, ...)`.

    Args:
        layer: `rc.Recurrent` or a drop-in, of any cell.
        x: what the layer is called with.
        d_y: dL_t/dy_t, in the form of the layer's output; None draws a direction for each step and
            sequence, of norm 1, so that norms are what is left of 1.
        losses: the steps t to look at; None for all.
        seed: of what is drawn.
        dtype: to compute in; None for the layer's.
        options: the layer's other arguments: state, lengths, context, memory, ...

    Raises:
        ValueError: when there is no such step, or d_y has another shape.

    Cost: about T^2 / 2 steps back for B sequences; memory as for T steps of B and one of 1024 rows.
    """
    call = call_of(layer, x, **options)
    given = drawn_cotangents(call.y, seed) if d_y is None else in_form(layer, call, d_y)
    return flow_of_call(call, given, losses=losses, dtype=dtype)


def gradient_flow_of_loss(
    layer: CellStack,
    loss: Callable[[], Tensor],
    *,
    losses: Sequence[int] | None = None,
    most: int | None = None,
    dtype: torch.dtype | None = None,
) -> GradientFlow:
    """The gradient flow of a model's own loss.

    Args:
        layer: a layer of the model, which calls it once.
        loss: runs the model on data and gives its loss, a sum over steps of what each output makes.
        losses: the steps to look at; None for all that have one.
        most: of these steps, evenly spread from the first to the last; None for all.

    Raises:
        ValueError: when the model does not call the layer once, or what it gives is no loss.
    """
    with captured(layer) as calls, torch.enable_grad():
        total = loss()
    if len(calls) != 1:
        raise ValueError(
            f"gradient_flow_of_loss: expected a loss that calls {layer.where} once, got "
            f"{len(calls)} calls. Give the layer that reads whole sequences."
        )
    call = checked_call(calls[0])
    if not isinstance(total, Tensor) or total.numel() != 1 or not total.requires_grad:
        got = type(total).__name__
        if isinstance(total, Tensor):
            got = f"{list(total.shape)}" + ("" if total.requires_grad else " without gradients")
        raise ValueError(
            f"gradient_flow_of_loss: expected a loss of one number that follows from the layer's "
            f"output, got {got}. Give the loss itself, before detach() or item()."
        )
    d_y, *d_finals = torch.autograd.grad(
        total, (call.y, *call.finals), allow_unused=True, materialize_grads=True
    )
    if losses is None:
        has = d_y.abs().amax((1, 2)) > 0
        has[-1] |= any(bool(d.any()) for d in d_finals)
        losses = [int(t) for t in has.nonzero()]
    if most is not None and len(losses) > most:
        places = np.linspace(0, len(losses) - 1, most).round().astype(np.int64)
        losses = [losses[place] for place in dict.fromkeys(places.tolist())]
    return flow_of_call(call, d_y, d_finals, losses=losses, dtype=dtype)


def compare_flows(
    cells: Sequence[Cell | str],
    x: Tensor,
    hidden_size: int,
    *,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> dict[str, GradientFlow]:
    """Fresh cells on the same input, each by its name.

    Args:
        x: [T, B, I].
        hidden_size: H.
        seed: of the parameters, drawn anew for each cell, and of the losses' directions.
        options: of `rc.Recurrent`; the layers are on the device of x unless they say another.
    """
    found = {}
    options = {"device": x.device, "dtype": x.dtype, **options}
    for cell in cells:
        layer = fresh_layer(cell, x.shape[-1], hidden_size, seed=seed, **options)
        found[layer.cell.name] = gradient_flow(layer, x, seed=seed, dtype=dtype)
    return found


def fresh_layer(
    cell: Cell | str,
    input_size: int,
    hidden_size: int,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Recurrent:
    """A layer whose parameters are those of the seed, the same on all devices; torch's own random
    state, of the CPU and of others, is left as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed sets GPUs too
        layer = Recurrent(cell, input_size, hidden_size, device="cpu", **options)
    return layer.to(device)


def flow_of_call(
    call: LayerCall,
    d_y: Tensor,
    d_finals: Sequence[Tensor] | None = None,
    *,
    losses: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
) -> GradientFlow:
    """The gradient flow of a call that was captured.

    Args:
        d_y: [T, B, D*O].
        d_finals: [L*D, B, S] each, of the final states, which count as of the last step.
    """
    steps = len(d_y)
    at = list(range(steps))
    if losses is not None and len(losses):
        at = sorted(set(chosen_steps("losses", losses, steps)))
    elif losses is not None:
        at = []
    places, names = call.layer.places, call.layer.cell.states
    sums = torch.zeros(
        len(places), len(names) + 1, len(at), steps, dtype=torch.float64, device="cpu"
    )
    counts = _pairs(call, at, d_y, d_finals)

    def visit(place: int, k: int, rows: slice, d_states: tuple[Tensor, ...]) -> None:
        # squares of small numbers are out of the range of float32
        each = [vector_norm(d.flatten(2), dim=-1, dtype=torch.float64) for d in d_states]
        norms = torch.stack([*each, vector_norm(torch.stack(each), dim=0)])  # [S + 1, R, B]
        inside = counts.inside[k][None] & counts.losses[at[rows]]
        sums[place, :, rows, k] = torch.where(inside, norms, 0.0).sum(-1).cpu()

    reached = walk(call, d_y, d_finals, at, visit, dtype=dtype)
    means = sums / counts.pairs
    means[~reached[:, None].expand_as(means)] = torch.nan
    return GradientFlow(
        places=places,
        from_end=tuple(call.layer.reverse or direction == 1 for _, direction in places),
        states=names,
        losses=np.array(at, dtype=np.int64),
        norms=means[:, :-1].numpy(),
        joint=means[:, -1].numpy(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """Which steps each sequence has, [T, B], at which it has a loss, [T, B], and how many sequences
    have both of a pair, [R, T]."""

    inside: Tensor
    losses: Tensor
    pairs: Tensor


def _pairs(
    call: LayerCall, at: Sequence[int], d_y: Tensor, d_finals: Sequence[Tensor] | None
) -> _Pairs:
    steps, batch = d_y.shape[:2]
    inside = _inside(call, steps, batch)
    losses = (d_y != 0).any(-1)
    if d_finals is not None:  # which count as of the last step
        ends = [(d != 0).transpose(0, 1).flatten(1).any(1) for d in d_finals]
        losses[-1] |= torch.stack(ends).any(0)
    losses &= inside
    pairs = losses[list(at)].double().cpu() @ inside.double().cpu().T
    return _Pairs(inside=inside, losses=losses, pairs=pairs)


def _inside(call: LayerCall, steps: int, batch: int) -> Tensor:
    if call.lengths is None:
        return torch.ones(steps, batch, dtype=torch.bool, device=call.y.device)
    index = torch.arange(steps, dtype=torch.int64, device=call.y.device)
    return index[:, None] < call.lengths


def walk(
    call: LayerCall,
    d_y: Tensor,
    d_finals: Sequence[Tensor] | None,
    losses: Sequence[int],
    visit: Visit,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Take every loss back through all layers, directions and steps.

    Args:
        d_y: [T, B, D*O].
        losses: the steps that have one, rising.
        visit: given the index of a place, a step k, which of the losses, and dL_t/ds_k of these,
            [R, B, S] for each state.

    Returns:
        [P, R, T] bool: which pairs there are.
    """
    layer, dtype = call.layer, dtype or computing_dtype(call.layer)
    runs = linearized_runs(call, dtype)
    d_y = d_y.detach().to(dtype)
    steps, batch = d_y.shape[:2]
    if call.lengths is not None:
        d_y = torch.where(_inside(call, steps, batch)[..., None], d_y, 0.0)
    reached = torch.zeros(len(layer.places), len(losses), steps, dtype=torch.bool, device="cpu")
    widest = max((sizes["I"] for sizes in layer.layer_sizes[1:]), default=0)
    count = max(1, _ROWS // batch)
    if widest:
        count = max(1, min(count, _HANDED_DOWN // (steps * batch * widest)))
    with torch.no_grad():
        for first in range(0, len(losses), count):
            some = losses[first : first + count]
            _walk_rows(layer, runs, d_y, d_finals, some, first, visit, reached)
    return reached


def _walk_rows(
    layer: CellStack,
    runs: Sequence[Linearized],
    d_y: Tensor,
    d_finals: Sequence[Tensor] | None,
    losses: Sequence[int],
    first: int,
    visit: Visit,
    reached: Tensor,
) -> None:
    """`walk` for some of the losses, of which the first is the `first` of all."""
    D = layer.num_directions
    handed: Tensor | None = None  # [T, R, B, D * O], from the layer above
    for index in reversed(range(layer.num_layers)):
        below: Tensor | None = None
        for direction in range(D):
            place = index * D + direction
            size = runs[place].y.shape[-1]
            columns = slice(direction * size, (direction + 1) * size)
            back = _Back(
                run=runs[place],
                losses=losses,
                d_y=None if handed is not None else d_y[..., columns],
                handed=None if handed is None else handed[..., columns],
                ends=None if d_finals is None else [d[place] for d in d_finals],
                everywhere=D == 2 and handed is not None,
            )
            found: list[Tensor] = []
            for k, alive, d_states, d_x in back.steps(to_input=index > 0):
                visit(place, k, slice(first + alive.start, first + alive.stop), d_states)
                reached[place, first + alive.start : first + alive.stop, k] = True
                if d_x is not None:
                    found.append(_in_rows(d_x, alive, len(losses)))
            if found:
                order = found[::-1] if runs[place].order.step > 0 else found
                below = torch.stack(order) if below is None else below + torch.stack(order)
        handed = below


@dataclass(frozen=True, slots=True, kw_only=True)
class _Back:
    """One layer and direction taken back through time, for some losses.

    Attributes:
        losses: their steps, rising.
        d_y: [T, B, O], of the last layer, which each loss reaches at its own step.
        handed: [T, R, B, O], what the layer above hands down, of any other.
        ends: of the final states, [B, S] each, which the loss at the last step has.
        everywhere: a loss may reach steps on both sides of its own.
    """

    run: Linearized
    losses: Sequence[int]
    d_y: Tensor | None
    handed: Tensor | None
    ends: Sequence[Tensor] | None
    everywhere: bool

    def steps(
        self, *, to_input: bool
    ) -> Iterator[tuple[int, slice, tuple[Tensor, ...], Tensor | None]]:
        """From the last step that runs to the first: the step k, the losses that reach it, their
        dL_t/ds_k [R, B, S] of each state, and of the step's input [R, B, I]."""
        shapes, batch = self.run.shapes, self.run.y.shape[1]
        like, alive = self.run.y, slice(0, 0)
        d_states = tuple(like.new_zeros(0, batch, *shape) for shape in shapes)
        for k in reversed(self.run.order):
            now = self._alive(k)
            d_states = tuple(_grown(d, alive, now) for d in d_states)
            if alive.stop == 0:
                d_states = self._with_ends(d_states, now)
            alive = now
            if alive.start == alive.stop:
                if to_input:
                    yield k, alive, d_states, like.new_zeros(0, batch, self.run.input_size)
                continue
            d_out = self._of_output(k, alive)
            if d_out is not None and self.run.output_is_state:
                d_states = (d_states[0] + d_out, *d_states[1:])
                d_out = None
            before, d_x = self.run.pull(k, d_states, d_out, to_input=to_input)
            yield k, alive, d_states, d_x
            d_states = before

    def _alive(self, k: int) -> slice:
        """The losses that can come after step k."""
        if self.everywhere or (self.ends is not None and self.run.order.step < 0):
            return slice(0, len(self.losses))
        if self.run.order.step > 0:
            return slice(bisect_left(self.losses, k), len(self.losses))
        return slice(0, bisect_right(self.losses, k))

    def _with_ends(self, d_states: tuple[Tensor, ...], alive: slice) -> tuple[Tensor, ...]:
        """With the cotangents of the final states, where the loss at the last step is among us."""
        last = self.run.y.shape[0] - 1
        if self.ends is None or last not in self.losses[alive]:
            return d_states
        row = list(self.losses[alive]).index(last)
        found = tuple(d.clone() for d in d_states)
        for d, end in zip(found, self.ends, strict=True):
            d[row] += end
        return found

    def _of_output(self, k: int, alive: slice) -> Tensor | None:
        """[R, B, O]: the cotangents of the output of step k; None for zero."""
        if self.handed is not None:
            return self.handed[k, alive]
        assert self.d_y is not None
        if k not in self.losses[alive]:
            return None
        found = self.d_y.new_zeros(alive.stop - alive.start, *self.d_y.shape[1:])
        found[list(self.losses[alive]).index(k)] = self.d_y[k]
        return found


def _grown(d: Tensor, before: slice, now: slice) -> Tensor:
    """Rows [R, ...] with zeros for those that have joined, in front or behind."""
    if before == now:
        return d
    parts = [d]
    if before.stop == 0:  # none was there
        before = slice(now.start, now.start)
    if before.start > now.start:
        parts.insert(0, d.new_zeros(before.start - now.start, *d.shape[1:]))
    if now.stop > before.stop:
        parts.append(d.new_zeros(now.stop - before.stop, *d.shape[1:]))
    return torch.cat(parts)


def _in_rows(d: Tensor, alive: slice, rows: int) -> Tensor:
    """[R, ...] of all losses, zero where they do not reach."""
    return _grown(d, alive, slice(0, rows)) if alive.stop else d.new_zeros(rows, *d.shape[1:])
