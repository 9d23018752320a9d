"""Every cell that torchrecurrent has, forward + backward, against its layer with our weights."""

from collections.abc import Iterator

import torch
from torch import nn

import recurra as rc
from benchmarks.any_cell import layer_of, named
from benchmarks.grid import SMALL, Job, Shape
from benchmarks.oracle import Results, check_agreement
from benchmarks.peers import torchrecurrent_layers as theirs
from benchmarks.registry import Benchmark, Row, Settings, Target, geometric_mean, smallest
from benchmarks.timing import interleaved, local, row

PEER = "torchrecurrent"
SHAPES = (Shape(100, 32, 256, 256), Shape(100, 1, 128, 128))
MEAN, LEAST = Target(value=8.0), Target(value=3.0)


def _sides(name: str, job: Job) -> tuple[rc.Recurrent, nn.Module]:
    """Our layer and theirs, held against each other."""
    layer = layer_of(theirs.cell(name), job.shape)
    peer = theirs.build(name, layer.parameters_of(0), job.shape.I, job.shape.H)
    expected = named(job.results(layer), "", "_l0")
    found = _shaped(theirs.results(name, peer, job), expected)
    check_agreement(f"{name} {job.shape}", expected, {PEER: found})
    return layer, peer


def _shaped(found: Results, expected: Results) -> Results:
    """Their learned scalars are vectors of one number."""
    return {name: value.reshape(expected[name].shape) for name, value in found.items()}


def _check() -> None:
    square = Shape(SMALL.T, SMALL.B, SMALL.H, SMALL.H)
    for name, peer in theirs.PEERS.items():
        _sides(name, Job(square if peer.same_sizes else SMALL))


def _run(settings: Settings) -> Iterator[Row]:
    every: list[Row] = []
    for shape in SHAPES:
        rows = []
        for name in theirs.PEERS:
            rows.append(_row(name, shape, settings))
            yield rows[-1]
        every += rows
        yield geometric_mean(f"all cells, {shape}", rows)
    yield geometric_mean("all cells", every, MEAN)
    yield smallest("all cells", every, LEAST)


def _row(name: str, shape: Shape, settings: Settings) -> Row:
    torch.manual_seed(0)
    job = Job(shape)
    layer, peer = _sides(name, job)
    turns = {"recurra": local(lambda: job.step(layer)), PEER: local(lambda: job.step(peer))}
    rounds = interleaved(turns, settings)
    return row(rounds, f"{name}, {shape}", PEER, settings)


BENCHMARKS = (
    Benchmark(
        name="zoo",
        doc="the cells that torchrecurrent has, float32, forward + backward; ratio: its time over "
        "recurra's",
        check=_check,
        run=_run,
        needs=("torchrecurrent",),
    ),
)
