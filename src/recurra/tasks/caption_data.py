"""Pictures with captions as a run has them: read, or made up, sized and written into its folder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recurra.data import worlds
from recurra.data.caption_files import CaptionColumns
from recurra.data.caption_store import (
    CaptionExamples,
    open_boxes,
    open_images,
    read_texts,
    write_boxes,
    write_images,
    write_texts,
)
from recurra.data.captions import CaptionData, Captioned, read_captions
from recurra.data.decoding import add_error, decoded
from recurra.data.defects import Defect, Defects
from recurra.data.features import read_features
from recurra.errors import DataError, argument
from recurra.models.captions import plain
from recurra.models.translator import encoded
from recurra.tasks.encoding import FOLDER
from recurra.tasks.options import CaptionSettings
from recurra.tasks.options.caption import WORLD
from recurra.text import Vocabulary
from recurra.text.words import WordVocabulary
from recurra.vision import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image

PIECES = 8000  # of a bpe vocabulary, unless another size is asked for
BOXES = ".boxes.safetensors"  # end of the name of the file of a part's
SIDE = 224  # rows and columns of pictures from files
_BLOCK = 256  # pictures whose features are read at a time

UNMADE = Defect(
    many="pictures that have no features are left out",
    one="picture that has no features is left out",
    expected="features of the picture",
)

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
        with_images=data.features is None,
    )


def _made_up(name: str) -> CaptionData:
    parts = {}
    for part, world in worlds.make(name, worlds.PICTURE_WORLDS).items():
        boxes = _boxes_of(world)
        parts[part] = tuple(
            Captioned(name=f"{part} {n}", image=picture, captions=captions, part=part, boxes=own)
            for n, (picture, captions, own) in enumerate(
                zip(world.pictures, world.captions, boxes, strict=True)
            )
        )
    return CaptionData(parts=parts, notes=(f"{name}, made up",))


def _boxes_of(world: worlds.Pictures) -> list[np.ndarray | None]:
    """The boxes of what is in each picture of a world that knows them."""
    if not isinstance(world, worlds.Scenes):
        return [None] * len(world)
    return [own[: len(scene)] for own, scene in zip(world.boxes, world.scenes, strict=True)]


def kept(found: CaptionData, data: CaptionSettings) -> tuple[CaptionData, int]:
    """The data with captions as they are learned, and as many pictures as are asked for; and how
    many captions have no word and are left out."""
    parts: dict[str, tuple[Captioned, ...]] = {}
    how = {"lower": data.lower, "punctuation": data.punctuation}
    empty = 0
    for part, pictures in found.parts.items():
        several = []
        for each in pictures:
            captions = [plain(text, **how) for text in each.captions]
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
    return CaptionData(parts=parts, notes=tuple(notes)), empty


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
    """Write pictures, or their features, and captions of all parts into a run's folder; what was
    left out."""
    if data.features is not None:
        return _write_features(folder, found, data)
    size = _size(found) if data.size is None else (data.size, data.size)
    sized = Preprocessing(size=size)
    defects = Defects(strict=data.strict)
    texts: dict[str, list[list[str]]] = {}
    for part, pictures in found.parts.items():
        boxes: list[np.ndarray] = []
        texts[part] = []
        images = _sized(pictures, sized, size, defects, texts[part], boxes)
        write_images(folder / FOLDER / f"{part}.npy", images, (*size, 3), "uint8")
        if not texts[part]:
            raise DataError(
                f"{pictures[0].place}: expected pictures that can be read for {part}, got none: "
                f"{defects.notes[0]}. Copy them again."
            )
        if len(boxes) == len(texts[part]):
            write_boxes(folder / FOLDER / f"{part}{BOXES}", boxes)
    write_texts(folder / FOLDER, texts)
    return defects.notes


def _write_features(folder: Path, found: CaptionData, data: CaptionSettings) -> tuple[str, ...]:
    """Write what another program made of the pictures, and their captions."""
    assert data.features is not None
    features = read_features(data.features)
    of = features.grids if data.feature_kind == "grid" else features.vectors
    defects = Defects(strict=data.strict)
    texts: dict[str, list[list[str]]] = {}
    for part, pictures in found.parts.items():
        texts[part], numbers = [], []
        for each in pictures:
            try:
                numbers.append(features.number(each.name))
            except DataError as error:
                add_error(defects, UNMADE, error)
            else:
                texts[part].append(list(each.captions))
        if not numbers:
            raise DataError(
                f"{data.features}: expected features of the pictures for {part}, got those of "
                f"{features.names[0]!r:.80} and others. Name them as the captions name pictures, "
                f"such as {pictures[0].name!r:.80}."
            )
        blocks = (of(numbers[n : n + _BLOCK]).numpy() for n in range(0, len(numbers), _BLOCK))
        images = (image for block in blocks for image in block)
        write_images(folder / FOLDER / f"{part}.npy", images, of(numbers[:1]).shape[1:], "float32")
    write_texts(folder / FOLDER, texts)
    return defects.notes


def _sized(
    pictures: Sequence[Captioned],
    sized: Preprocessing,
    size: tuple[int, int],
    defects: Defects,
    texts: list[list[str]],
    boxes: list[np.ndarray],
) -> Iterator[np.ndarray]:
    """Each picture that can be read, [Y, X, 3]; its captions and, where it has some, its boxes are
    put behind those of the others."""
    if all(_is_sized(each.image, size) for each in pictures):
        made = ((each, (_coloured(each.image), size)) for each in pictures)
    else:
        made = decoded(pictures, lambda image: _pixels(sized, image), defects)
    for each, (image, sides) in made:
        texts.append(list(each.captions))
        if each.boxes is not None:
            boxes.append(sized.placed(each.boxes, *sides))
        yield image


def _size(found: CaptionData) -> tuple[int, int]:
    """Of pictures in memory their own, of files as many as published networks read."""
    first = found.parts["train"][0].image
    return first.shape[:2] if isinstance(first, np.ndarray) else (SIDE, SIDE)


def _is_sized(image: object, size: tuple[int, int]) -> bool:
    """Whether a picture is an array that is stored as it is."""
    return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[:2] == size


def _coloured(image: Any) -> np.ndarray:
    """[Y, X, 3], of [Y, X] or as it is."""
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _pixels(sized: Preprocessing, image: "Image") -> tuple[np.ndarray, tuple[int, int]]:
    """[Y, X, 3] uint8: what the encoder is given, before it is made into numbers; and rows and
    columns of the picture as it was."""
    values = sized.undone(sized(image))
    pixels = (values * 255).round().byte().permute(1, 2, 0).numpy()
    return pixels, (image.height, image.width)


def open_parts(
    folder: Path, vocabulary: Vocabulary, *, max_tokens: int
) -> tuple[dict[str, CaptionExamples], dict[str, list[list[str]]]]:
    """The parts of a run's folder, and their texts."""
    texts = read_texts(folder / FOLDER)
    parts = {}
    for part, each in texts.items():
        cut = max_tokens if part == "train" else None
        ids = [[encoded(vocabulary, t, lower=False)[:cut] for t in several] for several in each]
        images = open_images(folder / FOLDER / f"{part}.npy")
        boxes = open_boxes(folder / FOLDER / f"{part}{BOXES}")
        parts[part] = CaptionExamples(images, ids, boxes)
    return parts, texts
