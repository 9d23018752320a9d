"""Training while a program spins on one of the cores: over training alone, and beside torch.nn's.

Seconds of a training step are the mean over some seconds, not the median: what a team of threads
loses when a core goes is a few steps that take many times as long. Both sides run alone first, then
beside the same spinning process.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.grid import SMALL, Job, Shape
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target, smallest
from benchmarks.torch_nn import KINDS, pair

SHAPES = (
    Shape(50, 50, 128, 128),
    Shape(100, 32, 256, 256),
    Shape(100, 1, 128, 128),
    Shape(100, 4, 512, 512),
    Shape(25, 8, 64, 64),
)
SLOWER, BESIDE = Target(value=2.5, at_most=True), Target(value=1.0)


@contextmanager
def _one_core_taken() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        time.sleep(0.5)  # until it spins
        try:
            yield
        finally:
            process.kill()


def _mean_ms(run: Callable[[], object], seconds: float) -> float:
    run()
    calls, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        run()
        calls += 1
    return taken * 1e3 / calls


def _check() -> None:
    for kind in KINDS:
        job = Job(SMALL)
        ours, theirs = pair(kind, SMALL)
        check_agreement(kind, job.results(theirs), {"recurra": job.results(ours)})


def _run(settings: Settings) -> Iterator[Row]:
    seconds = 0.5 if settings.quick else 3.0
    for kind in KINDS:
        slower, beside = [], []
        for shape in SHAPES:
            job = Job(shape, input_gradient=False)
            steps = [partial(job.step, layer) for layer in pair(kind, shape)]
            alone = [_mean_ms(step, seconds) for step in steps]
            with _one_core_taken():
                crowded = [_mean_ms(step, seconds) for step in steps]
            (ours, theirs), (our_crowded, their_crowded) = alone, crowded
            common = {
                "threads": settings.threads,
                "rounds": 1,
                "details": {"ms alone": alone, "ms beside a spinning process": crowded},
            }
            slower.append(
                Row(
                    job=f"{kind} {shape}, over itself alone",
                    peer="recurra",
                    ours=ours,
                    theirs=our_crowded,
                    ratio=our_crowded / ours,
                    target=SLOWER,
                    note=f"torch.nn's is {their_crowded / theirs:.1f}",
                    **common,
                )
            )
            beside.append(
                Row(
                    job=f"{kind} {shape}",
                    peer="torch.nn",
                    ours=our_crowded,
                    theirs=their_crowded,
                    ratio=their_crowded / our_crowded,
                    target=BESIDE,
                    **common,
                )
            )
            yield from (slower[-1], beside[-1])
        yield smallest(f"{kind} beside a spinning process", beside)


BENCHMARKS = (
    Benchmark(
        name="crowded",
        doc="training while another program spins on one core; ratios: how many times slower than "
        "alone, and torch.nn's time over recurra's, both beside it",
        check=_check,
        run=_run,
    ),
)
