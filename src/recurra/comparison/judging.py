"""What came of a comparison: a summary of each cell, differences between them, and who won.

Source: intervals of differences paired by seed as Student (1908), "The Probable Error of a Mean",
Biometrika 6(1); counts by the exact test of Fisher (1922), "On the Interpretation of chi^2 from
Contingency Tables, and the Calculation of P", JRSS 85(1).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev

from recurra.comparison.trials import Outcome

# The 97.5 % quantiles of Student's t with 1, 2, 3, ... degrees of freedom.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160),
    *(2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056),
    *(2.052, 2.048, 2.045, 2.042),
)
_SURE = 0.05  # a probability of chance below which something is called sure


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One cell over its seeds; each figure is the median, with the smallest and the largest.

    Attributes:
        cell: as it is spelled.
        hidden_size: H.
        parameters: how many numbers were trained.
        lr: learning rate.
        seeds: how many trials have ended.
        solved: how many solved the task.
        diverged: how many ended because their numbers were not finite.
        score: on the test part, at the step of each trial that was best on the validation part.
        at_equal_time: the same of the steps until the first trial of all had spent its budget.
        seconds: of training until the task was solved or the trial ended.
        steps_a_second: of training.
    """

    cell: str
    hidden_size: int
    parameters: int
    lr: float
    seeds: int
    solved: int
    diverged: int
    score: tuple[float, float, float]
    at_equal_time: tuple[float, float, float]
    seconds: tuple[float, float, float]
    steps_a_second: float


def summarise(outcomes: Sequence[Outcome]) -> list[Summary]:
    """One summary for each cell: the more seeds solved the task the better, then the sooner, or the
    better the score where none did."""
    unsolved = [o.points[-1].seconds for o in outcomes if o.status == "ended" and o.points]
    common = min(unsolved, default=max((o.points[-1].seconds for o in outcomes), default=0.0))
    found = []
    for cell in dict.fromkeys(outcome.trial.cell for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.trial.cell == cell]
        last = [outcome.points[-1] for outcome in own]
        found.append(
            Summary(
                cell=cell,
                hidden_size=own[0].trial.hidden_size,
                parameters=own[0].parameters,
                lr=own[0].trial.lr,
                seeds=len(own),
                solved=sum(outcome.status == "solved" for outcome in own),
                diverged=sum(outcome.status == "diverged" for outcome in own),
                score=_spread([_reached(outcome) for outcome in own]),
                at_equal_time=_spread([_reached(outcome, common) for outcome in own]),
                seconds=_spread([point.seconds for point in last]),
                steps_a_second=median(p.step / p.seconds if p.seconds else 0.0 for p in last),
            )
        )
    return sorted(found, key=_rank)


def _rank(summary: Summary) -> tuple[float, tuple[float, ...]]:
    unsolved = 1 - summary.solved / summary.seeds
    return unsolved, summary.score if unsolved == 1 else summary.seconds


def _reached(outcome: Outcome, seconds: float = math.inf) -> float:
    test = outcome.best(seconds).test
    return math.inf if test is None else test


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return median(values), min(values), max(values)


# ---- differences ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much more the other cell has than the best: score, or seconds to solve the task.

    Attributes:
        best, other: the two cells.
        of: what is compared, "score" or "seconds".
        seeds: pairs of trials from the same seed.
        mean: of the differences, the other less the best; nan where one is not finite.
        margin: half of the 95 % interval of that mean, by Student's t over the pairs; nan with
            fewer than two seeds.
    """

    best: str
    other: str
    of: str
    seeds: int
    mean: float
    margin: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves 0 out, the best being the better."""
        return self.mean - self.margin > 0  # false for nan

    @property
    def interval(self) -> tuple[float, float]:
        """Where the mean lies, at 95 %."""
        return self.mean - self.margin, self.mean + self.margin


def differences(outcomes: Sequence[Outcome], summaries: Sequence[Summary]) -> list[Difference]:
    """The best cell against each of the others: by seconds where all trials of both solved the
    task, else by score."""
    by_cell: dict[str, dict[int, Outcome]] = {}
    for outcome in outcomes:
        by_cell.setdefault(outcome.trial.cell, {})[outcome.trial.seed] = outcome
    return [
        _difference(summaries[0].cell, other.cell, by_cell[summaries[0].cell], by_cell[other.cell])
        for other in summaries[1:]
    ]


def _difference(
    best: str, other: str, of_best: Mapping[int, Outcome], of_other: Mapping[int, Outcome]
) -> Difference:
    seeds = sorted(of_best.keys() & of_other.keys())
    pairs = [(of_best[seed], of_other[seed]) for seed in seeds]
    by_time = all(o.status == "solved" for pair in pairs for o in pair)
    values = [
        (b.points[-1].seconds, o.points[-1].seconds) if by_time else (_reached(b), _reached(o))
        for b, o in pairs
    ]
    apart = [other - best for best, other in values]
    known = bool(apart) and all(math.isfinite(value) for value in apart)
    return Difference(
        best=best,
        other=other,
        of="seconds" if by_time else "score",
        seeds=len(seeds),
        mean=mean(apart) if known else math.nan,
        margin=_margin(apart) if known and len(apart) > 1 else math.nan,
    )


def _margin(values: Sequence[float]) -> float:
    """Half of the 95 % interval of their mean."""
    freedom = len(values) - 1
    quantile = _T[freedom - 1] if freedom <= len(_T) else 1.96 + 2.4 / freedom
    return quantile * stdev(values) / math.sqrt(len(values))


def chance_of(solved: tuple[int, int], seeds: tuple[int, int]) -> float:
    """How probable it is that the first solved so many more by chance: Fisher's exact test, one
    side."""
    (a, b), (n, m) = solved, seeds
    ways = math.comb(n + m, a + b)
    most = min(n, a + b)
    return sum(math.comb(n, k) * math.comb(m, a + b - k) for k in range(a, most + 1)) / ways


def verdict(
    summaries: Sequence[Summary], apart: Sequence[Difference], *, measure: str = "score"
) -> str:
    """One line: who won, and how sure that is."""
    if len(summaries) < 2:
        return f"{summaries[0].cell} alone: nothing to compare it with"
    best, second = summaries[:2]
    seeds = f"{best.seeds} seed{'s' * (best.seeds > 1)} each"
    if best.solved * second.seeds != second.solved * best.seeds:
        chance = chance_of((best.solved, second.solved), (best.seeds, second.seeds))
        how = "" if chance < _SURE else ": not sure"
        return (
            f"{best.cell} won: it solved {best.solved} of {best.seeds}, {second.cell} "
            f"{second.solved} of {second.seeds}{how} (by chance with probability {chance:.2g}, "
            "Fisher's exact test)"
        )
    close = [each for each in apart if not each.is_sure]
    first = next(each for each in apart if each.other == second.cell)
    what = "the time to solve the task" if first.of == "seconds" else f"{measure} on the test part"
    if first.seeds < 2:
        return (
            f"{best.cell} is ahead of {second.cell} in {what}, from one seed: how sure that is "
            "cannot be said. Give more seeds."
        )
    if not close:
        return f"{best.cell} won in {what}: better than each of the others at 95 %, {seeds}"
    if first.is_sure:
        return f"{best.cell} won in {what}: better than {second.cell} at 95 %, {seeds}"
    named = ", ".join(each.other for each in close)
    return (
        f"{best.cell} is ahead in {what}, but not surely: at 95 % it cannot be told from {named} "
        f"by {seeds}"
    )
