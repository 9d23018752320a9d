"""A process among those that train one model together, and what they exchange."""

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import distributed, nn

WAITING = timedelta(days=30)  # rank 0 may validate for hours; a death is noticed at once

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


def use_threads(threads: int | None, ranks: Ranks = ALONE) -> None:
    """Have torch compute with so many threads; None: ranks on one machine share its cores."""
    if threads is not None:
        torch.set_num_threads(threads)
    elif ranks.local_world_size > 1:
        torch.set_num_threads(max(1, cores() // ranks.local_world_size))
