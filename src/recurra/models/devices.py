"""The device that a name stands for, when this machine has it."""

import torch

from recurra.errors import DeviceError, argument


def find_device(device: torch.device | str | None) -> torch.device:
    """The device named: "cpu", "cuda", "cuda:1" ...; "auto": the best there is; None: the CPU.

    Raises:
        DeviceError: when there is no such device, or this machine lacks it.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device("cpu" if device is None else device)
        if found.type == "meta":
            raise ValueError("no numbers are kept there")
        torch.empty(1, dtype=torch.float32, device=found).fill_(0)
    except (RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise DeviceError(
            f"{argument('device')}: expected one that this machine has, got {str(device)!r} "
            f"({reason:.120}). "
            'Use "cpu", or "auto" for the best there is.'
        ) from error
    return found
