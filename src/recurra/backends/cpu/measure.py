"""What a cell's compiled loops spend their time on, counted by their threads."""

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.backends.cpu.abi import PARTS
from recurra.backends.cpu.backend import CpuBackend
from recurra.backends.cpu.execute import CpuLoops
from recurra.backends.cpu.loops import CompiledLoop

_WARM_UP, _ROUNDS, _LEAST_S = 3, 5, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Where the time of a pass over a batch goes.

    Attributes:
        ms: of the whole pass, the median of several.
        outside: the share of it outside the compiled loop: Python, memory, and what torch computes.
        parts: the shares of the loop's time by part, of its threads together; in order of `PARTS`.
    """

    ms: float
    outside: float
    parts: Mapping[str, float]

    def __str__(self) -> str:
        shares = sorted(self.parts.items(), key=lambda item: -item[1])
        inside = (1 - self.outside) * 100
        named = [f"{name} {inside * share:.0f} %" for name, share in shares if share >= 0.005]
        return f"{self.ms:.3g} ms: {', '.join(named)}; outside the loop {100 * self.outside:.0f} %"


def measure(
    cell: Any,
    x: Tensor,
    states: tuple[Tensor, ...],
    parameters: Mapping[str, Tensor],
    *,
    low: bool = False,
    **options: Any,
) -> tuple[Spent, Spent]:
    """The forward and the backward pass of a call, by what takes their time.

    Args:
        cell, x, states, parameters, options: as `PlannedBackend.run` takes them.
        low: keep states alone for the backward pass, as a layer with memory="low".

    Cost: a second or two, and as much for building the loops the first time.

    Raises:
        BackendError: where the call cannot be compiled.
    """
    made: list[CpuLoops] = []  # other libraries than those of any layer
    backend = CpuBackend(cell, memory="low" if low else "normal", counted=made)
    leaves = [parameter.detach().clone().requires_grad_() for parameter in parameters.values()]
    own = dict(zip(parameters, leaves, strict=True))

    def loops(*, reverse: bool) -> list[CompiledLoop]:
        return [loop for each in made for loop in each.loops if loop.skip is reverse]

    def forward() -> Tensor:
        y, finals = backend.run(x, states, own, **options)
        return y.sum() + sum(final.sum() for final in finals)

    for _ in range(_WARM_UP):
        torch.autograd.grad(forward(), leaves, allow_unused=True)
    for loop in (*loops(reverse=False), *loops(reverse=True)):
        loop.launched_s = 0.0
        if loop.spent is not None:
            loop.spent.zero_()
    taken: tuple[list[float], list[float]] = ([], [])
    begun = time.perf_counter()
    while len(taken[0]) < _ROUNDS or time.perf_counter() - begun < _LEAST_S:
        times = [time.perf_counter()]
        total = forward()
        times.append(time.perf_counter())
        torch.autograd.grad(total, leaves, allow_unused=True)
        times.append(time.perf_counter())
        for seconds, first, second in zip(taken, times[:-1], times[1:], strict=True):
            seconds.append(second - first)
    return (
        _spent(taken[0], loops(reverse=False)),
        _spent(taken[1], loops(reverse=True)),
    )


def _spent(seconds: list[float], loops: Iterable[CompiledLoop]) -> Spent:
    launched = sum(loop.launched_s for loop in loops)
    ticks = torch.stack([loop.spent.sum(0) for loop in loops if loop.spent is not None]).sum(0)
    shares = (ticks / ticks.sum().clamp(min=1)).tolist()
    return Spent(
        ms=1e3 * statistics.median(seconds),
        outside=max(1 - launched / sum(seconds), 0.0),
        parts=dict(zip(PARTS, shares, strict=True)),
    )
