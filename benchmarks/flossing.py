"""Gradient flossing: the copying problem at a lag at which a tanh network learns nothing otherwise.

All sides are the same network, trained with the same steps from the same seeds; they differ in what
is done about their gradients. Each side has the rate of `LRS` with which its median over the seeds
is best on the validation part; what is reported is the median on the test part. Flossing before
training alone is a side as well: what it gives is lost again while the network trains.

A trial ends where its score on the validation part, which is measured 50 times in it, is down to
what counts as solved. So the test scores of trials that solve the problem lie about that, above it
as well as below, and whether they solved it is told beside them.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from benchmarks.oracle import check_agreement
from benchmarks.registry import Benchmark, Row, Settings, Target
from recurra.comparison import Trial, run_trial
from recurra.insight.flossing import exponents_of, watched
from recurra.nn import Recurrent

TASK, HIDDEN, STEPS = "copying:delay=50,symbols=1", 64, 2000
FREE = 1e30  # a norm that no gradient has
FLOSSED = "flossed before and while training"
SEEDS = (1, 2, 3)
# What stands behind the task, the largest norm of the gradients, and the learning rates.
SIDES = {
    "no clipping": ("", FREE),
    "clipped by norm": ("", 1.0),
    "flossed before training": (",floss=16,floss_before=100,floss_every=0", 1.0),
    FLOSSED: (",floss=16,floss_before=100,floss_every=10", 1.0),
}
LRS = (1e-3, 3e-4)


def _check() -> None:
    """Of a linear recurrence with orthogonal weights all exponents are zero."""
    torch.manual_seed(0)
    layer = Recurrent("rnn", 2, 8, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.get_parameter("W_hh_l0").copy_(
            torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]
        )
    with watched([layer]) as reads:
        layer(torch.zeros(20, 3, 2, dtype=torch.float64))
    (found,) = exponents_of(reads[0], 8)
    expected = {"exponents": torch.ones(3, 8, dtype=torch.float64)}
    check_agreement("flossing", expected, {"ours": {"exponents": 1.0 + found}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side at one rate: its scores on both parts, each seed's at its best validation score; and
    after how many steps each seed solved the problem, None where it did not."""

    lr: float
    val: list[float]
    test: list[float]
    solved: list[int | None]

    @property
    def how_many(self) -> str:
        """How many of its seeds solved the problem, and when, in words."""
        steps = [each for each in self.solved if each is not None]
        when = f", after {min(steps):,} to {max(steps):,} steps" if steps else ""
        return f"{len(steps)} of {len(self.solved)} solved{when}"


def _trained(side: str, lr: float, settings: Settings) -> Side:
    options, clip = SIDES[side]
    if settings.quick:
        options = options.replace("floss_before=100", "floss_before=2")
    outcomes = []
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
        outcomes.append(run_trial(trial, threads=settings.threads))
    best = [outcome.best() for outcome in outcomes]
    return Side(
        lr=lr,
        val=[each.score for each in best],
        test=[_known(each.test) for each in best],
        solved=[
            point.step if outcome.status == "solved" else None
            for outcome, point in zip(outcomes, best, strict=True)
        ],
    )


def _known(score: float | None) -> float:
    return math.inf if score is None else score


def best_rate(tried: Sequence[Side]) -> Side:
    """The side whose median over the seeds is best on the validation part."""
    return min(tried, key=lambda side: statistics.median(side.val))


def _run(settings: Settings) -> Iterator[Row]:
    best = {side: best_rate([_trained(side, lr, settings) for lr in LRS]) for side in SIDES}
    ours = best.pop(FLOSSED)
    for name, theirs in best.items():
        yield row_of(ours, name, theirs, settings)


def row_of(ours: Side, name: str, theirs: Side, settings: Settings) -> Row:
    """The test scores of gradient flossing beside those of another side."""
    error, their_error = (statistics.median(side.test) for side in (ours, theirs))
    return Row(
        job=f"rnn of {HIDDEN} units, {TASK}, {STEPS:,} steps, median of seeds",
        peer=name,
        ours=error,
        theirs=their_error,
        unit="nll",
        ratio=their_error / error,
        target=Target(value=10.0),
        rounds=len(ours.test),
        threads=settings.threads,
        note=f"rates {ours.lr:g} and {theirs.lr:g}; flossed {ours.how_many}; {theirs.how_many} of "
        "the other side",
        details={"ours": ours.test, "theirs": theirs.test, "solved": ours.solved},
    )


BENCHMARKS = (
    Benchmark(
        name="flossing",
        doc="a tanh network on the copying problem; ratio: the other side's error over that of "
        "gradient flossing",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
