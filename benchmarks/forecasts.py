"""Forecasts of ETTh1 and of exchange rates: `recurra train forecast` beside what learns nothing.

The test part was seen while settings were tried; what is kept follows the validation part. All of
the test part is shown.
"""

import os
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.runs import train_and_test
from recurra.data.panels import Reading, read_panel
from recurra.tasks import ForecastTask
from recurra.tasks.options import SeriesSettings

SEEDS = (1, 2, 3)
ETT = Path("ett", "ETTh1.csv.gz")
RATES = Path("exchange_rate", "exchange_rate.txt.gz")
ETT_PARTS, RATES_PARTS = "8640,2880,2880", "0.6,0.2,0.2"  # as published
AHEAD = (3, 6, 12, 24)  # days, of exchange rates
_SAME = 1e-6  # by which figures of one forecast differ, of the error of persistence


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is trained, as docs/forecasting.md has it.

    Attributes:
        flags: of `recurra train forecast`, besides the data.
        target: the test figure to reach, mean of the seeds; None: it is judged otherwise.
    """

    flags: str
    target: float | None = None


OIL = Model(
    flags="--target OT --horizon 24 --look-back 96 --segment-length 12 --hidden-size 64 "
    "--dropout 0.2 --max-steps 600",
    target=0.033,
)
DAY = Model(
    flags="--horizon 24 --look-back 720 --segment-length 24 --point-loss mae --dropout 0.3 "
    "--batch-size 32 --max-steps 1000",
    target=0.36,
)
DAYS = Model(
    flags="--horizon 96 --look-back 720 --segment-length 48 --point-loss mae --dropout 0.3 "
    "--batch-size 32 --max-steps 1000",
    target=0.40,
)
SPREAD = Model(
    flags="--horizon 24 --look-back 720 --segment-length 24 --density quantiles --dropout 0.3 "
    "--batch-size 32 --max-steps 1000",
)
CURRENCIES = Model(
    flags="--horizon 24 --look-back 24 --segment-length 12 --hidden-size 8 --batch-size 256 "
    "--max-steps 200",
)


def _check() -> None:
    """The figures of persistence and of the last day over ETTh1's test part are those of loops."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 2)) + np.sin(np.arange(60) * np.pi / 3)[:, None]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "wave.npy")
        np.save(path, values)
        settings = SeriesSettings(parts="36,12,12", horizon=4, look_back=6, season=6)
        task = ForecastTask.of({"train": read_panel(path, Reading())}, settings)
    found = task.rolling.naive("test")
    scaled = (values - values[:36].mean(0)) / values[:36].std(0)
    wanted: dict[str, list[np.ndarray]] = {"persistence": [], "seasonal naive": []}
    for start in range(48, 60 - 4 + 1):
        true = scaled[start : start + 4]
        wanted["persistence"].append(true - scaled[start - 1])
        wanted["seasonal naive"].append(true - scaled[start - 6 : start - 2])
    for name, errors in wanted.items():
        if not np.isclose(np.square(errors).mean(), found[name]["mse"], rtol=1e-5):
            raise DisagreementError(f"forecasts: the error of {name} is not that of a loop")


