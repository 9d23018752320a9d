"""Share of the arithmetic floor: the time that the matrix products alone would take, over ours.

flops of a training step: each weight matrix [R, C] meets T * B vectors forward, 2 R C each; and
twice as many times backward, for the gradient of the vectors and of itself (the input's gradient is
asked for, so nothing is left out). The rate is the best that torch.mm reaches on this machine in
this run: over several large shapes, over transposed and plain factors, best of many calls, tried
again between the jobs so that a job meets the machine as the rate did.
"""

import time
from collections.abc import Iterator

import torch
from torch import nn

import recurra as rc
from benchmarks.grid import GRID, SMALL, Job, Shape
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target, smallest
from benchmarks.timing import interleaved, local

TARGET = Target(value=0.74)
SHAPES = tuple(shape for shape in GRID if shape.H >= 256 and shape.B >= 32)
LAYERS = {
    "LSTM": rc.LSTM,
    "GRU": rc.GRU,
    "RNN": rc.RNN,
    "MUT1": lambda *sizes: rc.Recurrent("mut1", *sizes),
    "MUT2": lambda *sizes: rc.Recurrent("mut2", *sizes),
    "peephole LSTM": lambda *sizes: rc.Recurrent("peephole_lstm", *sizes),
}
# [n, k] @ [k, m]: square ones, and the products of a layer over all its steps
PRODUCTS = (
    (1024, 1024, 1024),
    (2048, 2048, 2048),
    (4096, 1024, 4096),
    (6400, 512, 2048),
    (8192, 1024, 4096),
)


def flops(layer: nn.Module, shape: Shape) -> int:
    """Of the products of one training step."""
    matrices = sum(p.numel() for p in layer.parameters() if p.ndim == 2)
    return 3 * 2 * shape.T * shape.B * matrices


def best_rate(calls: int) -> float:
    """The most flops a second that torch.mm reaches, best of so many calls of every kind."""
    best = 0.0
    for n, k, m in PRODUCTS:
        a, out = torch.randn(n, k), torch.empty(n, m)
        for b in (torch.randn(k, m), torch.randn(m, k).t()):
            for _ in range(calls):
                start = time.perf_counter()
                torch.mm(a, b, out=out)
                best = max(best, 2 * n * k * m / (time.perf_counter() - start))
    return best


def _check() -> None:
    """The count of flops is that of a profiler, on the same equations as a stack of products."""
    from torch.utils.flop_counter import FlopCounterMode

    for name, make in LAYERS.items():
        layer, job = make(SMALL.I, SMALL.H), Job(SMALL)
        matrices = [p for p in layer.parameters() if p.ndim == 2]
        with FlopCounterMode(display=False) as counter:
            for matrix in matrices:
                vectors = torch.randn(SMALL.T * SMALL.B, matrix.shape[1], requires_grad=True)
                (vectors @ matrix.t()).sum().backward()
        assert counter.get_total_flops() == flops(layer, SMALL), name
        _check_layer(name, layer, job)


def _check_layer(name: str, layer: rc.Recurrent, job: Job) -> None:
    """Hold what is timed against the reference backend."""
    found = job.results(layer)
    backend, layer.backend = layer.backend, "reference"
    expected = job.results(layer)
    layer.backend = backend
    check_agreement(f"{name} {job.shape}", expected, {"recurra": found})


def _run(settings: Settings) -> Iterator[Row]:
    calls = 3 if settings.quick else 10
    rate = best_rate(calls)
    timed = []
    for name, make in LAYERS.items():
        for shape in SHAPES[: 1 if settings.quick else None]:
            torch.manual_seed(0)
            layer, job = make(shape.I, shape.H), Job(shape)
            _check_layer(name, layer, job)
            rounds = interleaved(
                {"recurra": local(lambda job=job, layer=layer: job.step(layer))}, settings
            )
            timed.append((name, shape, flops(layer, shape), rounds))
            rate = max(rate, best_rate(max(1, calls // 3)))
    rows = []
    for name, shape, work, rounds in timed:
        floor_ms = work / rate * 1e3
        row = Row(
            job=f"{name}, {shape}",
            peer=f"floor at {rate / 1e9:.0f} GF/s",
            ours=rounds.median_ms("recurra"),
            theirs=floor_ms,
            ratio=floor_ms / rounds.median_ms("recurra"),
            low=floor_ms / max(rounds.ms["recurra"]),
            high=floor_ms / min(rounds.ms["recurra"]),
            target=TARGET,
            rounds=len(rounds),
            threads=settings.threads,
            details={"ms": rounds.ms, "flops": work, "rate_flops_per_s": rate},
        )
        rows.append(row)
        yield row
    yield smallest("all", rows)


BENCHMARKS = (
    Benchmark(
        name="floor",
        doc="share of the arithmetic floor, float32, forward + backward with the input's gradient; "
        "ratio: the products at torch.mm's best rate over recurra's time",
        check=_check,
        run=_run,
    ),
)
