"""Where a run stands: its counters, and the checkpoint from which it goes on."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from torch import Tensor

from recurra.training.step import StepOutcome

# What format 1 called these, when only language models were trained.
_FORMER = {"window": "index", "tokens": "counted", "nll": "loss", "best_nll": "best"}


@dataclass(slots=True, kw_only=True)
class Interval:
    """Sums over the steps since the last row of metrics.csv.

    Attributes:
        steps: steps whose loss counts, those not skipped; a short batch is a part of one.
        loss: sum of their losses, each by its part.
        grad_norm: sum of their norms before clipping, likewise.
        largest_norm: the largest of these norms.
        clipped: sum over the steps that clipping changed a gradient in, likewise.
        counted: tokens or sequences of all steps, skipped ones too.
        seconds: spent in steps, without validation and samples.
    """

    steps: float = 0.0
    loss: float = 0.0
    grad_norm: float = 0.0
    largest_norm: float = 0.0
    clipped: float = 0.0
    counted: int = 0
    seconds: float = 0.0

    def add(self, outcome: StepOutcome, seconds: float) -> None:
        """Count one step."""
        self.counted += outcome.count
        self.seconds += seconds
        if not outcome.skipped:
            self.steps += outcome.part
            self.loss += outcome.part * outcome.loss
            self.grad_norm += outcome.part * outcome.grad_norm
            self.largest_norm = max(self.largest_norm, outcome.grad_norm)
            self.clipped += outcome.part * outcome.clipped

    @property
    def mean_loss(self) -> float | None:
        """Mean training loss; None when there was no step."""
        return self.loss / self.steps if self.steps else None

    @property
    def mean_grad_norm(self) -> float | None:
        """Mean norm before clipping; None when there was no step."""
        return self.grad_norm / self.steps if self.steps else None

    @property
    def clipped_share(self) -> float | None:
        """Share of the steps that clipping changed; None when there was no step."""
        return self.clipped / self.steps if self.steps else None

    @property
    def per_s(self) -> float | None:
        """Training speed in what is counted; None when there was no step."""
        return self.counted / self.seconds if self.seconds > 0 else None


@dataclass(slots=True, kw_only=True)
class Progress:
    """Counters of a run.

    Attributes:
        step: steps taken, skipped ones too.
        epoch: passes finished.
        index: batches read of the present pass.
        counted: tokens or sequences read.
        elapsed_s: seconds of all sessions of the run.
        skipped: steps skipped in the whole run.
        skipped_in_a_row: steps skipped since the last good one.
        val: figures of the last validation; empty before the first.
        val_step: step of the last validation.
        val_elapsed_s: time of the last validation.
        val_cost_s: how long it took.
        best: the best value of the first figure; None before the first validation.
        best_step: the step it was reached at.
        best_val: all figures of that validation, where they are known.
        waited: validations since the best.
        sampled: milestones at which samples were taken.
        interval: sums since the last row of metrics.csv.
    """

    step: int = 0
    epoch: int = 0
    index: int = 0
    counted: int = 0
    elapsed_s: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    val: dict[str, float] = field(default_factory=dict)
    val_step: int = 0
    val_elapsed_s: float = 0.0
    val_cost_s: float = 0.0
    best: float | None = None
    best_step: int | None = None
    best_val: dict[str, float] = field(default_factory=dict)
    waited: int = 0
    sampled: list[float] = field(default_factory=list)
    interval: Interval = field(default_factory=Interval)

    def count(self, outcome: StepOutcome, batches: int) -> None:
        """Note one step in epochs of so many batches."""
        self.step += 1
        self.counted += outcome.count
        self.index += 1
        if self.index == batches:
            self.epoch, self.index = self.epoch + 1, 0
        if outcome.skipped:
            self.skipped += 1
            self.skipped_in_a_row += 1
        else:
            self.skipped_in_a_row = 0

    def passes(self, batches: int) -> float:
        """Passes over the training data, with a fraction."""
        return self.epoch + self.index / batches

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Progress":
        """The progress that `to_dict` wrote; ValueError or TypeError where it did not."""
        own = _renamed(values)
        if "val_nll" in own:
            nll = own.pop("val_nll")
            own["val"] = {} if nll is None else {"nll": nll}
        made = cls(**{**own, "interval": Interval(**_renamed(values["interval"]))})
        _check_counters(made, but=("val", "best_val", "sampled", "interval"))
        _check_counters(made.interval)
        if not all(isinstance(share, float) for share in made.sampled):
            raise ValueError(f"samples taken at {made.sampled!r:.60}")
        for name, value in [*made.val.items(), *made.best_val.items()]:
            if not isinstance(value, float) or not math.isfinite(value):
                raise ValueError(f"val_{name} {value!r:.60}")
        return made


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_FORMER.get(name, name): value for name, value in values.items()}


def _check_counters(counted: Any, but: tuple[str, ...] = ()) -> None:
    """ValueError for a counter that is not a finite number of the kind that it starts as."""
    for each in fields(counted):
        value = getattr(counted, each.name)
        if each.name in but or (value is None and each.default is None):
            continue
        kinds = int if type(each.default) is int else (int, float)
        may_be_negative = each.name in ("loss", "best")
        if (
            isinstance(value, bool)
            or not isinstance(value, kinds)
            or not math.isfinite(value)
            or (value < 0 and not may_be_negative)
        ):
            raise ValueError(f"{each.name} {value!r:.60}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a run needs to go on.

    Attributes:
        tensors: by name; `group/name` for those of one group.
        record: JSON values.
    """

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]

    @classmethod
    def of(
        cls, groups: Mapping[str, Mapping[str, Tensor]], record: Mapping[str, Any]
    ) -> "Checkpoint":
        """That of groups of tensors by name."""
        tensors = {f"{group}/{k}": v for group, named in groups.items() for k, v in named.items()}
        return cls(tensors=tensors, record=record)

    def group(self, name: str) -> dict[str, Tensor]:
        """The tensors of one group, by their names in it."""
        prefix = name + "/"
        return {
            key.removeprefix(prefix): value
            for key, value in self.tensors.items()
            if key.startswith(prefix)
        }
