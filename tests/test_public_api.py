"""The names that users and checks rely on: adding one is a decision, losing one is a break."""

import subprocess
import sys
from importlib.metadata import version

import recurra as rc


def test_public_names() -> None:
    assert sorted(rc.__all__) == [
        "Bidirectional",
        "GRU",
        "LSTM",
        "LanguageModel",
        "RNN",
        "Recurrent",
        "__version__",
        "cell",
        "cells",
        "compose",
        "doctor",
        "load",
    ]
    for name in rc.__all__:
        assert getattr(rc, name) is not None


def test_version_is_that_of_the_package() -> None:
    assert rc.__version__ == version("recurra")


def test_cells_are_attributes_of_the_registry() -> None:
    for name in rc.cells.names():
        assert getattr(rc.cells, name) is rc.cells.get(name)


def test_import_is_silent_and_starts_nothing() -> None:
    """`import recurra` prints nothing and does not load what only commands and training need."""
    program = (
        "import sys, recurra; "
        "print([m for m in ('lightning_fabric', 'tensorboard', 'typer', 'tokenizers') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("[]", "", 0)
