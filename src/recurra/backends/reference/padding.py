"""Sequences of several lengths in one batch: which steps are real, and what stands in the others.

Letters: T time, B batch.
"""

import torch
from torch import Tensor


def padded(x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """`x` with harmless padding, and [T, B, 1] bool: which steps are inside their sequence.

    Padding may hold anything, NaN included, which must not reach a gradient through 0 * NaN; it
    becomes the sequence's first step, a value that the cell takes (zero might not be: log(x)).
    """
    if lengths is None:
        return x, None
    index = torch.arange(x.shape[0], device=lengths.device)
    inside = index[:, None] < lengths[None, :]
    active = inside.unsqueeze(-1)
    if x.is_floating_point():
        return torch.where(active, x, x[:1].detach()), active
    return torch.where(inside, x, x[:1]), active
