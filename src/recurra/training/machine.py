"""Where and in which precision a model trains; the generators that training draws from."""

import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import DoublePrecision
from torch import Tensor

from recurra.errors import DeviceError, argument
from recurra.parallel import ALONE, Ranks
from recurra.training.settings import TrainingSettings


def build_fabric(settings: TrainingSettings, ranks: Ranks = ALONE) -> Fabric:
    """The device and precision of `settings` for this process; GPUs go by its number among the
    ranks of this machine.

    Raises:
        DeviceError: when this machine has no such device.
    """
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"{argument('device')}: expected a device that this machine has, got 'cuda', which "
            "torch does not "
            f"see here. Use {argument('device=cpu')}, or install a CUDA build of torch."
        )
    if device == "cuda" and ranks.local_rank >= torch.cuda.device_count():
        raise DeviceError(
            f"{argument('devices')}: expected a GPU for each process, got {ranks.local_world_size} "
            f"processes and {torch.cuda.device_count()} GPUs that torch sees. Use fewer processes."
        )
    if device not in {"cpu", "cuda"}:
        raise DeviceError(
            f"{argument('device')}: expected auto, cpu or cuda, got {device!r}. Choose one."
        )
    is_double = settings.precision == "64-true"
    how: Any = {"plugins": _Double()} if is_double else {"precision": settings.precision}
    with _quiet("lightning_fabric"):
        devices = [ranks.local_rank] if device == "cuda" and ranks.world_size > 1 else 1
        fabric = Fabric(accelerator=device, devices=devices, **how)
        fabric.launch()
    return fabric


class _Double(DoublePrecision):
    """Double precision to the end: lightning-fabric's own hands results on as float32."""

    def convert_output(self, data: Any) -> Any:
        """As it is."""
        return data


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Use deterministic kernels on the CPU, where an accumulating gather would otherwise race.

    On a GPU some kernels have no deterministic form, so there runs repeat only up to rounding.
    """
    if device.type != "cpu":
        yield
        return
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled()
    fill = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = fill and before  # a debugging aid that costs a pass
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = fill


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep another library's news (not its warnings) out of the terminal."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


# ---- random generators ---------------------------------------------------------------------------


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
