"""Files of captions in the formats that they are published in, row by row.

    captions_train2014.json      COCO's annotations: "images" and "annotations"
    dataset_coco.json            Karpathy's splits: "images" with "sentences" and "split"
    Flickr8k.token.txt           NAME.jpg#0, a tab, the caption
    captions.tsv, .csv, .jsonl   a column of pictures, one of captions, and perhaps one of parts
    captions.json                a list of such rows, [{"image": ..., "caption": ...}]

Sources: Chen et al. (2015), "Microsoft COCO Captions", arXiv:1504.00325; Karpathy, Fei-Fei (2015),
"Deep visual-semantic alignments for generating image descriptions", arXiv:1412.2306; Hodosh, Young,
Hockenmaier (2013), "Framing image description as a ranking task".
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from recurra.data.defects import Defect, Defects
from recurra.data.image_folders import IMAGES
from recurra.data.records import named
from recurra.data.rows import object_rows, parquet_rows
from recurra.data.tables import csv_rows, lines_of, suffix_of
from recurra.errors import DataError, argument
from recurra.text.reading import read_text

FORMATS = (".json", ".token", ".txt", ".tsv", ".csv", ".jsonl", ".ndjson", ".parquet", ".pq")
IMAGE_NAMES = ("image", "images", "image_name", "picture", "file", "filename", "file_name",
               "image_path", "path", "img", "name")  # fmt: skip
CAPTION_NAMES = ("caption", "captions", "text", "sentence", "sentences", "comment", "description",
                 "raw")  # fmt: skip
PART_NAMES = ("part", "split", "set")
WORDS_OF_PARTS = {
    "train": ("train", "training", "restval"),  # restval: what COCO's validation part has left over
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_NUMBERED = re.compile(r"(?P<name>.+)#(?P<number>\d+)")
_COPY = re.compile(rf"(?P<name>.+({'|'.join(map(re.escape, IMAGES))}))\.\d+", re.IGNORECASE)

EMPTY = Defect(
    many="captions that are empty are left out",
    one="caption that is empty is left out",
    expected="a caption",
)
UNDESCRIBED = Defect(
    many="pictures without a caption are left out",
    one="picture without a caption is left out",
    expected="a caption for each picture",
)
UNNAMED = Defect(
    many="captions of pictures that are not in the list of pictures are left out",
    one="caption of a picture that is not in the list of pictures is left out",
    expected="a picture that the list has",
)
OUT_OF_FORM = Defect(
    many="names out of form are read without their ends",
    one="name out of form is read without its end",
)
DOUBLED = Defect(
    many="captions whose numbers stand there twice are kept",
    one="caption whose number stands there twice is kept",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionRow:
    """A caption, and of what.

    Attributes:
        name: of the picture, a path or the end of one.
        caption: None where the file names a picture and says nothing of it.
        part: "train", "val" or "test"; "" where the file does not say.
        place: for messages.
    """

    name: str
    caption: str | None
    part: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionColumns:
    """Which columns of tables are what, by name or number from 1; None finds them by name."""

    image: str | None = None
    caption: str | None = None
    part: str | None = None
    encoding: str | None = None


def caption_rows(path: Path, how: CaptionColumns, defects: Defects) -> Iterator[CaptionRow]:
    """The captions of a file, in its order.

    Raises:
        DataError: when it is of none of the formats, or not as its format wants, naming the place.
    """
    suffix = suffix_of(path)
    if suffix not in FORMATS:
        raise DataError(
            f"{path}: expected captions in a file that ends in {', '.join(FORMATS)}, got "
            f"{suffix or 'a name without an end'}. Rename or convert it."
        )
    rows = _of_json(path, how, defects) if suffix == ".json" else _of_table(path, how, defects)
    for row in rows:
        if row.caption is None:
            yield row
        elif caption := " ".join(row.caption.split()):
            yield CaptionRow(name=row.name, caption=caption, part=row.part, place=row.place)
        else:
            defects.add(EMPTY, row.place, f"none for {row.name}")
            yield CaptionRow(name=row.name, caption=None, part=row.part, place=row.place)


def part_named(text: str) -> str | None:
    """The part that a name of one means, "dev" or "val2014"; None where it is none."""
    word = re.sub(r"\d+$", "", text.strip().lower())
    return next((part for part, names in WORDS_OF_PARTS.items() if word in names), None)


# ---- JSON ----------------------------------------------------------------------------------------


def _of_json(path: Path, how: CaptionColumns, defects: Defects) -> Iterator[CaptionRow]:
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise DataError(
            f"{path}: expected JSON, got: {error}. The file may be cut short: copy it again."
        ) from None
    if isinstance(found, list) and found and all(isinstance(each, dict) for each in found):
        yield from _of_objects(
            ((f"{path}, entry {number}", each) for number, each in enumerate(found, 1)), how
        )
        return
    entries: dict[str, Any] = found if isinstance(found, dict) else {}
    images = entries.get("images")
    if not isinstance(images, list) or not all(isinstance(each, dict) for each in images):
        keys = named(map(str, found)) if isinstance(found, dict) else f"a {type(found).__name__}"
        raise DataError(
            f'{path}: expected captions as COCO has them, with "images" and "annotations", or as '
            f'Karpathy\'s splits, "images" with "sentences", got {keys or "nothing"}. Name such a '
            f"file."
        )
    if "annotations" in entries:
        yield from _of_coco(path, images, entries["annotations"], defects)
    elif any("sentences" in each for each in images):
        yield from _of_karpathy(path, images)
    else:
        raise DataError(
            f'{path}: expected "annotations" beside "images", or "sentences" in each of them, got '
            f"neither. Name a file of captions: captions_train2014.json, dataset_coco.json."
        )


def _entry(of: Mapping[str, Any], key: str, kind: type | tuple[type, ...], place: str) -> Any:
    value = of.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        got = "none" if key not in of else repr(value)[:40]
        raise DataError(f'{place}: expected an entry "{key}", got {got}. Correct the file.')
    return value


def _of_coco(
    path: Path, images: Sequence[Mapping[str, Any]], annotations: Any, defects: Defects
) -> Iterator[CaptionRow]:
    names: dict[Any, str] = {}
    for number, image in enumerate(images):
        place = f"{path}, images[{number}]"
        key, name = _entry(image, "id", (int, str), place), _entry(image, "file_name", str, place)
        if key in names:
            raise DataError(
                f"{place}: expected each picture once, got the id {key} of {names[key]} again. "
                f"Leave one out."
            )
        names[key] = name
    if not isinstance(annotations, list):
        raise DataError(f'{path}: expected a list of "annotations", got {annotations!r:.40}.')
    described: set[Any] = set()
    for number, each in enumerate(annotations):
        place = f"{path}, annotations[{number}]"
        if not isinstance(each, dict) or "caption" not in each:
            raise DataError(
                f'{place}: expected a "caption", got {named(each) if each else "none"}. Instances '
                f"and key points have none: name the file of captions."
            )
        key = _entry(each, "image_id", (int, str), place)
        caption = _entry(each, "caption", str, place)
        if key not in names:
            defects.add(UNNAMED, place, f"the id {key}, which no image has")
            continue
        described.add(key)
        yield CaptionRow(name=names[key], caption=caption, part="", place=place)
    for number, (key, name) in enumerate(names.items()):
        if key not in described:
            yield CaptionRow(name=name, caption=None, part="", place=f"{path}, images[{number}]")


def _of_karpathy(path: Path, images: Sequence[Mapping[str, Any]]) -> Iterator[CaptionRow]:
    for number, image in enumerate(images):
        place = f"{path}, images[{number}]"
        name = _entry(image, "filename", str, place)
        folder = image.get("filepath")
        if isinstance(folder, str) and folder:
            name = f"{folder}/{name}"
        part = _part(_entry(image, "split", str, place), place)
        sentences = _entry(image, "sentences", list, place)
        for sentence in sentences:
            said = sentence.get("raw") if isinstance(sentence, dict) else None
            if said is None and isinstance(sentence, dict):
                said = " ".join(_entry(sentence, "tokens", list, place))
            if not isinstance(said, str):
                raise DataError(
                    f'{place}: expected sentences with "raw", got {sentence!r:.60}. Correct it.'
                )
            yield CaptionRow(name=name, caption=said, part=part, place=place)
        if not sentences:
            yield CaptionRow(name=name, caption=None, part=part, place=place)


def _part(said: str, place: str) -> str:
    part = part_named(said)
    if part is None:
        known = ", ".join(name for names in WORDS_OF_PARTS.values() for name in names)
        raise DataError(f"{place}: expected a part, {known}, got {said!r:.40}. Write one of these.")
    return part


# ---- tables --------------------------------------------------------------------------------------


def _of_table(path: Path, how: CaptionColumns, defects: Defects) -> Iterator[CaptionRow]:
    suffix = suffix_of(path)
    if suffix in (".jsonl", ".ndjson"):
        yield from _of_objects(object_rows(path, how.encoding), how)
    elif suffix in (".parquet", ".pq"):
        yield from _of_objects(parquet_rows(path), how)
    else:
        first = next((line for line in lines_of(path, how.encoding) if line.strip()), "")
        name, _, said = first.partition("\t")
        if said and _NUMBERED.fullmatch(name.strip()):
            yield from _of_tokens(path, how, defects)
        else:
            yield from _of_objects(_separated(path, first, how), how)


def _of_tokens(path: Path, how: CaptionColumns, defects: Defects) -> Iterator[CaptionRow]:
    """Flickr8k's own: the number of a caption stands behind the name of its picture."""
    seen: set[tuple[str, str]] = set()
    for number, line in enumerate(lines_of(path, how.encoding), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        head, tab, caption = line.rstrip("\n").partition("\t")
        match = _NUMBERED.fullmatch(head.strip())
        if match is None or not tab:
            raise DataError(
                f"{place}: expected NAME.jpg#0, a tab and a caption, got {line.strip()!r:.60}. "
                f"Correct the line."
            )
        name = match["name"]
        if copy := _COPY.fullmatch(name):
            defects.add(OUT_OF_FORM, place, f"{name}, read as {copy['name']}")
            name = copy["name"]
        if (name, match["number"]) in seen:
            defects.add(DOUBLED, place, f"{name}#{match['number']} again")
        seen.add((name, match["number"]))
        yield CaptionRow(name=name, caption=caption, part="", place=place)


def _of_objects(
    rows: Iterator[tuple[str, Mapping[str, Any]]], how: CaptionColumns
) -> Iterator[CaptionRow]:
    columns: tuple[str, str, str | None] | None = None
    for place, row in rows:
        if columns is None:
            columns = _columns(row, how, place)
        image, caption, part = columns
        name, said = row.get(image), row.get(caption)
        if not isinstance(name, str) or not name.strip():
            raise DataError(
                f"{place}: expected the name of a picture as {image}, got {name!r:.40}. Correct "
                f"it, or name another column, {argument('image_column=')}."
            )
        each = said if isinstance(said, list) else [said]
        if not each or not all(one is None or isinstance(one, str) for one in each):
            raise DataError(
                f"{place}: expected a text or several as {caption}, got {said!r:.40}. Correct it, "
                f"or name another column, {argument('caption_column=')}."
            )
        of = "" if part is None else _part(str(row.get(part)), place)
        for one in each:
            yield CaptionRow(name=name.strip(), caption=one or "", part=of, place=place)


def _columns(
    row: Mapping[str, Any], how: CaptionColumns, place: str
) -> tuple[str, str, str | None]:
    """The columns of pictures, of captions, and of parts where there is one."""
    names = list(row)
    image = _column(names, how.image, IMAGE_NAMES, "image_column")
    caption = _column(names, how.caption, CAPTION_NAMES, "caption_column")
    if image is None or caption is None:  # by what stands in them, of two
        ends = [name for name in names if str(row[name]).strip().lower().endswith(IMAGES)]
        image = image or (ends[0] if len(ends) == 1 else None)
        others = [name for name in names if name != image]
        caption = caption or (others[0] if len(others) == 1 else None)
    if image is None or caption is None or image == caption:
        missing = "image_column=" if image is None else "caption_column="
        raise DataError(
            f"{place}: expected a column of pictures and one of captions, got {named(names)}. Name "
            f"it, {argument(missing)}."
        )
    return image, caption, _column(names, how.part, PART_NAMES, "part_column")


def _column(names: list[str], given: str | None, known: Sequence[str], option: str) -> str | None:
    if given is None:
        by_name = {name.strip().lower(): name for name in reversed(names)}
        return next((by_name[name] for name in known if name in by_name), None)
    if given in names:
        return given
    if given.isdecimal() and 1 <= int(given) <= len(names):
        return names[int(given) - 1]
    raise DataError(
        f"{argument(f'{option}={given}')}: expected a column, of {named(names)}, got none of that "
        f"name. Name one of these, or its number."
    )


def _separated(
    path: Path, first: str, how: CaptionColumns
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a table of text by the names in its first, or by number where that has none."""
    known = {*IMAGE_NAMES, *CAPTION_NAMES, *PART_NAMES}
    headers = {
        sign: [cell.strip() for cell in next(csv.reader([first], delimiter=sign), [])]
        for sign in "\t,|;"
    }
    header: list[str] | None = None
    for sign, cells in headers.items():
        is_row = len(cells) < 2 or any(cell.lower().endswith(IMAGES) for cell in cells)
        names = {cell.lower() for cell in cells} | {*cells}
        if not is_row and names & {*known, how.image, how.caption}:
            separator, header = sign, cells
            break
    else:
        separator = "\t" if "\t" in first else ","
    if header and (twice := [name for name in header if header.count(name) > 1]):
        raise DataError(
            f"{path}: expected columns of different names, got {twice[0]!r} twice. Rename one."
        )
    lines = lines_of(path, how.encoding)
    quoted = separator != "\t"  # in TSV a quote is a character like any other
    strict = separator != "|"  # as captions of Flickr30k are separated, quotes as they come
    rows = csv_rows(path, lines, separator, quoted=quoted, skipinitialspace=quoted, strict=strict)
    width = len(header) if header else None
    for number, cells in islice(rows, 1 if header else 0, None):
        if not any(cell.strip() for cell in cells):
            continue
        place = f"{path}, line {number}"
        if width is None:
            width = len(cells)
        if len(cells) != width or width < 2:
            raise DataError(
                f"{place}: expected {max(width, 2)} columns, of pictures and captions, got "
                f"{len(cells)}. Write a caption with {separator!r} in it in quotes, or separate by "
                f"tabs."
            )
        yield place, dict(zip(header or map(str, range(1, width + 1)), cells, strict=True))
