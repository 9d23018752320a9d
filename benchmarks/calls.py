"""Small calls: what stands around the compiled loops counts as much as they do.

A call with nothing to compute (one step of one sequence, one feature, one unit) takes what is
around any call. The others are a small layer in training, and one to three steps without gradients,
as a program takes them that reads its input as it comes and keeps the state itself.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.grid import SMALL, Job, Shape
from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import Ratio, interleaved, local, row
from benchmarks.torch_nn import KINDS, pair

TRAINED, NOTHING = Shape(25, 8, 64, 64), Shape(1, 1, 1, 1)
TARGETS = {"LSTM": Target(value=1.5), "GRU": Target(value=3.0), "RNN": None}
AROUND_MS = 0.1
FEW_STEPS, FEW_OVER = (1, 2, 3), Target(value=3.0)


def _state(shape: Shape, kind: str) -> Tensor | tuple[Tensor, Tensor]:
    h = torch.randn(1, shape.B, shape.H)
    return (h, torch.randn_like(h)) if kind == "LSTM" else h


def _check_steps(kind: str, shape: Shape) -> None:
    ours, theirs = pair(kind, shape)
    x, state = torch.randn(shape.T, shape.B, shape.I), _state(shape, kind)
    with torch.no_grad():
        (y, last), (expected, theirs_last) = ours(x, state), theirs(x, state)
    finals = zip(_tuple(last), _tuple(theirs_last), strict=True)
    want, got = {"y": expected}, {"y": y}
    for i, (found, right) in enumerate(finals):
        want[f"state {i}"], got[f"state {i}"] = right, found
    check_agreement(f"{kind} {shape}", want, {"recurra": got})


def _tuple(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else state


def _check() -> None:
    for kind in KINDS:
        job = Job(SMALL)
        ours, theirs = pair(kind, SMALL)
        check_agreement(kind, job.results(theirs), {"recurra": job.results(ours)})
        for steps in FEW_STEPS:
            _check_steps(kind, SMALL._replace(T=steps))


def _around(kind: str, settings: Settings) -> Row:
    """One of our calls with nothing to compute, against what may be around a call."""
    job, (ours, theirs) = Job(NOTHING, input_gradient=False), pair(kind, NOTHING)
    rounds = interleaved(
        {"recurra": local(lambda: job.step(ours)), "torch.nn": local(lambda: job.step(theirs))},
        settings,
    )
    ratios = [AROUND_MS / ms for ms in rounds.ms["recurra"]]
    took = rounds.median_ms("recurra")
    ratio = Ratio(median=AROUND_MS / took, low=min(ratios), high=max(ratios))
    return Row(
        job=f"{kind}, around a call, forward + backward",
        peer=f"{AROUND_MS} ms",
        ours=took,
        theirs=AROUND_MS,
        ratio=ratio.median,
        low=ratio.low,
        high=ratio.high,
        target=Target(value=1.0),
        rounds=len(rounds),
        threads=settings.threads,
        note=f"torch.nn's is {rounds.median_ms('torch.nn'):.3f} ms",
        details={"ms": rounds.ms},
    )


def _trained(kind: str, settings: Settings) -> Row:
    job, (ours, theirs) = Job(TRAINED, input_gradient=False), pair(kind, TRAINED)
    check_agreement(kind, job.results(theirs), {"recurra": job.results(ours)})
    rounds = interleaved(
        {"recurra": local(lambda: job.step(ours)), "torch.nn": local(lambda: job.step(theirs))},
        settings,
    )
    what = f"{kind} forward + backward, {TRAINED}"
    return row(rounds, what, "torch.nn", settings, target=TARGETS[kind])


def _few_steps(kind: str, steps: int, settings: Settings) -> Row:
    shape = Shape(steps, 16, 128, 128)
    _check_steps(kind, shape)
    x, state, sides = torch.randn(shape.T, shape.B, shape.I), _state(shape, kind), {}

    @torch.no_grad()
    def run(layer: nn.Module) -> None:
        layer(x, state)

    for name, layer in zip(("recurra", "torch.nn"), pair(kind, shape), strict=True):
        sides[name] = local(lambda layer=layer: run(layer))
    target = FEW_OVER if kind == "GRU" else None
    what = f"{kind} without gradients, {shape}"
    return row(interleaved(sides, settings), what, "torch.nn", settings, target=target)


def _run(settings: Settings) -> Iterator[Row]:
    for kind in KINDS:
        yield _trained(kind, settings)
        yield _around(kind, settings)
        for steps in FEW_STEPS:
            yield _few_steps(kind, steps, settings)


BENCHMARKS = (
    Benchmark(
        name="calls",
        doc="small calls, float32, and what is around any call; ratio: torch.nn's time over "
        "recurra's, or what may be around a call over what is",
        check=_check,
        run=_run,
    ),
)
