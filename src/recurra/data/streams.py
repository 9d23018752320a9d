"""Windows over long token sequences, for truncated backpropagation through time.

T steps of a window, B streams, N tokens, n steps of a stream.
"""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from recurra.data.source import Source, check_rank
from recurra.data.tokens import check_whole
from recurra.errors import DataError, argument

Window = tuple[Int64[Tensor, "time batch"], Int64[Tensor, "time batch"]]


def split_by_position(
    tokens: np.ndarray, fractions: Sequence[float] = (0.9, 0.05, 0.05)
) -> tuple[np.ndarray, ...]:
    """The tokens cut into consecutive parts: by default training, validation and test.

    Args:
        tokens: [N], an array or a memory map; the parts are views of it.
        fractions: of each part, in order, adding up to 1.
    Raises:
        ValueError: when a fraction is negative, or they do not add up to 1.
    """
    if min(fractions, default=-1) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(
            f"fractions: expected parts of 0 or more that add up to 1, got {tuple(fractions)}. "
            "Use (0.9, 0.05, 0.05), for example."
        )
    # Rounded, since 0.9 + 0.05 is a little off 0.95 in binary.
    bounds = np.rint(np.cumsum(fractions)[:-1] * len(tokens)).astype(np.int64)
    return tuple(np.split(tokens, bounds))


class TokenStreams(Source[Window]):
    """B streams that read a token sequence side by side, in windows of at most T steps.

    The sequence is cut into B stretches of n = (N - 1) // B steps; row b reads stretch b from
    start to end, and the row's state can be carried from each window to the next. Targets are the
    inputs one step later. The last window of a pass may be shorter than T; of the N tokens at
    most B - 1 at the very end are not targets of any step.
    """

    def __init__(self, tokens: np.ndarray, batch_size: int, bptt: int) -> None:
        """Lay the streams over the tokens.

        Args:
            tokens: [N] of an integer type, an array or a memory map; it is not copied.
            batch_size: B, the number of streams.
            bptt: T, the steps of a window.
        Raises:
            ValueError: when a size is below 1, or the tokens are no flat array of integers.
            DataError: when the tokens do not fill one window, naming how many would.
        """
        for name, value in (("batch_size", batch_size), ("bptt", bptt)):
            if value < 1:
                raise ValueError(
                    f"{name}: expected at least 1, got {value}. Use a positive number."
                )
        if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(
                "tokens: expected integers in one dimension, got "
                f"{tokens.dtype} of shape {tokens.shape}. Encode the text with a vocabulary."
            )
        needed = batch_size * bptt + 1
        if len(tokens) < needed:
            raise DataError(
                f"tokens: expected at least {needed} tokens (batch size {batch_size} x bptt {bptt}"
                f" + 1), got {len(tokens)}. Use more text, or a smaller {argument('batch_size=')} "
                f"or {argument('bptt=')}."
            )
        self.tokens = tokens
        self.batch_size = batch_size
        self.bptt = bptt
        self.num_steps = (len(tokens) - 1) // batch_size
        stride = tokens.strides[0]
        # Row b begins where row b - 1 ends: the last target of one is the first input of the next.
        self._rows = np.lib.stride_tricks.as_strided(
            tokens,
            shape=(batch_size, self.num_steps + 1),
            strides=(self.num_steps * stride, stride),
            writeable=False,
        )

    def __len__(self) -> int:
        """The number of windows in one pass over the tokens."""
        return -(-self.num_steps // self.bptt)

    @property
    def num_targets(self) -> int:
        """The number of tokens predicted in one pass."""
        return self.batch_size * self.num_steps

    def batch(self, epoch: int, index: int) -> Window:
        """Window `index`, the same in every pass."""
        return self.window(index)

    def shard(self, rank: int, world_size: int) -> "TokenStreams":
        """The streams r B / W up to (r + 1) B / W: the shards side by side are the whole window.

        Raises:
            ValueError: when the rank is not in 0..W-1, or there are fewer streams than processes.
        """
        check_rank(rank, world_size)
        if self.batch_size < world_size:
            raise ValueError(
                f"{argument('batch_size=')}: expected at least one stream for each of {world_size} "
                f"processes, got {self.batch_size}. Use a larger batch, or fewer processes."
            )
        start, stop = (self.batch_size * r // world_size for r in (rank, rank + 1))
        part = copy.copy(self)
        part._rows = self._rows[start:stop]
        part.batch_size = stop - start
        return part

    def window(self, index: int) -> Window:
        """Window `index` of a pass.

        Returns:
            inputs: [T, B] int64; the last window has fewer steps.     targets: the same shape.
        Raises:
            IndexError: when there is no such window.
            DataError: when the file that the tokens are mapped from was cut meanwhile.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"window: expected an index in 0..{len(self) - 1}, got {index}.")
        start = index * self.bptt
        stop = min(start + self.bptt, self.num_steps)
        check_whole(self.tokens)
        block = np.array(self._rows[:, start : stop + 1].T, dtype=np.int64, order="C")
        steps = torch.from_numpy(block)
        return steps[:-1], steps[1:]

    def __iter__(self) -> Iterator[Window]:
        return map(self.window, range(len(self)))
