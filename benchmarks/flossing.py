"""Gradient flossing: the adding problem at a lag at which a tanh network learns nothing otherwise.

All sides are the same network, trained with the same steps from the same seeds; they differ in what
is done about their gradients. Rates and numbers of exponents were picked on the validation part.
"""

import math
import statistics
from collections.abc import Iterator

import torch

from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from recurra.comparison import Trial, run_trial
from recurra.insight.flossing import exponents_of, watched
from recurra.nn import Recurrent

TASK, HIDDEN, STEPS = "adding:steps=100", 64, 4000
FREE = 1e30  # a norm that no gradient has
SEEDS = (1, 2, 3)
# What stands behind the task, the largest norm of the gradients, and the learning rates.
SIDES = {
    "no clipping": ("", FREE),
    "clipped by norm": ("", 1.0),
    "flossed and clipped": (",floss=16,floss_before=200", 1.0),
}
LRS = (1e-3, 3e-4)


def _check() -> None:
    """Of a linear recurrence with orthogonal weights all exponents are zero."""
    torch.manual_seed(0)
    layer = Recurrent("rnn", 2, 8, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.W_hh_l0.copy_(torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0])
    with watched([layer]) as reads:
        layer(torch.zeros(20, 3, 2, dtype=torch.float64))
    (found,) = exponents_of(reads[0], 8)
    expected = {"exponents": torch.ones(3, 8, dtype=torch.float64)}
    check_agreement("flossing", expected, {"ours": {"exponents": 1.0 + found}})


def _scores(side: str, lr: float, settings: Settings) -> list[float]:
    """The test score of each seed."""
    options, clip = SIDES[side]
    found = []
    for seed in SEEDS[:1] if settings.quick else SEEDS:
        trial = Trial(
            task=TASK + options,
            cell="rnn",
            hidden_size=HIDDEN,
            seed=seed,
            lr=lr,
            clip=clip,
            max_steps=20 if settings.quick else STEPS,
        )
        found.append(run_trial(trial, threads=settings.threads).best().test or math.inf)
    return found


def _run(settings: Settings) -> Iterator[Row]:
    best: dict[str, tuple[float, float, list[float]]] = {}
    for side in SIDES:
        tried = [(lr, _scores(side, lr, settings)) for lr in LRS]
        best[side] = min((statistics.median(own), lr, own) for lr, own in tried)
    ours, lr, own = best["flossed and clipped"]
    for side in ("no clipping", "clipped by norm"):
        theirs, their_lr, their_own = best[side]
        yield Row(
            job=f"rnn of {HIDDEN} units, {TASK}, {STEPS:,} steps, median of seeds",
            peer=side,
            ours=ours,
            theirs=theirs,
            unit="mse",
            ratio=theirs / ours,
            target=Target(10.0),
            rounds=len(own),
            threads=settings.threads,
            note=f"rates {lr:g} and {their_lr:g}",
            details={"ours": own, "theirs": their_own},
        )


BENCHMARKS = (
    Benchmark(
        name="flossing",
        doc="a tanh network on the adding problem; ratio: the other side's error over that of "
        "gradient flossing",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
