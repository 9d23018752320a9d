"""Processes that run trials side by side; one that dies takes its own trial with it, no other."""

import logging
import multiprocessing
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from recurra.backends import keep_freed_memory
from recurra.comparison.trials import Outcome, Progress, Trial, run_trial
from recurra.errors import RunError
from recurra.parallel import cause_of_end, end_with_parent

Watch = Callable[[Trial, Progress], object]


class DeathError(RunError):
    """Processes died before their trials had ended; what the others gave is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A trial whose process ended before it did, and how that came about, in words."""

    trial: Trial
    cause: str


@dataclass(slots=True, kw_only=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    trial: Trial


def run_in_processes(
    trials: Sequence[Trial], *, jobs: int, threads: int, watch: Watch, data: Path | None = None
) -> Iterator[Outcome | Death]:
    """Run the trials in up to `jobs` processes; gives what became of each as it ends.

    Args:
        trials: what to run, in this order.
        jobs: processes at once.
        threads: of each process.
        watch: told how far the running trials are.
        data: the folder of the `Subject` of all trials, which has read the data.

    Raises:
        Exception: what a trial raised; the others are stopped.
    """
    waiting = deque(trials)
    workers: list[_Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                workers.append(_begin(waiting.popleft(), threads, data))
            ready = wait([worker.connection for worker in workers])
            for worker in [worker for worker in workers if worker.connection in ready]:
                try:
                    said = worker.connection.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    yield Death(trial=worker.trial, cause=_cause(worker.process))
                    continue
                if isinstance(said, Progress):
                    watch(worker.trial, said)
                    continue
                if isinstance(said, Exception):
                    raise said
                if waiting:
                    worker.trial = waiting.popleft()
                    _send(worker.connection, worker.trial)
                else:
                    workers.remove(worker)
                    _send(worker.connection, None)
                yield said
    finally:
        for worker in workers:  # what runs would go on to its end
            worker.process.terminate()


def _begin(trial: Trial, threads: int, data: Path | None) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_work, args=(its, threads, data), daemon=True)
    process.start()
    its.close()  # so that ours ends when the process does
    _send(ours, trial)
    return _Worker(process=process, connection=ours, trial=trial)


def _send(connection: Connection, trial: Trial | None) -> None:
    try:
        connection.send(trial)
    except OSError:  # it has died, as the next look at the connection finds
        return


def _cause(process: BaseProcess) -> str:
    process.join()
    return cause_of_end(process.exitcode or 0)


def _work(connection: Connection, threads: int, data: Path | None) -> None:
    """In a process of trials: run what is sent, until nothing more is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that began this one
    logging.getLogger("recurra.data").setLevel(logging.ERROR)  # that one has said it already
    end_with_parent()
    keep_freed_memory()
    while (trial := connection.recv()) is not None:
        said: Outcome | Exception
        try:
            said = run_trial(trial, threads, connection.send, data)
        except Exception as error:
            said = _sendable(error)
        connection.send(said)


def _sendable(error: Exception) -> Exception:
    """The error, with where it was raised, as another process can read it."""
    text = "".join(traceback.format_exception(error))
    error.add_note(f"\nIn the process of the trial:\n{text}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(text)
    return error
