"""Rank 0 starts the other processes, unless torchrun started them all, and ends them.

They do as it says and end when it does; when one of them ends by itself, so does what they do.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch import distributed

from recurra.errors import DeviceError, RecurraError, RunError, argument
from recurra.parallel.ending import cause_of_end, end_with_parent
from recurra.parallel.group import HOST, leave, meet, store
from recurra.parallel.ranks import ALONE, Ranks, Together, cores
from recurra.parallel.torchrun import by_torchrun, reported_by_torchrun

GRACE_S = 3.0  # from a connection that broke to the end of the process behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A process that rank 0 started, and what it says: that it is up, or why it ended."""

    rank: int
    process: BaseProcess
    connection: Connection


@contextmanager
def launched(
    count: int,
    device: str,
    follow: Callable[[Ranks, Any], object],
    task: Any,
    *,
    advice: Callable[[], str],
) -> Iterator[Ranks]:
    """Rank 0 of `count` processes, the others started; of those of torchrun where it started them.

    Args:
        count: how many train together.
        device: what each computes on: "cpu" for cores, else a GPU where torch sees any.
        follow: what each of the others does, given its `Ranks` and `task`.
        task: handed to the others.
        advice: a sentence on what to do when one of them has ended.
    Raises:
        DeviceError: when there are fewer devices than that.
        RunError: when one of the others ends by itself; all have ended then.
    """
    ranks = by_torchrun()
    if ranks.world_size > 1:
        with reported_by_torchrun():
            yield ranks
        return
    if count == 1:
        yield ALONE
        return
    check_devices(count, device)
    place = store(0, count)
    members: list[_Member] = []
    ended_well = False
    try:
        with _no_signals():
            for rank in range(1, count):  # one by one: they are ended if one fails
                members += [_begin(rank, count, place.port, follow, task)]
        yield Together(0, count, 0, count, partial(_meet_members, members, place))
        ended_well = True
    except (RuntimeError, EOFError, BrokenPipeError) as error:
        lost = _lost(members, advice)
        if lost is None:
            raise
        raise lost from error
    finally:
        for member in members:  # after an error the others wait for what will not come
            member.process.join(GRACE_S if ended_well else 0.0)
            member.process.kill()
            member.process.join()
            member.connection.close()
        leave()


def check_devices(count: int, device: str) -> None:
    """Raise DeviceError when there are fewer devices than that for rank 0 to start processes on."""
    if count == 1 or by_torchrun().world_size > 1:
        return
    on_gpus = device != "cpu" and torch.cuda.is_available()
    there = torch.cuda.device_count() if on_gpus else cores()
    if count > there:
        what = "GPUs that torch sees" if on_gpus else "cores that this process may use"
        raise DeviceError(
            f"{argument('devices')}: expected at most {there}, the {what}, got {count}. Use fewer."
        )
    if distributed.is_initialized():
        raise RunError(
            f"{argument('devices')}: expected a process without a process group of torch's, got "
            "one that has one. Destroy it first, or start all processes with torchrun."
        )


def _begin(
    rank: int, world_size: int, port: int, follow: Callable[[Ranks, Any], object], task: Any
) -> _Member:
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(
        target=_member, args=(rank, world_size, port, its, follow, task), daemon=True
    )
    try:
        process.start()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "task: expected one that other processes can be sent (pickled), got "
            f"{type(error).__name__}: {error}. Give its class, at the top of a module, or start "
            "all processes with torchrun."
        ) from error
    its.close()  # so that ours ends when the process does
    return _Member(rank=rank, process=process, connection=ours)


def _meet_members(members: list[_Member], place: Any) -> None:
    """In rank 0, with everything prepared: wait until the others are up, and meet them."""
    for member in members:
        if member.connection not in wait([member.connection, member.process.sentinel]):
            raise EOFError
        member.connection.recv()
    for member in members:
        member.connection.send(None)
    meet({"store": place, "rank": 0, "world_size": len(members) + 1}, HOST)


def _member(
    rank: int,
    world_size: int,
    port: int,
    connection: Connection,
    follow: Callable[[Ranks, Any], object],
    task: Any,
) -> None:
    """In a process that rank 0 started; signals are rank 0's to answer."""
    for each in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, each):
            signal.signal(getattr(signal, each), signal.SIG_IGN)
    end_with_parent()

    def join() -> None:
        place = store(port, world_size)
        meet({"store": place, "rank": rank, "world_size": world_size}, HOST)

    code = 0
    try:
        connection.send(None)  # it is up
        connection.recv()  # rank 0 has prepared everything
        follow(Together(rank, world_size, rank, world_size, join), task)
    except (KeyboardInterrupt, SystemExit):
        pass  # as rank 0, which says so
    except BaseException as error:
        with contextlib.suppress(OSError):
            connection.send((str(error), _is_own(error), traceback.format_exc()))
        code = 1
    os._exit(code)  # nothing here is worth a clean-up that a broken connection may hold up


def _is_own(error: BaseException) -> bool:
    """Whether an error says by itself what is wrong, rather than that another process ended."""
    return isinstance(error, RecurraError | ValueError) or not isinstance(error, RuntimeError)


def _lost(members: list[_Member], advice: Callable[[], str]) -> RunError | None:
    """What there is to say of the member that ended first; None while all live."""
    ending = {member.process.sentinel: member for member in members}
    first = wait(list(ending), GRACE_S)
    if not first:
        return None
    others = wait([each for each in ending if each not in first], 0.2)
    ended: list[tuple[tuple[bool, bool], int, str, str]] = []
    for member in (ending[each] for each in ending if each in (*first, *others)):
        member.process.join()
        said = _last_words(member.connection)
        code = member.process.exitcode or 0
        # One that was killed, or has a reason of its own, ended before those that missed it.
        order = (code >= 0, said is None or not said[1])
        what = f"ended ({cause_of_end(code)})" if said is None else said[0]
        if said is None and code == 1:
            what += ", before it was up; a script trains under if __name__ == '__main__':"
        ended.append((order, member.rank, what, "" if said is None else said[2]))
    _, rank, what, its_traceback = min(ended)
    error = RunError(
        f"rank {rank}: expected to train to the end, got: {what.rstrip('.')}. {advice()}"
    )
    if its_traceback:
        error.add_note(f"\nIn rank {rank}:\n{its_traceback}")
    return error


def _last_words(connection: Connection) -> tuple[str, bool, str] | None:
    """Why a process ended, in words, whether that is its own reason, and the traceback."""
    said = None
    with contextlib.suppress(EOFError, OSError):
        while connection.poll():
            said = connection.recv() or said
    return said


@contextmanager
def _no_signals() -> Iterator[None]:
    """Processes started in this block never get the signals that end a run: rank 0 has them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would unblock them
    known = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, known)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
