"""A moving average of a model's weights: what is validated and kept in their place.

Source: Polyak, Juditsky (1992), "Acceleration of Stochastic Approximation by Averaging", SIAM
Journal on Control and Optimization 30(4); weighted exponentially, it takes the place of the mean
over the last checkpoints.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_SHORT = 10.0  # steps at which the average is as long as it will be by a half, for long ones


class WeightAverage:
    """The average of a model's parameters over about 1 / (1 - decay) steps.

    At the start, where there are no so many, it is over the steps there are: the decay of step t is
    at most (1 + t) / (10 + t).

    Args:
        model: whose parameters are averaged; it starts from their values.
        decay: above 0, below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = dict(model.named_parameters())  # tied ones once
        self._average = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after step number `step`, from 1."""
        decay = min(self.decay, (1.0 + step) / (_SHORT + step))
        for name, average in self._average.items():
            average.lerp_(self._parameters[name], 1.0 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the average within the block, and its own parameters again behind it."""
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._put(self._average)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])

    def tensors(self) -> dict[str, Tensor]:
        """The average by the names of the parameters, for a checkpoint."""
        return self._average

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave.

        Raises:
            ValueError: when it is of another model.
        """
        if tensors.keys() != self._average.keys():
            raise ValueError(f"an average of {len(tensors)} tensors, of {len(self._average)}")
        for name, average in self._average.items():
            given = tensors[name]
            if given.shape != average.shape or given.dtype != average.dtype:
                raise ValueError(f"an average of {name} of {given.dtype} {list(given.shape)}")
            if not torch.isfinite(given).all():
                raise ValueError(f"an average of {name} that is not finite")
        for name, average in self._average.items():
            average.copy_(tensors[name])
