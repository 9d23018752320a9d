"""Every layer and direction of a call, linearised, each layer on the outputs of the one below, and
how lags are counted in it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from recurra.insight.calls import LayerCall
from recurra.insight.linearized import Linearized


def linearized_runs(call: LayerCall, dtype: torch.dtype | None = None) -> list[Linearized]:
    """One for each of the layer's `places`, in their order."""
    return _below(call, call.layer.num_layers, dtype)


def linearized_run(
    call: LayerCall, place: tuple[int, int], dtype: torch.dtype | None = None
) -> Linearized:
    """The one of a layer and direction."""
    runs = _below(call, place[0] + 1, dtype)
    return runs[place[0] * call.layer.num_directions + place[1]]


def _below(call: LayerCall, num_layers: int, dtype: torch.dtype | None) -> list[Linearized]:
    """Those of the first layers."""
    layer, x = call.layer, call.x
    D = layer.num_directions
    runs: list[Linearized] = []
    with torch.no_grad():
        for row, place in enumerate(layer.places[: num_layers * D]):
            if row and place[1] == 0:
                x = torch.cat([run.y for run in runs[-D:]], -1)
            run = Linearized(
                layer,
                place,
                x,
                [state[row] for state in call.states],
                lengths=call.lengths,
                inputs=call.inputs,
                context=call.context,
                memory=call.memory,
                memory_lengths=call.memory_lengths,
                embedding=call.embedding if place[0] == 0 else None,
                start=call.start,
                dtype=dtype,
            )
            runs.append(run)
    return runs


def narrowed(call: LayerCall, count: int) -> LayerCall:
    """The call with so many of its sequences, the longest."""
    batch = call.y.shape[1]
    order = torch.arange(batch, dtype=torch.int64, device=call.y.device)
    if call.lengths is not None:
        order = call.lengths.argsort(descending=True, stable=True)
    kept = order[:count]
    lengths = None if call.lengths is None else call.lengths[kept]
    memory_lengths = None if call.memory_lengths is None else call.memory_lengths[kept]
    return replace(
        call,
        x=call.x[:, kept],
        states=tuple(each[:, kept] for each in call.states),
        lengths=lengths,
        inputs=tuple(each[:, kept] for each in call.inputs),
        context=tuple(each[kept] for each in call.context),
        memory=tuple(each[kept] for each in call.memory),
        memory_lengths=memory_lengths,
        y=call.y[:, kept],
        finals=tuple(each[:, kept] for each in call.finals),
    )


class FromEnds:
    """Lags counted back from each sequence's own last step, of a walk back over all steps.

    Where sequences end early the walk passes steps that they do not have before it comes to their
    last one.

    Args:
        run: with T steps in `order`, which the walk takes from the last to the first.

    Attributes:
        longest: steps of the longest sequence.
    """

    def __init__(self, run: Linearized) -> None:
        steps = len(run.order)
        self._counts = run.inside.sum(0)  # [B]
        # a direction from the end comes last to the first step, which each has
        before = steps - self._counts if run.order.step > 0 else torch.zeros_like(self._counts)
        self._before, self.longest = before, int(self._counts.max())

    def places(self, lags: Iterable[int]) -> list[int]:
        """The numbers of steps walked at which some sequence is at one of the lags."""
        pairs = zip(self._before.tolist(), self._counts.tolist(), strict=True)
        each = list(dict.fromkeys(pairs))
        return sorted({before + lag for lag in lags for before, count in each if lag <= count})

    def at(self, lags: Sequence[int], rows: Mapping[int, Tensor]) -> Tensor:
        """[n, B, ...] of rows [B, ...] by the number of steps walked; NaN where a sequence is
        shorter than a lag."""
        known = sorted(rows)
        stacked = torch.stack([rows[place] for place in known])
        device = stacked.device
        lag = torch.tensor(lags, dtype=torch.int64, device=device)[:, None]
        place = torch.searchsorted(
            torch.tensor(known, dtype=torch.int64, device=device), lag + self._before
        )
        batch = torch.arange(stacked.shape[1], dtype=torch.int64, device=device)
        found = stacked[place.clamp_max(len(known) - 1), batch]
        inside = (lag <= self._counts).reshape(*place.shape, *(1 for _ in found.shape[2:]))
        return torch.where(inside, found, torch.nan)
