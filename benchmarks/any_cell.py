"""Cells that torch.nn does not have, forward + backward, against what else could run them.

`any_cell` times the backend that runs by default against plain PyTorch loops, torchrecurrent where
it has the cell, and JAX. `hoisting` times the reference backend: what hoisting, merging and the
adjoint bring by themselves.
"""

from collections.abc import Iterator

import torch

import recurra as rc
from benchmarks.cells import ANY_CELLS
from benchmarks.grid import SMALL, Job, Shape, grid
from benchmarks.oracle import Results, check_agreement
from benchmarks.peers import torchrecurrent_layers
from benchmarks.peers.jax_scan import JaxScan
from benchmarks.peers.plain import PlainLoop
from benchmarks.registry import (
    Benchmark,
    Row,
    Settings,
    Target,
    geometric_mean,
    smallest,
)
from benchmarks.timing import Rounds, Turn, interleaved, local, row
from recurra.lang import Cell

LOOP, LIBRARY, JAX = "PyTorch loop", "torchrecurrent", "JAX scan"
TARGETS = {LOOP: 5.0, LIBRARY: 5.0, JAX: 1.5}  # of the geometric means
OVER_LOOP = {"layer-normalised LSTM": Target(value=3.5)}  # of a cell's own geometric mean
HOISTING = (Shape(100, 32, 256, 256), 1.5)


def layer_of(cell: Cell, shape: Shape, backend: str = "auto") -> rc.Recurrent:
    """Our layer with random weights; those that the cell starts at a constant vary around it."""
    torch.manual_seed(0)
    layer = rc.Recurrent(cell, shape.I, shape.H, backend=backend)
    with torch.no_grad():
        for name in cell.init:
            parameter = getattr(layer, f"{name}_l0")
            parameter.add_(0.05 * torch.randn_like(parameter))
    return layer


def named(results: Results, before: str, after: str) -> Results:
    """The results with the layer's own decoration of parameter names taken off."""
    return {name.removeprefix(before).removesuffix(after): v for name, v in results.items()}


class _Sides:
    """All sides of one cell at one shape, with the same weights."""

    def __init__(self, cell: Cell, job: Job, jax: JaxScan) -> None:
        self._cell, self._job = cell, job
        self._layer = layer_of(cell, job.shape)
        parameters = self._layer.parameters_of(0)
        self._loop = PlainLoop(cell.name, parameters, job.shape.H)
        self._library = None
        if torchrecurrent_layers.has(cell.name):
            self._library = torchrecurrent_layers.build(
                cell.name, parameters, job.shape.I, job.shape.H
            )
        self._jax = jax
        jax.load(cell.name, job, parameters)

    def check(self) -> None:
        """Hold every side against the plain loop."""
        expected = named(self._job.results(self._loop), "weights.", "")
        found = {
            "recurra": named(self._job.results(self._layer), "", "_l0"),
            JAX: self._jax.results(),
        }
        if self._library is not None:
            found[LIBRARY] = torchrecurrent_layers.results(
                self._cell.name, self._library, self._job
            )
        check_agreement(f"{self._cell.name} {self._job.shape}", expected, found)

    def turns(self) -> dict[str, Turn]:
        """What is timed: one training step of each side."""
        job, layers = self._job, {"recurra": self._layer, LOOP: self._loop}
        if self._library is not None:
            layers[LIBRARY] = self._library
        local_turns = {name: local(lambda it=it: job.step(it)) for name, it in layers.items()}
        return {**local_turns, JAX: self._jax.turn}


def _check() -> None:
    with JaxScan(threads=torch.get_num_threads()) as jax:
        for cell in ANY_CELLS.values():
            _Sides(cell, Job(SMALL), jax).check()


def _run(settings: Settings) -> Iterator[Row]:
    rows: dict[str, list[Row]] = {peer: [] for peer in TARGETS}
    with JaxScan(settings.threads) as jax:
        for title, cell in ANY_CELLS.items():
            for shape in grid(settings):
                sides = _Sides(cell, Job(shape), jax)
                sides.check()
                rounds = interleaved(sides.turns(), settings)
                for row in _rows(f"{title}, {shape}", rounds, settings):
                    rows[row.peer].append(row)
                    yield row
            for peer, found in rows.items():
                of_cell = [row for row in found if row.job.startswith(title)]
                if of_cell:
                    least = OVER_LOOP.get(title) if peer == LOOP else None
                    yield geometric_mean(title, of_cell, least)
    for peer, target in TARGETS.items():
        yield geometric_mean("all cells", rows[peer], Target(value=target))
        yield smallest("all cells", rows[peer])


def _rows(job: str, rounds: Rounds, settings: Settings) -> Iterator[Row]:
    for peer in TARGETS:
        if peer in rounds.ms:
            yield row(rounds, job, peer, settings)


def _hoisting(job: Job) -> tuple[rc.Recurrent, PlainLoop]:
    cell = rc.cells.mut1
    layer = layer_of(cell, job.shape, backend="reference")
    loop = PlainLoop(cell.name, layer.parameters_of(0), job.shape.H)
    expected = named(job.results(loop), "weights.", "")
    found = named(job.results(layer), "", "_l0")
    check_agreement(f"{cell.name} {job.shape}", expected, {"recurra": found})
    return layer, loop


def _run_hoisting(settings: Settings) -> Iterator[Row]:
    shape, target = HOISTING
    job = Job(shape)
    layer, loop = _hoisting(job)
    turns = {"recurra": local(lambda: job.step(layer)), LOOP: local(lambda: job.step(loop))}
    rounds = interleaved(turns, settings)
    yield row(rounds, f"MUT1, {shape}", LOOP, settings, target=Target(value=target))


BENCHMARKS = (
    Benchmark(
        name="any_cell",
        doc="cells that torch.nn lacks, float32, forward + backward; ratio: their time over "
        "recurra's",
        check=_check,
        run=_run,
        needs=("jax", "torchrecurrent"),
    ),
    Benchmark(
        name="hoisting",
        doc="the reference backend's plan against a plain loop, both on PyTorch's operations; "
        "ratio: the loop's time over recurra's",
        check=lambda: _hoisting(Job(SMALL)) and None,
        run=_run_hoisting,
    ),
)
