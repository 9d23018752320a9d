"""The states of torch's random generators, taken and put back."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Start every generator that training draws from at `seed`."""
    torch.manual_seed(seed)


def derived_seed(seed: int, purpose: str) -> int:
    """A seed for one purpose of a run: what is drawn for others has nothing to do with it."""
    return (seed * 0x9E3779B97F4A7C15 + zlib.crc32(purpose.encode())) % 2**63


@contextmanager
def generators_kept(device: torch.device | None = None) -> Iterator[None]:
    """Leave torch's global generators, that of the device too, as they were before the block."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The generator of the CPU and, where the model is on one, of the GPU."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Put back what `random_states` took; on a GPU that is new to the run there is none of it."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
