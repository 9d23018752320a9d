"""Where a run stands: counters that a checkpoint keeps, so that a resumed run counts on."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from recurra.training.step import StepOutcome


@dataclass(slots=True, kw_only=True)
class Interval:
    """Sums over the steps since the last row of metrics.csv.

    Attributes:
        steps: steps whose loss counts, those not skipped; a short window is a part of one.
        nll: sum of their losses, each by its part.
        grad_norm: sum of their norms before clipping, likewise.
        tokens: of all steps, skipped ones too.
        seconds: spent in steps, without validation and samples.
    """

    steps: float = 0.0
    nll: float = 0.0
    grad_norm: float = 0.0
    tokens: int = 0
    seconds: float = 0.0

    def add(self, outcome: StepOutcome, tokens: int, seconds: float, part: float = 1.0) -> None:
        """Count one step, of a window that is such a part of a whole one."""
        self.tokens += tokens
        self.seconds += seconds
        if not outcome.skipped:
            self.steps += part
            self.nll += part * outcome.nll
            self.grad_norm += part * outcome.grad_norm

    @property
    def mean_nll(self) -> float | None:
        """Mean training loss; None when there was no step."""
        return self.nll / self.steps if self.steps else None

    @property
    def mean_grad_norm(self) -> float | None:
        """Mean norm before clipping; None when there was no step."""
        return self.grad_norm / self.steps if self.steps else None

    @property
    def tokens_per_s(self) -> float | None:
        """Training speed; None when there was no step."""
        return self.tokens / self.seconds if self.seconds > 0 else None


@dataclass(slots=True, kw_only=True)
class Progress:
    """Counters of a run.

    Attributes:
        step: steps taken, skipped ones too.
        epoch: passes finished.
        window: windows read of the present pass.
        tokens: tokens read.
        elapsed_s: seconds of all sessions of the run.
        skipped: steps skipped in the whole run.
        skipped_in_a_row: steps skipped since the last good one.
        val_nll: last validation loss; None before the first.
        val_step: step of the last validation.
        val_elapsed_s: time of the last validation.
        val_cost_s: how long it took.
        best_nll: smallest validation loss; None before the first.
        best_step: the step it was reached at.
        sampled: milestones at which samples were taken.
        interval: sums since the last row of metrics.csv.
    """

    step: int = 0
    epoch: int = 0
    window: int = 0
    tokens: int = 0
    elapsed_s: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    val_nll: float | None = None
    val_step: int = 0
    val_elapsed_s: float = 0.0
    val_cost_s: float = 0.0
    best_nll: float | None = None
    best_step: int | None = None
    sampled: list[float] = field(default_factory=list)
    interval: Interval = field(default_factory=Interval)

    def count(self, outcome: StepOutcome, *, windows: int, tokens: int) -> None:
        """Note one step in epochs of `windows` windows."""
        self.step += 1
        self.tokens += tokens
        self.window += 1
        if self.window == windows:
            self.epoch, self.window = self.epoch + 1, 0
        if outcome.skipped:
            self.skipped += 1
            self.skipped_in_a_row += 1
        else:
            self.skipped_in_a_row = 0

    def passes(self, windows: int) -> float:
        """Passes over the training text, with a fraction."""
        return self.epoch + self.window / windows

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Progress":
        """The progress that `to_dict` wrote; ValueError or TypeError where it did not."""
        made = cls(**{**values, "interval": Interval(**values["interval"])})
        _check_counters(made, but=("sampled", "interval"))
        _check_counters(made.interval)
        if not all(isinstance(share, float) for share in made.sampled):
            raise ValueError(f"samples taken at {made.sampled!r:.60}")
        return made


def _check_counters(counted: Any, but: tuple[str, ...] = ()) -> None:
    """ValueError for a counter that is not a finite number of the kind that it starts as."""
    for each in fields(counted):
        value = getattr(counted, each.name)
        if each.name in but or (value is None and each.default is None):
            continue
        kinds = int if type(each.default) is int else (int, float)
        may_be_negative = each.name.endswith("nll")
        if (
            isinstance(value, bool)
            or not isinstance(value, kinds)
            or not math.isfinite(value)
            or (value < 0 and not may_be_negative)
        ):
            raise ValueError(f"{each.name} {value!r:.60}")
