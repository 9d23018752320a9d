"""Boxes of pictures from files: regions that a detector found, or that people drew.

COCO's annotations of instances, or a table with a row for each box: the columns image, left, top,
right and bottom, in pixels of the picture from its top left corner. Of a picture in a table of
JSON lines there may be one row with all its boxes: {"image": "1.jpg", "boxes": [[0, 0, 9, 9]]}.

Letters: K boxes of a picture.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.captions import CaptionData, Captioned
from recurra.data.image_folders import IMAGES
from recurra.data.rows import object_rows, parquet_rows
from recurra.data.tables import csv_rows, lines_of, suffix_of
from recurra.errors import DataError
from recurra.text.reading import read_text

SIDES = ("left", "top", "right", "bottom")
_ROW = ("image", *SIDES)

_Row = tuple[str, str, Sequence[Any]]  # where it stands, the name of a picture, a box of it


def read_boxes(path: Path, encoding: str | None = None) -> dict[str, np.ndarray]:
    """The boxes of each picture of a file, [K, 4] float64, by its name as the file has it.

    Raises:
        DataError: when a line is not as its format wants, naming it.
    """
    suffix = suffix_of(path)
    if suffix == ".json":
        rows = _of_coco(path)
    elif suffix in (".jsonl", ".ndjson"):
        rows = _of_objects(object_rows(path, encoding))
    elif suffix in (".parquet", ".pq"):
        rows = _of_objects(parquet_rows(path))
    else:
        rows = _of_objects(_separated(path, encoding))
    found: dict[str, list[list[float]]] = {}
    for place, name, box in rows:
        found.setdefault(name, []).append(_numbers(box, place))
    if not found:
        raise DataError(f"{path}: expected boxes of pictures, got none. Name another file.")
    return {name: np.array(each, dtype=np.float64) for name, each in found.items()}


def with_boxes(data: CaptionData, boxes: Mapping[str, np.ndarray], where: str) -> CaptionData:
    """The data with the boxes of each picture; one that has none there has no boxes.

    Args:
        data: as `read_captions` gives it.
        boxes: of `read_boxes`; a name is that of the data, or the end of its path.
        where: the file, for messages.
    Raises:
        DataError: when no picture has any, or boxes could be of several pictures.
    """
    check_apart((each.name for part in data.parts.values() for each in part), boxes, where)
    none, without = np.zeros((0, 4)), 0
    parts: dict[str, tuple[Captioned, ...]] = {}
    for part, pictures in data.parts.items():
        own = [boxes_of(each.name, boxes) for each in pictures]
        without += sum(each is None for each in own)
        parts[part] = tuple(
            replace(picture, boxes=none if each is None else each)
            for picture, each in zip(pictures, own, strict=True)
        )
    total = sum(map(len, parts.values()))
    if without == total:
        name = next(iter(boxes))
        raise DataError(
            f"{where}: expected boxes of the pictures that have captions, such as "
            f"{next(iter(parts.values()))[0].name}, got those of others, such as {name}. Name "
            f"pictures alike in both files."
        )
    notes = data.notes
    if without:
        said = f"no boxes of {without:,} of {total:,} pictures: their region is the whole picture"
        notes = (*notes, said)
    return replace(data, parts=parts, notes=notes)


def boxes_of(name: str, boxes: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Those of the picture of a name, by as much of the end of its path as they have; None without
    any."""
    found = _key_of(name, boxes)
    return None if found is None else boxes[found]


def check_apart(names: Iterable[str], boxes: Mapping[str, np.ndarray], where: str) -> None:
    """Raise DataError where boxes of one name could be of several pictures, as of a/1.jpg and
    b/1.jpg.

    Args:
        names: of the pictures.
        boxes: of `read_boxes`.
        where: the file, for the message.
    """
    owners: dict[str, str] = {}
    for name in names:
        key = _key_of(name, boxes)
        if key is not None and owners.setdefault(key, name) != name:
            raise DataError(
                f"{where}: expected boxes of one picture under each name, got {key} for both "
                f"{owners[key]} and {name}. Write the folders of the pictures in front of it."
            )


def _key_of(name: str, boxes: Mapping[str, np.ndarray]) -> str | None:
    """The longest end of a path that has boxes."""
    if name in boxes:
        return name
    parts = name.replace("\\", "/").split("/")
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((end for end in ends if end in boxes), None)


def _of_coco(path: Path) -> Iterator[_Row]:
    """COCO: a box is its left, top, width and height."""
    try:
        content = json.loads(read_text(path))
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        every = content["annotations"]
        for number, each in enumerate(every, 1):
            place = f"{path}, annotation {number}"
            left, top, width, height = each["bbox"]
            yield place, names[each["image_id"]], (left, top, left + width, top + height)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'{path}: expected COCO\'s instances, "images" with id and file_name, "annotations" '
            f"with image_id and bbox, got {type(error).__name__}: {error!s:.80}. Name such a file, "
            f"or a table."
        ) from None


def _of_objects(rows: Iterator[tuple[str, Mapping[str, Any]]]) -> Iterator[_Row]:
    for place, row in rows:
        name, several = row.get("image"), row.get("boxes")
        if not isinstance(name, str) or not name.strip():
            raise DataError(
                f"{place}: expected the name of a picture as image, got {name!r:.40}. The columns "
                f"are {', '.join(_ROW)}."
            )
        if several is None:
            several = [[row.get(side) for side in SIDES]]
        if not isinstance(several, list):
            raise DataError(
                f"{place}: expected a list of boxes, got {several!r:.40}. Write [[left, top, "
                f"right, bottom], ...]."
            )
        for box in several:
            yield place, name.strip(), box


def _separated(path: Path, encoding: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a table by the names in its first; without them in the order of `SIDES`."""
    first = next(lines_of(path, encoding), "")
    separator = "\t" if "\t" in first else ","
    cells = [cell.strip() for cell in next(csv.reader([first], delimiter=separator), [])]
    header = _ROW if cells and cells[0].lower().endswith(IMAGES) else tuple(map(str.lower, cells))
    if missing := [name for name in _ROW if name not in header]:
        raise DataError(
            f"{path}: expected the columns {', '.join(_ROW)}, got {', '.join(cells):.80}; "
            f"{missing[0]} is missing. Name them in the first line."
        )
    rows = csv_rows(path, lines_of(path, encoding), separator)
    for number, cells in rows if header is _ROW else islice(rows, 1, None):
        if not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            raise DataError(
                f"{path}, line {number}: expected {len(header)} columns, {', '.join(header):.80}, "
                f"got {len(cells)}. Write a row for each box."
            )
        yield f"{path}, line {number}", dict(zip(header, cells, strict=False))


def _numbers(box: Any, place: str) -> list[float]:
    """A box, checked."""
    try:
        values = [float(value) for value in box]
    except (TypeError, ValueError):
        values = []
    if (
        len(values) != len(SIDES)
        or not all(map(math.isfinite, values))
        or values[0] > values[2]
        or values[1] > values[3]
    ):
        raise DataError(
            f"{place}: expected a box, left, top, right and bottom in pixels, left before right "
            f"and top before bottom, got {box!r:.60}. Correct it."
        )
    return values
