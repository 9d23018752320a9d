"""The command starts at once: help, versions and mistakes of usage wait for no library."""

import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

PROGRAM = """
import sys
from recurra.cli import main
for line in sys.argv[1:]:
    sys.argv = ["recurra", *line.split()]
    try:
        main()
    except SystemExit as left:
        print("torch" in sys.modules, "networkx" in sys.modules, left.code)
    for stream in (sys.stdout, sys.stderr):
        print("----", file=stream, flush=True)
"""
CODES = {
    "--help": 0,
    "--version": 0,
    "train lm --help": 0,
    "compare --help": 0,
    "train lm --wrap": 2,
    "sample": 2,
    "dance": 2,
}


@pytest.mark.medium
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_torch_is_not_loaded(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *CODES],
        capture_output=True,
        text=True,
        env={"PYTHONIOENCODING": encoding, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    outs, errors = (text.split("----\n") for text in (done.stdout, done.stderr))
    for (words, code), out, error in zip(CODES.items(), outs[:-1], errors[:-1], strict=True):
        assert out.splitlines()[-1] == f"False False {code}", (words, error)
        assert error.count("\n") == (code != 0), words


def test_version(recurra: Any) -> None:
    assert recurra("--version").out == f"recurra {version('recurra')}\n"
