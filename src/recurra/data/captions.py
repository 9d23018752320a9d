"""Pictures with captions, in parts, from all formats to one form.

Where a file does not say which part a picture is of, lists beside it do, as Flickr8k has them, or
pictures are drawn: all captions of a picture are of one part.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.caption_files import (
    FORMATS,
    UNDESCRIBED,
    WORDS_OF_PARTS,
    CaptionColumns,
    CaptionRow,
    caption_rows,
    part_named,
)
from recurra.data.defects import Defect, Defects
from recurra.data.drawing import drawn
from recurra.data.image_folders import IMAGES, ImageFolders
from recurra.data.opening import paths_of
from recurra.data.records import named
from recurra.data.tables import lines_of, suffix_of
from recurra.errors import DataError, argument
from recurra.text.corpus import is_hidden

PARTS = tuple(WORDS_OF_PARTS)
SHARES = {"train": 0.9, "val": 0.05, "test": 0.05}  # of pictures that are not divided
_LETTERS = re.compile(r"[A-Za-z]+")

MISSING = Defect(
    many="pictures that are not there are left out",
    one="picture that is not there is left out",
    expected="the picture",
)
LISTED_TWICE = Defect(
    many="names that a list has twice count once",
    one="name that a list has twice counts once",
)
UNLISTED = Defect(
    many="pictures that are in no list of a part are left out",
    one="picture that is in no list of a part is left out",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Captioned:
    """A picture and what is said of it.

    Attributes:
        name: of the picture, as the file of captions has it; no other has the same.
        image: its file, or the picture as an array [Y, X, 3] or [Y, X] of uint8; None where only
            the text was asked for.
        captions: one or more, in the order of the file.
        part: "train", "val" or "test".
        place: where the first caption stands, for messages.
        boxes: [K, 4], regions of the picture, left, top, right and bottom of each in pixels; None
            where nobody says.
    """

    name: str
    image: Path | np.ndarray | None
    captions: tuple[str, ...]
    part: str
    place: str = ""
    boxes: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionData:
    """The pictures of each part, with their captions.

    Attributes:
        parts: by "train", "val" and "test".
        notes: how the data were read and what is wrong with them, a sentence each.
        files: of captions, by part.
    """

    parts: Mapping[str, Sequence[Captioned]]
    notes: tuple[str, ...] = ()
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def captions(self, part: str) -> Iterator[str]:
        """Every caption of a part, picture by picture."""
        for each in self.parts[part]:
            yield from each.captions


def read_captions(
    data: Any,
    *,
    images: Any = None,
    val_data: Any = None,
    test_data: Any = None,
    columns: CaptionColumns | None = None,
    strict: bool = False,
    with_images: bool = True,
    draw: bool = True,
    seed: int = 0,
) -> CaptionData:
    """Pictures with captions from files, in parts; a part without pictures is drawn.

    No picture is opened: see `recurra.data.decoding` for that.

    Args:
        data: a file of captions, see `caption_files`; a folder with one, or with one for each part;
            several in a list are read as one.
        images: the folder of the pictures, or several; None looks below the folder of the file, and
            of a file in annotations/ below the folder that has it.
        val_data: captions to validate on.
        test_data: to test on.
        columns: of tables.
        strict: whether the first thing that is wrong is an error; otherwise such things are left
            out, and counted in the notes.
        with_images: whether pictures are looked for; without, `image` is None.
        draw: whether parts that have no pictures are drawn from "train", 5 % for each.
        seed: of the draw.
    Raises:
        DataError: when a file is not as its format wants, naming the place; when a picture is of
            two parts, a name is that of several files, or no picture is there.
    """
    columns = columns or CaptionColumns()
    defects = Defects(strict=strict)
    notes: list[str] = []
    given = _files(data, notes)
    for part, own in (("val", val_data), ("test", test_data)):
        if own is None:
            continue
        if both := paths_of(own) & {str(file.resolve()) for file in given["train"]}:
            raise DataError(
                f"{min(both)}: expected other captions for {part} than to train on, got the same. "
                f"Name others for {argument(f'{part}_data=')}, or leave it out."
            )
        given[part] = [file for files in _files(own, notes).values() for file in files]
    parts: dict[str, list[Captioned]] = {}
    for part, files in given.items():
        for found, each in _by_part(part, files, columns, defects).items():
            parts.setdefault(found, []).extend(each)
    _check_apart(parts)
    if with_images:
        folders = _image_folders(images, [file for files in given.values() for file in files])
        parts = {part: list(_with_images(each, folders, defects)) for part, each in parts.items()}
    for part in list(parts):
        if not parts[part]:
            raise DataError(
                f"{given.get(part, given['train'])[0]}: expected pictures with captions for "
                f"{part}, got none that can be used{_why(defects)}. Check "
                f"{argument('images=')} and the names in the file."
            )
    wanted = [part for part in PARTS if part not in parts]
    if wanted and draw:
        shares = {part: SHARES[part] for part in wanted}
        where = str(given["train"][0])
        for part, each in drawn(parts["train"], shares, seed, where=where, what="pictures").items():
            parts[part] = [replace(one, part=part) for one in each]
        notes.append(f"drawn, seed {seed}: " + ", ".join(f"{p} {SHARES[p]:.0%}" for p in wanted))
    return CaptionData(
        parts={part: tuple(parts[part]) for part in PARTS if part in parts},
        notes=(*notes, *defects.notes),
        files={part: tuple(given.get(part, given["train"])) for part in parts},
    )


def _why(defects: Defects) -> str:
    return f": {defects.notes[-1]}" if defects.notes else ""


# ---- files ---------------------------------------------------------------------------------------


def _files(data: Any, notes: list[str]) -> dict[str, list[Path]]:
    """The files of captions that are named, by part; "train" is what says nothing of a part."""
    several = [data] if isinstance(data, str | PathLike) else list(data)
    if not several:
        raise DataError("data: expected a file or a folder, got an empty list. Name one.")
    found: dict[str, list[Path]] = {}
    for path in map(Path, several):
        if path.is_dir():
            for part, files in _of_folder(path, notes).items():
                found.setdefault(part, []).extend(files)
        elif path.is_file():
            found.setdefault("train", []).append(path)
        else:
            raise DataError(
                f"{path}: expected a file of captions or a folder with one, got no such file. "
                f"Check the path."
            )
    return {part: found[part] for part in PARTS if part in found}


def _of_folder(folder: Path, notes: list[str]) -> dict[str, list[Path]]:
    """The files of captions in a folder, or in its annotations/; those of parts, or the one."""
    places = [folder, *(each for each in (folder / "annotations",) if each.is_dir())]
    files = [
        each
        for place in places
        for each in sorted(place.iterdir())
        if each.is_file() and not is_hidden(each) and suffix_of(each) in FORMATS
    ]
    files = [each for each in files if not _is_list(each)]
    told = [each for each in files if "captions" in each.name.lower()]
    files = told or files  # beside them COCO has instances and key points
    by_part: dict[str, list[Path]] = {}
    for each in files:
        if (part := _part_of(each)) is not None:
            by_part.setdefault(part, []).append(each)
    if "train" in by_part:
        for part, several in by_part.items():
            if len(several) > 1:
                raise DataError(
                    f"{folder}: expected one file of captions for {part}, got "
                    f"{named(each.name for each in several)}. Name the files, {argument('data=')}."
                )
        used = {each for several in by_part.values() for each in several}
        if beside := [each.name for each in files if each not in used]:
            notes.append(f"left out, in no part: {named(beside)}")
        return by_part
    if len(files) != 1:
        raise DataError(
            f"{folder}: expected one file of captions, or one for each part, got "
            f"{named(each.name for each in files) or 'none'}. Name the file, {argument('data=')}."
        )
    return {"train": files}


def _part_of(path: Path) -> str | None:
    """The part that a word of a file's name means: captions_val2014.json, Flickr_8k.devImages."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path.name)
    return next((p for word in _LETTERS.findall(words) if (p := part_named(word))), None)


