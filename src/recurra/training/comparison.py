"""Comparisons: many trials in parallel processes, kept as they end, in one folder.

Each trial that has ended is a JSON file of its own, written under another name and renamed: a
comparison that is killed goes on with what is missing. `results.parquet` has every point of every
curve, and is made again from those files.
"""

import json
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from recurra.backends import keep_freed_memory
from recurra.data import make_task
from recurra.models import write_atomically
from recurra.training.trials import (
    Outcome,
    Reader,
    Trial,
    cell_and_init,
    count_parameters,
    hidden_size_for,
    run_trial,
)

TRIALS, RESULTS = "trials", "results.parquet"


def plan_trials(
    task: str,
    cells: Sequence[str],
    *,
    seeds: int = 3,
    hidden_size: int = 128,
    equal_parameters: bool = True,
    **budget: Any,
) -> list[Trial]:
    """The trials of a comparison: each cell from each seed.

    Args:
        task: as `make_task` takes it.
        cells: as `Trial` has them: "gru", "lstm:b_f=chrono400".
        seeds: how many of each.
        hidden_size: of every cell; with equal_parameters of an LSTM, and each cell gets the size
            with which it has as many parameters as that.
        equal_parameters: compare at equal parameters, not at equal units.
        budget: the other settings of `Trial`.

    Raises:
        ValueError: when the task is none.
        ValueError: when a cell is none.
    """
    made = make_task(task)
    cells = list(dict.fromkeys(cells))
    for cell in cells:
        cell_and_init(cell)  # its name, before it is asked for its size
    count = count_parameters(made, "lstm", hidden_size)
    sizes = {
        cell: hidden_size_for(made, cell, count) if equal_parameters else hidden_size
        for cell in cells
    }
    for cell, size in sizes.items():
        Reader(made, cell, size)  # a rule that does not fit is known before anything runs
    return [
        Trial(task=task, cell=cell, hidden_size=sizes[cell], seed=seed, **budget)
        for seed in range(seeds)
        for cell in cells
    ]


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the outcomes of a comparison are kept."""

    path: Path

    def outcomes(self) -> list[Outcome]:
        """What has ended so far, by name."""
        found = sorted((self.path / TRIALS).glob("*.json"))
        return [Outcome.of_dict(json.loads(file.read_text())) for file in found]

    def missing(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those of the trials that have not ended.

        Raises:
            ValueError: when the folder has an outcome of another trial under a trial's name.
        """
        ended = {outcome.trial.name: outcome.trial for outcome in self.outcomes()}
        for trial in trials:
            other = ended.get(trial.name, trial)
            if other != trial:
                changed = {
                    key: (value, other.as_dict()[key])
                    for key, value in trial.as_dict().items()
                    if other.as_dict()[key] != value
                }
                said = (f"{key} {there} (now {new})" for key, (new, there) in changed.items())
                raise ValueError(
                    f"{self.path}: expected trials of these settings, got {trial.name} with "
                    f"{', '.join(said)}. Use another --out, or the settings it was begun with."
                )
        return [trial for trial in trials if trial.name not in ended]

    def keep(self, outcome: Outcome) -> None:
        """Write an outcome down."""
        path = self.path / TRIALS / f"{outcome.trial.name.replace(':', '+')}.json"
        text = json.dumps(outcome.as_dict())
        write_atomically(path, lambda part: part.write_text(text))

    def write_table(self) -> Path:
        """`results.parquet`: a row for every point of every curve that has ended."""
        import pyarrow
        from pyarrow import parquet

        rows = [
            {
                **outcome.trial.as_dict(),
                "parameters": outcome.parameters,
                "status": outcome.status,
                "step": point.step,
                "seconds": point.seconds,
                "loss": point.loss,
                "score": point.score,
            }
            for outcome in self.outcomes()
            for point in outcome.points
        ]
        path = self.path / RESULTS
        table = pyarrow.Table.from_pylist(rows)
        write_atomically(path, lambda part: parquet.write_table(table, part))
        return path


