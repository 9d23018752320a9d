import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recurra import cells


@pytest.mark.parametrize(
    "words",
    [("--help",), ("train", "--help"), ("train", "lm", "--help"), ("evaluate", "--help")],
)
def test_help(recurra: Any, words: tuple[str, ...]) -> None:
    outcome = recurra(*words)
    assert outcome.code == 0
    assert "Usage: recurra" in outcome.out


def test_the_help_of_training_teaches(recurra: Any) -> None:
    text = " ".join(recurra("train", "lm", "--help").out.split())
    for words in ("Text", "Model", "Optimization", "[default: 0.003]", "recurra train lm --data"):
        assert words in text


def test_called_bare_it_shows_its_commands(recurra: Any) -> None:
    outcome = recurra()
    for command in ("train", "evaluate", "sample", "cells", "doctor"):
        assert command in outcome.out + outcome.err


def test_evaluate_prints_a_line(recurra: Any, run: Path) -> None:
    outcome = recurra("evaluate", run)
    assert outcome.code == 0
    assert outcome.out.startswith(f"{run}, test: nll ")
    assert " bpc " in outcome.out


def test_evaluate_prints_json(recurra: Any, run: Path, data: Path) -> None:
    figures = json.loads(recurra("evaluate", run, "--json", "--data", data).out)
    assert figures["split"] == "all"
    assert figures["tokens"] == len(data.read_text()) - 1
    assert figures["bpc"] == pytest.approx(figures["nll"] / math.log(2))


def test_sample_goes_on_from_the_prime_and_repeats_with_its_seed(recurra: Any, run: Path) -> None:
    words = ("sample", run, "--length", "30", "--prime", "the cat", "--seed", "7")
    outcome = recurra(*words)
    assert outcome.code == 0
    assert outcome.out.startswith("the cat")
    assert len(outcome.out) == len("the cat") + 30 + 1
    assert recurra(*words).out == outcome.out
    assert recurra(*words[:-1], "8").out != outcome.out
    assert recurra("sample", run, "--length", "30", "--temperature", "0", "--top-k", "3").code == 0


@pytest.mark.medium
def test_a_pipe_that_closes_early_is_no_error(run: Path) -> None:
    command = f"{sys.executable} -m recurra.cli sample {run} --length 3000 | head -c 5"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert len(result.stdout) == 5
    assert result.stderr == ""


def test_cells_lists_every_cell_with_its_size(recurra: Any) -> None:
    outcome = recurra("cells", "--input-size", "10", "--hidden-size", "20")
    assert outcome.code == 0
    lines = {line.split()[0]: line for line in outcome.out.splitlines() if line.strip()}
    assert set(cells.names()) <= set(lines)
    assert "2,480" in lines["lstm"]  # 4 * (20 * 10 + 20 * 20 + 20)


def test_cells_shows_the_equations_of_one(recurra: Any) -> None:
    outcome = recurra("cells", "gru")
    assert str(cells.get("gru")) in outcome.out
    assert "arXiv:1406.1078" in outcome.out
    assert recurra("cells", "gru", "--latex").out.strip() == cells.get("gru").latex().strip()


def test_doctor_reports_the_machine(recurra: Any) -> None:
    outcome = recurra("doctor")
    assert outcome.code == 0
    assert "torch" in outcome.out