def _is_list(path: Path) -> bool:
    """Whether a file has a name of a picture in its first line and nothing else, and a part's name
    in its own."""
    if suffix_of(path) != ".txt" or _part_of(path) is None:
        return False
    first = next((line.strip() for line in lines_of(path) if line.strip()), "")
    return "\t" not in first and "," not in first and first.lower().endswith(IMAGES)


# ---- parts ---------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Described:
    """A picture while its captions are gathered."""

    part: str
    place: str
    captions: list[str] = field(default_factory=list)


def _by_part(
    part: str, files: Sequence[Path], columns: CaptionColumns, defects: Defects
) -> dict[str, list[Captioned]]:
    """What files that were named for a part have; those to train on may have all parts."""
    rows = (row for file in files for row in caption_rows(file, columns, defects))
    every = _gathered(rows)
    if part != "train":
        every = {name: one for name, one in every.items() if one.part in ("", part)}
        assigned = dict.fromkeys(every, part)
    else:
        assigned = {name: one.part for name, one in every.items()}
        if not any(assigned.values()):
            assigned = _listed(files, every, defects) or dict.fromkeys(every, "train")
    found: dict[str, list[Captioned]] = {part: []} if part != "train" else {}
    for name, one in every.items():
        if not one.captions:
            defects.add(UNDESCRIBED, one.place, f"none of {name}")
        elif not (own := assigned.get(name)):
            defects.add(UNLISTED, one.place, name)
        else:
            found.setdefault(own, []).append(
                Captioned(
                    name=name, image=None, captions=tuple(one.captions), part=own, place=one.place
                )
            )
    if "train" not in found and part == "train":
        raise DataError(
            f"{files[0]}: expected pictures with captions to train on, got none{_why(defects)}. "
            f"Name a file that has some."
        )
    return found


