"""A recurrence that is linear in its state over a long sequence: step by step against a scan.

The compiled loop takes minGRU step by step; the peer cuts time into chunks that run side by side.
Both have the same products before and after, which are most of the work.
"""

from collections.abc import Callable, Iterator

from benchmarks.any_cell import layer_of, named
from benchmarks.grid import Job, Shape
from benchmarks.oracle import check_agreement
from benchmarks.peers.chunked_scan import STEPS, ChunkedMinGRU
from benchmarks.registry import Benchmark, Row, Settings
from benchmarks.timing import interleaved, local, row
from recurra import cells

SHAPES = (Shape(4096, 1, 256, 256), Shape(4096, 8, 256, 256))
SMALL = Shape(2 * STEPS, 3, 7, 19)
SCAN = "PyTorch scan"


def _checked_sides(shape: Shape) -> dict[str, Callable[[], object]]:
    job = Job(shape)
    layer = layer_of(cells.mingru, shape)
    scan = ChunkedMinGRU(layer.parameters_of(0))
    expected = named(job.results(scan), "weights.", "")
    check_agreement(f"mingru {shape}", expected, {"recurra": named(job.results(layer), "", "_l0")})
    return {"recurra": lambda: job.step(layer), SCAN: lambda: job.step(scan)}


def _check() -> None:
    _checked_sides(SMALL)


def _run(settings: Settings) -> Iterator[Row]:
    for shape in SHAPES:
        sides = {name: local(step) for name, step in _checked_sides(shape).items()}
        yield row(interleaved(sides, settings), f"mingru {shape}", SCAN, settings)


BENCHMARKS = (
    Benchmark(
        name="linear",
        doc="minGRU, forward + backward, step by step in compiled loops; ratio: the time of a scan "
        "over chunks in PyTorch over recurra's",
        check=_check,
        run=_run,
    ),
)
