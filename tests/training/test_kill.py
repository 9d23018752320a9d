"""A run killed by the system (SIGKILL: no clean-up, no last word) goes on to the same weights."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recurra.training import train_language_model
from recurra.training.checkpoints import read_tensors

SETTINGS: dict[str, Any] = {
    "hidden_size": 12,
    "embedding_size": 8,
    "batch_size": 4,
    "bptt": 20,
    "max_steps": 60,
    "checkpoint_every": 5,
    "eval_every": 8,
    "schedule": "plateau",
    "sample_length": 10,
    "lr": 0.02,
    "threads": 1,
    "device": "cpu",
}

# Runs or resumes the run; with a moment such as "fsync 7", kills itself just before the seventh
# call of os.fsync, that is somewhere in the writing of a model, a checkpoint or its logs.
SCRIPT = """
import json, os, signal, sys
from recurra.training import train_language_model

folder, settings, resume, moment = sys.argv[1:]
if moment:
    name, count = moment.split()
    real, calls = getattr(os, name), 0

    def killing(*arguments, **options):
        global calls
        calls += 1
        if calls == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(os, name, killing)
train_language_model(folder, json.loads(settings), resume=resume == "resume")
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def settings(tmp_path: Path, synthetic_text: Callable[[int], str]) -> dict[str, Any]:
    data = tmp_path / "text.txt"
    data.write_text(synthetic_text(300))
    return {**SETTINGS, "data": str(data)}


def start(folder: Path, settings: dict[str, Any], *, moment: str = "") -> subprocess.Popen[bytes]:
    resume = "resume" if (folder / "config.json").exists() else "new"
    arguments = [str(folder), json.dumps(settings), resume, moment]
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments])


def rows_without_clock(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in rows]


def assert_same(folder: Path, other: Path) -> None:
    for name in ("training.safetensors", "model.safetensors"):
        a, b = read_tensors(folder / name)[0], read_tensors(other / name)[0]
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert rows_without_clock(folder) == rows_without_clock(other)
    assert (folder / "samples.txt").read_text() == (other / "samples.txt").read_text()
    assert not list(folder.glob(".*.part"))


def kill_at(folder: Path, settings: dict[str, Any], moments: list[str]) -> None:
    """Run to each moment in turn, and be killed there; then to the end."""
    for moment in moments:
        assert start(folder, settings, moment=moment).wait() == -signal.SIGKILL
    assert start(folder, settings).wait() == 0


@pytest.mark.medium
def test_killed_inside_the_writing_of_checkpoints(tmp_path: Path, settings: dict[str, Any]) -> None:
    train_language_model(tmp_path / "whole", settings)
    # In turn: before the rename of a checkpoint; between checkpoint and record; in a model's save;
    # while the logs are marked.
    kill_at(tmp_path / "run", settings, ["replace 8", "replace 6", "fsync 20", "fsync 29"])
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_every_write_of_a_checkpoint(tmp_path: Path, settings: dict[str, Any]) -> None:
    train_language_model(tmp_path / "whole", settings)
    for call in range(1, 24):
        folder = tmp_path / f"run{call}"
        kill_at(folder, settings, [f"fsync {call}", f"fsync {call}"])
        assert_same(tmp_path / "whole", folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_time(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings |= {"max_steps": 3000, "checkpoint_every": 20, "eval_every": 100}
    train_language_model(tmp_path / "whole", settings)
    chance, folder, kills = random.Random(0), tmp_path / "run", 0
    for _ in range(12):
        checkpoint = folder / "training.safetensors"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = start(folder, settings)
        while process.poll() is None and not (
            checkpoint.exists() and checkpoint.stat().st_mtime_ns > before
        ):
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 1.0))
        process.kill()
        if process.wait() == 0:
            break
        kills += 1
    assert start(folder, settings).wait() == 0
    assert kills > 3
    assert_same(tmp_path / "whole", folder)


@pytest.mark.medium
def test_killed_before_there_was_anything_to_resume(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = tmp_path / "run"
    assert start(folder, settings, moment="fsync 1").wait() == -signal.SIGKILL
    assert not (folder / "config.json").exists()
    train_language_model(folder, settings)
    assert os.path.exists(folder / "model.safetensors")
