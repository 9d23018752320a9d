"""Pairs of neighbouring tokens, as hashed vectors whose mean says what stands in a sequence.

Letters: T time, B batch, S features of a pair.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from recurra.nn import checks

_FACTOR = 116_049_371  # fastText's, of the hash of one more word


class PairVectors(nn.Module):
    """Token ids [T, B] become the mean [B, S] of the vectors of their pairs.

    A pair is a token and the one before it; of the first token, a mark of the start. Pairs share
    `num_buckets` vectors by a hash. Vectors start at zero: a pair that training never saw says
    nothing, but for those that share its bucket. A sequence of length 0 has zeros.

    Args:
        num_buckets: how many vectors there are.
        size: S.

    Raises:
        ValueError: when a size is wrong.

    Source: Joulin, Grave, Bojanowski, Mikolov (2016), "Bag of Tricks for Efficient Text
    Classification", arXiv:1607.01759, section 2.2. Differences: the hash is of ids, (id of the
    first * 116049371 + id of the second) modulo `num_buckets`; the mean is of the pairs alone.
    """

    def __init__(
        self,
        num_buckets: int,
        size: int,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        checks.check_sizes("PairVectors", num_buckets=num_buckets, size=size)
        self.num_buckets, self.size = num_buckets, size
        self.weight = nn.Parameter(torch.empty(num_buckets, size, dtype=dtype, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all vectors to zero."""
        nn.init.zeros_(self.weight)

    def rows(
        self, ids: Int64[Tensor, "*shape"], before: Int64[Tensor, "*shape"]
    ) -> Int64[Tensor, "*shape"]:
        """The rows of the pairs of each token and the one before it, -1 standing for the start."""
        return ((before + 1) * _FACTOR + ids) % self.num_buckets

    def forward(
        self,
        ids: Int64[Tensor, "time batch"],
        lengths: Tensor | Sequence[int] | None = None,
        *,
        kept: Tensor | None = None,
    ) -> Float[Tensor, "batch size"]:
        """The mean over the pairs of each sequence.

        Args:
            ids: [T, B] int64, 0 or more.
            lengths: [B] integers in 0..T, true steps of each sequence; None means all T.
            kept: [T, B], 1 where a token is read and 0 where it is dropped; a pair of a token that
                is dropped does not count. None means all are read.

        Returns:
            mean: [B, S], of the pairs that count.

        Raises:
            ValueError: when a length is out of range.
        """
        T, B = ids.shape
        start = ids.new_full((1, B), -1)
        rows = self.rows(ids, torch.cat([start, ids])[:-1])
        counts = torch.ones(T, B, dtype=self.weight.dtype, device=ids.device)
        if kept is not None:
            kept = kept.to(counts)
            counts = kept * torch.cat([counts[:1], kept])[:-1]
        if lengths is not None:
            lengths = checks.checked_lengths("PairVectors", lengths, T, B, ids.device)
            steps = torch.arange(T, dtype=torch.int64, device=ids.device)
            past = steps[:, None] >= lengths
            rows, counts = rows.masked_fill(past, 0), counts.masked_fill(past, 0.0)
        shares = counts / counts.sum(dim=0).clamp(min=1.0)
        return (functional.embedding(rows, self.weight) * shares[..., None]).sum(dim=0)

    def running(self) -> "RunningPairs":
        """The same mean over tokens that arrive one at a time."""
        return RunningPairs(self)

    def extra_repr(self) -> str:
        """How many vectors, and their size."""
        return f"{self.num_buckets}, {self.size}"


class RunningPairs:
    """The mean of the pairs after each token, as tokens arrive: called with ids [B] it returns
    [B, S] over all pairs so far. `reset` begins new sequences."""

    def __init__(self, pairs: PairVectors) -> None:
        self._pairs = pairs
        self.reset()

    def reset(self) -> None:
        """Forget all tokens."""
        self._count = 0
        self._before: Tensor | None = None
        self._sum: Tensor | None = None

    def __call__(self, ids: Int64[Tensor, " batch"]) -> Float[Tensor, "batch size"]:
        """The mean of each sequence as far as it has come."""
        before = torch.full_like(ids, -1) if self._before is None else self._before
        vectors = functional.embedding(self._pairs.rows(ids, before), self._pairs.weight)
        self._sum = vectors if self._sum is None else self._sum + vectors
        self._before, self._count = ids, self._count + 1
        return self._sum / self._count
