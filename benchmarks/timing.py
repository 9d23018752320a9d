"""Fair timing on a shared machine: all sides in turn in one process, medians, ratios."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Milliseconds a call: the median, and the fastest and slowest of the counted calls."""

    median_ms: float
    fastest_ms: float
    slowest_ms: float


def interleaved(
    sides: Mapping[str, Callable[[], object]], *, rounds: int = 9, warmup: int = 2
) -> dict[str, Timing]:
    """Time every side `rounds` times, in turn (A B A B ...), so that drift hits all alike."""
    for _ in range(warmup):
        for run in sides.values():
            run()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            taken[name].append((time.perf_counter() - start) * 1e3)
    return {
        name: Timing(
            median_ms=statistics.median(times), fastest_ms=min(times), slowest_ms=max(times)
        )
        for name, times in taken.items()
    }
