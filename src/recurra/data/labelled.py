"""Examples of different lengths with a label each: texts as ids, series as numbers.

They lie end to end in one array, which may be mapped from a file larger than memory. Letters: N
examples, S steps of all together, T of the longest in a batch, B batch, I input, C classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from recurra.data.tokens import check_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledBatch:
    """Examples side by side, each from step 0, the shorter ones padded.

    Attributes:
        x: [T, B] ids, padded with 0; or [T, B, I] numbers, padded with zeros.
        lengths: [B], the true steps of each, 1..T.
        target: [B], the class of each, 0..C-1.
        weight: [B], how much each counts in the loss: 1, or 0 for one that is no part of the batch
            and only keeps a process in step with the others. A loss is the sum of weight times
            loss, its count the sum of weights.
        examples: [B], the number of each in its data.
    """

    x: Int64[Tensor, "time batch"] | Float32[Tensor, "time batch input"]
    lengths: Int64[Tensor, " batch"]
    target: Int64[Tensor, " batch"]
    weight: Float32[Tensor, " batch"]
    examples: Int64[Tensor, " batch"]


class LabelledExamples:
    """Examples end to end: example n is values[offsets[n] : offsets[n + 1]]."""

    def __init__(self, values: np.ndarray, offsets: np.ndarray, labels: np.ndarray) -> None:
        """Take the arrays as they are, without a copy; each may be mapped from a file.

        Args:
            values: [S] ids of an integer type, or [S, I] float32.
            offsets: [N + 1] int64, from 0 to S, growing.
            labels: [N] of an integer type, the class of each.
        Raises:
            ValueError: when the offsets do not divide the values into N examples of 1 step or more.
        """
        if len(offsets) != len(labels) + 1 or offsets[0] != 0 or offsets[-1] != len(values):
            raise ValueError(
                f"offsets: expected {len(labels) + 1} from 0 to {len(values)}, got {len(offsets)} "
                f"from {offsets[0]} to {offsets[-1]}. Give the start of each example, and the end."
            )
        self.values = values
        self.offsets = offsets
        self.labels = labels
        self._lengths = np.diff(offsets)
        if len(labels) and self.lengths.min() < 1:
            raise ValueError(
                f"offsets: expected examples of 1 step or more, got one of {self.lengths.min()}, "
                f"number {self.lengths.argmin()}. Leave it out."
            )

    @classmethod
    def of(cls, sequences: Iterable[np.ndarray], labels: Iterable[int]) -> "LabelledExamples":
        """Examples in memory.

        Args:
            sequences: N of them, each [T] ids or [T, I] numbers.
            labels: the class of each.
        """
        arrays = [np.asarray(sequence) for sequence in sequences]
        offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        values = np.concatenate(arrays)
        kind = np.int32 if np.issubdtype(values.dtype, np.integer) else np.float32
        return cls(values.astype(kind, copy=False), offsets, np.asarray([*labels], dtype=np.int32))

    def __len__(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, the steps of each example."""
        return self._lengths

    @property
    def input_size(self) -> int | None:
        """I, of series; None of ids."""
        return self.values.shape[1] if self.values.ndim == 2 else None

    def sequence(self, number: int) -> np.ndarray:
        """[T] or [T, I], the values of one example, not copied."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def gather(self, chosen: np.ndarray, weight: float = 1.0) -> LabelledBatch:
        """These examples, in this order.

        Raises:
            DataError: when the file that the values are mapped from was cut meanwhile.
        """
        check_whole(self.values)
        lengths = self.lengths[chosen]
        kind = np.int64 if self.values.ndim == 1 else np.float32
        rows = np.zeros((len(chosen), int(lengths.max()), *self.values.shape[1:]), dtype=kind)
        for row, number, length in zip(rows, chosen.tolist(), lengths.tolist(), strict=True):
            row[:length] = self.sequence(number)
        return LabelledBatch(
            x=torch.from_numpy(np.ascontiguousarray(rows.swapaxes(0, 1))),
            lengths=torch.from_numpy(lengths),
            target=torch.from_numpy(self.labels[chosen].astype(np.int64)),
            weight=torch.full((len(chosen),), weight, dtype=torch.float32, device="cpu"),
            examples=torch.from_numpy(chosen.astype(np.int64)),
        )
