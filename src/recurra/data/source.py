"""Batches as a function of (epoch, index): what training reads, in whatever order examples come.

No source has an iterator or a sampler with a state of its own. So a position in training is two
integers, a batch can be made again in any process or thread, and to go on where a run stopped costs
nothing. Letters: N examples, B batch, W processes that train one model.
"""

import copy
from abc import ABC, abstractmethod
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

BatchT_co = TypeVar("BatchT_co", covariant=True)
OwnT = TypeVar("OwnT", bound="_Batches[Any]")

_POOL = 100  # batches among which examples of like length are put together


@runtime_checkable
class Source(Protocol[BatchT_co]):
    """The batches of a pass over the data."""

    def __len__(self) -> int:
        """The batches of a pass, the same number in every pass and for every process."""
        ...

    def batch(self, epoch: int, index: int) -> BatchT_co:
        """Batch `index` of pass `epoch`: the same for the same two numbers, in any process."""
        ...

    def shard(self, rank: int, world_size: int) -> "Source[BatchT_co]":
        """What process `rank` of `world_size` reads; all of them side by side are the whole."""
        ...


@runtime_checkable
class Paced(Source[BatchT_co], Protocol[BatchT_co]):
    """Batches that depend on how much of a run is done, too."""

    def at(self, fraction: float) -> Source[BatchT_co]:
        """The batches of a pass at this share of a run, 0 to 1."""
        ...


def at_share(source: Source[BatchT_co], fraction: float) -> Source[BatchT_co]:
    """The batches of a source at this share of a run; of one that is not paced all it has."""
    return source.at(fraction) if isinstance(source, Paced) else source


@runtime_checkable
class Examples(Protocol[BatchT_co]):
    """Examples of different lengths, each with its number 0..N-1."""

    @property
    def lengths(self) -> np.ndarray:
        """[N], the steps of each example."""
        ...

    def gather(self, chosen: np.ndarray, weight: float = 1.0) -> BatchT_co:
        """A batch of the examples with these numbers, in this order.

        Args:
            chosen: [B] int64 in 0..N-1.
            weight: how much each counts in the loss; 0 for one that only keeps a process in step.
        """
        ...


class _Batches(Source[BatchT_co], ABC):
    """Batches of at most B examples each, whose numbers `_chosen` says."""

    def __init__(self, examples: Examples[BatchT_co], batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(
                f"batch_size: expected at least 1, got {batch_size}. Use a positive number."
            )
        self.examples = examples
        self.batch_size = batch_size
        self._rank, self._world_size = 0, 1

    def __len__(self) -> int:
        return -(-len(self.examples.lengths) // self.batch_size)

    def batch(self, epoch: int, index: int) -> BatchT_co:
        """Batch `index` of pass `epoch`: at most B examples, of a shard at most B / W rounded up.

        A process whose share of a short batch is empty gets the batch's first example with the
        weight 0, so that all take the same number of steps and none counts twice.

        Raises:
            IndexError: when there is no such batch.
        """
        check_index(index, len(self))
        whole = self._chosen(epoch, index)
        own = whole[self._rank :: self._world_size]
        return self.examples.gather(own) if len(own) else self.examples.gather(whole[:1], 0.0)

    def shard(self: OwnT, rank: int, world_size: int) -> OwnT:
        """Every W-th example of each batch of the whole, from the rank on.

        Raises:
            ValueError: when the rank is not in 0..W-1.
        """
        check_rank(rank, world_size)
        part = copy.copy(self)
        part._rank, part._world_size = rank, world_size
        return part

    @abstractmethod
    def _chosen(self, epoch: int, index: int) -> np.ndarray:
        """The numbers of the examples in the whole batch, before it is shared out."""


class Buckets(_Batches[BatchT_co]):
    """Batches of examples of like length, in another order each pass; each example once a pass.

    A pass is a permutation of the examples, cut into pools of 100 batches; each pool is sorted by
    length and cut into batches; the batches of all pools are shuffled. So little of a batch is
    padding, and its examples are a near-random draw. One batch of a pass, the rest, may be short.
    """

    def __init__(self, examples: Examples[BatchT_co], batch_size: int, *, seed: int = 0) -> None:
        """Lay the buckets over the examples.

        Args:
            examples: N of them; their lengths are read once a pass.
            batch_size: B, over all processes.
            seed: of the order, 0 or more; pass `epoch` is drawn by `default_rng((seed, epoch))`.
        Raises:
            ValueError: when batch_size is below 1, or the seed below 0.
        Cost: 16 N bytes for the order of the pass that was asked for last.
        """
        super().__init__(examples, batch_size)
        if seed < 0:
            raise ValueError(f"seed: expected 0 or more, got {seed}. Use a positive number.")
        self.seed = seed
        self._order: tuple[int, np.ndarray, np.ndarray] | None = None

    def longest(self, epoch: int) -> np.ndarray:
        """The length of the longest example of each batch of a pass, over all processes."""
        examples, starts = self._pass(epoch)
        lengths = np.asarray(self.examples.lengths)[examples]
        edges = np.arange(0, len(lengths), self.batch_size)
        return np.maximum.reduceat(lengths, edges)[starts // self.batch_size]

    def _chosen(self, epoch: int, index: int) -> np.ndarray:
        examples, starts = self._pass(epoch)
        start = starts[index]
        return examples[start : start + self.batch_size]

    def _pass(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        order = self._order
        if order is None or order[0] != epoch:
            self._order = order = (epoch, *self._drawn(epoch))  # one assignment: threads may meet
        return order[1], order[2]

    def _drawn(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The examples of a pass, batch by batch, and where each batch begins among them."""
        lengths = np.asarray(self.examples.lengths)
        rng = np.random.default_rng((self.seed, epoch))
        examples = rng.permutation(len(lengths))
        size = _POOL * self.batch_size
        for start in range(0, len(examples), size):
            pool = examples[start : start + size]
            examples[start : start + size] = pool[np.argsort(lengths[pool], kind="stable")]
        return examples, rng.permutation(len(self)) * self.batch_size


class Sequential(_Batches[BatchT_co]):
    """Batches in the order of length, shortest first, the same in every pass: for evaluation."""

    def __init__(self, examples: Examples[BatchT_co], batch_size: int) -> None:
        """Order the examples.

        Args:
            examples: N of them.
            batch_size: B, over all processes; the last batch may be short.
        Raises:
            ValueError: when batch_size is below 1.
        """
        super().__init__(examples, batch_size)
        self._by_length = np.argsort(np.asarray(examples.lengths), kind="stable")

    def _chosen(self, epoch: int, index: int) -> np.ndarray:
        start = index * self.batch_size
        return self._by_length[start : start + self.batch_size]


def check_index(index: int, count: int) -> None:
    """Raise IndexError unless a pass of `count` batches has this one."""
    if not 0 <= index < count:
        raise IndexError(f"batch: expected an index in 0..{count - 1}, got {index}.")


def check_rank(rank: int, world_size: int) -> None:
    """Raise ValueError unless the rank is one of `world_size` processes."""
    if not 0 <= rank < world_size:
        raise ValueError(
            f"shard: expected a rank in 0..{world_size - 1} of {world_size} processes, got {rank}. "
            "Count ranks from 0."
        )
