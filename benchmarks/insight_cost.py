"""What the instruments of insight cost: seconds, and how far the process grows meanwhile.

Each job runs in a fresh process, which warms up on a small case first. The report is that of the
run of `make demo`, a minute of training on the standard library, and its time that of the whole
command. Beside the seconds that passed stand those of the processors, all threads together, which
other work on the machine lengthens less.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

import recurra as rc
from benchmarks.memory import _maximum, _reset_high_water, _status
from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings, Target
from recurra.insight.gradient_flow import gradient_flow
from recurra.insight.lyapunov import lyapunov_spectrum

TRIANGLE_S, TRIANGLE_MIB = 5.0, 1024.0  # allowed
LYAPUNOV_S = {"gru": 10.0, "lstm": 60.0}
REPORT_S, REPORT_MB = 60.0, 3.0
SIZES = {"steps": 200, "batch": 16, "hidden": 256}
STEPS = 600


def _triangle(cell: str, hidden: int, steps: int, batch: int) -> None:
    layer = rc.Recurrent(cell, hidden, hidden)
    gradient_flow(layer, torch.randn(steps, batch, hidden))


def _lyapunov(cell: str, hidden: int, steps: int, batch: int) -> None:
    layer = rc.Recurrent(cell, hidden, hidden)
    lyapunov_spectrum(layer, torch.randn(steps, batch, hidden))


_JOBS: dict[str, Callable[[str, int, int, int], None]] = {
    "triangle": _triangle,
    "lyapunov": _lyapunov,
}


def _measured(job: str, cell: str, steps: int, batch: int, threads: int) -> dict[str, float]:
    """Seconds and MiB of a fresh process."""
    sizes = [str(SIZES["hidden"]), str(steps), str(batch)]
    command = [sys.executable, "-m", "benchmarks.insight_cost", job, cell, *sizes]
    return json.loads(_output(command, threads))


def _output(command: list[str], threads: int) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    asked = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if asked.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{asked.stderr}")
    return asked.stdout


def _reports(settings: Settings, rounds: int) -> list[dict[str, float]]:
    """Seconds and MB of the report of one run, written several times."""
    recurra = [sys.executable, "-m", "recurra.cli"]
    budget = "--max-steps=20" if settings.quick else "--max-minutes=1"
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        run, file = str(Path(folder, "run")), Path(folder, "report.html")
        threads = settings.threads
        _output([*recurra, "train", "lm", f"--out={run}", budget, f"--threads={threads}"], threads)
        for _ in range(rounds):
            began, computed = time.perf_counter(), _of_children()
            _output([*recurra, "insight", run, f"--out={file}"], threads)
            seconds, computed = time.perf_counter() - began, _of_children() - computed
            size = file.stat().st_size / 1e6
            taken.append({"s": seconds, "processor_s": computed, "MB": size})
            file.unlink()
    return taken


def _of_children() -> float:
    """Seconds of the processors in processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _check() -> None:
    """The triangle is what autograd gives of each loss alone."""
    torch.manual_seed(0)
    layer = rc.Recurrent("gru", 3, 4, dtype=torch.float64, backend="reference")
    x = torch.randn(5, 1, 3, dtype=torch.float64)
    d_y = torch.randn(5, 1, 4, dtype=torch.float64)
    found = gradient_flow(layer, x, d_y).joint[0]
    for k in range(4):
        _, h = layer(x[: k + 1])
        h = h.detach().requires_grad_()
        y, _ = layer(x[k + 1 :], h)
        for t in range(k + 1, 5):
            (d,) = torch.autograd.grad((y[t - k - 1] * d_y[t]).sum(), h, retain_graph=True)
            if abs(float(d.norm()) - found[t, k]) > 1e-10:
                raise DisagreementError(f"gradient flow: {found[t, k]} of {t}, {k}, not {d.norm()}")


def _run(settings: Settings) -> Iterator[Row]:
    rounds = 1 if settings.quick else 3
    for cell in ("gru", "lstm"):
        taken = [
            _measured("triangle", cell, SIZES["steps"], SIZES["batch"], settings.threads)
            for _ in range(rounds)
        ]
        job = f"{cell}, all pairs of T200 B16 H256"
        for unit, allowed in (("s", TRIANGLE_S), ("MiB", TRIANGLE_MIB)):
            yield _row(job, taken, allowed, unit, settings)
    for cell, allowed in LYAPUNOV_S.items():
        taken = [_measured("lyapunov", cell, STEPS, 1, settings.threads) for _ in range(rounds)]
        job = f"{cell} H256, {STEPS} steps, all Lyapunov exponents"
        yield _row(job, taken, allowed, "s", settings)
    taken = _reports(settings, rounds)
    for unit, allowed in (("s", REPORT_S), ("MB", REPORT_MB)):
        yield _row("the report of a demo's run", taken, allowed, unit, settings)


def _row(
    job: str, taken: list[dict[str, float]], allowed: float, unit: str, settings: Settings
) -> Row:
    found = [each[unit] for each in taken]
    ratios = [value / allowed for value in found]
    computed = statistics.median(each["processor_s"] for each in taken)
    return Row(
        job=job,
        peer=f"{allowed:g} {unit} allowed",
        ours=statistics.median(found),
        theirs=allowed,
        unit=unit,
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        target=Target(value=1.0, at_most=True),
        rounds=len(found),
        threads=settings.threads,
        note=f"{computed:.1f} s of the processors" if unit == "s" else "",
    )


def _main() -> None:
    """One measurement, as json on standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.insight_cost", description=__doc__)
    parser.add_argument("job", choices=list(_JOBS))
    parser.add_argument("cell")
    parser.add_argument("sizes", type=int, nargs=3, metavar="N", help="hidden size, steps, batch")
    arguments = parser.parse_args()
    run, (hidden, steps, batch) = _JOBS[arguments.job], arguments.sizes
    torch.manual_seed(0)
    run(arguments.cell, hidden, 4, batch)
    resets = _reset_high_water()
    before = _status("VmRSS") if resets else _maximum()
    began, computed = time.perf_counter(), time.process_time()
    run(arguments.cell, hidden, steps, batch)
    seconds, computed = time.perf_counter() - began, time.process_time() - computed
    grown = (_status("VmHWM") if resets else _maximum()) - before
    print(json.dumps({"s": seconds, "processor_s": computed, "MiB": grown / 2**20}))


BENCHMARKS = (
    Benchmark(
        name="insight_cost",
        doc="gradient flow of all pairs of steps, whole Lyapunov spectra, a report; ratio: what "
        "was taken over what is allowed",
        check=_check,
        run=_run,
        needs=("matplotlib",),
    ),
)

if __name__ == "__main__":
    _main()
