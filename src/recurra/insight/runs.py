"""Every layer and direction of a call, linearised, each layer on the outputs of the one below."""

import torch

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