def _gathered(rows: Iterable[CaptionRow]) -> dict[str, _Described]:
    """The captions of each picture, in the order in which pictures come first."""
    found: dict[str, _Described] = {}
    for row in rows:
        one = found.setdefault(row.name, _Described(part=row.part, place=row.place))
        if row.part != one.part:
            raise DataError(
                f"{row.place}: expected {row.name} in one part, got it in {row.part or 'none'} "
                f"and, at {one.place}, in {one.part or 'none'}. Leave one out."
            )
        if row.caption is not None:
            one.captions.append(row.caption)
    return found


def _listed(
    files: Sequence[Path], every: Mapping[str, _Described], defects: Defects
) -> dict[str, str]:
    """The part of each picture as lists beside the files have them; none without lists."""
    found: dict[str, tuple[str, str]] = {}
    for folder in dict.fromkeys(file.parent for file in files):
        for path in sorted(folder.iterdir()):
            if not path.is_file() or is_hidden(path) or not _is_list(path):
                continue
            part = _part_of(path) or ""
            for number, line in enumerate(lines_of(path), 1):
                name, place = line.strip(), f"{path}, line {number}"
                if not name:
                    continue
                other, where = found.setdefault(name, (part, place))
                if other != part:
                    raise DataError(
                        f"{place}: expected {name} in one part, got it in {part} and, at {where}, "
                        f"in {other}. Leave one out."
                    )
                if where != place:
                    defects.add(LISTED_TWICE, place, f"{name} again")
                elif name not in every:
                    defects.add(UNDESCRIBED, place, f"none of {name}")
    return {name: part for name, (part, _) in found.items()}


def _check_apart(parts: Mapping[str, Sequence[Captioned]]) -> None:
    """Raise DataError when a picture is of two parts."""
    seen: dict[str, Captioned] = {}
    for each in (one for several in parts.values() for one in several):
        other = seen.setdefault(each.name, each)
        if other.part != each.part:
            raise DataError(
                f"{each.place}: expected {each.name} in one part, got it in {each.part} and, at "
                f"{other.place}, in {other.part}. Leave one out."
            )


# ---- pictures ------------------------------------------------------------------------------------


def _image_folders(images: Any, files: Sequence[Path]) -> ImageFolders:
    if images is not None:
        several = [images] if isinstance(images, str | PathLike) else list(images)
        return ImageFolders([Path(each) for each in several])
    own = (file.parent for file in files)
    wide = (each.parent if each.name == "annotations" else each for each in own)
    return ImageFolders(list(dict.fromkeys(wide)))


def _with_images(
    every: Iterable[Captioned], folders: ImageFolders, defects: Defects
) -> Iterator[Captioned]:
    for each in every:
        image = folders.find(each.name, each.place)
        if image is None:
            defects.add(MISSING, each.place, f"no {each.name} below {folders.where}")
        else:
            yield replace(each, image=image)
