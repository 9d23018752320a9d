"""Peak memory of training: how far the resident set grows, each side in fresh processes.

A process imports everything, takes one training step on a tiny batch (so that libraries, threads
and compiled loops are there), notes its resident set, resets the kernel's high-water mark, and
trains. Both sides use the C library's allocator as it comes. Sides take turns; the median is
counted.
"""

import argparse
import json
import resource
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

import recurra as rc
from benchmarks.fresh import in_fresh_process
from benchmarks.grid import SMALL, Job, Shape
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target

SHAPE = Shape(784, 64, 1, 128)
STEPS = 3
NN, NORMAL, LOW = "torch.nn", "recurra", 'recurra, memory="low"'
TARGETS = {NORMAL: Target(value=1.0, at_most=True), LOW: Target(value=0.6, at_most=True)}


class NotOfferedError(Exception):
    """This version of recurra lacks what is to be measured."""


def _layer(side: str, shape: Shape) -> nn.Module:
    if side == NN:
        return nn.LSTM(shape.I, shape.H)
    if side == NORMAL:
        return rc.LSTM(shape.I, shape.H)
    try:
        return rc.LSTM(shape.I, shape.H, memory="low")  # pyright: ignore[reportCallIssue]
    except TypeError as error:
        raise NotOfferedError(str(error)) from error


def _check() -> None:
    torch.manual_seed(0)
    exact, job = _layer(NN, SMALL), Job(SMALL)
    expected = job.results(exact)
    for side in (NORMAL, LOW):
        try:
            layer = _layer(side, SMALL)
        except NotOfferedError:
            continue  # its row will say so
        layer.load_state_dict(exact.state_dict())
        check_agreement(f"LSTM {SMALL}", expected, {side: job.results(layer)})


def _train(layer: nn.Module, x: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        layer(x)[0].square().mean().backward()
        optimizer.step()


def growth_bytes(side: str, shape: Shape, steps: int) -> int:
    """How far this process grows at most while it trains; call it once in a process."""
    _train(_layer(side, shape), torch.randn(8, 8, shape.I), steps=2)
    layer, x = _layer(side, shape), torch.randn(shape.T, shape.B, shape.I)
    high_water_resets = _reset_high_water()
    before = _status("VmRSS") if high_water_resets else _maximum()
    _train(layer, x, steps)
    return (_status("VmHWM") if high_water_resets else _maximum()) - before


def _reset_high_water() -> bool:
    """Have the kernel count the peak anew; not every system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/self/status has no {name}")


def _maximum() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _measured(side: str, threads: int) -> int:
    """The growth of a fresh process."""
    answer = json.loads(in_fresh_process("benchmarks.memory", side, threads))
    if "missing" in answer:
        raise NotOfferedError(answer["missing"])
    return answer["bytes"]


def _run(settings: Settings) -> Iterator[Row]:
    sides, taken, missing = [NN, NORMAL, LOW], {}, {}
    for _ in range(1 if settings.quick else 5):
        for side in sides:
            if side in missing:
                continue
            try:
                taken.setdefault(side, []).append(_measured(side, settings.threads) / 2**20)
            except NotOfferedError as error:
                missing[side] = str(error)
    for side, peer in ((NORMAL, NN), (LOW, NN), (LOW, NORMAL)):
        target = TARGETS[side] if peer == NN else None
        job = f"LSTM, {SHAPE}, {STEPS} training steps: {side}"
        if side in missing:
            note = f"not offered by this version ({missing[side]})"
            yield Row(job=job, peer=peer, ratio=float("nan"), target=target, note=note)
            continue
        ratios = [a / b for a, b in zip(taken[side], taken[peer], strict=True)]
        yield Row(
            job=job,
            peer=peer,
            ours=statistics.median(taken[side]),
            theirs=statistics.median(taken[peer]),
            unit="MiB",
            ratio=statistics.median(ratios),
            low=min(ratios),
            high=max(ratios),
            target=target,
            rounds=len(ratios),
            threads=settings.threads,
            details={"MiB": {side: taken[side], peer: taken[peer]}},
        )


def _main() -> None:
    """One measurement, as json on standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("side", choices=[NN, NORMAL, LOW])
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        print(json.dumps({"bytes": growth_bytes(arguments.side, SHAPE, STEPS)}))
    except NotOfferedError as error:
        print(json.dumps({"missing": str(error)}))


BENCHMARKS = (
    Benchmark(
        name="memory",
        doc="growth of the resident set while an LSTM trains; ratio: recurra's over the other's, "
        "so less is better",
        check=_check,
        run=_run,
    ),
)

if __name__ == "__main__":
    _main()
