"""Encoded sequences with a label, or numbers, at every step: batches of them, and their files.

Letters: T steps of a sequence, S of all together, N sequences, B batch, I input, O numbers; C
channels, Y rows and X columns of a frame.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from recurra.data.store import open_examples, write_examples
from recurra.data.tokens import check_whole
from recurra.errors import DataError

UNKNOWN = -1  # the label of a step that does not count


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedBatch:
    """Sequences side by side, each from step 0, the shorter ones padded.

    Attributes:
        x: [T, B] ids, padded with 0; [T, B, I] numbers, or [T, B, C, Y, X] frames, padded with
            zeros.
        lengths: [B], the true steps of each, 1..T.
        target: [T, B] labels, -1 past the end and where there is none; or [T, B, O] numbers, NaN
            there.
        weight: [B], 1, or 0 for a sequence that is no part of the batch and only keeps a process in
            step with the others.
        examples: [B], the number of each in its data.
    """

    x: (
        Int64[Tensor, "time batch"]
        | Float32[Tensor, "time batch input"]
        | UInt8[Tensor, "time batch channels rows columns"]
        | Float32[Tensor, "time batch channels rows columns"]
    )
    lengths: Int64[Tensor, " batch"]
    target: Int64[Tensor, "time batch"] | Float32[Tensor, "time batch output"]
    weight: Float32[Tensor, " batch"]
    examples: Int64[Tensor, " batch"]


class TaggedExamples:
    """Sequences and their targets end to end: sequence n is values[offsets[n] : offsets[n + 1]]."""

    def __init__(self, values: np.ndarray, targets: np.ndarray, offsets: np.ndarray) -> None:
        """Take the arrays as they are; each may be mapped from a file.

        Args:
            values: [S] ids, [S, I] float32, or [S, C, Y, X] uint8 or float32.
            targets: [S] labels, -1 for none; or [S, O] float32.
            offsets: [N + 1] int64, from 0 to S, growing.
        """
        if len(values) != len(targets):
            raise ValueError(
                f"targets: expected one for each of {len(values)} steps, got {len(targets)}. Give "
                "as many."
            )
        self.values, self.targets, self.offsets = values, targets, offsets
        self._lengths = np.diff(offsets)

    @classmethod
    def of(cls, sequences: Iterable[np.ndarray], targets: Iterable[np.ndarray]) -> "TaggedExamples":
        """Examples in memory, each with its targets."""
        arrays, wanted = list(sequences), list(targets)
        offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return cls(np.concatenate(arrays), np.concatenate(wanted), offsets)

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, the steps of each."""
        return self._lengths

    def sequence(self, number: int) -> np.ndarray:
        """[T], [T, I] or [T, C, Y, X], the values of one, not copied."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def target(self, number: int) -> np.ndarray:
        """[T] or [T, O], the targets of one, not copied."""
        return self.targets[self.offsets[number] : self.offsets[number + 1]]

    def gather(self, chosen: np.ndarray, weight: float = 1.0) -> TaggedBatch:
        """These sequences, in this order.

        Raises:
            DataError: when the file that the values are mapped from was cut meanwhile.
        """
        check_whole(self.values)
        check_whole(self.targets)
        numbers = chosen.tolist()
        gap = float(UNKNOWN) if self.targets.ndim == 1 else np.nan
        return TaggedBatch(
            x=_side_by_side([self.sequence(number) for number in numbers], 0.0),
            lengths=torch.from_numpy(self._lengths[chosen]),
            target=_side_by_side([self.target(number) for number in numbers], gap),
            weight=torch.full((len(chosen),), weight, dtype=torch.float32, device="cpu"),
            examples=torch.from_numpy(chosen.astype(np.int64)),
        )


def _side_by_side(each: Sequence[np.ndarray], value: float) -> Tensor:
    """[T, B, ...], int64 or float32; frames of uint8 stay what they are."""
    kind = np.int64 if each[0].ndim == 1 else np.float32
    kind = np.uint8 if each[0].dtype == np.uint8 else kind
    rows = np.full((len(each), max(map(len, each)), *each[0].shape[1:]), value, dtype=kind)
    for row, values in zip(rows, each, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(np.ascontiguousarray(rows.swapaxes(0, 1)))


def write_tagged(path: Path, values: Iterable[np.ndarray], targets: Iterable[np.ndarray]) -> None:
    """Two example files beside one another, of the sequences and of their targets.

    Args:
        path: of the sequences; that of the targets has ".targets" added.
        values: of each sequence, gone through once.
        targets: likewise.
    """
    write_examples(path, ((each, 0) for each in values), num_classes=1)
    write_targets(path, targets)


def write_targets(path: Path, targets: Iterable[np.ndarray]) -> None:
    """An example file of targets, beside a file of what they are of.

    Its classes are of no use; labels are kept as ids, one up, for there are -1 among them.
    """
    kept = ((each + 1 if each.ndim == 1 else each, 0) for each in targets)
    write_examples(_targets_path(path), kept, num_classes=1)


def open_tagged(path: Path) -> TaggedExamples:
    """What `write_tagged` wrote, mapped, read-only.

    Raises:
        DataError: when a file is missing or damaged, or the two do not belong together.
    """
    values = open_examples(path)
    targets, offsets = open_targets(path)
    if not np.array_equal(values.offsets, offsets):
        raise DataError(
            f"{path}: expected targets for the same steps beside it, got others. They belong to "
            "different runs."
        )
    return TaggedExamples(values.values, targets, values.offsets)


def open_targets(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """What `write_targets` wrote beside a file: the targets, and where sequences begin [N + 1].

    Raises:
        DataError: when the file is missing or damaged.
    """
    found = open_examples(_targets_path(path))
    return found.values if found.values.ndim == 2 else found.values - 1, found.offsets


def _targets_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.targets")
