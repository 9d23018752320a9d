"""Measures that a process can take only once, each in one of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping


def in_fresh_process(
    module: str, what: str, threads: int, environment: Mapping[str, str] | None = None
) -> str:
    """What `python -m module what --threads N` prints; RuntimeError where it fails."""
    command = [sys.executable, "-m", module, what, "--threads", str(threads)]
    wanted = os.environ | {"OMP_NUM_THREADS": str(threads)} | dict(environment or {})
    asked = subprocess.run(command, capture_output=True, text=True, env=wanted, check=False)
    if asked.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{asked.stderr}")
    return asked.stdout
