"""Two processes that train one model together, over gloo: what each has, and how they end."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recurra as rc
from recurra.data import Vocabulary
from recurra.errors import DataError, DeviceError, RunError
from recurra.files import read_tensors
from recurra.models import LanguageModel
from recurra.parallel import launching
from recurra.tasks.former import LanguageTrainer
from recurra.tasks.language import LanguageTask
from recurra.tasks.options import LanguageTraining
from recurra.training import Hook, Run, Trainer, TrainingSettings

SETTINGS: dict[str, Any] = {
    "hidden_size": 12,
    "embedding_size": 8,
    "batch_size": 6,
    "bptt": 17,
    "max_steps": 50,
    "checkpoint_every": 20,
    "eval_every": 20,
    "sample_length": 10,
    "threads": 1,
    "device": "cpu",
    "view": None,
}

# A task of one's own, whose loss is another where the script is not the main program.
SCRIPT = """
import sys, torch
import recurra as rc
from recurra.tasks.language import LanguageTask
from recurra.training import Loss

class Mine(LanguageTask):
    name = "mine"

    def loss(self, model, batch, state, moment):
        found = super().loss(model, batch, state, moment)
        if __name__ != "__main__" and moment.step == 5:
            return Loss(mean=found.mean * float("nan"), count=found.count,
                        state=found.state, steps=found.steps)
        if __name__ != "__main__" and moment.step == 15:
            raise ValueError("mine: expected no more steps, got one.")
        return found

if __name__ == "__main__":
    run = rc.train(Mine, out=sys.argv[1], devices=2, data=sys.argv[2], view=None,
                   hidden_size=8, batch_size=4, bptt=10, device="cpu", threads=1,
                   max_steps=int(sys.argv[3]), sample_length=0)
    print(run.result.skipped, run.result.steps)
"""


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As many as the tests use, wherever they run; and no process is left behind by any."""
    monkeypatch.setattr(launching, "cores", lambda: 2)
    yield
    assert not multiprocessing.active_children()
    assert not torch.distributed.is_initialized()


@pytest.fixture
def settings(tmp_path: Path, synthetic_text: Callable[[int], str]) -> dict[str, Any]:
    data = tmp_path / "text.txt"
    data.write_text(synthetic_text(120))
    return {**SETTINGS, "data": str(data)}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / "training.safetensors", "checkpoint")[0]


def assert_same(folder: Path, other: Path) -> None:
    """The checkpoints are equal bit by bit, those of all ranks."""
    a, b = tensors(folder), tensors(other)
    assert a.keys() == b.keys()
    assert {"carried-1/0", "random-1/cpu"} <= a.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


