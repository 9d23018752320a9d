"""Fair timing on a shared machine: all sides in turn, and the ratio taken round by round.

A *turn* is one side's share of a round: so many calls in a row, the seconds that one of them took.
A side that lives in another process takes its own time and waits on a pipe meanwhile.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.registry import Row, Settings, Target

Turn = Callable[[int], float]

SHORTEST_TURN_S = 0.03  # calls shorter than this are repeated, the first of them not counted
MOST_CALLS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Theirs over ours: the median of the rounds' ratios, and the smallest and the largest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Milliseconds a call by side, one for each round."""

    ms: Mapping[str, list[float]]

    def __len__(self) -> int:
        return len(next(iter(self.ms.values())))

    def median_ms(self, side: str) -> float:
        """The median over the rounds."""
        return statistics.median(self.ms[side])

    def fastest(self, sides: list[str]) -> str:
        """The side with the smallest median."""
        return min(sides, key=self.median_ms)

    def ratio(self, ours: str, theirs: str) -> Ratio:
        """How many times longer `theirs` took: paired by round, so that drift cancels."""
        pairs = zip(self.ms[theirs], self.ms[ours], strict=True)
        ratios = [their_ms / our_ms for their_ms, our_ms in pairs]
        return Ratio(median=statistics.median(ratios), low=min(ratios), high=max(ratios))


def row(
    rounds: Rounds,
    job: str,
    peer: str,
    settings: Settings,
    *,
    ours: str = "recurra",
    target: Target | None = None,
) -> Row:
    """The line of the table for one job against one peer."""
    ratio = rounds.ratio(ours, peer)
    return Row(
        job=job,
        peer=peer,
        ours=rounds.median_ms(ours),
        theirs=rounds.median_ms(peer),
        ratio=ratio.median,
        low=ratio.low,
        high=ratio.high,
        target=target,
        rounds=len(rounds),
        threads=settings.threads,
        details={"ms": {side: rounds.ms[side] for side in (ours, peer)}},
    )


def local(run: Callable[[], object]) -> Turn:
    """The turn of a side in this process."""

    def turn(calls: int) -> float:
        if calls > 1:  # short calls feel what the side before left in the caches
            run()
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - start) / calls

    return turn


def interleaved(sides: Mapping[str, Turn], settings: Settings) -> Rounds:
    """Time every side in turn (A B C A B C ...); all have run at least once before."""
    first = {name: turn(1) for name, turn in sides.items()}
    calls = {name: _calls(taken_s) for name, taken_s in first.items()}
    round_s = sum(first[name] * (calls[name] + (calls[name] > 1)) for name in sides)
    least, most = settings.rounds
    rounds = max(least, min(most, math.floor(settings.budget_s / max(round_s, 1e-9))))
    ms: dict[str, list[float]] = {name: [] for name in sides}
    if all(number == 1 for number in calls.values()):  # that was a round like any other
        for name, taken_s in first.items():
            ms[name].append(taken_s * 1e3)
        rounds -= 1
    for _ in range(rounds):
        for name, turn in sides.items():
            ms[name].append(turn(calls[name]) * 1e3)
    return Rounds(ms=ms)


def _calls(taken_s: float) -> int:
    return max(1, min(MOST_CALLS, math.ceil(SHORTEST_TURN_S / max(taken_s, 1e-9))))
