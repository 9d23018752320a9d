"""What lies around a trained model: where its recurrence rests, and the loss about its weights.

Both are searches whose cost grows with the model, so that each has a size up to which a report has
it; `find_fixed_points` and `Plane` do the same of any model.

Letters: T time, B batch, I input, N numbers in all states together.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.insight.calls import LayerCall
from recurra.insight.fixed_points import find_fixed_points, states_seen
from recurra.insight.landscape import figure_of_fixed_points, figure_of_surface
from recurra.insight.report import Figure
from recurra.insight.runs import linearized_runs, narrowed
from recurra.insight.step import OneStep
from recurra.insight.surfaces import Plane

LARGEST = 512  # numbers in the states of a layer whose points are searched
_SEQUENCES, _STEPS = 4, 200  # whose states are searched from
_SEARCHES, _FEWEST = 64, 8
_WORK = 200_000_000  # of an iteration of all searches, N^3 each
_ITERATIONS = 40  # of a search: what Levenberg's method has not found by then is seldom near
_SLOW = 1e-10  # speed: a state moves by less than 0.00002 a step
_SPAN = 1.0  # of a surface: as far as the weights are long
_POINTS = (15, 11, 7)  # of a surface along each direction, the most for which there is time
_SECONDS = 10.0  # of processors, that it may take: other work leaves them as they are


def resting_points(call: LayerCall) -> Figure:
    """The fixed and slow points of the last layer under the mean of what it reads, searched from
    the states that it went through.

    Args:
        call: of a layer whose states have at most 512 numbers, and that reads its input alone.
    Raises:
        ValueError: when it has more, or reads something else as well.
    """
    layer = call.layer
    if call.inputs or call.context or call.memory:
        raise ValueError(
            "its recurrent layer reads more than one input, whose mean says little. Give them to "
            "OneStep, and that to find_fixed_points."
        )
    index = layer.num_layers - 1
    step = OneStep(layer, index=index, dtype=torch.float64)
    if step.size > LARGEST:
        raise ValueError(
            f"its states have {step.size:,} numbers, more than the {LARGEST} of a report. "
            f"find_fixed_points takes its time for them."
        )
    call = narrowed(call, _SEQUENCES)
    with torch.no_grad():
        x = _read(call).to(step.dtype)
        x = x.flip(0) if layer.reverse else x
        row = index * layer.num_directions
        seen = states_seen(step, x, step.flat([each[row] for each in call.states]).to(step.dtype))
        points = find_fixed_points(
            step,
            seen,
            x.mean((0, 1)),
            tolerance=_SLOW,
            searches=max(_FEWEST, min(_SEARCHES, _WORK // step.size**3)),
            iterations=_ITERATIONS,
        )
    return figure_of_fixed_points(points, seen.cpu().numpy(), under="the mean of what it reads")


def _read(call: LayerCall) -> Tensor:
    """[T, B, I]: what the last layer reads, of the steps that all sequences have."""
    layer, steps = call.layer, len(call.x)
    if call.lengths is not None:
        steps = max(1, int(call.lengths.min()))
    if layer.num_layers > 1:
        below = linearized_runs(call)[-2 * layer.num_directions : -layer.num_directions]
        x = torch.cat([run.y for run in below], -1)
    elif call.x.is_floating_point():
        x = call.x
    elif call.embedding is not None:
        x = functional.embedding(call.x, call.embedding)
    else:
        x = functional.one_hot(call.x, layer.layer_sizes[0]["I"])
    return x[: min(steps, _STEPS)]


def surface_around(model: nn.Module, loss: Callable[[], Tensor]) -> Figure:
    """The loss over a plane through the weights of a model, along two filter-normalised directions.

    Args:
        model: in evaluation mode; its weights are as before afterwards.
        loss: of the model as it is now, the same at each call.
    Raises:
        ValueError: when a loss takes so long that a coarse plane would take over 10 s.
    """
    plane = Plane(model, lambda _: loss())
    plane.loss((0.0, 0.0))  # what is built or loaded at a first call takes no time of the next
    began = time.process_time()
    plane.loss((0.0, 0.0))
    taken = max(time.process_time() - began, 1e-6)
    points = next((each for each in _POINTS if each**2 * taken <= _SECONDS), None)
    if points is None:
        raise ValueError(
            f"its loss takes {taken:.1f} s, and a surface is {_POINTS[-1] ** 2} of them. "
            "recurra.insight.Plane takes its time for it."
        )
    return figure_of_surface(plane.surface(span=_SPAN, points=points))
