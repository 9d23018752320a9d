"""A gradient that vanishes: a loss at the end of a long sequence, as in the adding problem."""

from collections.abc import Iterator

from torch import nn

from benchmarks.grid import SMALL, Job, Shape
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings
from benchmarks.timing import interleaved, local, row
from benchmarks.torch_nn import KINDS, pair

SHAPE = Shape(400, 64, 2, 64)


class _LastStep(Job):
    """As `Job`, with a gradient at the last step alone."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, input_gradient=False)
        self.d_y[:-1] = 0.0


def _sides(kind: str, job: Job) -> tuple[nn.Module, nn.Module]:
    ours, theirs = pair(kind, job.shape)
    check_agreement(f"{kind} {job.shape}", job.results(theirs), {"recurra": job.results(ours)})
    return ours, theirs


def _check() -> None:
    for kind in KINDS:
        _sides(kind, _LastStep(SMALL))


def _run(settings: Settings) -> Iterator[Row]:
    for kind in KINDS:
        yield _row(kind, settings)


def _row(kind: str, settings: Settings) -> Row:
    job = _LastStep(SHAPE)
    ours, theirs = _sides(kind, job)
    turns = {"recurra": local(lambda: job.step(ours)), "torch.nn": local(lambda: job.step(theirs))}
    rounds = interleaved(turns, settings)
    return row(rounds, f"{kind} forward + backward, {SHAPE}", "torch.nn", settings)


BENCHMARKS = (
    Benchmark(
        name="vanishing",
        doc="a loss at the last of 400 steps, float32; ratio: torch.nn's time over recurra's",
        check=_check,
        run=_run,
    ),
)
