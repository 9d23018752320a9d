"""Frames of clips: worlds learned with and without recurrence, and streams at batch 1.

Of each world two models are trained through the command line, one with recurrence and one whose
units, as many, see single frames. Both are measured online on the test part, and on the same clips
with other noise than that of training. Of gestures two more learn from clips of all these amounts.
"""

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

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
        noise: of the clips that are learned from, as the world is given it.
        flags: of `recurra train frames`.
        figure: of `recurra evaluate`.
        scale: what it is shown in, times the figure.
        unit: of the figure so.
        target: what it is to reach; shares are to be at least that, errors at most.
    """

    name: str
    noise: str = ""
    flags: str
    figure: str
    scale: float
    unit: str
    target: float

    @property
    def title(self) -> str:
        """The world, and what noise it is learned with where that is not the usual."""
        return f"{self.name} ({self.noise})" if self.noise else self.name

    @property
    def is_share(self) -> bool:
        """Whether more is better."""
        return self.figure == "accuracy"


GESTURES = World(
    name="gestures",
    flags="--fresh --epochs 20 --eval-every 1000",
    figure="accuracy",
    scale=100.0,
    unit="%",
    target=87.0,
)
ALL_NOISE = replace(GESTURES, noise=f"noise={NOISES[0]:g},noise_to={NOISES[-1]:g}")
EYES = World(
    name="eyes",
    flags="--fresh --vector points --epochs 10 --eval-every 300",
    figure="angle",
    scale=1.0,
    unit="deg",
    target=3.0,
)
FIGURES = World(
    name="stick-figures",
    flags="--fresh --vector points --epochs 10 --eval-every 250",
    figure="distance",
    scale=100.0,
    unit="% of height",
    target=3.0,
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


def _trained(world: World, more: str, settings: Settings) -> list[dict]:
    """The figures of a model on the world's test part, with each amount of noise."""
    few = "train=8,val=2,test=2" if settings.quick else ""
    given = ",".join(filter(None, (few, world.noise)))
    others = few or "train=1,val=1"
    evaluations = [["--data", f"{world.name}:{others},noise={noise:g}"] for noise in NOISES]
    figures, progress = train_and_evaluate(
        "frames",
        [f"--data={world.name}{':' * bool(given)}{given}"],
        f"{world.flags} {more}",
        SEED,
        settings,
        evaluations=evaluations,
        name=f"{world.name}{'-all-noise' * bool(world.noise)}{'-alone' * bool(more)}",
    )
    return [{**each, "minutes": progress["elapsed_s"] / 60} for each in figures]


def _of_world(world: World, settings: Settings) -> Iterator[Row]:
    """The figure of training's noise beside what is asked for, and all beside single frames."""
    with_memory, alone = (_trained(world, more, settings) for more in ("", ALONE))
    usual = NOISES.index(1.0)
    ours, theirs = with_memory[usual], alone[usual]
    asked = [(world.figure, world.target, "")]
    if world.is_share:
        asked.append(("found", FOUND, " found in 5 frames"))
    for figure, target, what in asked:
        yield _asked(f"{world.title}{what}", world.scale * ours[figure], target, world, ours)
    if world.is_share:
        gain = world.scale * (ours[world.figure] - theirs[world.figure])
        yield _asked(f"{world.title}, points over single frames", gain, GAIN, world, theirs)
    for noise, one, other in zip(NOISES, with_memory, alone, strict=True):
        for figure, _, what in asked:
            mine, single = (world.scale * each[figure] for each in (one, other))
            yield Row(
                job=f"{world.title}{what}, noise {noise:g}",
                peer="single frames",
                ours=mine,
                theirs=single,
                unit=world.unit,
                ratio=mine / max(single, 1e-9),
                threads=settings.threads,
                details={"figures": one, "single": other},
            )


def _asked(job: str, value: float, target: float, world: World, figures: dict) -> Row:
    """A figure beside what is asked for."""
    return Row(
        job=job,
        peer=f"{target:g} asked for",
        ours=value,
        theirs=target,
        unit=world.unit,
        ratio=value / target,
        target=Target(value=1.0, at_most=not world.is_share),
        note=f"training {figures['minutes']:.1f} minutes",
        details={"figures": figures},
    )


def _run(settings: Settings) -> Iterator[Row]:
    for world in (GESTURES, ALL_NOISE, EYES, FIGURES):
        yield from _of_world(world, settings)


# ---- streams -------------------------------------------------------------------------------------


def _tagger(shape: tuple[int, int, int]) -> FrameTagger:
    """As `recurra train frames` makes it."""
    torch.manual_seed(0)
    encoder = vision.encoder(
        "convnet", channels=shape[0], widths=(16, 32, 64), norm="batch", downsample="stride"
    )
    scaling = Scaling(mean=(40.0,) * shape[0], spread=(50.0,) * shape[0])
    return rc.FrameTagger(encoder, 12, hidden_size=128, cell="lstm", scaling=scaling).eval()


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
