"""Cells against one another on a task: trials from several seeds under one budget.

Names are loaded when they are first used: the command line reads settings without waiting for
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.comparison.judging import Difference, Summary, differences, summarise, verdict
    from recurra.comparison.planning import at_rates, best_rates, plan_probes, plan_trials
    from recurra.comparison.results import Results, run_on_ray, run_trials, threads_for
    from recurra.comparison.settings import MAX_JOBS, ComparisonSettings
    from recurra.comparison.subjects import Measure, Subject, subject_of
    from recurra.comparison.trials import Outcome, Point, Progress, Trial, run_trial
    from recurra.comparison.workers import DeathError

__all__ = [
    "MAX_JOBS",
    "ComparisonSettings",
    "DeathError",
    "Difference",
    "Measure",
    "Outcome",
    "Point",
    "Progress",
    "Results",
    "Subject",
    "Summary",
    "Trial",
    "at_rates",
    "best_rates",
    "differences",
    "plan_probes",
    "plan_trials",
    "run_on_ray",
    "run_trial",
    "run_trials",
    "subject_of",
    "summarise",
    "threads_for",
    "verdict",
]

_HOMES = {
    "planning": ("at_rates", "best_rates", "plan_probes", "plan_trials"),
    "results": ("Results", "run_on_ray", "run_trials", "threads_for"),
    "settings": ("MAX_JOBS", "ComparisonSettings"),
    "subjects": ("Measure", "Subject", "subject_of"),
    "trials": ("Outcome", "Point", "Progress", "Trial", "run_trial"),
    "judging": ("Difference", "Summary", "differences", "summarise", "verdict"),
    "workers": ("DeathError",),
}
_HOME_OF = {name: home for home, its_names in _HOMES.items() for name in its_names}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A name, the first time that it is asked for."""
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"recurra.comparison.{_HOME_OF[name]}"), name)
        return globals().setdefault(name, value)
