"""Sequences of several lengths in one batch: which steps are real, and what stands in the others.

Letters: T time, B batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def padded(
    inputs: Sequence[Tensor], lengths: Tensor | None
) -> tuple[Sequence[Tensor], Tensor | None]:
    """What is given at each step with harmless padding, and which steps are inside their sequence.

    Padding may hold anything: NaN, which must not reach a gradient through 0 * NaN, or ids that no
    table has. It becomes the first step of the longest sequence, a value that the cell takes (zero
    might not be: log(x)), or where all are empty 1, of ids 0.

    Args:
        inputs: [T, B, size], or of token ids [T, B].

    Returns:
        The inputs; [T, B, 1] bool, or None where all steps are inside.
    """
    if lengths is None:
        return inputs, None
    index = torch.arange(inputs[0].shape[0], dtype=torch.int64, device=lengths.device)
    inside = index[:, None] < lengths[None, :]
    active = inside.unsqueeze(-1)
    longest = lengths.argmax().reshape(1)
    some = lengths.any()
    found = []
    for value in inputs:
        first = value[0].detach().index_select(0, longest)
        filling = torch.where(some, first, 1 if value.is_floating_point() else 0)
        found.append(torch.where(active if value.dim() == 3 else inside, value, filling))
    return found, active
