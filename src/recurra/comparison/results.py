"""Comparisons: many trials in parallel processes, kept as they end, in one folder.

Each trial that has ended is a JSON file of its own, written under another name and renamed: a
comparison that is killed goes on with what is missing. `results.parquet` has every point of every
curve, and is made again from those files.
"""

import hashlib
import json
import logging
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recurra.comparison.settings import MAX_JOBS
from recurra.comparison.subjects import subject_of
from recurra.comparison.trials import Outcome, Progress, Trial, run_trial
from recurra.comparison.workers import Death, DeathError, Watch, run_in_processes
from recurra.errors import RunError, argument
from recurra.files import FolderLock, write_atomically
from recurra.files.locking import LOCK_NAME
from recurra.parallel import cores
from recurra.settings import MAX_THREADS, whole
from recurra.terminal import printable

TRIALS, RESULTS, CURVES = "trials", "results.parquet", "curves.svg"

_RAY_TIMEOUT_S = 10.0

logger = logging.getLogger("recurra")


@dataclass(frozen=True, slots=True)
class Results:
    """Where the outcomes of a comparison are kept."""

    path: Path

    def outcomes(self) -> list[Outcome]:
        """What has ended so far, by name.

        Raises:
            RunError: when a file is damaged, or of another version.
        """
        return [_read_outcome(file) for file in sorted((self.path / TRIALS).glob("*.json"))]

    def missing(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those of the trials that have not ended.

        Raises:
            RunError: when the folder has outcomes of another task, of other data, or of other
                settings or equations under a trial's name, or holds anything else.
        """
        self._check_ours()
        ended = {outcome.trial.name: outcome.trial for outcome in self.outcomes()}
        planned = {trial.name: trial for trial in trials}
        for name, there in ended.items():
            same = ("task", "data") if name not in planned else tuple(there.as_dict())
            now = planned.get(name) or (trials[0] if trials else there)
            if there.equations is None or now.equations is None:  # an older version's outcome
                same = tuple(key for key in same if key != "equations")
            if changed := [key for key in same if getattr(there, key) != getattr(now, key)]:
                raise RunError(_changed(self.path, there, now, changed))
        return [trial for trial in trials if trial.name not in ended]

    def _check_ours(self) -> None:
        """Raise RunError unless the folder is new, empty, or one that a comparison has made."""
        try:
            names = {entry.name for entry in self.path.iterdir()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(
                f"{self.path}: expected a folder for the results, got: {error.strerror or error}. "
                f"Choose another with {argument('out=')}."
            ) from error
        others = sorted(names - {TRIALS, RESULTS, CURVES, LOCK_NAME})
        if TRIALS not in names:  # what is called as ours is, need not be ours
            others = sorted(names - {LOCK_NAME})
        if others:
            raise RunError(
                f"{self.path}: expected a new folder, an empty one, or that of a comparison, got "
                f"one that holds {others[0]}. Choose another with {argument('out=')}."
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other comparisons away from the folder meanwhile.

        Raises:
            RunError: when one is at work in it, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.path}: expected a folder that can be made, got: {error.strerror or error}. "
                f"Choose another with {argument('out=')}, or change its permissions."
            ) from error
        with FolderLock(self.path, "comparison"):
            yield

    def keep(self, outcome: Outcome) -> None:
        """Write an outcome down."""
        path = self.path / TRIALS / f"{_file_name(outcome.trial.name)}.json"
        text = json.dumps(outcome.as_dict())
        write_atomically(path, lambda part: part.write_text(text))

    def write_table(self) -> Path:
        """`results.parquet`: a row for every point of every curve that has ended."""
        import pyarrow
        from pyarrow import parquet

        rows = [
            {
                **outcome.trial.as_dict(),
                "task": printable(outcome.trial.task),
                "parameters": outcome.parameters,
                "status": outcome.status,
                "step": point.step,
                "seconds": point.seconds,
                "loss": point.loss,
                "score": point.score,
                "test": point.test,
            }
            for outcome in self.outcomes()
            if not outcome.trial.is_probe
            for point in outcome.points
        ]
        path = self.path / RESULTS
        table = pyarrow.Table.from_pylist(rows)
        write_atomically(path, lambda part: parquet.write_table(table, part))
        return path


def _file_name(name: str) -> str:
    """What a file may be called: a cell may be spelled with brackets and slashes."""
    plain = name.replace(":", "+")
    if re.fullmatch(r"[\w.+=-]{1,100}", plain):
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9.+=-]+', '_', plain)[:80]}-{digest[:8]}"


def _read_outcome(file: Path) -> Outcome:
    try:
        return Outcome.of_dict(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise RunError(
            f"{file}: expected the outcome of a trial as this version of recurra writes it, got "
            f"{type(error).__name__} ({error}). Take the file away to train that trial again."
        ) from error


def _changed(path: Path, there: Trial, now: Trial, changed: Sequence[str]) -> str:
    """What is wrong with an outcome in the folder."""
    if list(changed) == ["data"]:
        return (
            f"{path}: expected outcomes for the data as it is now, got {there.name} from before "
            f"{there.task} changed. Use another {argument('out=')}, or take {path / TRIALS} away "
            "to train all "
            "trials again."
        )
    if "equations" in changed:
        return (
            f"{path}: expected outcomes of the equations as they are now, got {there.name} from "
            f"before {there.cell} changed. Use another {argument('out=')}, or take its files in "
            f"{path / TRIALS} away to train it again."
        )
    said = (f"{key} {getattr(there, key)} (now {getattr(now, key)})" for key in changed)
    return (
        f"{path}: expected trials of these settings, got {there.name} with {', '.join(said)}. "
        f"Use another {argument('out=')}, or the settings it was begun with."
    )


def run_trials(
    trials: Sequence[Trial],
    folder: Results,
    jobs: int,
    watch: Watch | None = None,
    threads: int | None = None,
) -> Iterator[Outcome]:
    """Run what is missing in `jobs` processes; gives each outcome as it ends and is kept.

    A trial whose process dies, as when memory runs out, is named in a warning, and the others go
    on.

    Args:
        trials: what is to run, all on one task.
        folder: where outcomes are kept; no other comparison may be at work in it.
        jobs: processes at once.
        watch: told a few times a second how far each running trial is.
        threads: of each trial; None: the CPUs shared out among the processes.

    Raises:
        RunError: when the folder is another comparison's.
        DeathError: at the end, a RunError, when processes died.
    """
    whole("jobs", jobs, least=1, most=MAX_JOBS)
    whole("threads", threads, least=1, most=MAX_THREADS, optional=True)
    threads = threads or threads_for(jobs)
    died: list[Death] = []
    with folder.locked():
        missing = folder.missing(trials)
        data = subject_of(missing[0].task).folder if missing else None
        for ended in run_in_processes(
            missing, jobs=jobs, threads=threads, watch=watch or _unwatched, data=data
        ):
            if isinstance(ended, Death):
                died.append(ended)
                logger.warning(
                    "%s: its process died (%s); the others go on", ended.trial.name, ended.cause
                )
                continue
            folder.keep(ended)
            yield ended
    _raise_for(died)


def threads_for(jobs: int) -> int:
    """The CPUs shared out among processes, at least one each."""
    return max(1, cores() // jobs)


def _unwatched(trial: Trial, progress: Progress) -> None:
    """Nobody looks."""


def _raise_for(died: Sequence[Death]) -> None:
    if died:
        named = ", ".join(f"{death.trial.name} ({death.cause})" for death in died)
        raise DeathError(
            f"compare: expected every trial to end, got {len(died)} whose process died: {named}. "
            f"The others are kept; run the same again with fewer {argument('jobs=')} or a smaller "
            f"{argument('batch_size=')}."
        )


def run_on_ray(
    trials: Sequence[Trial], folder: Results, address: str | None = None, threads: int = 1
) -> Iterator[Outcome]:
    """Run what is missing on a Ray cluster; gives each outcome as it ends and is kept.

    A trial whose worker dies is run again, up to three times. The folder is on this machine alone.

    Args:
        trials: what is to run.
        folder: where outcomes are kept.
        address: of the cluster, as `ray.init` takes it; None starts one on this machine.
        threads: CPUs of each trial.

    Raises:
        ModuleNotFoundError: without Ray, which the extra `sweep` brings.
        ValueError: when nothing answers at the address.
        RunError: when the folder is another comparison's.
        DeathError: at the end, a RunError, when workers died.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    died: list[Death] = []
    with folder.locked():
        missing = folder.missing(trials)
        if not ray.is_initialized():
            if address is not None:
                _check_answers(address)
            ray.init(address=address, log_to_driver=False)
        run: Any = ray.remote(num_cpus=threads, max_retries=3)(run_trial)
        data = subject_of(missing[0].task).folder if missing else None
        running = {run.remote(trial, threads, None, data): trial for trial in missing}
        while running:
            [ended], _ = ray.wait(list(running), num_returns=1)
            trial = running.pop(ended)
            try:
                outcome = ray.get(ended)
            except RayTaskError:  # what the trial itself raised
                raise
            except RayError as error:
                died.append(Death(trial=trial, cause=type(error).__name__))
                logger.warning("%s: its worker died (%s)", trial.name, type(error).__name__)
                continue
            folder.keep(outcome)
            yield outcome
    _raise_for(died)


def _check_answers(address: str) -> None:
    """Ray itself would wait for minutes for a cluster that is not there."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():  # "auto", or a name that Ray knows
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_RAY_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"ray: expected the address of a Ray cluster, got {address!r}, where nothing "
            f"answers ({error}). Start one with ray start --head, or use {argument('ray=local')}."
        ) from None
