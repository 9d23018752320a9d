"""A run killed by the system (SIGKILL: no clean-up, no last word) goes on to the same weights."""

import contextlib
import csv
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recurra.files import read_tensors
from recurra.training import train_language_model

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

# Runs or resumes the run; with a moment such as "replace training.safetensors 2", kills itself just
# before the second time that a file of that name is put in place, or ("fsync ...") brought to disk.
SCRIPT = """
import json, os, signal, sys
from recurra.training import train_language_model

folder, settings, resume, moment = sys.argv[1:]
if moment:
    name, part_of_name, count = moment.split()
    real, calls = getattr(os, name), 0

    def killing(file, *arguments, **options):
        global calls
        path = os.readlink(f"/proc/self/fd/{file}") if name == "fsync" else str(file)
        calls += part_of_name in os.path.basename(path)
        if calls == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(file, *arguments, **options)

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
        a, b = read_tensors(folder / name, "file")[0], read_tensors(other / name, "file")[0]
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
    moments = [
        "replace training.safetensors 2",  # the first is that of the start
        "replace training.json 2",
        "replace model.safetensors 2",
        "fsync metrics.csv 2",
    ]
    kill_at(tmp_path / "run", settings, moments)
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_every_write_of_a_checkpoint(tmp_path: Path, settings: dict[str, Any]) -> None:
    train_language_model(tmp_path / "whole", settings)
    for call in range(1, 24):
        folder = tmp_path / f"run{call}"
        kill_at(folder, settings, [f"fsync . {call + 12}", f"fsync . {call}"])
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


CALLS = ("mkdir", "replace", "rename", "fsync", "unlink")


def killed_at_call(folder: Path, settings: dict[str, Any], count: int) -> bool:
    """Start the run in a child that is killed before one of its calls that change the disk.

    Returns:
        Whether the run had begun before.
    """
    child = os.fork()
    if child == 0:
        calls = itertools.count(1)

        def killing(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                if (folder / "config.json").exists() or next(calls) == count:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            return call

        for name in CALLS:
            setattr(os, name, killing(getattr(os, name)))
        with contextlib.suppress(BaseException):
            train_language_model(folder, settings)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    return (folder / "config.json").exists()


@pytest.mark.medium
@pytest.mark.parametrize("place", ["new", "empty", "working folder"])
def test_killed_at_every_moment_of_the_start(
    tmp_path: Path, settings: dict[str, Any], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = tmp_path / "home" / "run", {**settings, "max_steps": 5}
    folder.parent.mkdir()
    if place != "new":
        folder.mkdir()
    if place == "working folder":
        monkeypatch.chdir(folder)
    moments = itertools.count(1)
    while True:
        moment = next(moments)
        assert moment < 60
        if killed_at_call(folder, settings, moment):
            break
        assert folder.exists() == (place != "new")
        if place == "working folder":  # the one moment that leaves something: between two renames
            for path in folder.iterdir():
                if not path.name.startswith("."):
                    assert path.name in {"tokens", "training.json", "training.safetensors"}
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            assert not folder.exists() or not list(folder.iterdir())
    assert moment > 10
    # killed when it had just begun, it has a checkpoint to go on from
    train_language_model(folder, settings, resume=True)
    train_language_model(folder.parent / "other", settings)
    assert {path.name for path in folder.parent.iterdir()} == {"run", "other"}
    assert {path.name for path in folder.iterdir() if path.name.startswith(".")} <= {".lock"}
