"""Runs and models that earlier versions wrote are used as on the day that they were written.

tests/runs/format-1 was written on 26 November 2026 by the code of that day (commit bc841fa), and
expected.json there is what that code made of it. These files are never written again: a change that
fails here takes people's runs from them. A new format gets a folder beside this one, and a test.
That code could not resume two of them: those with tied weights (word) and in float64 (whitespace).
Their ends are those of the code that mended it.

All goes through the command line and `recurra.load`, since everything inside may be rewritten; if
the command is spelled in another way one day, `_resume` and its kin change, the numbers never.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import recurra as rc
from recurra.cli import app

pytestmark = pytest.mark.medium

RUNS = Path(__file__).parent / "format-1"
EXPECTED = json.loads((RUNS / "expected.json").read_text("utf-8"))

# What ends each of them; the settings of each stand in its config.json.
GOES_ON = {
    "char": ("--max-steps", "40"),  # stopped by SIGTERM at step 17 of 30, between two rows
    "byte": ("--max-steps", "50"),  # over at 30; texts of its own to validate and to test on
    "word": ("--max-steps", "60"),  # over at 30; not even one pass over its text
    "whitespace": ("--epochs", "3"),  # over after two passes; in float64
    "bpe": ("--max-steps", "40"),  # killed at step 18 of 30, when the checkpoint was of step 10
}
CLOCK = ("tokens_per_s", "elapsed_s")


@rc.cell(state="h")
def leaky(x, h, W, U, b):
    return 0.9 * h + 0.1 * np.tanh(W @ x + U @ h + b)


# Saved models, and what `load` wants for them besides the folder.
MODELS: dict[str, dict[str, Any]] = {
    "composed": {},  # zoneout(layer_norm(lstm), 0.1)
    "constants": {},  # antisymmetric_rnn with step=0.05
    "own_cell": {"cell": leaky},
}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the run that the test names."""
    return shutil.copytree(RUNS / request.param, tmp_path / request.param)


each_run = pytest.mark.parametrize("folder", GOES_ON, indirect=True)


def _command(*words: str | Path) -> bytes:
    threads = torch.get_num_threads()
    result = CliRunner().invoke(app, [str(word) for word in words])
    torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def _evaluated(run: Path, split: str) -> dict[str, Any]:
    figures = json.loads(_command("evaluate", run, "--split", split, "--json"))
    return {name: value for name, value in figures.items() if name not in ("run", "seconds")}


def _sampled(run: Path, *words: str) -> str:
    written = _command("sample", run, "--length", "40", "--seed", "1", *words)
    return written.decode("utf-8", "surrogateescape")


def _resume(run: Path) -> dict[str, Any]:
    """Go on with the run, and what it came to: its logs, and the sums of its best weights."""
    _command("train", "lm", "--out", run, "--resume", *GOES_ON[run.name])
    with (run / "metrics.csv").open(newline="") as file:
        rows = [
            {name: float(value) for name, value in row.items() if value and name not in CLOCK}
            for row in csv.DictReader(file)
        ]
    samples = (run / "samples.txt").read_bytes().decode("utf-8", "surrogateescape")
    return {"rows": rows, "samples": samples, "weights": _sums(rc.load(run))}


def _sums(model: torch.nn.Module) -> dict[str, list[float]]:
    """The sum and the norm of each tensor."""
    tensors = {name: tensor.double() for name, tensor in model.state_dict().items()}
    return {
        name: [float(tensor.sum()), float(tensor.norm())]
        for name, tensor in sorted(tensors.items())
    }


def _logits(model: torch.nn.Module) -> list[list[float]]:
    """What the model says of a few tokens, after two of them."""
    with torch.no_grad():
        logits = model(torch.tensor([3, 1, 4, 1, 5]))[0]
    return logits.double()[2:4, :8].tolist()


def _agree(got: Any, expected: Any, relative: float) -> None:
    """Numbers agree to `relative`, as machines differ in their last bits; all else is the same."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            _agree(got[name], value, relative)
    elif isinstance(expected, list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            _agree(one, other, relative)
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, rel=relative, abs=relative / 10)
    else:
        assert got == expected


@each_run
def test_an_old_run_is_loaded(folder: Path) -> None:
    model = rc.load(folder)
    assert isinstance(model, rc.LanguageModel)
    assert not model.training
    _agree(_logits(model), EXPECTED[folder.name]["logits"], 1e-5)


@each_run
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_old_run_is_evaluated(folder: Path, split: str) -> None:
    _agree(_evaluated(folder, split), EXPECTED[folder.name]["figures"][split], 1e-5)


@each_run
@pytest.mark.parametrize(
    "words", [(), ("--temperature", "0"), ("--top-k", "5", "--prime", "the mill ")], ids=str
)
def test_an_old_run_writes_the_same_text(folder: Path, words: tuple[str, ...]) -> None:
    assert _sampled(folder, *words) == EXPECTED[folder.name]["texts"][" ".join(words)]


@pytest.mark.medium
@each_run
def test_an_old_run_goes_on_to_the_same_end(folder: Path) -> None:
    _agree(_resume(folder), EXPECTED[folder.name]["resumed"], 1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_an_old_model_is_loaded(name: str) -> None:
    model = rc.load(RUNS / name, **MODELS[name])
    _agree(_logits(model), EXPECTED[name]["logits"], 1e-5)
    _agree(_sums(model), EXPECTED[name]["weights"], 1e-6)
