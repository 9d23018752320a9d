"""Dropout whose masks cost little on a CPU."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_LEVELS = 1 << 16


def dropout(x: Tensor, p: float) -> Tensor:
    """`x` with each number set to zero with probability `p`, the others scaled to keep the mean.

    On a CPU torch draws a random number for one element after another, which takes a good part of a
    training step of a small model. Here 16 bits of torch's generator decide for an element: p is
    rounded to a multiple of 2^-16, and a seed gives other masks than torch.nn.functional.dropout.
    Other devices, and graphs that are traced, have torch's own.

    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014), "Dropout: A Simple Way
    to Prevent Neural Networks from Overfitting", JMLR 15, 1929-1958.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return functional.dropout(x, p)
    kept = round((1.0 - p) * _LEVELS)
    if kept in (0, _LEVELS):
        return functional.dropout(x, p)
    return x * chosen(x.shape, 1.0 - p, x).mul_(_LEVELS / kept)


def chosen(shape: Sequence[int], rate: float, like: Tensor) -> Tensor:
    """1 with probability `rate` and 0 otherwise, of the dtype and on the device of `like`."""
    ones = round(rate * _LEVELS)
    if not 0 < ones < _LEVELS or like.device.type != "cpu" or torch.compiler.is_compiling():
        return like.new_empty(shape).bernoulli_(rate)
    count = math.prod(shape)
    draws = torch.empty(-(-count // 4), dtype=torch.int64, device="cpu").random_(-(2**63), None)
    bits = draws.view(torch.int16)[:count].view(*shape)
    return (bits >= _LEVELS // 2 - ones).to(like.dtype)
