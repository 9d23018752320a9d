"""The states of torch's random generators, taken and put back."""

import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Start every generator that training draws from at `seed`."""
    torch.manual_seed(seed)


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
