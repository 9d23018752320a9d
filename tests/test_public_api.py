"""The names that users and checks rely on: adding one is a decision, losing one is a break."""

import importlib
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import recurra as rc
from recurra.backends import constant_result
from recurra.cells import registry
from recurra.lang import Cell

NAMES = rc.cells.names()


def test_public_names() -> None:
    assert sorted(rc.__all__) == [
        "Aligner",
        "Bidirectional",
        "Captioner",
        "Classifier",
        "Forecaster",
        "FrameTagger",
        "GRU",
        "LSTM",
        "LanguageModel",
        "RNN",
        "Recurrent",
        "Run",
        "Series",
        "Tagger",
        "Translator",
        "__version__",
        "cell",
        "cells",
        "compose",
        "doctor",
        "intervene",
        "load",
        "trace",
        "train",
    ]
    for name in rc.__all__:
        assert getattr(rc, name) is not None


def test_version_is_that_of_the_package() -> None:
    assert rc.__version__ == version("recurra")


def test_cells_are_attributes_of_the_registry() -> None:
    for name in rc.cells.names():
        assert getattr(rc.cells, name) is rc.cells.get(name)
    assert sorted(dir(rc.cells)) == sorted(rc.cells.__all__) == sorted(["get", "names", *NAMES])


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_the_registry_names_each_cell_of_its_families(family: str) -> None:
    module = importlib.import_module(f"recurra.cells.{family}")
    found = sorted(name for name, value in vars(module).items() if isinstance(value, Cell))
    assert found == sorted(registry.FAMILIES[family].split())
    assert all(rc.cells.get(name).name == name for name in found)


def test_every_family_is_in_the_registry() -> None:
    folder = Path(registry.__file__).parent
    assert {file.stem for file in folder.glob("*.py")} == {
        *registry.FAMILIES,
        "__init__",
        "registry",
    }


HEAVY = ("torch._dynamo", "networkx", "lightning_fabric", "tensorboard", "tokenizers", "typer")


@pytest.mark.medium
@pytest.mark.parametrize(
    ("program", "loaded"),
    [
        ("import recurra", ()),
        ("from recurra import cells; cells.names(); dir(cells)", ()),
        ("import recurra as rc; rc.LSTM(3, 4); rc.load; rc.compose; rc.cell", ("torch",)),
    ],
)
def test_import_is_silent_and_loads_what_is_used(program: str, loaded: tuple[str, ...]) -> None:
    """Torch with the first layer, its compiler, pictures, training and commands with their use."""
    program += f"; import sys; print([m for m in {('torch', *HEAVY)} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr, done.returncode) == (str(list(loaded)), "", 0)


@pytest.mark.medium
def test_importing_takes_a_moment_beside_torch(tmp_path: Path) -> None:
    """In CPU time, which other work on the machine changes little; the first layer too is a small
    part of torch itself. The least of several counts: bytecode is compiled once, and kept even
    where the environment asks for none."""
    program = """
from time import process_time
times = [process_time()]
import torch
times.append(process_time())
import recurra as rc
times.append(process_time())
rc.LSTM(3, 4), rc.load, rc.cell, rc.cells
times.append(process_time())
print(*(after - before for before, after in zip(times, times[1:])))
"""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    measured = []
    for _ in range(4):  # the first one compiles torch's as well
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        measured.append([float(each) for each in done.stdout.split()])
        torch_s, import_s, layer_s = (min(each) for each in zip(*measured, strict=True))
        if import_s < 0.3 and layer_s < 0.3 * torch_s:
            return
    pytest.fail(f"torch {torch_s:.2f} s, recurra {import_s:.2f} s, its layers {layer_s:.2f} s")


def test_names_that_are_not_there() -> None:
    with pytest.raises(AttributeError, match="'recurra' has no attribute 'LTSM'"):
        rc.LTSM  # noqa: B018
    with pytest.raises(AttributeError, match="no cell 'gruu'\\. Did you mean gru"):
        rc.cells.gruu  # noqa: B018


def test_constant_results_are_torchs_own() -> None:
    """`constant_result` stands for a decorator whose import would load torch's compiler."""

    def ours() -> None: ...
    def torchs() -> None: ...

    assert vars(constant_result(ours)) == vars(torch.compiler.assume_constant_result(torchs))
