"""Frames of clips: worlds learned with and without recurrence, and streams at batch 1.

Of each world two models are trained through the command line, one with recurrence and one whose
units, as many, see single frames, and measured on the test part, online; those of eyes and stick
figures on the same clips with other noise too. The test part of gestures was seen while its
settings were tried.
"""

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

import recurra as rc
from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.runs import train_and_evaluate
from recurra import vision
from recurra.models import FrameTagger, Scaling
from recurra.tasks.frame_figures import angles_between

SEED = 1
ALONE = "--no-recurrence"
NOISES = (0.5, 1.0, 1.5, 2.0)  # that of training is 1


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A world of clips, and what is asked for.

    Attributes:
        name: of the world.
        clips: that are trained on.
        flags: of `recurra train frames`.
        figure: of `recurra evaluate`.
        scale: what it is shown in, times the figure.
        unit: of the figure so.
        target: what it is to reach; shares are to be at least that, errors at most.
    """

    name: str
    clips: int
    flags: str
    figure: str
    scale: float
    unit: str
    target: float


GESTURES = World(
    name="gestures",
    clips=4000,
    flags="--epochs 5",
    figure="accuracy",
    scale=100.0,
    unit="%",
    target=87.0,
)
ERRORS = (
    World(
        name="eyes",
        clips=1200,
        flags="--epochs 10",
        figure="angle",
        scale=1.0,
        unit="deg",
        target=3.0,
    ),
    World(
        name="stick-figures",
        clips=1000,
        flags="--epochs 10",
        figure="distance",
        scale=100.0,
        unit="% of height",
        target=3.0,
    ),
)
FOUND, GAIN = 90.0, 25.0  # of gestures: percent found in 5 frames, points over single frames

STREAMS = {"4 x 32 x 32": ((4, 32, 32), 1000.0), "64 x 64": ((1, 64, 64), 400.0)}  # frames a second


# ---- worlds --------------------------------------------------------------------------------------


def _check() -> None:
    """Angles are those of scipy's rotations."""
    from scipy.spatial.transform import Rotation

    said, true = np.random.default_rng(0).uniform(-40, 40, size=(2, 50, 2))
    forward = np.array([0.0, 0.0, 1.0])
    ways = [
        Rotation.from_euler("YX", a * [1, -1], degrees=True).apply(forward) for a in (said, true)
    ]
    wanted = np.degrees(np.arccos((ways[0] * ways[1]).sum(axis=1)))
    if not np.allclose(angles_between(said, true), wanted, atol=1e-5):
        raise DisagreementError("frames: angles are others than scipy's")


def _trained(world: World, more: str, noises: tuple[float, ...], settings: Settings) -> list[dict]:
    """The figures of a model on the world's test part, and on the same with other noise."""
    few = f"{world.name}:train=8,val=2,test=2"
    data = few if settings.quick else f"{world.name}:train={world.clips}"
    others = [["--data", f"{few if settings.quick else world.name}"] for _ in noises]
    ends = ["train=1", "val=1"] if not settings.quick else []
    for given, noise in zip(others, noises, strict=True):
        sign = "," if ":" in given[1] else ":"
        given[1] += sign + ",".join([f"noise={noise:g}", *ends])
    figures, progress = train_and_evaluate(
        *("frames", [f"--data={data}"], f"{world.flags} {more}", SEED, settings),
        evaluations=[["--split=test"], *others],
    )
    return [{**each, "minutes": progress["elapsed_s"] / 60} for each in figures]


def _of_gestures(settings: Settings) -> Iterator[Row]:
    [with_memory] = _trained(GESTURES, "", (), settings)
    [alone] = _trained(GESTURES, ALONE, (), settings)
    shares = {
        "frames right": ("accuracy", GESTURES.target),
        "found in 5 frames": ("found", FOUND),
    }
    for job, (figure, target) in shares.items():
        yield _row(f"gestures, {job}", 100 * with_memory[figure], target, settings, with_memory)
        yield Row(
            job=f"gestures, {job}",
            peer="single frames",
            ours=100 * with_memory[figure],
            theirs=100 * alone[figure],
            unit="%",
            ratio=with_memory[figure] / max(alone[figure], 1e-9),
            threads=settings.threads,
            details={"single": alone},
        )
    gain = 100 * (with_memory["accuracy"] - alone["accuracy"])
    yield _row("gestures, points over single frames", gain, GAIN, settings, alone)


