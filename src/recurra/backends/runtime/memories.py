"""Memories of several lengths in one batch: what stands past the end of each is never seen.

Letters: B batch, S positions of the longest memory, K size of a memory's vectors.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recurra.ir import POSITIONS
from recurra.lang import Cell

Run = Callable[..., tuple[Tensor, tuple[Tensor, ...]]]


def filled_memories(
    memory: tuple[Tensor, ...], lengths: Tensor | None
) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """Memories as cells read them, and which positions are within: [B, S] bool, None for all.

    Args:
        memory: [B, S, K] each.
        lengths: [B] int64 in 1..S.

    Returns:
        [B, S, K] each, what stands at the first position past each end, and [B, S], 1 or 0.
    """
    first = memory[0]
    if lengths is None:
        inside = torch.ones(first.shape[:2], dtype=first.dtype, device=first.device)
        return (*memory, inside), None
    index = torch.arange(first.shape[1], dtype=torch.int64, device=lengths.device)
    within = index < lengths[:, None]
    memory = tuple(torch.where(within[..., None], m, m[:, :1].detach()) for m in memory)
    return (*memory, within.to(first.dtype)), within


def filled_state(state: Tensor, within: Tensor) -> Tensor:
    """A state over positions [..., B, S] with what stands at the first past each end."""
    return torch.where(within, state, state[..., :1].detach())


def within_memory(cell: Cell, run: Run) -> Run:
    """`Backend.run` for a cell with memories, of memories as they come.

    What is past a memory's length may be anything. It becomes what stands at the first position, a
    value that the cell takes, and so do states there; equations leave it out of whatever they
    compute over positions. Final states and outputs over positions are zero there.

    Args:
        run: `Backend.run`.

    Returns:
        The same with `memory`, [B, S, K] each, and `memory_lengths`, [B] int64 in 1..S or None for
        all S, in place of its own `memory`.
    """
    is_over = [size == POSITIONS for size in cell.state_sizes]
    is_output_over = cell.output_size == POSITIONS

    def run_within(
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Any,
        *,
        memory: tuple[Tensor, ...],
        memory_lengths: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        memory, within = filled_memories(memory, memory_lengths)
        if within is None:
            return run(x, states, parameters, memory=memory, **options)
        states = tuple(
            filled_state(state, within) if over else state
            for state, over in zip(states, is_over, strict=True)
        )
        y, finals = run(x, states, parameters, memory=memory, **options)
        finals = tuple(
            torch.where(within, final, 0.0) if over else final
            for final, over in zip(finals, is_over, strict=True)
        )
        return torch.where(within, y, 0.0) if is_output_over else y, finals

    return run_within
