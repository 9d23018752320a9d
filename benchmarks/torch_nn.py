"""LSTM, GRU and RNN against torch.nn's own, over the grid of shapes."""

from collections.abc import Iterator

import torch
from torch import nn

import recurra as rc
from benchmarks.grid import SMALL, Job, Shape, grid
from benchmarks.oracle import check_agreement
from benchmarks.registry import (
    Benchmark,
    Row,
    Settings,
    Target,
    geometric_mean,
    smallest,
)
from benchmarks.timing import Rounds, interleaved, local, row

KINDS = {"LSTM": (rc.LSTM, nn.LSTM), "GRU": (rc.GRU, nn.GRU), "RNN": (rc.RNN, nn.RNN)}
# of forward + backward: the geometric mean, and the smallest
TARGETS = {"LSTM": (1.3, 1.0), "GRU": (2.0, 1.1), "RNN": (2.0, 1.1)}
FORWARD, BOTH = "forward", "forward + backward"


def pair(kind: str, shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Ours and torch's with the same weights."""
    torch.manual_seed(0)
    ours, theirs = (make(shape.I, shape.H) for make in KINDS[kind])
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def _checked_pair(kind: str, job: Job) -> tuple[nn.Module, nn.Module]:
    ours, theirs = pair(kind, job.shape)
    expected = job.results(theirs)
    check_agreement(f"{kind} {job.shape}", expected, {"recurra": job.results(ours)})
    forward = {"recurra without gradients": {"y": job.forward(ours)}}
    check_agreement(f"{kind} {job.shape}", expected, forward)
    return ours, theirs


def _check() -> None:
    for kind in KINDS:
        _checked_pair(kind, Job(SMALL))


def _timed(kind: str, shape: Shape, settings: Settings) -> dict[str, Rounds]:
    job = Job(shape, input_gradient=False)  # a first layer: nothing before it learns
    ours, theirs = _checked_pair(kind, job)
    forward = {
        "recurra": local(lambda: job.forward(ours)),
        "torch.nn": local(lambda: job.forward(theirs)),
    }
    both = {
        "recurra": local(lambda: job.step(ours)),
        "torch.nn": local(lambda: job.step(theirs)),
    }
    return {FORWARD: interleaved(forward, settings), BOTH: interleaved(both, settings)}


def _run(settings: Settings) -> Iterator[Row]:
    for kind in KINDS:
        rows: dict[str, list[Row]] = {FORWARD: [], BOTH: []}
        for shape in grid(settings):
            for what, rounds in _timed(kind, shape, settings).items():
                found = row(rounds, f"{kind} {what}, {shape}", "torch.nn", settings)
                rows[what].append(found)
                yield found
        mean, least = (Target(value=value) for value in TARGETS[kind])
        yield geometric_mean(f"{kind} {FORWARD}", rows[FORWARD])
        yield smallest(f"{kind} {FORWARD}", rows[FORWARD])
        yield geometric_mean(f"{kind} {BOTH}", rows[BOTH], mean)
        yield smallest(f"{kind} {BOTH}", rows[BOTH], least)


BENCHMARKS = (
    Benchmark(
        name="torch_nn",
        doc="the drop-ins against torch.nn, float32; ratio: torch.nn's time over recurra's",
        check=_check,
        run=_run,
    ),
)
