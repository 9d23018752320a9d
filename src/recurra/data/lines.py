"""Lines of a text, each read by itself from an empty state: sentences in any order.

A line is given with its end, which is the symbol that is read before its first word as well: START
and END are one. Empty lines count for nothing; a last line without an end has one.

Letters: N lines, T steps, B batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from recurra.data.tokens import check_whole
from recurra.errors import DataError

NOT_COUNTED = -100  # where a target is none


@dataclass(frozen=True, slots=True, kw_only=True)
class LineBatch:
    """Lines side by side.

    Attributes:
        inputs: [T, B] ids, the end of a line and then its tokens; padded with 0.
        targets: [T, B] ids, its tokens and then its end; padded with -100.
        weight: [B], 1, or 0 of a line that only keeps a process in step with the others.
    """

    inputs: Int64[Tensor, "time batch"]
    targets: Int64[Tensor, "time batch"]
    weight: Float32[Tensor, " batch"]


class LineExamples:
    """The lines of a text that was encoded.

    Attributes:
        tokens: all of them, with their ends, without empty lines.
    """

    def __init__(self, tokens: np.ndarray, end_id: int, where: str = "text") -> None:
        """Find the lines.

        Args:
            tokens: of the text, an array or a memory map; it is copied only where there are empty
                lines, or where its last has no end.
            end_id: the token that ends a line.
            where: what messages call the text.
        Raises:
            DataError: when there is no line that has a token.
        """
        self.end_id = end_id
        if len(tokens) and tokens[-1] != end_id:
            tokens = np.append(tokens, np.asarray([end_id], dtype=tokens.dtype))
        is_end = np.asarray(tokens == end_id)
        empty = is_end & np.concatenate([[True], is_end[:-1]])
        if empty.any():
            tokens, is_end = tokens[~empty], is_end[~empty]
        if len(tokens) == 0:
            raise DataError(f"{where}: expected at least one line with a word, got none. Add text.")
        self.tokens = tokens
        self._stops = np.flatnonzero(is_end) + 1
        self._starts = np.concatenate([[0], self._stops[:-1]])

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, what is predicted of each: its tokens and its end."""
        return self._stops - self._starts

    def gather(self, chosen: np.ndarray, weight: float = 1.0) -> LineBatch:
        """The lines of these numbers, [B], in this order.

        Raises:
            DataError: when the file that the tokens are mapped from was cut meanwhile.
        """
        check_whole(self.tokens)
        lengths = self.lengths[chosen]
        shape = int(lengths.max()), len(chosen)
        inputs = np.zeros(shape, dtype=np.int64)
        targets = np.full(shape, NOT_COUNTED, dtype=np.int64)
        for row, (number, length) in enumerate(zip(chosen.tolist(), lengths.tolist(), strict=True)):
            start = self._starts[number]
            targets[:length, row] = self.tokens[start : start + length]
            inputs[0, row] = self.end_id
            inputs[1:length, row] = targets[: length - 1, row]
        if weight == 0:
            targets[:] = NOT_COUNTED
        return LineBatch(
            inputs=torch.from_numpy(inputs),
            targets=torch.from_numpy(targets),
            weight=torch.full((len(chosen),), weight, dtype=torch.float32, device="cpu"),
        )

    def spread(self, num_tokens: int) -> "LineExamples":
        """About so many tokens of it, in whole lines spread evenly; itself where it has fewer."""
        if len(self.tokens) <= num_tokens:
            return self
        count = max(1, round(len(self) * num_tokens / len(self.tokens)))
        chosen = np.linspace(0, len(self) - 1, count).astype(np.int64)
        each = [self.tokens[self._starts[n] : self._stops[n]] for n in np.unique(chosen).tolist()]
        return LineExamples(np.concatenate(each), self.end_id)
