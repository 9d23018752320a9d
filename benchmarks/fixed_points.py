"""Fixed and slow points of trained networks: the memories of a flip-flop, the line of a classifier.

A GRU that was trained to hold three bits should have a stable fixed point for each of their eight
values (Sussillo & Barak 2013). A GRU that was trained to tell the sentiment of a sentence from its
last state should have a line of slow points, and its belief should be the place on that line
(Maheswaranathan et al. 2019).
"""

import os
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import recurra as rc
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from recurra.data import read_labelled
from recurra.insight.fixed_points import (
    FixedPoints,
    SlowLine,
    find_fixed_points,
    slow_line,
    states_seen,
)
from recurra.insight.flossing import watched
from recurra.insight.step import OneStep
from recurra.models.readout import Readout
from recurra.tasks.made_up import Batch, FlipFlop
from recurra.tasks.problem_options import ReadoutSettings
from recurra.tasks.problems import FlipFlopTask
from recurra.training import Trainer, TrainingSettings

BITS, UNITS = 3, 64
SEEDS = (1, 2, 3)  # of the flip-flop
SPOKEN, SILENT = 50, 450  # steps with pulses, and without, of the sequences that training ends with
HELD = 10_000  # steps of silence over which the memories are held to what was said
NEAR = 0.3  # of a bit, which is -1 or 1
SLOW = 1e-5  # speed: a state moves by less than 0.005 a step
LEADING = 0.95


def _check() -> None:
    """Where a search ends in a fixed point, the layer stands still."""
    torch.manual_seed(0)
    layer = rc.Recurrent("gru", 2, 5, dtype=torch.float64)
    step = OneStep(layer)
    found = find_fixed_points(step, torch.zeros(1, 5, dtype=torch.float64))
    points = torch.as_tensor(found.points)
    _, after = layer(torch.zeros(1, len(points), 2, dtype=torch.float64), points[None])
    assert isinstance(after, torch.Tensor)
    check_agreement("fixed-points", {"y": points}, {"layer": {"y": after[0]}})


class FallsSilent(FlipFlop):
    """A flip-flop whose pulses end after `SPOKEN` steps: what drifts after that errs."""

    __slots__ = ()

    def batch(self, size: int, generator: torch.Generator) -> Batch:
        """x [steps, B, bits], zero from `SPOKEN` on, where the last bits go on to be wanted."""
        batch = super().batch(size, generator)
        batch.x[SPOKEN:] = 0.0
        batch.target[SPOKEN:] = batch.target[SPOKEN - 1]
        return batch


def _held(model: Readout, steps: int) -> int:
    """How many of the 8 values are still there after so many steps of silence."""
    values = torch.tensor(list(product((-1.0, 1.0), repeat=BITS)), dtype=torch.float32)
    x = torch.zeros(steps, *values.shape, dtype=torch.float32)
    x[0] = values
    with torch.no_grad():
        said = model(x)[-1]
    return int(((said - values).abs().amax(1) < NEAR).sum())


def _trained(settings: Settings, seed: int) -> tuple[FlipFlopTask, Readout, str]:
    """A GRU that has learned the problem, then to hold what it was told; the error of a bit on the
    test part of the problem, and how many values outlast silence before and after, in words."""
    task = FlipFlopTask(FlipFlop(bits=BITS))
    silent = FlipFlopTask(FallsSilent(bits=BITS, steps=SPOKEN + SILENT))
    torch.manual_seed(seed)
    model = task.build(ReadoutSettings(cell=rc.cells.gru, hidden_size=UNITS))
    given: dict[str, Any] = {"seed": seed, "device": "cpu"}
    to_read = TrainingSettings(max_steps=20 if settings.quick else 2000, lr=0.003, **given)
    to_hold = TrainingSettings(
        max_steps=2 if settings.quick else 200, lr=0.001, batch_size=32, **given
    )
    steps = 10 if settings.quick else HELD
    Trainer(task, model, to_read).fit()
    before = _held(model, steps)
    Trainer(silent, model, to_hold).fit()
    error = task.evaluate(model, "test")["mse"]
    held = f"{_held(model, steps)} values held over {steps:,} steps, {before} without silence"
    return task, model, f"test mse {error:.2g}; {held} in training"


