"""Clips of a world that are drawn anew for every pass over them: none is seen twice.

Letters: N clips of a pass, B batch, W processes that train one model.
"""

import copy
from dataclasses import dataclass

import numpy as np

from recurra.data.source import Source, check_index, check_rank
from recurra.data.tagged_store import TaggedBatch, TaggedExamples
from recurra.data.worlds.catalogue import CLIP_WORLDS, given, make

_BLOCK = 64  # clips that are drawn at once, about


@dataclass(frozen=True, slots=True)
class _Block:
    """The clips that were drawn last, and which they are."""

    epoch: int
    number: int
    clips: TaggedExamples


class FreshClips(Source[TaggedBatch]):
    """Batches of the part "train" of a world of clips, drawn when they are asked for.

    A block of clips is drawn by a seed of its own, made of the world's seed, this one, the pass and
    the block; so a batch is the same whenever and wherever it is asked for.
    """

    def __init__(self, world: str, batch_size: int, *, seed: int = 0) -> None:
        """Take note; nothing is drawn yet.

        Args:
            world: its name with what it is given, as `make` takes it; `train` is N.
            batch_size: B, over all processes.
            seed: of the clips, 0 or more.
        Raises:
            ValueError: when batch_size is below 1.
            DataError: when there is no such world, or it takes nothing of that name.
        """
        if batch_size < 1:
            raise ValueError(
                f"batch_size: expected at least 1, got {batch_size}. Use a positive number."
            )
        known = given(world, CLIP_WORLDS)
        self.world, self.num_clips = world, int(known["train"])
        self._seeds = int(known["seed"]), seed
        self.batch_size = batch_size
        self._per_block = max(1, _BLOCK // batch_size)  # batches
        self._rank, self._world_size = 0, 1
        self._last: _Block | None = None

    def __len__(self) -> int:
        return -(-self.num_clips // self.batch_size)

    def batch(self, epoch: int, index: int) -> TaggedBatch:
        """Batch `index` of pass `epoch`: at most B clips, of a shard at most B / W rounded up; a
        process whose share is empty gets one of the weight 0.

        Raises:
            IndexError: when there is no such batch.
        """
        check_index(index, len(self))
        number, within = divmod(index, self._per_block)
        clips = self._block(epoch, number)
        start = within * self.batch_size
        whole = np.arange(start, min(start + self.batch_size, len(clips)))
        own = whole[self._rank :: self._world_size]
        return clips.gather(own) if len(own) else clips.gather(whole[:1], 0.0)

    def shard(self, rank: int, world_size: int) -> "FreshClips":
        """Every W-th clip of each batch of the whole, from the rank on.

        Raises:
            ValueError: when the rank is not in 0..W-1.
        """
        check_rank(rank, world_size)
        part = copy.copy(self)
        part._rank, part._world_size = rank, world_size
        return part

    def _block(self, epoch: int, number: int) -> TaggedExamples:
        last = self._last
        if last is None or (last.epoch, last.number) != (epoch, number):
            # one assignment: threads may meet
            self._last = last = _Block(epoch, number, self._drawn(epoch, number))
        return last.clips

    def _drawn(self, epoch: int, number: int) -> TaggedExamples:
        size = self._per_block * self.batch_size
        seed = np.random.SeedSequence((*self._seeds, epoch, number)).generate_state(1, np.uint64)
        few = {"train": min(size, self.num_clips - number * size), "val": 1, "test": 1}
        clips = make(self.world, CLIP_WORLDS, seed=int(seed[0]), **few)["train"]
        wanted = clips.targets if clips.labels is None else clips.labels.astype(np.int32)
        assert wanted is not None
        return TaggedExamples.of(clips.frames, wanted)
