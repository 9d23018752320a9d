"""Processes that torchrun started: which of them this one is."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import distributed

from recurra.errors import RunError, argument
from recurra.parallel.group import leave, meet
from recurra.parallel.ranks import ALONE, Ranks, Together


def by_torchrun() -> Ranks:
    """This process among those that torchrun started; alone where it did not."""
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, world_size, local_rank, local_world_size = (int(os.environ[name]) for name in names)
    if world_size == 1:
        return ALONE
    return Together(rank, world_size, local_rank, local_world_size, lambda: meet({}))


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
        leave()
