"""Cells against one another on a task: trials from several seeds under one budget."""

from recurra.comparison.results import (
    MAX_JOBS,
    Results,
    Summary,
    plan_trials,
    run_on_ray,
    run_trials,
    summarise,
)
from recurra.comparison.trials import Outcome, Point, Progress, Trial, run_trial
from recurra.comparison.workers import DeathError

__all__ = [
    "MAX_JOBS",
    "DeathError",
    "Outcome",
    "Point",
    "Progress",
    "Results",
    "Summary",
    "Trial",
    "plan_trials",
    "run_on_ray",
    "run_trial",
    "run_trials",
    "summarise",
]
