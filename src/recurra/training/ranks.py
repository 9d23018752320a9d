"""Processes that train one model together: each reads its share of every batch, the first decides.

Rank 0 is the process that the user started, and alone reads what the user named, writes the run's
folder, shows the run and looks at the clock. It starts the others, unless torchrun started them
all. They do as it says and end when it does; when one of them ends by itself, so does the run.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from recurra.errors import DeviceError, RecurraError, RunError, argument
from recurra.interrupts import cause_of_end, end_with_parent
from recurra.training.checkpoints import how_to_go_on
from recurra.training.settings import TrainingSettings

MEETING = timedelta(minutes=1)  # for processes that are all there
WAITING = timedelta(days=30)  # rank 0 may validate for hours; a death is noticed at once
GRACE_S = 3.0  # from a connection that broke to the end of the process behind it
HOST = "127.0.0.1"

T = TypeVar("T")


class Ranks:
    """This process among those that train together; it is alone where nothing else is said.

    Every method is for all ranks to call, at the same point.

    Attributes:
        rank: 0 for the first, which decides.
        world_size: how many there are.
        local_rank: its number on this machine.
        local_world_size: how many there are on this machine.
    """

    rank = local_rank = 0
    world_size = local_world_size = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that decides, writes and shows."""
        return self.rank == 0

    def broadcast(self, value: T) -> T:
        """The value that rank 0 has."""
        return value

    def gather(self, value: T) -> list[T]:
        """The values of all ranks in their order, for rank 0; none for the others."""
        return [value]

    def sum(self, *numbers: float | int) -> list[float]:
        """Each number, summed over the ranks."""
        return [float(number) for number in numbers]

    def mean(self, value: float, count: int) -> tuple[float, int]:
        """The mean over what counts, of which each rank has its own; how much that is."""
        return value, count

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Have each parameter's gradient be the sum of those of all ranks.

        One that has none anywhere stays without.
        """


ALONE = Ranks()


class Together(Ranks):
    """One of several processes, through torch.distributed.

    Args:
        rank, world_size, local_rank, local_world_size: as in `Ranks`.
        meet: makes torch's process group, when it is first needed.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        local_rank: int,
        local_world_size: int,
        meet: Callable[[], None],
    ) -> None:
        self.rank, self.world_size = rank, world_size
        self.local_rank, self.local_world_size = local_rank, local_world_size
        self._meet = meet

    @cached_property
    def group(self) -> Any:
        """The process group: gloo for tensors on the CPU, NCCL for those on GPUs."""
        self._meet()
        return distributed.new_group(timeout=WAITING)

    def broadcast(self, value: T) -> T:
        """The value that rank 0 has."""
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """The values of all ranks in their order, for rank 0; none for the others."""
        found: list[Any] | None = [None] * self.world_size if self.is_first else None
        distributed.gather_object(value, found, dst=0, group=self.group)
        return found or []

    def sum(self, *numbers: float | int) -> list[float]:
        """Each number, summed over the ranks."""
        tensor = torch.tensor(numbers, dtype=torch.float64, device="cpu")
        distributed.all_reduce(tensor, group=self.group)
        return tensor.tolist()

    def mean(self, value: float, count: int) -> tuple[float, int]:
        """The mean over what counts, of which each rank has its own; how much that is."""
        summed, total = self.sum(value * count if count else 0.0, count)
        return (summed / total if total else 0.0), int(total)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Have each parameter's gradient be the sum of those of all ranks.

        All go in one message, always laid out alike, so that a run that is resumed sums in the same
        order. torch's DDP, which lays them out anew after the first step, sends some while others
        are still computed; but those of a recurrence come all at once, at the end.
        """
        own = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
        counts = [own[0].new_tensor([each.grad is not None for each in own])]
        message = torch.cat([each.flatten() for each in counts + gradients])
        distributed.all_reduce(message, group=self.group)
        anywhere, *parts = message.split([len(own), *(each.numel() for each in own)])
        for each, part, count in zip(own, parts, anywhere.tolist(), strict=True):
            if count:
                each.grad = part.view_as(each)


def cores() -> int:
    """The cores that this process may use."""
    own = getattr(os, "sched_getaffinity", None)
    return len(own(0)) if own is not None else os.cpu_count() or 1


# ---- by torchrun ---------------------------------------------------------------------------------


def by_torchrun() -> Ranks:
    """This process among those that torchrun started; alone where it did not."""
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, world_size, local_rank, local_world_size = (int(os.environ[name]) for name in names)
    if world_size == 1:
        return ALONE
    return Together(rank, world_size, local_rank, local_world_size, lambda: _meet({}))


def with_devices(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with as many `devices` as torchrun started processes.

    Raises:
        ValueError: when another number is given.
    """
    started = by_torchrun().world_size
    if started == 1:
        return dict(given)
    if given.get("devices", started) != started:
        raise ValueError(
            f"devices: expected the {started} processes that torchrun started, got "
            f"{given['devices']!r}. Leave it out."
        )
    return {**given, "devices": started}


