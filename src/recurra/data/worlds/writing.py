"""Worlds as files, in the formats that recurra reads from others.

train.tsv and train/00000.png     pictures: a row for each caption, image and caption
train/labels.csv, train/00000.npy clips: a row for each frame, clip, frame and label
train/targets.csv                 the same with numbers in place of labels
"""

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from recurra.data.files import put_in_place
from recurra.data.worlds.made import Clips, Pictures
from recurra.errors import DataError


def write_world(folder: str | PathLike[str], parts: Mapping[str, Pictures | Clips]) -> Path:
    """Write a world to a new folder.

    Args:
        folder: that is not there yet, or empty.
        parts: as the makers return them.
    Returns:
        The folder: `read_captions` and `read_clips` read it.
    Raises:
        DataError: when there is something in the folder, or it cannot be written.
        ModuleNotFoundError: without Pillow, which pictures are written by.
    """
    place = Path(folder)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise DataError(
            f"{place}: expected a new folder, got one with files in it. Name another, or empty it."
        )
    for name, part in parts.items():
        if isinstance(part, Pictures):
            _write_pictures(place, name, part)
        else:
            _write_clips(place / name, part)
    return place


def _write_pictures(place: Path, name: str, part: Pictures) -> None:
    from PIL import Image

    (place / name).mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(part.pictures):
        Image.fromarray(picture).save(place / name / f"{number:05}.png")
    rows = (
        (f"{name}/{number:05}.png", caption)
        for number, captions in enumerate(part.captions)
        for caption in captions
    )
    _write_rows(place / f"{name}.tsv", ("image", "caption"), rows, "\t")


def _write_clips(place: Path, part: Clips) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for number, frames in enumerate(part.frames):
        np.save(place / f"{number:05}.npy", frames)
    named = part.labels is not None
    columns = ("label",) if named else part.target_names

    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(len(part)):
            for frame, truth in enumerate(part.truth(number)):
                values = (truth,) if named else (f"{value:.6g}" for value in truth)
                yield (f"{number:05}", frame, *values)

    table = place / ("labels.csv" if named else "targets.csv")
    _write_rows(table, ("clip", "frame", *columns), rows(), ",")


def _write_rows(
    path: Path, header: tuple[str, ...], rows: Iterator[tuple[object, ...]], separator: str
) -> None:
    with put_in_place(path, "a table") as file:
        for row in (header, *rows):
            file.write((separator.join(map(str, row)) + "\n").encode())
