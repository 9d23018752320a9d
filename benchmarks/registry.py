"""What a benchmark is, and what its rows say."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a run of benchmarks is made.

    Attributes:
        threads: of every side.
        quick: a look at whether everything works, in few rounds; its figures are no results.
        minutes: of each long training run.
        hidden_sizes: of the models that those runs train.
        data: text that they train on; None: they cannot run.
        runs: folder in which runs that have a name are kept, and gone on with; None: none is.
    """

    threads: int
    quick: bool = False
    minutes: float = 10.0
    hidden_sizes: tuple[int, ...] = (256, 512)
    data: Path | None = None
    runs: Path | None = None

    @property
    def budget_s(self) -> float:
        """About how long to time one job; slow jobs take longer, for the least number of rounds."""
        return 0.5 if self.quick else 8.0

    @property
    def rounds(self) -> tuple[int, int]:
        """The least and the most rounds of a job."""
        return (2, 3) if self.quick else (3, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The ratio that is promised."""

    value: float
    at_most: bool = False

    def met(self, ratio: float) -> bool:
        """Whether the ratio keeps the promise; nan does not."""
        return ratio <= self.value if self.at_most else ratio >= self.value

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.value:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: a job, what each side took, and the ratio.

    Attributes:
        job: what was done.
        peer: the other side.
        ours, theirs: medians over the rounds, in `unit`; nan in a row that sums others up.
        ratio: the median of the rounds' ratios; what it is the ratio of, the benchmark's doc says.
        low, high: the smallest and largest of the rounds' ratios; nan where there is no such thing.
        target: what was promised of the ratio; None: nothing was.
        rounds: how many were counted.
        threads: of both sides; "best": each side's better number of threads was counted.
        note: what a reader must know, such as why there is no figure.
        summary: whether it sums up the rows above it.
        details: whatever else is worth keeping in the json.
    """

    job: str
    peer: str
    ratio: float
    ours: float = math.nan
    theirs: float = math.nan
    unit: str = "ms"
    low: float = math.nan
    high: float = math.nan
    target: Target | None = None
    rounds: int = 0
    threads: int | str = ""
    note: str = ""
    summary: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None: there is none."""
        return None if self.target is None else self.target.met(self.ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A set of jobs.

    Attributes:
        name: on the command line.
        doc: one line; says what the ratio is.
        check: holds the sides against each other at small sizes; raises DisagreementError.
        run: times the jobs, each checked at its own size before; raises DisagreementError too.
        needs: modules beside the project's own that it imports.
        by_default: whether it runs when no names are given.
    """

    name: str
    doc: str
    check: Callable[[], None]
    run: Callable[[Settings], Iterator[Row]]
    needs: tuple[str, ...] = ()
    by_default: bool = True

    @property
    def missing(self) -> list[str]:
        """The modules that it needs and this environment lacks."""
        return [name for name in self.needs if find_spec(name) is None]


def geometric_mean(job: str, rows: list[Row], target: Target | None = None) -> Row:
    """The row that sums up others by the geometric mean of their ratios, and of their spreads."""

    def mean(values: list[float]) -> float:
        return math.exp(sum(map(math.log, values)) / len(values))

    return Row(
        job=f"{job}, geometric mean of {len(rows)}",
        peer=rows[0].peer,
        ratio=mean([row.ratio for row in rows]),
        low=mean([row.low for row in rows]),
        high=mean([row.high for row in rows]),
        target=target,
        threads=rows[0].threads,
        summary=True,
    )


def smallest(job: str, rows: list[Row], target: Target | None = None) -> Row:
    """The row that names the job with the smallest ratio."""
    row = min(rows, key=lambda row: row.ratio)
    return Row(
        job=f"{job}, smallest: {row.job}",
        peer=row.peer,
        ratio=row.ratio,
        low=row.low,
        high=row.high,
        target=target,
        rounds=row.rounds,
        threads=row.threads,
        summary=True,
    )
