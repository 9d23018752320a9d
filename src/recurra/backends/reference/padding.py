"""Sequences of several lengths in one batch: which steps are real, and what stands in the others.

Letters: T time, B batch.
"""

import torch
from torch import Tensor


def padded(x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """`x` with harmless padding, and [T, B, 1] bool: which steps are inside their sequence.

    Padding may hold anything: NaN, which must not reach a gradient through 0 * NaN, or ids that no
    table has. It becomes the first step of the longest sequence, a value that the cell takes (zero
    might not be: log(x)), or where all are empty 1, of ids 0.
    """
    if lengths is None:
        return x, None
    index = torch.arange(x.shape[0], dtype=torch.int64, device=lengths.device)
    inside = index[:, None] < lengths[None, :]
    active = inside.unsqueeze(-1)
    first = x[0].detach().index_select(0, lengths.argmax().reshape(1))
    filling = torch.where(lengths.any(), first, 1 if x.is_floating_point() else 0)
    return torch.where(active if x.dim() == 3 else inside, x, filling), active
