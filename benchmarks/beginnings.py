"""What a program waits for before it trains, and what it has unasked: each in fresh processes.

*The first step of a cell* is its definition, its layer, and one forward and backward pass, with no
loop in the cache: what the C++ compiler takes is in it. *The allocator as it comes* is the C
library's, which gives freed memory back at once; the other side keeps it, as `recurra train` does.
Sides take turns; medians are counted.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

import recurra as rc
from benchmarks.fresh import in_fresh_process
from benchmarks.grid import Shape
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import Rounds, row
from recurra.backends import keep_freed_memory
from recurra.lang import mean, sigmoid, tanh

NEW, UNROLLED = Shape(50, 32, 64, 64), Shape(20, 8, 16, 32)
ALLOCATED = Shape(784, 64, 1, 128)
STEPS = 5  # training steps of which the median is counted
AS_IT_COMES, KEPT = "as it comes", "freed memory kept"


def new_gated(x, h, W_z, U_z, b_z, W_c, U_c, b_c):
    """A gated cell that is in no registry."""
    z = sigmoid(W_z @ x + U_z @ h + b_z)
    return z * h + (1 - z) * tanh(W_c @ x + U_c @ (z * h) + b_c)


def euler_100(x, h, W, U, b):
    """100 steps of Euler's method between two inputs."""
    for _ in range(100):
        h = h + 0.01 * (tanh(W @ x + U @ h + b) - mean(h))
    return h


# what its row says, its equations, which become a cell when it is timed, the shape, the seconds
# that are promised
FIRST_STEPS = {
    "new": ("first step of a new gated cell", new_gated, NEW, 2.5),
    "euler": ("first step of 100 unrolled Euler steps", euler_100, UNROLLED, 10.0),
}


def _step(layer: nn.Module, x: torch.Tensor) -> None:
    layer.zero_grad(set_to_none=True)
    layer(x)[0].square().mean().backward()


def first_step_s(name: str) -> float:
    """Seconds that the first step of a cell takes in this process; torch itself is warm."""
    _, equations, shape, _ = FIRST_STEPS[name]
    warm = nn.Linear(shape.I, shape.H)
    warm(torch.randn(shape.B, shape.I)).sum().backward()
    began = time.perf_counter()
    layer = rc.Recurrent(rc.cell(equations), shape.I, shape.H)
    _step(layer, torch.randn(shape.T, shape.B, shape.I))
    return time.perf_counter() - began


def allocated_s(side: str) -> float:
    """Seconds of a training step of an LSTM with the allocator as it comes, or kept."""
    if side == KEPT:
        keep_freed_memory()
    layer, x = rc.LSTM(ALLOCATED.I, ALLOCATED.H), torch.randn(*ALLOCATED[:3])
    took = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        _step(layer, x)
        took.append(time.perf_counter() - began)
    return statistics.median(took[1:])


MEASURES: dict[str, Callable[[str], float]] = {
    **dict.fromkeys(FIRST_STEPS, first_step_s),
    **dict.fromkeys((AS_IT_COMES, KEPT), allocated_s),
}


def _measured_ms(what: str, threads: int, **environment: str) -> float:
    return float(in_fresh_process("benchmarks.beginnings", what, threads, environment)) * 1e3


def _check() -> None:
    torch.manual_seed(0)
    for name, (_, equations, shape, _) in FIRST_STEPS.items():
        cell, small = rc.cell(equations), shape._replace(T=3, B=2)
        x, found = torch.randn(small.T, small.B, small.I), {}
        layer = rc.Recurrent(cell, small.I, small.H, backend="cpu")
        exact = rc.Recurrent(cell, small.I, small.H, backend="reference")
        exact.load_state_dict(layer.state_dict())
        for side, each in (("reference", exact), ("recurra", layer)):
            _step(each, x)
            grads = {k: p.grad for k, p in each.named_parameters() if p.grad is not None}
            found[side] = {"y": each(x)[0].detach(), **grads}
        check_agreement(name, found["reference"], {"recurra": found["recurra"]})


def _run(settings: Settings) -> Iterator[Row]:
    rounds, threads = range(1 if settings.quick else 5), settings.threads
    for name, (what, _, shape, promised_s) in FIRST_STEPS.items():
        took = []
        for _ in rounds:
            with tempfile.TemporaryDirectory() as cache:
                took.append(_measured_ms(name, threads, RECURRA_CACHE=cache))
        peer = f"{promised_s:g} s"
        sides = Rounds(ms={"recurra": took, peer: [promised_s * 1e3] * len(took)})
        yield row(sides, f"{what}, {shape}", peer, settings, target=Target(value=1.0))
    sides = Rounds(ms={KEPT: [], AS_IT_COMES: []})
    for _ in rounds:
        for side, took in sides.ms.items():
            took.append(_measured_ms(side, threads))
    job = f"LSTM, {ALLOCATED}, the allocator as it comes"
    yield row(sides, job, KEPT, settings, ours=AS_IT_COMES, target=Target(value=0.97))


def _main() -> None:
    """One measure, in seconds, on standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beginnings", description=__doc__)
    parser.add_argument("what", choices=list(MEASURES))
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(MEASURES[arguments.what](arguments.what))


BENCHMARKS = (
    Benchmark(
        name="beginnings",
        doc="the first step of a cell that was never compiled, and training with the C library's "
        "allocator as it comes; ratio: what is promised, or the other side's time, over ours",
        check=_check,
        run=_run,
    ),
)

if __name__ == "__main__":
    _main()
