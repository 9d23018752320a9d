"""The clips that settings name: of a world that recurra makes, or of files.

Letters: T frames, C channels, Y rows, X columns, O numbers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from recurra.data.clip_files import ClipReading
from recurra.data.clips import Clip, ClipData, clips_in, decoded_clips, read_clips
from recurra.data.defects import Defects
from recurra.data.records import Record, Records
from recurra.data.worlds import Clips
from recurra.data.worlds.catalogue import CLIP_WORLDS, is_world, make
from recurra.errors import DataError, argument
from recurra.tasks.options import FramesSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundClips:
    """Clips of each part, as they are to be encoded.

    Attributes:
        parts: of each clip its frames [T, C, Y, X], and the numbers of its labels [T], -1 for none,
            or [T, O]; those of files are decoded as they are gone through.
        labels: their names; empty where numbers are the truth.
        target_names: of the O numbers.
        notes: how they were read, a sentence each.
        defects: of the files, counted as they are read.
    """

    parts: Mapping[str, Iterable[tuple[np.ndarray, np.ndarray]]]
    labels: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    defects: Defects = field(default_factory=Defects)

    @classmethod
    def of_world(cls, parts: Mapping[str, Clips]) -> "FoundClips":
        """Those of a world, as it was made."""
        train = next(iter(parts.values()))
        return cls(
            parts={name: _Made(part) for name, part in parts.items()},
            labels=train.label_names,
            target_names=train.target_names,
        )


def clips_of(data: FramesSettings) -> FoundClips:
    """The clips that settings name, in three parts.

    Args:
        data: with `data` given.
    Raises:
        DataError: when they cannot be read.
        ModuleNotFoundError: without what reads them.
    """
    if is_world(data.data, CLIP_WORLDS):
        given = [name for name in ("val_data", "test_data", "splits") if getattr(data, name)]
        if given:
            raise DataError(
                f"{argument(f'{given[0]}=')}: expected none beside a world, which has parts of its "
                f"own, got {getattr(data, given[0])!r:.60}. Leave it out."
            )
        return FoundClips.of_world(make(str(data.data), CLIP_WORLDS))
    others = {"val_data": data.val_data, "test_data": data.test_data, "splits": data.splits}
    return _of_files(read_clips(data.data, reading_of(data), **others, strict=data.strict), data)


def other_clips(data: FramesSettings, split: str | None) -> FoundClips:
    """Clips to measure a model on, as the part "test".

    Args:
        data: with `data` given, and no other files.
        split: a part of theirs; None: all clips of files, those to test on of a world.
    Raises:
        DataError: when they cannot be read, or have no such part.
    """
    if is_world(data.data, CLIP_WORLDS):
        found = FoundClips.of_world(make(str(data.data), CLIP_WORLDS))
        return replace(found, parts={"test": found.parts[split or "test"]})
    read = read_clips(data.data, reading_of(data), strict=data.strict, draw=False)
    if split is not None and split not in read.parts:
        raise DataError(
            f"{data.data}: expected a folder {split} in it, got {', '.join(read.parts)}. Name "
            f"the clips themselves, and leave {argument('split=')} out."
        )
    clips = [clip for name, part in read.parts.items() if split in (None, name) for clip in part]
    return _of_files(replace(read, parts={"test": clips}), data)


def _of_files(found: ClipData, data: FramesSettings) -> FoundClips:
    defects = Defects(strict=data.strict)
    number_of = {"": -1, **{name: number for number, name in enumerate(found.labels)}}
    return FoundClips(
        parts={name: _Read(part, number_of, defects) for name, part in found.parts.items()},
        labels=found.labels,
        target_names=found.target_names,
        notes=found.notes,
        defects=defects,
    )


def reading_of(data: FramesSettings) -> ClipReading:
    """How settings say that clips are read."""
    target = (data.target,) if isinstance(data.target, str) else data.target
    return ClipReading(
        size=None if data.size is None else (data.size, data.size),
        colours=data.colours,
        every=data.every,
        label=data.tag_column,
        targets=target or (),
        encoding=data.encoding,
    )


class ClipRecords(Records):
    """The clips of a file or a folder, whose labels, if they have any, count for nothing."""

    def __init__(self, path: Path, how: ClipReading) -> None:
        """Find them; none is decoded yet."""
        self.where, self._how = str(path), how
        self._clips = clips_in(path, how, labelled=False)

    def __iter__(self) -> Iterator[Record]:
        for clip in self._clips:
            yield Record(value=clip.frames(), label="", place=str(clip.path))


@dataclass(frozen=True, slots=True)
class _Made:
    """The clips of a part of a world, one by one."""

    clips: Clips

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        wanted = self.clips.targets
        if self.clips.labels is not None:
            wanted = self.clips.labels.astype(np.int32)
        assert wanted is not None
        return iter(zip(self.clips.frames, wanted, strict=True))


@dataclass(frozen=True, slots=True)
class _Read:
    """The clips of a part of files, decoded one by one."""

    clips: Sequence[Clip]
    number_of: Mapping[str, int]
    defects: Defects

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for clip, frames in decoded_clips(self.clips, self.defects):
            wanted = clip.targets
            assert wanted is not None
            if not isinstance(wanted, np.ndarray):
                wanted = np.array([self.number_of[label] for label in wanted], dtype=np.int32)
            yield frames, wanted
