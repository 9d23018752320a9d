"""Pictures with captions as a run has them: read, or made up, sized and written into its folder."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recurra.data import worlds
from recurra.data.caption_files import CaptionColumns
from recurra.data.caption_store import (
    CaptionExamples,
    open_images,
    read_texts,
    write_images,
    write_texts,
)
from recurra.data.captions import CaptionData, Captioned, read_captions
from recurra.data.decoding import decoded
from recurra.data.defects import Defects
from recurra.errors import DataError, argument
from recurra.models.translator import encoded
from recurra.tasks.encoding import FOLDER
from recurra.tasks.options import CaptionSettings
from recurra.tasks.options.caption import WORLD
from recurra.text import Vocabulary
from recurra.text.words import WordVocabulary
from recurra.vision import Preprocessing

PIECES = 8000  # of a bpe vocabulary, unless another size is asked for
SIDE = 224  # rows and columns of pictures from files
_MARKS = re.compile(r"(?:[^\w\s'’-]|_)+")

Texts = Mapping[str, Sequence[Sequence[str]]]


def read(data: CaptionSettings) -> CaptionData:
    """The pictures and captions that settings name."""
    name = WORLD if data.data is None else data.data
    if isinstance(name, str) and worlds.is_world(name, worlds.PICTURE_WORLDS):
        return _made_up(name)
    return read_captions(
        name,
        images=data.images,
        val_data=data.val_data,
        test_data=data.test_data,
        columns=CaptionColumns(
            image=data.image_column, caption=data.caption_column, encoding=data.encoding
        ),
        strict=data.strict,
    )


def _made_up(name: str) -> CaptionData:
    parts = {}
    for part, world in worlds.make(name, worlds.PICTURE_WORLDS).items():
        parts[part] = tuple(
            Captioned(name=f"{part} {n}", image=picture, captions=captions, part=part)
            for n, (picture, captions) in enumerate(
                zip(world.pictures, world.captions, strict=True)
            )
        )
    return CaptionData(parts=parts, notes=(f"{name}, made up",))


def kept(found: CaptionData, data: CaptionSettings) -> CaptionData:
    """The data with captions as they are learned, and as many pictures as are asked for."""
    parts: dict[str, tuple[Captioned, ...]] = {}
    empty = 0
    for part, pictures in found.parts.items():
        several = []
        for each in pictures:
            captions = [plain(text, data) for text in each.captions]
            empty += captions.count("")
            if words := tuple(text for text in captions if text):
                several.append(replace(each, captions=words))
        if part == "train" and data.num_images is not None:
            several = several[: data.num_images]
        if not several:
            raise DataError(
                f"{pictures[0].place or part}: expected captions with words for {part}, got none. "
                f"Check {argument('caption_column=')}."
            )
        parts[part] = tuple(several)
    notes = [*found.notes]
    if empty:
        notes.append(f"{empty:,} captions have no word and are left out")
    return CaptionData(parts=parts, notes=tuple(notes))


def plain(text: str, data: CaptionSettings) -> str:
    """A caption as it is learned and scored: without marks, in lower case, where settings say."""
    if not data.punctuation:
        text = _MARKS.sub(" ", text)
    text = " ".join(text.split())
    return text.lower() if data.lower else text


def tokens_of(vocabulary: Vocabulary, text: str) -> str:
    """A caption as scores take it: its words, and marks, with spaces between."""
    if isinstance(vocabulary, WordVocabulary):
        return " ".join(vocabulary.split(text))
    return text


def vocabulary_of(texts: Sequence[Sequence[str]], data: CaptionSettings) -> Vocabulary:
    """Of the captions that are trained on."""
    lines = (f"{text}\n" for each in texts for text in each)
    kind = Vocabulary.of_level(data.level)
    if issubclass(kind, WordVocabulary):
        return kind.build(lines, max_size=data.vocab_size, min_count=data.min_count)
    if data.level == "bpe":
        return kind.build((f" {line}" for line in lines), max_size=data.vocab_size or PIECES)
    return kind.build(lines)


def write_parts(folder: Path, found: CaptionData, data: CaptionSettings) -> tuple[str, ...]:
    """Write pictures and captions of all parts into a run's folder; what was left out."""
    size = _size(found) if data.size is None else (data.size, data.size)
    sized = Preprocessing(size=size)
    defects = Defects(strict=data.strict)
    texts: dict[str, list[list[str]]] = {}
    for part, pictures in found.parts.items():
        texts[part] = []

        def images(pictures: Sequence[Captioned] = pictures, part: str = part) -> Iterator[np.ndarray]:  # fmt: skip  # noqa: E501
            for each, image in decoded(pictures, lambda image: _pixels(sized, image), defects):
                texts[part].append(list(each.captions))
                yield image

        write_images(folder / FOLDER / f"{part}.npy", images(), (*size, 3), "uint8")
        if not texts[part]:
            raise DataError(
                f"{pictures[0].place}: expected pictures that can be read for {part}, got none: "
                f"{defects.notes[0]}. Copy them again."
            )
    write_texts(folder / FOLDER, texts)
    return defects.notes


def _size(found: CaptionData) -> tuple[int, int]:
    """Of pictures in memory their own, of files as many as published networks read."""
    first = found.parts["train"][0].image
    return first.shape[:2] if isinstance(first, np.ndarray) else (SIDE, SIDE)


def _pixels(sized: Preprocessing, image: object) -> np.ndarray:
    """[Y, X, 3] uint8: what the encoder is given, before it is made into numbers."""
    values = sized.undone(sized(image))  # type: ignore[arg-type]
    return (values * 255).round().byte().permute(1, 2, 0).numpy()


def open_parts(
    folder: Path, vocabulary: Vocabulary, *, max_tokens: int
) -> tuple[dict[str, CaptionExamples], dict[str, list[list[str]]]]:
    """The parts of a run's folder, and their texts."""
    texts = read_texts(folder / FOLDER)
    parts = {}
    for part, each in texts.items():
        cut = max_tokens if part == "train" else None
        ids = [[encoded(vocabulary, t, lower=False)[:cut] for t in several] for several in each]
        parts[part] = CaptionExamples(open_images(folder / FOLDER / f"{part}.npy"), ids)
    return parts, texts
