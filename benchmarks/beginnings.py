"""What a program waits for before it trains, and what it has unasked: each in fresh processes.

*The first step of a cell* is its definition, its layer, and one forward and backward pass, with no
loop in the cache: what the C++ compiler takes is in it. *The allocator as it comes* is the C
library's, which gives freed memory back at once; the other side keeps it, as `recurra train` does.
Sides take turns; medians are counted.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

import recurra as rc
from benchmarks.grid import Shape
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from recurra.backends import keep_freed_memory
from recurra.lang import mean, sigmoid, tanh

NEW, UNROLLED = Shape(50, 32, 64, 64), Shape(20, 8, 16, 32)
ALLOCATED = Shape(784, 64, 1, 128)
STEPS = 5  # training steps of which the median is counted
AS_IT_COMES, KEPT = "as it comes", "kept"


@rc.cell
def new_gated(x, h, W_z, U_z, b_z, W_c, U_c, b_c):
    """A gated cell that is in no registry."""
    z = sigmoid(W_z @ x + U_z @ h + b_z)
    return z * h + (1 - z) * tanh(W_c @ x + U_c @ (z * h) + b_c)


@rc.cell
def euler_100(x, h, W, U, b):
    """100 steps of Euler's method between two inputs."""
    for _ in range(100):
        h = h + 0.01 * (tanh(W @ x + U @ h + b) - mean(h))
    return h


# name, what its row says, its cell, the shape, the seconds that are promised
FIRST_STEPS = {
    "new": ("first step of a new gated cell", new_gated, NEW, 2.5),
    "euler": ("first step of 100 unrolled Euler steps", euler_100, UNROLLED, 10.0),
}


def _step(layer: nn.Module, x: torch.Tensor) -> None:
    layer.zero_grad(set_to_none=True)
    layer(x)[0].square().mean().backward()


def first_step_s(name: str) -> float:
    """Seconds that the first step of a cell takes in this process; torch itself is warm."""
    _, cell, shape, _ = FIRST_STEPS[name]
    warm = nn.Linear(shape.I, shape.H)
    warm(torch.randn(shape.B, shape.I)).sum().backward()
    began = time.perf_counter()
    _step(rc.Recurrent(cell, shape.I, shape.H), torch.randn(shape.T, shape.B, shape.I))
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


def _measured(what: str, threads: int, cache: str | None = None) -> float:
    """Milliseconds of a measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.beginnings", what, "--threads", str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if cache is not None:
        environment["RECURRA_CACHE"] = cache
    asked = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if asked.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{asked.stderr}")
    return float(asked.stdout) * 1e3


def _check() -> None:
    torch.manual_seed(0)
    for name, (_, cell, shape, _) in FIRST_STEPS.items():
        small = shape._replace(T=3, B=2)
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
    rounds = 1 if settings.quick else 5
    for name, (what, _, shape, promised_s) in FIRST_STEPS.items():
        took = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as cache:
                took.append(_measured(name, settings.threads, cache))
        ratios = [promised_s * 1e3 / ms for ms in took]
        yield Row(
            job=f"{what}, {shape}",
            peer=f"{promised_s:g} s",
            ours=statistics.median(took),
            theirs=promised_s * 1e3,
            ratio=statistics.median(ratios),
            low=min(ratios),
            high=max(ratios),
            target=Target(value=1.0),
            rounds=rounds,
            threads=settings.threads,
            details={"ms": took},
        )
    turns = [
        (_measured(KEPT, settings.threads), _measured(AS_IT_COMES, settings.threads))
        for _ in range(rounds)
    ]
    ratios = [kept / as_it_comes for kept, as_it_comes in turns]
    kept, as_it_comes = (statistics.median(side) for side in zip(*turns, strict=True))
    yield Row(
        job=f"LSTM, {ALLOCATED}, the allocator as it comes",
        peer="freed memory kept",
        ours=as_it_comes,
        theirs=kept,
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        target=Target(value=0.97),
        rounds=rounds,
        threads=settings.threads,
        details={"ms": turns},
    )


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
