"""The memory that loops work in while they run, kept from one call to the next."""

import torch
from torch import Tensor

from recurra.backends.cpu import gate
from recurra.backends.watching import outliving

_MOST_PIECES = 4  # as many calls at once, from several threads

Piece = tuple[Tensor, int]  # and its address


class Workspace:
    """A pool of memory: whoever takes a piece has it alone until it is given back.

    The piece that was given back last is the first to be taken: what the next loop writes is then
    in the cache. All of them are used by loops of any cell and shape, and grow to what is asked.

    Args:
        most_bytes: what is kept for later, of all pieces together.
    """

    def __init__(self, most_bytes: int = 64 << 20) -> None:
        self._most_bytes = most_bytes
        self._pieces: list[Piece] = []

    @property
    def nbytes(self) -> int:
        """What is kept now."""
        return sum(tensor.nbytes for tensor, _ in self._pieces)

    def take(self, size: int) -> Piece:
        """A piece of at least `size` numbers, which hold anything."""
        try:
            piece = self._pieces.pop()
        except IndexError:  # there is none, or another thread took it
            piece = None
        if piece is None or piece[0].numel() < size:
            with outliving():
                return gate.fresh(size)
        if torch.are_deterministic_algorithms_enabled():
            as_new(piece[0])
        return piece

    def give(self, piece: Piece) -> None:
        """Give a piece back."""
        if len(self._pieces) < _MOST_PIECES and self.nbytes + piece[0].nbytes <= self._most_bytes:
            self._pieces.append(piece)


def as_new(tensor: Tensor) -> None:
    """What torch does to new memory where it shall be filled; see
    `torch.utils.deterministic.fill_uninitialized_memory`."""
    if getattr(torch.utils.deterministic, "fill_uninitialized_memory", False):
        tensor.fill_(torch.nan)


WORKSPACE = Workspace()
