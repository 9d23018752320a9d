"""Two processes that train one model on two cores, one thread each, against one with two threads.

Both are `recurra train lm` on the same text with the same batches, in turn (A B A B ...), and count
what is between a run's first step and its last.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings
from benchmarks.timing import Rounds
from recurra.files import read_tensors

TWO, ONE = "two processes", "one process, two threads"
SIDES = {TWO: ("--devices=2", "--threads=1"), ONE: ("--devices=1", "--threads=2")}
TEXT = "".join(f"{number} times {number} is {number * number}. " for number in range(20_000))


def _train(folder: Path, side: str, *options: str) -> dict:
    """Train in `folder` on its text; the progress of the run."""
    out = folder / side.replace(" ", "-")
    command = [sys.executable, "-m", "recurra.cli", "train", "lm", "--device=cpu"]
    command += [f"--data={folder / 'text.txt'}", f"--out={out}", "--sample-length=0"]
    subprocess.run([*command, *SIDES[side], *options], check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "training.json").read_text())["progress"]


def _check() -> None:
    """Both come to the same weights."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text.txt").write_text(TEXT[:20_000])
        found = []
        for side in SIDES:
            options = ("--dropout=0", "--hidden-size=16", "--batch-size=8", "--max-steps=20")
            _train(folder, side, *options)
            out = folder / side.replace(" ", "-")
            found.append(read_tensors(out / "training.safetensors", "checkpoint")[0])
        ours, theirs = found
        for key in (key for key in theirs if key.startswith("model/")):
            if not torch.allclose(ours[key], theirs[key], rtol=0, atol=1e-5):
                raise DisagreementError(f"parallel: {key} differs")


def _run(settings: Settings) -> Iterator[Row]:
    minutes, rounds = (0.05, 1) if settings.quick else (0.5, 5)
    for hidden_size in settings.hidden_sizes:
        us: dict[str, list[float]] = {side: [] for side in SIDES}
        for _ in range(rounds):
            for side in SIDES:
                with tempfile.TemporaryDirectory() as name:
                    (Path(name) / "text.txt").write_text(TEXT)
                    progress = _train(
                        Path(name),
                        side,
                        f"--hidden-size={hidden_size}",
                        f"--max-minutes={minutes}",
                    )
                us[side].append(1e6 * progress["elapsed_s"] / progress["counted"])
        timed = Rounds(ms=us)  # a ratio has no unit
        ratio = timed.ratio(TWO, ONE)
        yield Row(
            job=f"{hidden_size} units, tokens a second, {rounds} x {minutes:g} minutes",
            peer=ONE,
            ours=1e6 / timed.median_ms(TWO),
            theirs=1e6 / timed.median_ms(ONE),
            unit="/s",
            ratio=ratio.median,
            low=ratio.low,
            high=ratio.high,
            rounds=rounds,
            threads=2,
            details={"us_a_token": us},
        )


BENCHMARKS = (
    Benchmark(
        name="parallel",
        doc="one language model trained on two cores: tokens a second of two processes with a "
        "thread each over those of one process with two threads (more is better)",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
