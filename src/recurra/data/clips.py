"""Clips with a label, or numbers, at each frame, in parts, from all formats to one form.

    clips/train/wave_01/0001.png ...   a folder of frames for each clip
    clips/train/wave_01.labels.csv     a row for each frame
    clips/val/wave_09.gif              or a GIF, a video, an array [T, C, Y, X]
    soli/0_2_0.h5                      Soli's recordings, divided by a file of splits

Letters: T frames, C channels, Y rows, X columns, O numbers to learn.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.clip_files import ClipReading, is_clip, natural, own_labels, read_frames
from recurra.data.clip_labels import (
    FrameTruth,
    TablesBeside,
    is_table,
    labels_of_all,
    read_truth,
    read_truths,
)
from recurra.data.decoding import WORKERS, add_error, ahead
from recurra.data.defects import Defect, Defects
from recurra.data.drawing import drawn
from recurra.data.image_folders import IMAGES
from recurra.data.opening import entries_by_part, paths_of
from recurra.data.records import named
from recurra.errors import DataError, argument
from recurra.files import read_json
from recurra.text.corpus import is_hidden

PARTS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)  # of clips that are not divided
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
           "test": "test", "eval": "test"}  # fmt: skip

DAMAGED = Defect(
    many="clips that cannot be read are left out",
    one="clip that cannot be read is left out",
    expected="a clip that can be read",
)
ABSENT = Defect(
    many="clips of the file of splits that are not there are left out",
    one="clip of the file of splits that is not there is left out",
    expected="a clip of that name",
)
UNLISTED = Defect(
    many="clips that the file of splits does not name are left out",
    one="clip that the file of splits does not name is left out",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """A clip whose frames are read when they are asked for.

    Attributes:
        name: its path below the data, without the end of a file's name.
        path: of the file, or the folder of frames.
        how: it is read.
        truth: of all its frames, from a table; None where the file has labels, or nobody knows.
    """

    name: str
    path: Path
    how: ClipReading
    truth: FrameTruth | None = None
    labels: tuple[str, ...] | None = None

    @property
    def targets(self) -> tuple[str, ...] | np.ndarray | None:
        """Of the frames that are kept: T names of labels, "" for none; [T, O] float32; or None."""
        if self.truth is not None:
            return self.truth.every(self.how.every)
        return None if self.labels is None else self.labels[:: self.how.every]

    def frames(self) -> np.ndarray:
        """[T, C, Y, X], uint8, or float32 of arrays that hold fractions.

        Raises:
            DataError: when it cannot be read, or has not as many frames as labels.
            ModuleNotFoundError: without what reads it.
        """
        frames, count = read_frames(self.path, self.how)
        self.check(count)
        return frames

    def check(self, count: int) -> None:
        """Raise DataError, naming the line of a table, unless so many frames have a label each."""
        if self.truth is not None:
            self.truth.check(count, str(self.path))
        elif self.labels is not None and len(self.labels) != count:
            raise DataError(
                f"{self.path}: expected a label for each of its {count} frames, got "
                f"{len(self.labels)}. Correct the file."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipData:
    """The clips of each part.

    Attributes:
        parts: by "train", "val" and "test".
        labels: their names, numbers in their order; empty where numbers are learned.
        target_names: of the O numbers; empty of labels.
        notes: how the data were read, a sentence each.
    """

    parts: Mapping[str, Sequence[Clip]]
    labels: tuple[str, ...]
    target_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def read_clips(
    data: Any,
    how: ClipReading | None = None,
    *,
    val_data: Any = None,
    test_data: Any = None,
    splits: str | PathLike[str] | None = None,
    strict: bool = False,
    draw: bool = True,
    seed: int = 0,
) -> ClipData:
    """Clips from files, in parts; a part without clips is drawn. No frame is decoded.

    Args:
        data: a folder with clips, in sub-folders or not, or with folders train, val or dev, and
            test; the file of one clip; several in a list.
        how: they are read; None: whole, in colours.
        val_data: clips to validate on.
        test_data: to test on.
        splits: a JSON file that has lists of the clips' names by part, {"train": [...], "eval":
            [...]}, as Soli's has it; "eval" is the test.
        strict: whether a clip of the splits that is not there is an error.
        draw: whether parts without clips are drawn from "train", a tenth for each.
        seed: of the draw.
    Raises:
        DataError: when there is no clip, one has no labels, a table is not as it should be, or
            not all clips have labels of one kind.
    """
    how = how or ClipReading()
    defects = Defects(strict=strict)
    notes: list[str] = []
    sources = _sources(data, val_data, test_data)
    parts = {
        part: [clip for each in several for clip in clips_in(each, how)]
        for part, several in sources.items()
    }
    if splits is not None:
        if len(parts) > 1:
            raise DataError(
                f"{splits}: expected clips that are not divided yet, got {named(parts)} by name. "
                f"Leave {argument('splits=')} out, or name the folder above them."
            )
        parts = _divided(parts["train"], Path(splits), defects)
    wanted = [part for part in PARTS if part not in parts]
    if wanted and draw:
        shares = {part: SHARES[PARTS.index(part)] for part in wanted}
        where = str(parts["train"][0].path)
        parts |= drawn(parts["train"], shares, seed, where=where, what="clips")
        said = ", ".join(f"{part} {share:.0%}" for part, share in shares.items())
        notes.append(f"drawn, seed {seed}: {said}")
    names, labels = _kinds([clip for each in parts.values() for clip in each], parts["train"])
    return ClipData(
        parts={part: tuple(parts[part]) for part in PARTS if part in parts},
        labels=labels,
        target_names=names,
        notes=(*notes, *defects.notes),
    )


def decoded_clips(
    clips: Iterable[Clip], defects: Defects, *, workers: int = WORKERS
) -> Iterator[tuple[Clip, np.ndarray]]:
    """Each clip that can be read with its frames [T, C, Y, X], in their order, decoded ahead.

    Args:
        clips: as `read_clips` gives them.
        defects: counts those that cannot be read.
        workers: threads.
    Raises:
        DataError: when a clip has not as many frames as labels, naming the line of the table;
            when one cannot be read and `defects` is strict.
        ModuleNotFoundError: without what reads them.
    """

    def read(clip: Clip) -> tuple[np.ndarray, int]:
        return read_frames(clip.path, clip.how)

    for clip, found in ahead(clips, read, workers=workers):
        if isinstance(found, DataError):
            add_error(defects, DAMAGED, found)
        else:
            frames, count = found
            clip.check(count)
            yield clip, frames


# ---- files ---------------------------------------------------------------------------------------


def _sources(data: Any, val_data: Any, test_data: Any) -> dict[str, list[Path]]:
    """What is named for each part, "train" at least."""
    sources = {"train": _listed(data)}
    if len(sources["train"]) == 1 and sources["train"][0].is_dir():
        found = entries_by_part(sources["train"][0])
        folders = {
            part: [each for each in several if each.is_dir()] for part, several in found.items()
        }
        if folders.get("train") and not is_clip(folders["train"][0]):
            sources = {part: several for part, several in folders.items() if several}
    for part, own in (("val", val_data), ("test", test_data)):
        if own is None:
            continue
        if both := paths_of(own) & paths_of(sources["train"]):
            raise DataError(
                f"{min(both)}: expected other clips for {part} than to train on, got the same. "
                f"Name others for {argument(f'{part}_data=')}, or leave it out."
            )
        sources[part] = _listed(own)
    return sources


def _listed(data: Any) -> list[Path]:
    several = [data] if isinstance(data, str | PathLike) else list(data)
    if not several:
        raise DataError("data: expected a folder of clips, got an empty list. Name one.")
    return [Path(each) for each in several]


def clips_in(path: Path, how: ClipReading, *, labelled: bool = True) -> list[Clip]:
    """The clips below a folder, in the order of their names, numbers by what they count.

    Args:
        path: of the folder, or of one clip.
        how: they are read.
        labelled: whether each must have a label, or numbers, at each frame.
    Raises:
        DataError: when there is none, the path is of a file that is no clip, or a clip has no
            labels.
    """
    if not path.exists():
        raise DataError(f"{path}: expected a folder of clips, got no such file. Check the path.")
    alone = is_clip(path)
    if not alone and not path.is_dir():
        got = "one picture" if path.suffix.lower() in IMAGES else "another file"
        raise DataError(
            f"{path}: expected a clip, which is a folder of pictures, a GIF, a video, .npy or .h5, "
            f"or a folder of clips, got {got}. Put the pictures of a clip into a folder of its own."
        )
    found = [path] if alone else _below(path)
    if not found:
        raise DataError(
            f"{path}: expected clips: folders of pictures, GIFs, videos, .npy or .h5, got none. "
            f"Put them there."
        )
    of_all: dict[str, FrameTruth] = {}
    table = None if alone else labels_of_all(path)
    if table is not None and labelled:
        of_all = read_truths(table, how)
    clips = []
    tables = TablesBeside()
    for each in found:
        name = each.name if alone else each.relative_to(path).as_posix()
        name = name if each.is_dir() else name.removesuffix(each.suffix)
        clips.append(_clip(name, each, how, tables.of(each), table, of_all) if labelled else
                     Clip(name=name, path=each, how=how))  # fmt: skip
    return clips


def _below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for each in sorted(folder.iterdir(), key=lambda each: natural(each.name)):
        if is_hidden(each) or (each.is_file() and is_table(each)):
            continue
        if is_clip(each):
            found.append(each)
        elif each.is_dir():
            found += _below(each)
    return found


def _clip(
    name: str,
    path: Path,
    how: ClipReading,
    beside: Path | None,
    table: Path | None,
    of_all: Mapping[str, FrameTruth],
) -> Clip:
    truth = labels = None
    if beside is not None:
        truth = read_truth(beside, how)
    elif table is not None:
        known = (name, path.name, name.rpartition("/")[2])
        truth = next((of_all[each] for each in known if each in of_all), None)
        if truth is None:
            raise DataError(
                f"{table}: expected rows of the clip {name}, got those of {named(of_all)}. Add "
                f"them, or leave the clip out."
            )
    else:
        labels = own_labels(path)
    if truth is None and labels is None:
        raise DataError(
            f"{path}: expected a table of its labels beside it, {name.rpartition('/')[2]}"
            f".labels.csv, or labels.csv above all clips, got neither. Write one with a row for "
            f"each frame."
        )
    return Clip(name=name, path=path, how=how, truth=truth, labels=labels)


# ---- parts ---------------------------------------------------------------------------------------


def _divided(clips: Sequence[Clip], path: Path, defects: Defects) -> dict[str, list[Clip]]:
    """The clips of each part as a file of splits has them."""
    try:
        found = read_json(path)
        if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
            raise ValueError("no lists by part")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: expected JSON with lists of clips by part, got: {error}. Name such a file."
        ) from None
    by_name = {each: clip for clip in clips for each in (clip.name.rpartition("/")[2], clip.name)}
    parts: dict[str, list[Clip]] = {}
    seen: dict[int, str] = {}
    for said, names in found.items():
        part = _SPLITS.get(said.lower())
        if part is None:
            raise DataError(
                f"{path}: expected parts {', '.join(_SPLITS)}, got {said!r:.40}. Rename it."
            )
        for name in map(str, names):
            clip = by_name.get(name) or by_name.get(name.rpartition(".")[0])
            if clip is None:
                defects.add(ABSENT, f'{path}, "{said}"', f"no {name}")
            elif seen.setdefault(id(clip), part) != part:
                raise DataError(
                    f"{path}: expected {name} in one part, got it in {seen[id(clip)]} and {part}. "
                    f"Leave one out."
                )
            else:
                parts.setdefault(part, []).append(clip)
    for clip in clips:
        if id(clip) not in seen:
            defects.add(UNLISTED, str(path), clip.name)
    if "train" not in parts:
        raise DataError(
            f"{path}: expected clips to train on, got none of those that are there, "
            f"{named(clip.name for clip in clips)}. Write their names under train."
        )
    return parts


def _kinds(every: Sequence[Clip], train: Sequence[Clip]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the numbers to learn, or those of the labels of training.

    Raises:
        DataError: when clips are not all of one kind, or a label is not trained on.
    """
    first = train[0]
    names = first.truth.names if first.truth is not None else ()
    for clip in every:
        own = clip.truth.names if clip.truth is not None else ()
        if own != names:
            raise DataError(
                f"{clip.truth.path if clip.truth is not None else clip.path}: expected "
                f"{f'the numbers {named(names)}' if names else 'labels'} as of {first.path}, got "
                f"{f'the numbers {named(own)}' if own else 'labels'}. Give all clips the same."
            )
    if names:
        return names, ()
    known = {label for clip in train for label in clip.targets or ()} - {""}
    if len(known) < 2:
        raise DataError(
            f"{first.path}: expected two labels or more to train on, got {named(known) or 'none'}. "
            f"Name the column of the labels, {argument('tag_column=')}."
        )
    for clip in every:
        for number, label in enumerate(clip.targets or ()):
            if label and label not in known:
                raise DataError(
                    f"{clip.path}: expected the labels of training ({named(sorted(known))}), got "
                    f"{label!r} at frame {number * clip.how.every + 1}. Correct it, or train on "
                    f"clips of it."
                )
    return (), tuple(sorted(known, key=natural))
