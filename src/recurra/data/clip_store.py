"""Clip files: the frames of all clips end to end, memory-mapped, with what is true of each frame.

A clip file is the frames [S, C, Y, X] of all clips, uint8 or float32, little-endian. Beside it
stand an example file of the targets, which knows where clips begin, and a header, the same name
with ".json" added, written last.

Letters: T frames of a clip, S of all together, C channels, Y rows, X columns, O numbers to learn.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from recurra.data.files import map_file, put_in_place
from recurra.data.tagged_store import TaggedExamples, open_targets, write_targets
from recurra.errors import DataError
from recurra.files import read_json

_FORMAT = "recurra clips 1"
_KINDS = {"uint8": np.dtype("u1"), "float32": np.dtype("<f4")}


def write_clips(path: Path, clips: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """A clip file of clips that come one by one.

    Args:
        path: the file to write.
        clips: of each its frames [T, C, Y, X], uint8 or float32, and its targets: labels [T], -1
            where there is none, or numbers [T, O], NaN where there is none.
    Raises:
        DataError: when there is no clip, the file cannot be written, or clips are not of one size.
    """
    first: list[np.ndarray] = []  # a frame
    steps = 0
    with put_in_place(path, "a clip file") as file:

        def targets() -> Iterator[np.ndarray]:
            nonlocal steps
            for number, (frames, wanted) in enumerate(clips):
                first[:] = first or [frames[0]]
                _check(frames, first[0], number)
                file.write(np.ascontiguousarray(frames).astype(_KINDS[frames.dtype.name]).tobytes())
                steps += len(frames)
                yield wanted

        write_targets(path, targets())
        _header_path(path).unlink(missing_ok=True)  # an older one would describe the wrong frames
    header = {"format": _FORMAT, "steps": steps, "shape": [*first[0].shape]}
    header["kind"] = first[0].dtype.name
    with put_in_place(_header_path(path), "the header of a clip file") as file:
        file.write(json.dumps(header, indent=1).encode())


def open_clips(path: Path) -> TaggedExamples:
    """What `write_clips` wrote, mapped, read-only; values are [S, C, Y, X].

    Raises:
        DataError: when a file is missing or damaged, or they do not belong together.
    """
    targets, offsets = open_targets(path)
    header_path = _header_path(path)
    try:
        header = read_json(header_path)
        if header["format"] != _FORMAT:
            raise ValueError(f"format {header['format']!r}")
        C, Y, X = map(int, header["shape"])
        kind = _KINDS[header["kind"]]
        if header["steps"] != len(targets):
            raise ValueError(f"{header['steps']} frames for {len(targets)} targets")
    except OSError as error:
        raise DataError(
            f"{path}: expected a clip file with its header {header_path.name}, got "
            f"{error.strerror or error}. Prepare it again."
        ) from error
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{header_path}: expected the header of a clip file ({_FORMAT}), got {error!r}. "
            "Delete it and prepare the file again."
        ) from error
    S = len(targets)
    contents = f"{S} frames of {C} x {Y} x {X}"
    frames = map_file(path, kind, S * C * Y * X, "a clip file", contents)
    return TaggedExamples(frames.reshape(S, C, Y, X), targets, offsets)


def _check(frames: np.ndarray, first: np.ndarray, number: int) -> None:
    """A clip has frames as those of the first."""
    found = frames.dtype, frames.shape[1:]
    if found != (first.dtype, first.shape) or frames.dtype.name not in _KINDS or not len(frames):
        raise DataError(
            f"clip {number + 1}: expected frames {list(first.shape)} of {first.dtype} as of the "
            f"first, got {list(frames.shape[1:])} of {frames.dtype}, {len(frames)} of them. Scale "
            "all to one size."
        )


def _header_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
