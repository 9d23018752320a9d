"""What a benchmark is, and the list of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: a job, what each side took, and the ratio that is claimed."""

    job: str
    sides_ms: dict[str, float]
    ratio: float
    target: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """`check` raises AssertionError when the sides disagree: then nothing is reported."""

    name: str
    doc: str
    check: Callable[[], None]
    run: Callable[[], list[Row]]


BENCHMARKS: dict[str, Benchmark] = {}


def register(benchmark: Benchmark) -> Benchmark:
    """Add a benchmark to the list."""
    BENCHMARKS[benchmark.name] = benchmark
    return benchmark
