"""Recorded motion: files of frames, each the exponential maps of a body's joints.

A frame is D numbers, D/3 triplets: the root's position, the root's rotation, then the rotation of
each joint, as the CMU and Human3.6M recordings are published for comparison.

Letters: N windows, T frames of a recording, L frames of a window, D numbers of a frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recurra.data.opening import entries_by_part
from recurra.data.records import named
from recurra.data.sequences import read_sequence
from recurra.data.tables import suffix_of
from recurra.errors import DataError, argument
from recurra.text.corpus import is_hidden

SUFFIXES = (".txt", ".csv", ".tsv", ".npy")
ROOT = 6  # numbers of a frame that are the root's


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """A recording.

    Attributes:
        frames: [T, D] float32.
        action: what is done in it, the name of the folder that it is in.
        name: the action, and its file's name without an end: "walking/walking_1".
        place: its file, for messages.
    """

    frames: np.ndarray
    action: str
    name: str
    place: str

    def __len__(self) -> int:
        return len(self.frames)

    def every(self, step: int, first: int = 0) -> "Motion":
        """Every `step`-th frame, from a first one on, which the name says where it is not 0."""
        name = f"{self.name}, from frame {first}" if first else self.name
        return replace(self, frames=self.frames[first::step], name=name)


def read_motion(data: str | Path) -> dict[str, list[Motion]]:
    """The recordings of a folder, by part.

    The folder has sub-folders of train and test, and may have one of val; each has a file for each
    recording, in a folder for each action. A file has a line for each frame, its numbers separated
    by commas or spaces, and may be compressed; or it is an array, .npy. Where nothing is named val,
    the last recording of each action, in the order of their names, is taken out of train for it.

    Raises:
        DataError: when a part is missing, an action has one recording and nothing is named val, or
            a file is not as it should be, naming the file and the line.
    """
    folder = Path(data)
    if not folder.is_dir():
        got = "a file" if folder.exists() else "no such folder"
        raise DataError(
            f"{folder}: expected a folder with sub-folders of train and test, got {got}. Check "
            "the path."
        )
    found = entries_by_part(folder)
    for part in ("train", "test"):
        if part not in found:
            raise DataError(
                f"{folder}: expected sub-folders of train and test, got none of {part}. Put the "
                f"recordings of each action into {part}/ACTION."
            )
    parts = {
        part: [motion for entry in entries for motion in read_recordings(entry)]
        for part, entries in found.items()
    }
    _check_alike([motion for part in parts.values() for motion in part])
    return parts if "val" in parts else {**parts, **_held_out(parts["train"])}


def _lies_hidden(file: Path, below: Path) -> bool:
    """Whether a file, or a folder on the way to it, is one that programs leave behind."""
    return any(is_hidden(Path(part)) for part in file.relative_to(below).parts)


def read_recordings(path: Path) -> Iterator[Motion]:
    """The recordings below a folder, in the order of their paths; of a file its own.

    Raises:
        DataError: when there is none, or a file is not as it should be.
    """
    files = [
        each
        for each in ([path] if path.is_file() else sorted(path.rglob("*")))
        if each.is_file() and not _lies_hidden(each, path) and _suffix(each) in SUFFIXES
    ]
    if not files:
        raise DataError(
            f"{path}: expected recordings that end in {', '.join(SUFFIXES)}, in a folder for "
            "each action, got none. Put them there."
        )
    for file in files:
        values = read_sequence(file).values
        size = values.shape[1]
        if size % 3 or size <= ROOT:
            raise DataError(
                f"{file}: expected triplets, the root's two and one for each joint, got {size} "
                "numbers a frame. Write 3 numbers for each joint."
            )
        action = file.resolve().parent.name
        yield Motion(
            frames=values.astype(np.float32),
            action=action,
            name=f"{action}/{file.name.partition('.')[0]}",
            place=str(file),
        )


def _suffix(path: Path) -> str:
    return path.suffix.lower() if path.suffix.lower() == ".npy" else suffix_of(path)


def _check_alike(motions: Sequence[Motion]) -> None:
    sizes = {motion.frames.shape[1]: motion for motion in motions}
    if len(sizes) > 1:
        (size, one), (other_size, other) = list(sizes.items())[:2]
        raise DataError(
            f"{other.place}: expected {size} numbers a frame, as in {one.place}, got "
            f"{other_size}. Use recordings of one skeleton."
        )


def _held_out(train: Sequence[Motion]) -> dict[str, list[Motion]]:
    """The training part without the last recording of each action, and these, as "val"."""
    last = {motion.action: motion for motion in train}
    kept = [motion for motion in train if motion is not last[motion.action]]
    alone = sorted(set(last) - {motion.action for motion in kept})
    if alone:
        raise DataError(
            f"{named(alone)}: expected two recordings or more of each action, so that one can "
            "validate, got one. Add some, or a folder val."
        )
    return {"train": kept, "val": list(last.values())}


def windows(motion: Motion, length: int) -> np.ndarray:
    """[N, L, D], every stretch of `length` frames, one for each frame that it can begin at.

    Raises:
        DataError: when the recording is shorter.
    """
    if len(motion) < length:
        raise DataError(
            f"{motion.place}: expected {length} frames, what is seen and what is said, got "
            f"{len(motion)}. Leave it out, or use a shorter {argument('look_back=')} or "
            f"{argument('horizon=')}."
        )
    return np.lib.stride_tricks.sliding_window_view(motion.frames, length, axis=0).swapaxes(1, 2)