@contextmanager
def reported_by_torchrun() -> Iterator[None]:
    """Turn what a process sees of another's end into a RunError, and leave the group."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise RunError(
            "torchrun: expected all processes to train to the end, got one that ended; see what it "
            f"says. Go on from the last checkpoint with {argument('resume=True')}."
        ) from error
    finally:
        _leave()


# ---- by rank 0 -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A process that rank 0 started, and what it says: that it is up, or why it ended."""

    rank: int
    process: BaseProcess
    connection: Connection


@contextmanager
def launched(
    settings: TrainingSettings, folder: Path, follow: Callable[[Ranks, Any], object], task: Any
) -> Iterator[Ranks]:
    """Rank 0 of as many processes as the settings have devices, the others started.

    Args:
        settings: of the run.
        folder: of the run, where it is or will be.
        follow: what each of the others does, given its `Ranks` and `task`.
        task: handed to the others.
    Raises:
        DeviceError: when there are fewer devices than that.
        RunError: when one of the others ends by itself; all have ended then.
    """
    ranks = by_torchrun()
    if ranks.world_size > 1:
        with reported_by_torchrun():
            yield ranks
        return
    if settings.devices == 1:
        yield ALONE
        return
    _check_devices(settings)
    store = _store(0, settings.devices)
    members: list[_Member] = []
    ended_well = False
    try:
        with _no_signals():
            for rank in range(1, settings.devices):  # one by one: they are ended if one fails
                members += [_begin(rank, settings.devices, store.port, follow, task)]
        meet = partial(_meet_members, members, store)
        yield Together(0, settings.devices, 0, settings.devices, meet)
        ended_well = True
    except (RuntimeError, EOFError, BrokenPipeError) as error:
        lost = _lost(members, folder)
        if lost is None:
            raise
        raise lost from error
    finally:
        for member in members:  # after an error the others wait for what will not come
            member.process.join(GRACE_S if ended_well else 0.0)
            member.process.kill()
            member.process.join()
            member.connection.close()
        _leave()


def _check_devices(settings: TrainingSettings) -> None:
    on_gpus = settings.device != "cpu" and torch.cuda.is_available()
    there = torch.cuda.device_count() if on_gpus else cores()
    if settings.devices > there:
        what = "GPUs that torch sees" if on_gpus else "cores that this process may use"
        raise DeviceError(
            f"{argument('devices')}: expected at most {there}, the {what}, got "
            f"{settings.devices}. Use fewer."
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


def _meet_members(members: list[_Member], store: Any) -> None:
    """In rank 0, with everything prepared: wait until the others are up, and meet them."""
    for member in members:
        if member.connection not in wait([member.connection, member.process.sentinel]):
            raise EOFError
        member.connection.recv()
    for member in members:
        member.connection.send(None)
    _meet({"store": store, "rank": 0, "world_size": len(members) + 1}, HOST)


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

    def meet() -> None:
        store = _store(port, world_size)
        _meet({"store": store, "rank": rank, "world_size": world_size}, HOST)

    code = 0
    try:
        connection.send(None)  # it is up
        connection.recv()  # rank 0 has prepared everything
        follow(Together(rank, world_size, rank, world_size, meet), task)
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


def _lost(members: list[_Member], folder: Path) -> RunError | None:
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
        f"rank {rank}: expected to train to the end, got: {what.rstrip('.')}. "
        f"{how_to_go_on(folder)}"
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


# ---- torch's process group -----------------------------------------------------------------------


def _store(port: int, world_size: int) -> Any:
    """Where processes of this machine find each other: made at a free port for 0, else joined."""
    return distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
        HOST,
        port,
        world_size,
        is_master=port == 0,
        wait_for_workers=False,
        timeout=MEETING,
    )


def _meet(arguments: Mapping[str, Any], host: str | None = None) -> None:
    """Make torch's process group; on this machine alone over its own loopback interface."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    name, before = "GLOO_SOCKET_IFNAME", os.environ.get("GLOO_SOCKET_IFNAME")
    loopback = [each for _, each in socket.if_nameindex() if each.startswith("lo")]
    if host == HOST and before is None and loopback:
        os.environ[name] = loopback[0]  # the host's name may lead to one that a firewall closes
    try:
        distributed.init_process_group(backend, timeout=MEETING, **arguments)
    finally:
        if before is None:
            os.environ.pop(name, None)


def _leave() -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
