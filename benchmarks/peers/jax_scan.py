"""JAX's lax.scan in a process of its own, which sleeps while the other sides run."""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from benchmarks.grid import Job
from benchmarks.oracle import Results

_WORKER = Path(__file__).with_name("jax_worker.py")
_SETTLE_S = 0.02  # OpenMP's threads spin for some milliseconds after their last work


class JaxScan:
    """One worker process; one job at a time is loaded in it."""

    def __init__(self, threads: int) -> None:
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [sys.executable, str(_WORKER), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def load(self, name: str, job: Job, parameters: Mapping[str, Tensor]) -> str:
        """Compile a cell for a job, with our parameters; returns JAX's version."""
        arrays = {key: value.detach().numpy() for key, value in parameters.items()}
        return self._ask("load", name, job.x.detach().numpy(), arrays, job.d_y.numpy())

    def results(self) -> Results:
        """The output and the gradients, by our names."""
        return {name: torch.tensor(value) for name, value in self._ask("results").items()}

    def turn(self, calls: int) -> float:
        """Seconds for one training step of so many."""
        time.sleep(_SETTLE_S)
        return self._ask("turn", calls)

    def _ask(self, request: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((request, arguments), self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()
        status, reply = pickle.load(self._process.stdout)
        if status != "done":
            raise RuntimeError(f"the JAX worker failed:\n{reply}")
        return reply

    def __enter__(self) -> "JaxScan":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()  # closes the pipe, which ends it