def run_trials(trials: Sequence[Trial], folder: Folder, jobs: int) -> Iterator[Outcome]:
    """Run what is missing in `jobs` processes; gives each outcome as it ends and is kept."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin_worker) as pool:
        running = [pool.submit(run_trial, trial, threads) for trial in folder.missing(trials)]
        try:
            for ended in as_completed(running):
                outcome = ended.result()
                folder.keep(outcome)
                yield outcome
        except BaseException:
            for future in running:
                future.cancel()
            for process in pool._processes.values():  # what runs would go on to its end
                process.terminate()
            raise


def _begin_worker() -> None:
    """In a process of trials: it ends when the one that began it does, whatever ended that."""
    keep_freed_memory()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_on_ray(
    trials: Sequence[Trial], folder: Folder, address: str | None = None, threads: int = 1
) -> Iterator[Outcome]:
    """Run what is missing on a Ray cluster; gives each outcome as it ends and is kept.

    A trial whose worker dies is run again, up to three times. The folder is on this machine alone.

    Args:
        trials: what is to run.
        folder: where outcomes are kept.
        address: of the cluster, as `ray.init` takes it; None starts one on this machine.
        threads: CPUs of each trial.

    Raises:
        ModuleNotFoundError: without Ray (`pip install recurra[sweep]`).
    """
    import ray

    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)
    run: Any = ray.remote(num_cpus=threads, max_retries=3)(run_trial)
    waiting = [run.remote(trial, threads) for trial in folder.missing(trials)]
    while waiting:
        [ended], waiting = ray.wait(waiting, num_returns=1)
        outcome = ray.get(ended)
        folder.keep(outcome)
        yield outcome


# ---- what came out -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One cell over its seeds; each figure is the median, with the smallest and the largest.

    Attributes:
        cell: its name.
        hidden_size: H.
        parameters: how many numbers were trained.
        seeds: how many trials have ended.
        solved: how many solved the task.
        score: the best score of each trial.
        at_equal_time: the best score until the moment when the first trial of all ended.
        seconds: of training until the task was solved or the trial ended.
        steps_a_second: of training.
    """

    cell: str
    hidden_size: int
    parameters: int
    seeds: int
    solved: int
    score: tuple[float, float, float]
    at_equal_time: tuple[float, float, float]
    seconds: tuple[float, float, float]
    steps_a_second: float


def summarise(outcomes: Sequence[Outcome]) -> list[Summary]:
    """One summary for each cell: the more seeds solved the task the better, then the sooner, or the
    better the score where none did."""
    unsolved = [o.points[-1].seconds for o in outcomes if o.status == "ended" and o.points]
    common = min(unsolved, default=max((o.points[-1].seconds for o in outcomes), default=0.0))
    found = []
    for cell in dict.fromkeys(outcome.trial.cell for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.trial.cell == cell]
        last = [outcome.points[-1] for outcome in own]
        found.append(
            Summary(
                cell=cell,
                hidden_size=own[0].trial.hidden_size,
                parameters=own[0].parameters,
                seeds=len(own),
                solved=sum(outcome.status == "solved" for outcome in own),
                score=_spread([_best(outcome, float("inf")) for outcome in own]),
                at_equal_time=_spread([_best(outcome, common) for outcome in own]),
                seconds=_spread([point.seconds for point in last]),
                steps_a_second=median(p.step / p.seconds if p.seconds else 0.0 for p in last),
            )
        )
    return sorted(found, key=_rank)


def _rank(summary: Summary) -> tuple[float, tuple[float, ...]]:
    unsolved = 1 - summary.solved / summary.seeds
    return unsolved, summary.score if unsolved == 1 else summary.seconds


def _best(outcome: Outcome, seconds: float) -> float:
    return min(point.score for point in outcome.points if point.seconds <= seconds)


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return median(values), min(values), max(values)
