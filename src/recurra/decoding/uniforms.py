"""The uniform numbers that draws are made by: number i for token i, however they are asked for."""

import torch
from torch import Tensor

from recurra.decoding.sampler import Sampler

_NUM_UNIFORMS = 1024


class Uniforms:
    """Uniform numbers, number i for token i, whatever the counts in which they are taken.

    They come from a generator of their own, seeded by one draw from the caller's: how many tokens
    are listened to does not change what the caller draws next. Where the sampler draws nothing
    they are zeros.
    """

    def __init__(self, sampler: Sampler, generator: torch.Generator | None) -> None:
        self._numbers = torch.zeros(0, dtype=torch.float64, device="cpu")
        self._own: torch.Generator | None = None
        if sampler.temperature > 0:
            device = torch.device("cpu") if generator is None else generator.device
            seed = torch.randint(2**62, (), generator=generator, dtype=torch.int64, device=device)
            self._own = torch.Generator().manual_seed(int(seed))

    def take(self, count: int) -> Tensor:
        """The next numbers, [count] float64."""
        if self._own is None:
            return torch.zeros(count, dtype=torch.float64, device="cpu")
        while len(self._numbers) < count:
            # always as many at once: what a generator gives may depend on how many are asked for
            more = torch.rand(_NUM_UNIFORMS, generator=self._own, dtype=torch.float64, device="cpu")
            self._numbers = torch.cat([self._numbers, more])
        taken, self._numbers = self._numbers[:count], self._numbers[count:]
        return taken

    def give_back(self, numbers: Tensor) -> None:
        """These, the last that were taken, were not used."""
        self._numbers = torch.cat([numbers, self._numbers])
