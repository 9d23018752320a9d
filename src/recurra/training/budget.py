"""How long a run goes on: by steps, by the clock, or by whichever ends first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recurra.training.settings import TrainingSettings

MILESTONES = (0.0, 0.1, 0.5, 1.0)  # shares of a run at which a sample is taken
EVALUATIONS = 20  # a run's curve has about this many validation points
EVALUATION_SHARE = 0.05  # of the work, at most
FORWARD_SHARE = 1 / 3  # of a training step's work is its forward pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The end of a run and the share of it that is done.

    Attributes:
        total_steps: steps after which the run ends; None: no such limit.
        max_seconds: seconds on the clock, resumed time included; None: no such limit.
    """

    total_steps: int | None
    max_seconds: float | None

    @classmethod
    def of(cls, settings: TrainingSettings, batches: int) -> "Budget":
        """The budget of `settings` where an epoch has `batches` batches."""
        seconds = None if settings.max_minutes is None else settings.max_minutes * 60
        return cls(total_steps=settings.total_steps(batches), max_seconds=seconds)

    def fraction(self, step: int, elapsed_s: float) -> float:
        """Share of the run that is done, 0 to 1."""
        by_steps = 0.0 if self.total_steps is None else step / self.total_steps
        by_clock = 0.0 if self.max_seconds is None else elapsed_s / self.max_seconds
        return min(1.0, max(by_steps, by_clock))

    def describe(self, elapsed_s: float) -> str:
        """When the run ends, in words."""
        ends = [] if self.total_steps is None else [f"after step {self.total_steps}"]
        if self.max_seconds is not None:
            ends.append(
                f"after {self.max_seconds / 60:g} minutes, of which {elapsed_s / 60:.3g} are spent"
            )
        return " or ".join(ends)

    def seconds_left(self, step: int, elapsed_s: float) -> float | None:
        """Seconds to the end at the speed so far; None before there is one."""
        fraction = self.fraction(step, elapsed_s)
        return elapsed_s * (1 / fraction - 1) if fraction > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """When to validate: every so many steps, or by the clock where only the clock ends the run; or
    at equal shares of the budget, the first before any step.

    Attributes:
        every_steps: steps between validations; None: by the clock.
        every_seconds: seconds between validations when they go by the clock.
        shares: into how many shares the budget is cut; None: it is not.
    """

    every_steps: int | None = None
    every_seconds: float = 0.0
    shares: int | None = None

    @classmethod
    def of(
        cls,
        settings: TrainingSettings,
        budget: Budget,
        *,
        step_cost: int | float,
        val_cost: int | float,
    ) -> "EvaluationPlan":
        """About 20 validations in a run, spaced so that they cost at most 5 % of it.

        With a step or epoch budget the plan depends on sizes alone, so a run repeats exactly.
        """
        seconds = (budget.max_seconds or 0.0) / EVALUATIONS
        if settings.eval_every is not None:
            return cls(every_steps=settings.eval_every, every_seconds=seconds)
        if budget.max_seconds is not None or budget.total_steps is None:
            return cls(every_steps=None, every_seconds=seconds)
        affordable = val_cost * FORWARD_SHARE / (EVALUATION_SHARE * step_cost)
        steps = max(1, budget.total_steps // EVALUATIONS, round(affordable))
        return cls(every_steps=steps, every_seconds=seconds)

    @property
    def at_start(self) -> bool:
        """Whether to validate before the first step."""
        return self.shares is not None

    def due(
        self,
        *,
        steps: int,
        seconds: float,
        last_cost_s: float,
        fraction: float = 0.0,
        last_fraction: float = 0.0,
    ) -> bool:
        """Whether to validate, so many steps and seconds after the last time, with so much of the
        budget spent now and then."""
        if self.shares is not None:
            return fraction >= (math.floor(last_fraction * self.shares) + 1) / self.shares
        if self.every_steps is not None:
            return steps >= self.every_steps
        return seconds >= max(self.every_seconds, last_cost_s / EVALUATION_SHARE)


def due_milestone(fraction: float, taken: Sequence[float]) -> float | None:
    """The last milestone reached at `fraction` of the run, unless it is in `taken`."""
    reached = [milestone for milestone in MILESTONES if milestone <= fraction][-1]
    return None if reached in taken else reached