def _train(model: Model, data: Path, parts: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run of the command line: its figures on the test part, and on validation, and seconds."""
    given = [f"--data={data}", f"--parts={parts}"]
    figures, progress = train_and_test("forecast", given, model.flags, seed, settings)
    return {**figures, "val": progress["best"], "train_seconds": progress["elapsed_s"]}


def _run(settings: Settings) -> Iterator[Row]:
    home = Path(os.environ.get("RECURRA_DATA", "."))
    for each in (ETT, RATES):
        if not (home / each).is_file():
            raise FileNotFoundError(
                f"forecasts: expected {each} in {home}, got none. Set RECURRA_DATA to the folder "
                "that has it."
            )
    for job, model in (
        ("ETTh1, OT alone, 24 hours", OIL),
        ("ETTh1, all 7, 24 hours", DAY),
        ("ETTh1, all 7, 96 hours", DAYS),
    ):
        runs = _runs(model, home / ETT, ETT_PARTS, settings)
        yield from _errors(job, model, runs, settings)
    runs = _runs(SPREAD, home / ETT, ETT_PARTS, settings)
    yield from _intervals("ETTh1, all 7, 24 hours", runs, settings)
    runs = _runs(CURRENCIES, home / RATES, RATES_PARTS, settings)
    yield from _by_step("exchange rates", runs, settings)


def _runs(model: Model, data: Path, parts: str, settings: Settings) -> list[dict[str, Any]]:
    seeds = SEEDS[:1] if settings.quick else SEEDS
    return [_train(model, data, parts, seed, settings) for seed in seeds]


def _errors(
    job: str, model: Model, runs: list[dict[str, Any]], settings: Settings
) -> Iterator[Row]:
    """The squared error beside what was asked of it, and beside what learns nothing."""
    each = [run["mse"] for run in runs]
    naive = {name: found["mse"] for name, found in runs[0]["baselines"].items()}
    assert model.target is not None
    asked = f"{model.target:g} asked for"
    mae = statistics.mean(run["mae"] for run in runs)
    note = f"test {', '.join(f'{mse:.4f}' for mse in each)}; MAE {mae:.4f}; {_seconds(runs)}"
    for peer, theirs in {asked: model.target, **naive}.items():
        target = Target(value=1.0, at_most=True) if peer == asked else None
        said = note if peer == asked else f"{theirs:.4f}"
        yield _row(f"{job}, MSE", peer, each, theirs, settings, target=target, note=said)


def _intervals(job: str, runs: list[dict[str, Any]], settings: Settings) -> Iterator[Row]:
    """How far the coverage of the 80 % intervals is off, and the CRPS beside a point's."""
    off = [abs(100 * run["coverage"] - 80) for run in runs]
    covered = ", ".join(f"{run['coverage']:.1%}" for run in runs)
    target = Target(value=1.0, at_most=True)
    yield _row(
        *(f"{job}, coverage of 80 % intervals less 80", "5 points asked for", off, 5.0, settings),
        target=target,
        note=f"they cover {covered}; {_seconds(runs)}",
        unit="points",
    )
    crps = [run["crps"] for run in runs]
    naive = runs[0]["baselines"]["seasonal naive"]["mae"]
    note = f"test {', '.join(f'{each:.4f}' for each in crps)}, theirs {naive:.4f}"
    yield _row(f"{job}, CRPS", "seasonal naive", crps, naive, settings, target=target, note=note)


def _by_step(job: str, runs: list[dict[str, Any]], settings: Settings) -> Iterator[Row]:
    """The error of some steps ahead beside that of the last value."""
    for step in AHEAD:
        each = [run["mse_by_step"][step - 1] for run in runs]
        theirs = runs[0]["baselines"]["persistence"]["mse_by_step"][step - 1]
        ratio = statistics.mean(each) / theirs
        better = "better" if ratio < 1 - _SAME else "no better" if ratio <= 1 + _SAME else "worse"
        yield _row(
            *(f"{job}, {step} days ahead, MSE", "persistence", each, theirs, settings),
            target=Target(value=1 + _SAME, at_most=True),
            note=f"{better}: test {', '.join(f'{mse:.5f}' for mse in each)}, theirs {theirs:.5f}",
        )


def _row(
    job: str,
    peer: str,
    each: list[float],
    theirs: float,
    settings: Settings,
    *,
    target: Target | None,
    note: str,
    unit: str = "",
) -> Row:
    ours = statistics.mean(each)
    return Row(
        job=job,
        peer=peer,
        ours=ours,
        theirs=theirs,
        unit=unit,
        ratio=ours / theirs,
        low=min(each) / theirs,
        high=max(each) / theirs,
        target=target,
        rounds=len(each),
        threads=settings.threads,
        note=note,
        details={"figures": each},
    )


def _seconds(runs: list[dict[str, Any]]) -> str:
    return f"{statistics.mean(run['train_seconds'] for run in runs):.0f} s of training"


BENCHMARKS = (
    Benchmark(
        name="forecasts",
        doc="forecasting through the command line, seeds 1 to 3; ratio: recurra's test error, mean "
        "over seeds, over the other's (less is better)",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
