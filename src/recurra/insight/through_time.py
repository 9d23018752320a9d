"""What goes on through time in recurrent layers that are compared: fresh cells, runs, checkpoints.

All figures of several are on one scale.

Letters: T time, B batch, I input, H hidden, N numbers in all states together.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurra.insight.calls import LayerCall, captured
from recurra.insight.dynamics_figures import (
    figure_of_flow,
    figure_of_lags,
    figure_of_lyapunov,
    figure_of_vanishing,
)
from recurra.insight.gradient_flow import compare_flows, fresh_layer, gradient_flow_of_loss
from recurra.insight.linearized import Linearized
from recurra.insight.lyapunov import LyapunovSpectrum, lyapunov_spectrum, spectrum_of_run
from recurra.insight.report import Figure, Report
from recurra.insight.runs import linearized_run, narrowed
from recurra.insight.vanishing import vanishing, vanishing_of_run
from recurra.lang import Cell
from recurra.nn.stack import CellStack

_MOST_LOSSES = 100  # of a sequence whose gradients are taken back
_SEQUENCES = 2  # that a Lyapunov spectrum is the mean of
_EXPONENTS = 48  # of a layer, the first ones
_BURN_IN = 0.2  # of the steps, which are not counted
_MOST_MULTIPLIED, _MOST_LAGS = 512, 50  # numbers in states, and steps, of Jacobians multiplied


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A layer of a model, and what makes the model read.

    Attributes:
        layer: that the model calls once, on whole sequences.
        loss: runs the model on data and gives its loss.
    """

    layer: CellStack
    loss: Callable[[], Tensor]

    def check(self) -> None:
        """Raise ValueError when the loss does not call the layer once."""
        self.call()

    def call(self) -> LayerCall:
        """What the layer is called with; ValueError when it is not called once."""
        with captured(self.layer) as calls, torch.no_grad():
            self.loss()
        if len(calls) != 1:
            raise ValueError(
                f"a loss that calls {self.layer.where} once is needed, and it is called "
                f"{len(calls)} times."
            )
        return calls[0]


def figures_of_layers(watched: Mapping[str, Watched]) -> list[Figure]:
    """Gradients of each model's own loss through its layer, whether they must vanish there, and the
    layer's Lyapunov exponents.

    Args:
        watched: by the names of the models.
    Raises:
        ValueError: when a model does not call its layer once.
    Cost: for each about T^2 / 2 steps back, of at most 100 losses; whether gradients must vanish
        is asked of states of at most 512 numbers, whose Jacobians are multiplied.
    """
    flows, verdicts, spectra = {}, {}, {}
    for name, each in watched.items():
        call = each.call()
        flows[name] = gradient_flow_of_loss(each.layer, each.loss, most=_MOST_LOSSES)
        if len(call.y) >= 1 / _BURN_IN:
            run = _run_of(call, _SEQUENCES)
            spectra[name] = _spectrum(run)
            if run.size <= _MOST_MULTIPLIED:
                place = call.layer.places[-1]
                verdicts[name] = vanishing_of_run(
                    _run_of(call, 1), call.layer, place, max_lag=_MOST_LAGS
                )
    figures = [figure_of_lags(flows), figure_of_flow(flows)]
    if verdicts:
        figures.append(figure_of_vanishing(verdicts))
    return [*figures, figure_of_lyapunov(spectra)] if spectra else figures


def _run_of(call: LayerCall, sequences: int) -> Linearized:
    """The last layer along some of the sequences that a call read."""
    return linearized_run(narrowed(call, sequences), call.layer.places[-1], torch.float64)


def _spectrum(run: Linearized) -> LyapunovSpectrum:
    """The first exponents of a run."""
    return spectrum_of_run(
        run,
        num_exponents=min(run.size, _EXPONENTS),
        burn_in=int(_BURN_IN * len(run.order)),
    )


def report_of_cells(
    cells: Sequence[Cell],
    *,
    steps: int = 100,
    batch_size: int = 8,
    input_size: int = 16,
    hidden_size: int = 64,
    seed: int = 1,
) -> Report:
    """Fresh cells side by side on the same noise: what becomes of gradients before any training.

    Args:
        cells: at least one.
        steps: T; the longer, the further gradients are followed.
        seed: of the noise, and of each cell's parameters.
    """
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    shape = (steps, batch_size, input_size)
    x = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
    flows = compare_flows(cells, x, hidden_size, seed=seed)
    spectra, verdicts, facts = {}, {}, []
    for cell in cells:
        layer = fresh_layer(cell, input_size, hidden_size, seed=seed, dtype=x.dtype)
        some = x[:, :_SEQUENCES]
        spectra[cell.name] = lyapunov_spectrum(layer, some, burn_in=int(_BURN_IN * steps))
        verdicts[cell.name] = vanishing(layer, some, max_lag=steps - 1, seed=seed)
        facts.append(f"{sum(p.numel() for p in layer.parameters()):,}")
    return Report(
        title=f"{', '.join(cell.name for cell in cells)}, before any training",
        subtitle=(
            f"{steps:,} steps of noise, {batch_size:,} sequences, {input_size:,} features, "
            f"{hidden_size:,} hidden units."
        ),
        columns=[cell.name for cell in cells],
        facts=[("parameters", *facts)],
        figures=[
            figure_of_lags(flows),
            figure_of_flow(flows),
            figure_of_lyapunov(spectra),
            figure_of_vanishing(verdicts),
        ],
        notes=[f"Computed in {time.perf_counter() - started:.1f} s."],
    )
