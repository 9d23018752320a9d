"""Runs of the command line: a model trained on data, and its figures on the test part."""

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    name: str = "",
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The figures of several evaluations of one run, each with options of its own, and the progress
    of the run; see `train_and_test`.

    Where settings name a folder for runs, one with a name is kept there: it goes on if it was
    broken off, and is measured as it is if it was finished.

    Raises:
        RuntimeError: when a command fails, or a run of that name was trained otherwise.
    """
    more = shlex.split(flags) + (["--max-steps=3"] if settings.quick else [])
    training = ["train", task, *given, f"--seed={seed}", f"--threads={settings.threads}", *more]
    with _place(settings, name) as out:
        _train(training, out)
        progress = json.loads((out / "training.json").read_text())["progress"]
        figures = [
            json.loads(_output(["evaluate", str(out), *options, "--json"]))
            for options in evaluations
        ]
    return figures, progress


@contextmanager
def _place(settings: Settings, name: str) -> Iterator[Path]:
    """Where a run is to be."""
    if settings.runs is not None and name:
        yield settings.runs / name
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "run")


def _train(training: list[str], out: Path) -> None:
    """Begin the run, go on with it, or leave it as it is."""
    note = out.with_name(f"{out.name}.command.json")
    state = {"command": training, "done": False}
    if out.exists():
        state = json.loads(note.read_text()) if note.exists() else {}
        if state.get("command") != training:
            raise RuntimeError(f"{out}: expected a run of {shlex.join(training)}, got another.")
        if not state["done"]:
            _output([*training[:2], f"--out={out}", "--resume"])
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(state))
        _output([*training, f"--out={out}"])
    note.write_text(json.dumps({**state, "done": True}))


def _output(arguments: list[str]) -> str:
    command = [sys.executable, "-m", "recurra.cli", *arguments]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{asked.stderr}")
    return asked.stdout