def _of_errors(world: World, settings: Settings) -> Iterator[Row]:
    noises = tuple(noise for noise in NOISES if noise != 1)
    with_memory = _trained(world, "", noises, settings)
    alone = _trained(world, ALONE, noises, settings)
    for noise, ours, theirs in zip((1.0, *noises), with_memory, alone, strict=True):
        mine, other = (world.scale * each[world.figure] for each in (ours, theirs))
        if noise == 1:
            yield Row(
                job=f"{world.name}, noise {noise:g}",
                peer=f"{world.target:g} asked for",
                ours=mine,
                theirs=world.target,
                unit=world.unit,
                ratio=mine / world.target,
                target=Target(value=1.0, at_most=True),
                threads=settings.threads,
                note=f"training {ours['minutes']:.1f} minutes",
                details={"figures": ours},
            )
        yield Row(
            job=f"{world.name}, noise {noise:g}",
            peer="single frames",
            ours=mine,
            theirs=other,
            unit=world.unit,
            ratio=mine / other,
            threads=settings.threads,
            note=f"training {theirs['minutes']:.1f} minutes" if noise == 1 else "",
            details={"figures": ours, "single": theirs},
        )


def _row(job: str, value: float, target: float, settings: Settings, details: dict) -> Row:
    """A figure beside what is asked for, which it is to reach at least."""
    return Row(
        job=job,
        peer=f"{target:g} asked for",
        ours=value,
        theirs=target,
        unit="%",
        ratio=value / target,
        target=Target(value=1.0),
        threads=settings.threads,
        note=f"training {details['minutes']:.1f} minutes",
        details={"figures": details},
    )


def _run(settings: Settings) -> Iterator[Row]:
    yield from _of_gestures(settings)
    for world in ERRORS:
        yield from _of_errors(world, settings)


# ---- streams -------------------------------------------------------------------------------------


def _tagger(shape: tuple[int, int, int]) -> FrameTagger:
    """As `recurra train frames` makes it."""
    torch.manual_seed(0)
    encoder = vision.encoder("convnet", channels=shape[0], widths=(16, 32, 64), norm="batch")
    scaling = Scaling(mean=(40.0,) * shape[0], spread=(50.0,) * shape[0])
    return rc.FrameTagger(encoder, 12, hidden_size=128, cell="gru", scaling=scaling).eval()


def _clip(shape: tuple[int, int, int], frames: int) -> torch.Tensor:
    values = np.random.default_rng(0).integers(256, size=(frames, 1, *shape))
    return torch.from_numpy(values.astype(np.uint8))


@torch.no_grad()
def _check_streams() -> None:
    """A stream's state is that of the whole clip, to the bit."""
    for name, (shape, _) in STREAMS.items():
        model, clip = _tagger(shape), _clip(shape, 20)
        stream = model.stream()
        said = [stream(frame) for frame in clip]
        with model.online():
            _, state = model.recurrent(model._read_steps(clip))
        both = stream._layer.state, state
        if not torch.equal(*(s if isinstance(s, torch.Tensor) else s[0] for s in both)):
            raise DisagreementError(f"frames_stream, {name}: the state is another than offline")
        [tags] = model.predict([clip[:, 0].numpy()])
        if [int(one) for one in said if one is not None] != list(tags.labels):
            raise DisagreementError(f"frames_stream, {name}: labels are others than offline")


def _run_streams(settings: Settings) -> Iterator[Row]:
    _check_streams()
    for name, (shape, wanted) in STREAMS.items():
        model, clip = _tagger(shape), _clip(shape, 100 if settings.quick else 3000)
        stream = model.stream()
        for frame in clip[:50]:
            stream(frame)
        took = []
        for frame in clip:
            start = time.perf_counter()
            stream(frame)
            took.append(time.perf_counter() - start)
        rate = len(took) / sum(took)
        p99 = sorted(took)[math.ceil(0.99 * len(took)) - 1]
        yield Row(
            job=f"{name}, one frame at a time",
            peer=f"{wanted:g} asked for",
            ours=rate,
            theirs=wanted,
            unit="frames/s",
            ratio=rate / wanted,
            target=Target(value=1.0),
            rounds=len(took),
            threads=1,
            note=f"median {1e3 * statistics.median(took):.2f} ms, p99 {1e3 * p99:.2f} ms",
        )


BENCHMARKS = (
    Benchmark(
        name="frames",
        doc="gestures, gazes and joints at each frame of a clip through the command line; ratio: "
        "ours over what was asked for, or over single frames (of errors less is better)",
        check=_check,
        run=_run,
        needs=("scipy",),
        by_default=False,
    ),
    Benchmark(
        name="frames_stream",
        doc="a label at each frame as it comes, by a convolutional and a recurrent network; ratio: "
        "frames a second over those asked for",
        check=_check_streams,
        run=_run_streams,
    ),
)
