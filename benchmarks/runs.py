"""Runs of the command line: a model trained on data, and its figures on the test part."""

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.registry import Settings


def train_and_test(
    task: str,
    given: Sequence[str],
    flags: str,
    seed: int,
    settings: Settings,
    also: Sequence[str] = (),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures on the test part, as `recurra evaluate --json` says them, and the progress that
    the run kept: `best`, of the validation part, and `elapsed_s`, of training alone.

    Args:
        task: as in `recurra train TASK`.
        given: options that say where the data are.
        flags: the others, as in a shell.
        seed: of the run.
        settings: of the benchmark; a quick one takes three steps.
        also: other parts, whose figures stand among those of the test part by their names.
    """
    evaluations = [[f"--split={part}"] for part in ("test", *also)]
    (figures, *others), progress = train_and_evaluate(
        task, given, flags, seed, settings, evaluations=evaluations
    )
    return {**figures, **dict(zip(also, others, strict=True))}, progress


def train_and_evaluate(
    task: str,
    given: Sequence[str],
    flags: str,
    seed: int,
    settings: Settings,
    *,
    evaluations: Sequence[Sequence[str]],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The figures of several evaluations of one run, each with options of its own, and the progress
    of the run; see `train_and_test`."""
    command = [sys.executable, "-m", "recurra.cli"]
    more = shlex.split(flags) + (["--max-steps=3"] if settings.quick else [])
    with tempfile.TemporaryDirectory() as name:
        out = str(Path(name, "run"))
        own = [f"--out={out}", f"--seed={seed}", f"--threads={settings.threads}"]
        _output([*command, "train", task, *given, *own, *more])
        progress = json.loads(Path(out, "training.json").read_text())["progress"]
        figures = [
            json.loads(_output([*command, "evaluate", out, *options, "--json"]))
            for options in evaluations
        ]
    return figures, progress


def _output(command: list[str]) -> str:
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{asked.stderr}")
    return asked.stdout
