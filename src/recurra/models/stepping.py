"""Steps of series as streams of models read them: checked one by one, gaps filled as in whole ones.

B batch, I channels.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recurra.errors import DataError, argument
from recurra.models.checks import check_tensor
from recurra.nn.plain import check_streams

if TYPE_CHECKING:
    from recurra.models.reading import Reader


class Steps:
    """The steps that a stream of a model is given, one by one."""

    def __init__(self, model: "Reader") -> None:
        self._model = model
        self._where = f"{type(model).__name__}.stream"
        self._last: Tensor | None = None
        check_streams(self._where, model)

    def reset(self) -> None:
        """Begin new sequences, which have nothing before them."""
        self._last = None

    def read(self, x_t: Tensor) -> Tensor:
        """A step, token ids [B] or unscaled values [B, I], where a missing value is the last one
        before it if the model's scaling fills gaps.

        Raises:
            TypeError: when it is no tensor.
            DataError: when a value is missing that nothing fills: it would stay in the state.
            ValueError: when a call of the model does more than the stream knows.
        """
        check_streams(self._where, self._model)
        check_tensor(self._where, "a step", x_t)
        if not x_t.is_floating_point():
            return x_t
        gaps = x_t.isnan()
        scaling = self._model.scaling
        fills = scaling is not None and scaling.missing == "fill"
        if gaps.any():
            if not fills:
                raise DataError(
                    f"{self._where}: expected a number at every step, got {int(gaps.sum())} "
                    f"missing. Fill them in, or train with {argument('missing=fill')}."
                )
            if self._last is not None:
                x_t = torch.where(gaps, self._last, x_t)
        if fills:
            self._last = x_t.detach().clone()  # the caller may fill the same memory again
        return x_t
