"""What it costs to look at every value of the equations: a trace against the reference's forward.

Both run with operations of torch and without gradients, the reference a plan in which products are
merged, the trace the equations as they are written, each value kept.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import recurra as rc
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings
from benchmarks.timing import interleaved, local, row

CELLS = ("lstm", "gru", "mut1")
SHAPE, SMALL = (200, 16, 256), (7, 3, 8)


def _layer(cell: str, shape: tuple[int, int, int]) -> tuple[rc.Recurrent, Tensor]:
    steps, batch, size = shape
    torch.manual_seed(0)
    return rc.Recurrent(cell, size, size, backend="reference"), torch.randn(steps, batch, size)


def _forward(layer: rc.Recurrent, x: Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            layer(x)

    return run


def _trace(layer: rc.Recurrent, x: Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            rc.trace(layer, x)

    return run


def _agree(cell: str, shape: tuple[int, int, int]) -> None:
    layer, x = _layer(cell, shape)
    with torch.no_grad():
        y, t = layer(x)[0], rc.trace(layer, x)
    check_agreement(f"a trace of {cell}", {"y": y}, {"recurra": {"y": t.h}})


def _check() -> None:
    for cell in CELLS:
        _agree(cell, SMALL)


def _run(settings: Settings) -> Iterator[Row]:
    for cell in CELLS:
        _agree(cell, SHAPE)
        layer, x = _layer(cell, SHAPE)
        sides = {"recurra": local(_trace(layer, x)), "reference": local(_forward(layer, x))}
        steps, batch, size = SHAPE
        name = f"a trace of {cell}, T {steps} B{batch} H{size}"
        yield row(interleaved(sides, settings), name, "reference", settings)


BENCHMARKS = (
    Benchmark(
        name="tracing",
        doc="rc.trace with every value kept; ratio: the time of the reference's forward over ours",
        check=_check,
        run=_run,
    ),
)