class At(Hook):
    """Does something after a step."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.step, self.act = step, act

    def stepped(self, trainer: Trainer[Any, Any], outcome: object) -> None:
        if trainer.progress.step == self.step:
            self.act()


def kill_other() -> None:
    (other,) = multiprocessing.active_children()
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)


@pytest.mark.medium
def test_two_processes_learn_what_one_learns_of_the_joined_batches(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings |= {"dropout": 0.0}
    one = rc.train("lm", out=tmp_path / "one", **settings).result
    two = rc.train("lm", out=tmp_path / "two", devices=2, **settings).result
    assert one is not None
    assert two is not None
    assert (two.counted, two.steps, two.epochs) == (one.counted, one.steps, one.epochs)
    assert one.epochs > 1  # a pass ends in a window that is shorter
    a, b = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    weights = [name for name in a if name.startswith("model/")]
    assert weights
    for name in weights:
        torch.testing.assert_close(b[name], a[name], atol=1e-5, rtol=0)
    streams = torch.cat([b["carried/0"], b["carried-1/0"]], dim=1)
    torch.testing.assert_close(streams, a["carried/0"], atol=1e-4, rtol=0)
    for mine, theirs in zip(
        Run.open(tmp_path / "one").history(), Run.open(tmp_path / "two").history(), strict=True
    ):
        assert theirs["nll"] == pytest.approx(mine["nll"], abs=1e-5)
        assert theirs["grad_norm"] == pytest.approx(mine["grad_norm"], abs=1e-4)


@pytest.mark.medium
def test_two_processes_classify_as_one_does(tmp_path: Path) -> None:
    """Batches of examples of several lengths, of which the last of a pass leaves rank 1 none."""
    data = tmp_path / "reviews.tsv"
    rows = [f"{'very ' * (i % 5)}{word}\t{word}" for i in range(39) for word in ("good", "bad")]
    data.write_text("\n".join(["text\tlabel", *rows[1:]]) + "\n")
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, devices in zip(folders, (1, 2), strict=True):
        settings = {**SETTINGS, "data": str(data), "out": folder, "devices": devices}
        del settings["bptt"], settings["embedding_size"], settings["sample_length"]
        run = rc.train("classify", dropout=0.0, lr=0.01, **settings)
        assert run.result is not None
        assert run.result.epochs > 1
        assert len(run.task.parts["train"].lengths) % 6 == 1
    a, b = map(tensors, folders)
    for name in (name for name in a if name.startswith("model/")):
        torch.testing.assert_close(b[name], a[name], atol=1e-5, rtol=0)


@pytest.mark.slow  # as two classify, which make test shows
def test_two_processes_tag_as_one_does(tmp_path: Path) -> None:
    """Sentences of several lengths under a CRF, whose scores are no part of the model's call; some
    labels are not known, and the last batch of a pass leaves rank 1 none."""
    data = tmp_path / "tags.jsonl"
    rows = [{"tokens": ["a", "dog"] * n, "tags": ["D", "N"] * n} for n in [1, 2, 3, 4, 2, 1, 3] * 7]
    rows = rows[:47]  # 37 to learn from
    for row in rows[::10]:
        row["tags"][0] = ""
    data.write_text("\n".join(map(json.dumps, rows)))
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, devices in zip(folders, (1, 2), strict=True):
        settings = {**SETTINGS, "data": str(data), "out": folder, "devices": devices}
        del settings["bptt"], settings["sample_length"]
        run = rc.train("tag", crf=True, dropout=0.0, input_dropout=0.0, word_dropout=0.0, lr=0.01,
                       **settings)  # fmt: skip
        assert run.result is not None
        assert run.result.epochs > 1
        assert len(run.task.parts["train"].lengths) % 6 == 1
    a, b = map(tensors, folders)
    assert "model/crf.first" in a
    assert a["model/crf.first"].abs().max() > 0.05  # it has learned
    for name in (name for name in a if name.startswith("model/")):
        torch.testing.assert_close(b[name], a[name], atol=1e-5, rtol=0)
    for mine, theirs in zip(*(Run.open(folder).history() for folder in folders), strict=True):
        assert theirs["nll"] == pytest.approx(mine["nll"], abs=1e-5)
        assert theirs["grad_norm"] == pytest.approx(mine["grad_norm"], abs=1e-4)


@pytest.mark.medium
def test_a_killed_process_ends_the_run_which_goes_on_exactly(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings |= {"dropout": 0.3, "devices": 2}
    rc.train("lm", out=tmp_path / "whole", **settings)
    expected = r"rank 1: .* ended \(SIGKILL.*\)\. The last checkpoint is whole: .*resume=True\.$"
    with pytest.raises(RunError, match=expected):
        rc.train("lm", out=tmp_path / "run", hooks=[At(33, kill_other)], **settings)
    assert json.loads((tmp_path / "run/training.json").read_text())["progress"]["step"] == 20
    with pytest.raises(RunError, match=r"devices=1 \(the run has 2\)"):
        Run.open(tmp_path / "run").fit(devices=1)
    Run.open(tmp_path / "run").fit()
    assert_same(tmp_path / "whole", tmp_path / "run")
    metrics = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "run")]
    assert metrics[0] == metrics[1]


@pytest.mark.medium
def test_a_process_that_dies_while_another_prepares_leaves_nothing(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = LanguageTask.prepare

    def killing(folder: Path, data: Any) -> LanguageTask:
        kill_other()
        return prepare(folder, data)

    monkeypatch.setattr(LanguageTask, "prepare", killing)
    with pytest.raises(RunError, match=r"rank 1: .*SIGKILL.*no checkpoint yet"):
        rc.train("lm", out=tmp_path / "runs" / "run", devices=2, **settings)
    assert not (tmp_path / "runs").exists()


def test_an_error_of_the_first_ends_all(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="expected at least"):
        rc.train("lm", out=tmp_path / "runs" / "run", devices=2, **{**settings, "bptt": 10**6})
    assert not (tmp_path / "runs").exists()


@pytest.mark.medium
def test_an_error_of_another_is_said_with_its_rank(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "run"), settings["data"]]
    done = subprocess.run([*command, "10"], capture_output=True, text=True, check=True)
    assert done.stdout == "1 10\n"  # a step that is not finite in one rank is skipped in both
    shutil.rmtree(tmp_path / "run")
    done = subprocess.run([*command, "20"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "recurra.errors.RunError: rank 1: " in done.stderr
    assert "mine: expected no more steps, got one. The last checkpoint is whole" in done.stderr
    shutil.rmtree(tmp_path / "run")
    script.write_text(SCRIPT.replace('if __name__ == "__main__":', "if True:"))
    done = subprocess.run([*command, "20"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a script trains under if __name__ == '__main__'" in done.stderr
    assert not (tmp_path / "run").exists()


def test_batches_are_shared_out_evenly_among_devices_that_are_there(
    tmp_path: Path,
    settings: dict[str, Any],
    model: LanguageModel,
    vocabulary: Vocabulary,
    tokens: np.ndarray,
) -> None:
    with pytest.raises(ValueError, match=r"batch_size: expected a multiple of devices, 2, .*got 5"):
        TrainingSettings(batch_size=5, devices=2)
    with pytest.raises(DeviceError, match=r"devices: expected at most 2, the cores .*, got 3"):
        rc.train("lm", out=tmp_path / "run", devices=3, **settings)
    # a batch that can be shared out among them would not help
    with pytest.raises(DeviceError, match=r"devices: expected at most 2, the cores .*, got 99"):
        rc.train("lm", out=tmp_path / "run", devices=99, **settings)
    with pytest.raises(ValueError, match=r"devices: expected .* at least 1, got 0"):
        rc.train("lm", out=tmp_path / "run", devices=0, **settings)
    with pytest.raises(ValueError, match="devices: expected 1 where no run is started, got 2"):
        LanguageTrainer(
            model, vocabulary, tokens, tokens, LanguageTraining(devices=2), folder=tmp_path
        )


def command(settings: dict[str, Any], *more: str) -> list[str]:
    given = {**settings, **{"max_steps": 200}}
    del given["view"]
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    return ["-m", "recurra.cli", "train", "lm", *options, *more]


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.05)
    assert process.poll() is None


@pytest.mark.medium
@pytest.mark.parametrize(
    ("signum", "code"),
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)],
)
def test_signals_reach_all_and_the_run_goes_on_exactly(
    tmp_path: Path, settings: dict[str, Any], signum: signal.Signals, code: int
) -> None:
    words = command(settings, "--devices=2", f"--out={tmp_path / 'run'}")
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(tmp_path / "run" / "metrics.csv", process)
    time.sleep(0.3)
    os.killpg(process.pid, signum)  # as a terminal does: all of them get it
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert said.count("\n") == 1
    assert "stopped; go on with: recurra train --resume" in said
    stopped_at = json.loads((tmp_path / "run/training.json").read_text())["progress"]["step"]
    assert 0 < stopped_at < 200
    rc.train("lm", out=tmp_path / "run", resume=True, view=None)
    if signum == signal.SIGTERM:
        rc.train("lm", out=tmp_path / "whole", devices=2, **{**settings, "max_steps": 200})
        assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.medium
def test_no_process_outlives_the_first(tmp_path: Path, settings: dict[str, Any]) -> None:
    words = command(settings, "--devices=2", f"--out={tmp_path / 'run'}", "--max-steps=100000")
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    wait_for(tmp_path / "run" / "metrics.csv", process)
    process.kill()
    # the pipe that all of them write to ends when the last of them has ended
    process.communicate(timeout=30)
    rc.train("lm", out=tmp_path / "run", resume=True, view=None, max_steps=30)


@pytest.mark.slow
def test_three_end_with_the_weights_of_one(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings |= {"dropout": 0.0}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=3", "--no-python"]
    words = [sys.executable, *command(settings, f"--out={tmp_path / 'three'}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*torchrun, *words], env=environment, check=True, capture_output=True)
    rc.train("lm", out=tmp_path / "one", **{**settings, "max_steps": 200})
    three, one = (rc.load(tmp_path / name).state_dict() for name in ("three", "one"))
    for name, weight in one.items():
        torch.testing.assert_close(three[name], weight, atol=1e-5, rtol=0.0)


@pytest.mark.slow
def test_torchrun_starts_them_too(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings |= {"dropout": 0.0}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--no-python"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        process = subprocess.Popen(
            [*torchrun, sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        out, err = process.communicate(timeout=100)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    done = run(*command(settings, f"--out={tmp_path / 'run'}"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the run is in") == 1
    rc.train("lm", out=tmp_path / "ours", devices=2, **{**settings, "max_steps": 200})
    assert_same(tmp_path / "ours", tmp_path / "run")
    done = run(*command({**settings, "data": "missing.txt"}, f"--out={tmp_path / 'other'}"))
    assert done.returncode == 1  # torchrun's own
    assert done.stderr.count("missing.txt: expected a text file") == 1
    assert not (tmp_path / "other").exists()
