"""Learning rates over a run: warm-up, then cosine decay, halving on a plateau, or constant."""

import math
from typing import Any

from recurra.training.config import TrainingConfig

DEFAULT_WARMUP_STEPS = 100
DEFAULT_WARMUP_FRACTION = 0.1
FINAL_SHARE = 0.01  # of the learning rate is left at the end of a cosine
PATIENCE = 2  # validations without improvement before a plateau halves the rate


class Schedule:
    """The learning rate at each step, as a function of the step and the share of the run done.

    warm-up: rate * (step + 1) / warmup_steps, then the schedule's own factor. Nothing here reads a
    clock or a file, so the same steps give the same rates.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self._scale = 1.0
        self._best: float | None = None
        self._waited = 0

    def learning_rate(self, step: int, fraction: float) -> float:
        """The rate for step number `step` (from 0), `fraction` of the run being done."""
        rate = self._config.lr * self._scale * self._warm_up(step, fraction)
        if self._config.schedule == "cosine":
            rate *= FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * fraction))
        return rate

    def validated(self, nll: float) -> bool:
        """Take note of a validation; returns whether the rate was halved for it."""
        if self._config.schedule != "plateau":
            return False
        if self._best is None or nll < self._best:
            self._best, self._waited = nll, 0
            return False
        self._waited += 1
        if self._waited < PATIENCE:
            return False
        self._scale, self._waited = self._scale / 2, 0
        return True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"scale": self._scale, "best": self._best, "waited": self._waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned; KeyError, TypeError or ValueError where it did not."""
        best = state["best"]
        if not 0 < float(state["scale"]) <= 1 or int(state["waited"]) < 0:
            raise ValueError(f"the schedule {state!r:.80}")
        if best is not None and not math.isfinite(float(best)):
            raise ValueError(f"the schedule {state!r:.80}")
        self._scale, self._best, self._waited = state["scale"], state["best"], state["waited"]

    def _warm_up(self, step: int, fraction: float) -> float:
        steps = self._config.warmup_steps
        if steps is not None:
            return 1.0 if steps == 0 else min(1.0, (step + 1) / steps)
        by_steps = (step + 1) / DEFAULT_WARMUP_STEPS
        return min(1.0, max(by_steps, fraction / DEFAULT_WARMUP_FRACTION))