def _flip_flop(settings: Settings, seed: int = SEEDS[0]) -> Row:
    torch.set_num_threads(settings.threads)
    task, model, learned = _trained(settings, seed)
    step = OneStep(model.recurrent, dtype=torch.float64)
    x = task.problem.batch(32, torch.Generator().manual_seed(7)).x.double()
    found = find_fixed_points(step, states_seen(step, x), searches=512)
    is_memory = found.is_stable & found.is_fixed
    stable = torch.as_tensor(found.points[is_memory])
    bits = model.decoder(stable.float()).detach()
    near = bits[(bits.abs() - 1).abs().amax(1) < NEAR]
    values = {tuple(row) for row in near.sign().long().tolist()}
    return Row(
        job=f"GRU {UNITS} that holds {BITS} bits, seed {seed}: values that are stable fixed points",
        peer="values",
        ours=len(values),
        theirs=2**BITS,
        unit="points",
        ratio=len(values) / 2**BITS,
        target=Target(value=1.0),
        threads=settings.threads,
        note=f"{len(stable)} stable of {len(found)} fixed; {learned}",
        details={
            "unstable directions": found.unstable.tolist(),
            "largest eigenvalues of the stable": found.leading[is_memory].tolist(),
        },
    )


def _sentiment(settings: Settings) -> Iterator[Row]:
    folder = Path(os.environ.get("RECURRA_DATA", "."), "sst2")
    if not (folder / "train.tsv").is_file():
        raise FileNotFoundError(
            f"fixed-points: expected train.tsv in {folder}, got none. Set RECURRA_DATA to the "
            "folder that has sst2."
        )
    with tempfile.TemporaryDirectory() as name:
        given: dict[str, Any] = {"max_steps": 3} if settings.quick else {"epochs": 4}
        run = rc.train(
            "classify",
            data=str(folder),
            out=Path(name, "run"),
            level="whitespace",
            bidirectional=False,
            pooling="last",
            hidden_size=UNITS,
            embedding_size=100,
            input_dropout=0.5,
            word_dropout=0.3,
            threads=settings.threads,
            view=None,
            **given,
        )
        accuracy = run.evaluate("test")["accuracy"]
        line, points = line_of(run.model, read_labelled(str(folder)).parts["val"].values())
    middle = float(np.median(points.leading))  # of all of them: the line leaves out the others
    yield Row(
        job=f"GRU {UNITS} on SST-2: largest eigenvalue, median of all slow points",
        peer="a point that stays",
        ours=middle,
        theirs=1.0,
        unit="modulus",
        ratio=middle,
        target=Target(value=LEADING),
        threads=settings.threads,
        note=f"test accuracy {accuracy:.1%}; {len(line.position)} of {len(points)} points have "
        f"{LEADING:g} or more; {line.share:.0%} of their variance on the line",
    )
    yield Row(
        job="the belief along the line: correlation with the place",
        peer="a straight line",
        ours=abs(line.correlation),
        theirs=1.0,
        unit="correlation",
        ratio=abs(line.correlation),
        threads=settings.threads,
        note=f"belief from {line.belief.min():.1f} to {line.belief.max():.1f} nats",
    )


def line_of(model: Any, texts: Any, *, count: int = 256) -> tuple[SlowLine, FixedPoints]:
    """The line of slow points of a classifier of two classes that pools the last state, and all
    slow points that were found. The input is zero, as where no word is read."""
    ids, lengths, _ = model.encode(list(texts)[:count])
    with watched([model.recurrent]) as reads, torch.no_grad():
        model(ids, lengths)
    (read,) = reads
    step = OneStep(model.recurrent, dtype=torch.float64)
    vectors = read.options["embedding"][read.x].double()
    states = states_seen(step, vectors)[1:]
    within = torch.arange(len(states))[:, None] < lengths
    found = find_fixed_points(step, states[within], tolerance=SLOW, searches=256)

    def belief(points: np.ndarray) -> np.ndarray:
        logits = model.decoder(torch.as_tensor(points, dtype=torch.float32)).detach()
        return (logits[:, 1] - logits[:, 0]).numpy()

    return slow_line(found, belief, leading=LEADING), found


def _run(settings: Settings) -> Iterator[Row]:
    for seed in SEEDS[:1] if settings.quick else SEEDS:
        yield _flip_flop(settings, seed)
    yield from _sentiment(settings)


BENCHMARKS = (
    Benchmark(
        name="fixed-points",
        doc="fixed points of a flip-flop and slow points of a classifier; ratio: ours over theirs",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
