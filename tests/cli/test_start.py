"""The command starts at once: help, versions and mistakes of usage wait for no library."""

import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

PROGRAM = """
import sys
from recurra.cli import main
try:
    main()
except SystemExit as left:
    print("torch" in sys.modules, "networkx" in sys.modules, left.code)
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["train", "lm", "--help"], 0),
        (["compare", "--help"], 0),
        (["train", "lm", "--wrap"], 2),
        (["sample"], 2),
        (["dance"], 2),
    ],
)
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_torch_is_not_loaded(words: list[str], code: int, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        capture_output=True,
        text=True,
        env={"PYTHONIOENCODING": encoding, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.splitlines()[-1] == f"False False {code}", done.stderr
    assert done.returncode == 0
    assert done.stderr.count("\n") == (code != 0)


def test_version(recurra: Any) -> None:
    assert recurra("--version").out == f"recurra {version('recurra')}\n"
