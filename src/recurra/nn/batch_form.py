"""From the forms in which torch users hold sequences to the one that backends take, and back.

Letters: T time, B batch, I input, C context, S size of a state, L layers, D directions. A backend
takes x [T, B, I] (ids [T, B]) and lengths [B]; callers also have batch first, one sequence without
a batch dimension, and PackedSequence, whose sequences are sorted by length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from recurra.nn.checks import checked_lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchForm:
    """A batch in the form that backends take, and the way back to the caller's form.

    Attributes:
        packed: what came as a PackedSequence.
        is_sorted: whether its sequences are in the order in which they were packed, the longest
            first, rather than in the caller's.
    """

    x: Tensor
    lengths: Tensor | None
    batch_first: bool = False
    unbatched: bool = False
    packed: PackedSequence | None = None
    is_sorted: bool = True

    @property
    def batch_size(self) -> int:
        """B; 1 for a sequence without a batch dimension."""
        return self.x.shape[1]

    def outside_shape(self, shape: tuple[int, ...], batch_dim: int) -> tuple[int, ...]:
        """The shape that the caller gives a tensor which is `shape` in here."""
        return (*shape[:batch_dim], *shape[batch_dim + 1 :]) if self.unbatched else shape

    def to_internal(self, tensor: Tensor, batch_dim: int) -> Tensor:
        """A state [L*D, B, ...] or context [B, C] of the caller, in the order of `x`."""
        if self.unbatched:
            return tensor.unsqueeze(batch_dim)
        return self.in_order(tensor, batch_dim)

    def in_order(self, tensor: Tensor, batch_dim: int = 0) -> Tensor:
        """What has a batch dimension already, in the order of `x`."""
        order = self._order
        return tensor if order is None else tensor.index_select(batch_dim, order)

    @property
    def _order(self) -> Tensor | None:
        """Which of the caller's sequences each is; None where they are in the caller's order."""
        return None if self.packed is None or not self.is_sorted else self.packed.sorted_indices

    @property
    def lead(self) -> tuple[int, ...]:
        """Time and batch as the caller has them in front; of a packed batch, as it is unpacked."""
        T, B = self.x.shape[:2]
        return (T,) if self.unbatched else (B, T) if self.batch_first else (T, B)

    def unpacked(self, where: str, name: str, given: Tensor | PackedSequence) -> Tensor:
        """What is given at each step besides x, padded where it came packed, as x then must have.

        Raises:
            TypeError: when one of the two is packed and the other is not.
            ValueError: when they are of other lengths.
        """
        if isinstance(given, PackedSequence) != (self.packed is not None):
            form = "a tensor" if self.packed is None else "a PackedSequence"
            raise TypeError(
                f"{where}: expected {name} as {form}, as x is, got {type(given).__name__}. Pass "
                f"both in one form."
            )
        if not isinstance(given, PackedSequence):
            return given
        assert self.packed is not None, "just compared"
        ours, theirs = self.packed, given
        a, b = ours.sorted_indices, theirs.sorted_indices
        same_order = torch.equal(a, b) if a is not None and b is not None else a is b
        if not same_order or not torch.equal(ours.batch_sizes, theirs.batch_sizes):
            raise ValueError(
                f"{where}: expected {name} packed by the lengths of x, got other lengths. Pack "
                f"both with the same lengths."
            )
        return _unpacked(theirs, self.is_sorted)[0]

    def to_steps(self, tensor: Tensor) -> Tensor:
        """What the caller gives at each step, in the form that `lead` says, as [T, B, size]."""
        if self.unbatched:
            return tensor.unsqueeze(1)
        return tensor.transpose(0, 1) if self.batch_first else tensor

    def handed_back(self, state: Tensor) -> Tensor:
        """A final state [L*D, B, ...], in the caller's order and with the caller's dimensions."""
        if self.unbatched:
            return state.squeeze(1)
        if self.packed is None or self._order is None:
            return state
        assert self.packed.unsorted_indices is not None, "it was sorted"
        return state.index_select(1, self.packed.unsorted_indices)

    def output(self, y: Tensor) -> Tensor | PackedSequence:
        """The output y [T, B, D*O] in the form in which the input came."""
        if self.packed is not None:
            lengths = None if self.lengths is None else self.lengths.cpu()
            assert lengths is not None, "a packed batch always has lengths"
            _, batch_sizes, sorted_indices, unsorted_indices = self.packed
            if not self.is_sorted and sorted_indices is not None:
                y, lengths = y.index_select(1, sorted_indices), lengths[sorted_indices.cpu()]
            data = pack_padded_sequence(y, lengths).data
            return PackedSequence(data, batch_sizes, sorted_indices, unsorted_indices)
        if self.unbatched:
            return y.squeeze(1)
        return y.transpose_(0, 1) if self.batch_first else y  # in place: views cannot be detached


def batch_form(
    where: str,
    x: Tensor | PackedSequence,
    lengths: Tensor | Sequence[int] | None,
    batch_first: bool,
    *,
    sort: bool = True,
) -> BatchForm:
    """The form of a checked `x`.

    Args:
        sort: leave a PackedSequence in the order in which it is packed; else it is taken apart in
            the caller's.
    Raises:
        ValueError: when `lengths` comes with a PackedSequence or a single sequence.
    """
    if isinstance(x, PackedSequence):
        if lengths is not None:
            raise ValueError(
                f"{where}: expected no lengths with a PackedSequence, got {lengths}. "
                f"The packed sequence has its own."
            )
        padded, own = _unpacked(x, sort)
        return BatchForm(x=padded, lengths=own.to(padded.device), packed=x, is_sorted=sort)
    unbatched = x.dim() == (1 if x.dtype == torch.int64 else 2)
    if unbatched:
        if lengths is not None:
            raise ValueError(
                f"{where}: expected no lengths for a sequence without a batch dimension, got "
                f"{lengths}. Cut the sequence instead: x[:length]."
            )
        return BatchForm(x=x.unsqueeze(1), lengths=None, unbatched=True)
    x = x.transpose(0, 1) if batch_first else x
    if lengths is not None:
        T, B = x.shape[:2]
        lengths = checked_lengths(where, lengths, T, B, x.device)
    return BatchForm(x=x, lengths=lengths, batch_first=batch_first)


def _unpacked(packed: PackedSequence, as_sorted: bool) -> tuple[Tensor, Tensor]:
    """[T, B, ...] and lengths; without its indices a sequence unpacks in its own, sorted order."""
    return pad_packed_sequence(
        PackedSequence(packed.data, packed.batch_sizes) if as_sorted else packed
    )
