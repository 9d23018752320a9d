"""Where and in which precision a model trains: lightning-fabric, held to one device for now."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric

from recurra.errors import DeviceError, argument
from recurra.training.config import TrainingConfig


def build_fabric(config: TrainingConfig) -> Fabric:
    """The launcher for `config`'s device and precision, one process.

    Raises:
        DeviceError: when this machine has no such device.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"{argument('device')}: expected a device that this machine has, got 'cuda', which "
            "torch does not "
            f"see here. Use {argument('device=cpu')}, or install a CUDA build of torch."
        )
    if device not in {"cpu", "cuda"}:
        raise DeviceError(
            f"{argument('device')}: expected auto, cpu or cuda, got {device!r}. Choose one."
        )
    with _quiet("lightning_fabric"):
        fabric = Fabric(accelerator=device, devices=1, precision=config.precision)  # pyright: ignore[reportArgumentType]
        fabric.launch()
    return fabric


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
