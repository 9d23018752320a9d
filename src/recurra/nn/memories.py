"""The memories of a call, sequences of vectors that stay constant through time, in callers' forms.

Letters: B batch, S positions, K size of a memory's vectors.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from recurra.nn import checks
from recurra.nn.stack import CellStack

Memory = Tensor | PackedSequence | Sequence[Tensor]


def checked_memories(
    layer: CellStack,
    memory: Memory | None,
    lengths: Tensor | Sequence[int] | None,
    batch_size: int,
    *,
    batch_first: bool,
    unbatched: bool = False,
) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """Memories as [B, S, K] each, and their lengths as int64 [B], or None for all S.

    Args:
        memory: [S, B, K] or, with `batch_first`, [B, S, K]; `unbatched` without B; a tuple of them
            for a cell of several; or packed.
        lengths: [B] integers in 1..S.

    Raises:
        ValueError: when a shape or a length is wrong.
        TypeError: when a dtype is.
    """
    where, home, cell = layer.where, layer.home, layer.cell
    if isinstance(memory, PackedSequence):
        if lengths is not None:
            raise ValueError(
                f"{where}: expected no memory_lengths with a packed memory, got {lengths}. The "
                f"packed memory has its own."
            )
        memory, lengths = pad_packed_sequence(memory, batch_first=batch_first)
    lead = (None,) if unbatched else (batch_size, None) if batch_first else (None, batch_size)
    sizes = tuple(size.evaluate(layer.layer_sizes[0]) for size in cell.memory_sizes)
    memories = checks.checked_memory(home, memory, cell, sizes, lead)
    if unbatched:
        memories = tuple(each.unsqueeze(0) for each in memories)
    elif not batch_first:
        memories = tuple(each.transpose(0, 1) for each in memories)
    if lengths is None:
        return memories, None
    if not memories:
        raise ValueError(
            f"{where}: expected no memory_lengths for a cell without memory, got {lengths}. "
            f"Leave them out."
        )
    S, device = memories[0].shape[1], home.device
    named = {"name": "memory_lengths"}
    return memories, checks.checked_lengths(where, lengths, S, batch_size, device, **named)
