"""Dropout whose masks cost little on a CPU."""

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
    dropped = round(p * _LEVELS)
    if not 0 < dropped < _LEVELS or x.device.type != "cpu" or torch.compiler.is_compiling():
        return functional.dropout(x, p)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
    keep = bits >= dropped - _LEVELS // 2
    return x * keep.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
