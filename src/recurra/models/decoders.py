"""What models share whose recurrent layers write: the state they start from, and where they look.

Letters: L layers, B batch, S positions of a memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from recurra import compose
from recurra.ir import has_positions
from recurra.lang import Cell
from recurra.nn import Recurrent


def are_vectors(decoder: Recurrent) -> list[bool]:
    """Which states of a decoder are vectors, which can start from a summary of what it reads."""
    return [len(shape) == 1 and not has_positions(shape) for shape in decoder.cell.state_shapes]


def start_sizes(decoder: Recurrent) -> list[int]:
    """How many numbers each state that is a vector starts from, over all layers."""
    shapes = decoder.state_shapes(1, 1)
    return [s[0] * s[2] for s, own in zip(shapes, are_vectors(decoder), strict=True) if own]


def first_state(
    decoder: Recurrent, made: Tensor | None, batch_size: int, positions: int, like: Tensor
) -> tuple[Tensor, ...]:
    """The state that a decoder starts from, [L, B, size] each: zeros but where it was made.

    Args:
        decoder: the layers.
        made: [B, numbers], those of all states that are vectors; None where there are none.
        batch_size: B.
        positions: S.
        like: a tensor of the dtype and on the device of the states.
    """
    parts: Sequence[Tensor] = () if made is None else made.split(start_sizes(decoder), dim=1)
    left = list(parts)
    states = []
    shapes = decoder.state_shapes(batch_size, positions)
    for shape, own in zip(shapes, are_vectors(decoder), strict=True):
        if own:
            states.append(left.pop(0).view(batch_size, shape[0], shape[2]).transpose(0, 1))
        else:
            states.append(like.new_zeros(shape))
    return tuple(states)


def looking_cell(decoder: Recurrent) -> Cell | None:
    """The decoder's cell with the weights of its attention as output; None without attention.

    Its parameters have the names of the decoder's own.
    """
    names = decoder.cell.equations.names.values()
    return compose.showing(decoder.cell, "alpha") if "alpha" in names else None


def looking(decoder: Recurrent, cell: Cell) -> Recurrent:
    """The first layer of a decoder that gives where it looks: [T, B, S] of a call.

    Args:
        decoder: whose parameters it has.
        cell: of `looking_cell`.
    """
    own = dict(decoder.named_parameters())
    layer = Recurrent(
        cell,
        decoder.input_size,
        decoder.hidden_size,
        sizes={name: size for name, size in decoder.sizes.items() if name in cell.size_names},
        backend=decoder.backend,
        dtype=next(iter(own.values())).dtype,
        device=torch.device("meta"),
    )
    for name in dict(layer.named_parameters()):
        setattr(layer, name, own[name])
    return layer
