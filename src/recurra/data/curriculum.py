"""Short examples first: a curriculum over length, for sources that put like lengths together.

Letters: N examples, B batch.
Sources: Bengio, Louradour, Collobert, Weston (2009), "Curriculum Learning", ICML; Zaremba,
Sutskever (2014), "Learning to Execute", arXiv:1410.4615; Platanios et al. (2019), "Competence-based
Curriculum Learning for Neural Machine Translation", NAACL, arXiv:1903.09848, eq. (2).
"""

import copy

import numpy as np

from recurra.data.source import BatchT_co, Buckets, Source, check_index

START = 0.1  # of the examples, the shortest, are read at first


class Curriculum(Source[BatchT_co]):
    """Batches of the shortest examples alone, the bound growing over the first share of a run.

    At the share f of a run c = START + (1 - START) f / share of all examples are read, the
    shortest: the linear competence of Platanios et al.; from `share` on all of them are.
    Differences: whole batches are read or not, as their examples are of like length; and those of
    one length come together.

    Args:
        buckets: the batches of a pass.
        share: of the run in which the bound grows, above 0 and below 1.
    Raises:
        ValueError: when the share is none.
    """

    def __init__(self, buckets: Buckets[BatchT_co], share: float) -> None:
        if not 0 < share < 1:
            raise ValueError(
                f"share: expected a number above 0 and below 1, got {share!r}. Give such a "
                "fraction."
            )
        self._buckets, self.share = buckets, share
        self._lengths = np.sort(np.asarray(buckets.examples.lengths))

    def __len__(self) -> int:
        return len(self._buckets)

    def batch(self, epoch: int, index: int) -> BatchT_co:
        """A batch of all examples, as behind the curriculum."""
        return self._buckets.batch(epoch, index)

    def shard(self, rank: int, world_size: int) -> Source[BatchT_co]:
        """What one of several processes reads; all have one bound."""
        part = copy.copy(self)
        part._buckets = self._buckets.shard(rank, world_size)
        return part

    def bound(self, fraction: float) -> int:
        """The length of the longest examples that are read at this share of a run."""
        if fraction >= self.share:
            return int(self._lengths[-1])
        known = START + (1 - START) * fraction / self.share
        return int(self._lengths[int(known * (len(self._lengths) - 1))])

    def at(self, fraction: float) -> Source[BatchT_co]:
        """The batches of this share of a run."""
        if fraction >= self.share:
            return self._buckets
        return _Bounded(self._buckets, self.bound(fraction))


class _Bounded(Source[BatchT_co]):
    """The batches of a pass whose examples are all within a bound, over and over in their order."""

    def __init__(self, buckets: Buckets[BatchT_co], bound: int) -> None:
        self._buckets, self._bound = buckets, bound

    def __len__(self) -> int:
        return len(self._buckets)

    def batch(self, epoch: int, index: int) -> BatchT_co:
        """Batch `index`, counted among those within the bound, or among the shortest."""
        check_index(index, len(self))
        longest = self._buckets.longest(epoch)
        within = np.flatnonzero(longest <= max(self._bound, longest.min()))
        return self._buckets.batch(epoch, int(within[index % len(within)]))

    def shard(self, rank: int, world_size: int) -> Source[BatchT_co]:
        """What one of several processes reads."""
        return _Bounded(self._buckets.shard(rank, world_size), self._bound)
