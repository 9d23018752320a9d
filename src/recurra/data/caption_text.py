"""The captions of pictures as a text, a line each: what a language model learns that sees none."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.caption_files import CaptionColumns
from recurra.data.captions import CaptionData, read_captions
from recurra.data.parts import FOLDER, SPLITS, Sources, Text, open_text, vars_of, vocabulary_of
from recurra.data.tokens import write_tokens
from recurra.text import Vocabulary
from recurra.text.corpus import opened_corpus


def prepare_captions(folder: Path, settings: Sources) -> Text:
    """Encode the captions that settings name into a run's folder that has none yet.

    Words are those of training alone. Which part a caption is of is its picture's: see
    `read_captions`.

    Raises:
        DataError: when they cannot be read, or not written.
    """
    found = _read(settings.data, settings.encoding, **vars_of(settings))
    vocabulary = vocabulary_of(settings, _lines(found, ["train"]))
    read, sizes = {}, {}
    for part in SPLITS:
        name = "text" if part == "train" else part
        files = [str(file) for file in found.files[part]]
        with opened_corpus(files, level="byte") as corpus:
            read[name] = corpus.what()
            ids = vocabulary.encode_pieces(_lines(found, [part]), where=corpus.where)
            made_from = {"source": corpus.source(), "part": part}
            path = folder / FOLDER / f"{name}.tokens"
            sizes[part] = write_tokens(path, ids, vocabulary, made_from).count
    if found.notes:
        read["text"]["notes"] = list(found.notes)
    return open_text(folder, {"tokens": sizes, "read": read})


def caption_tokens(
    data: Any, vocabulary: Vocabulary, split: str | None, encoding: str | None
) -> np.ndarray:
    """The ids of other captions, or of one part of them.

    Raises:
        DataError: when they cannot be read.
    """
    found = _read(data, encoding, draw=split is not None)
    parts = list(found.parts) if split is None else [split]
    pieces = vocabulary.encode_pieces(_lines(found, parts), where=str(data))
    return np.concatenate(list(pieces))


def _read(data: Any, encoding: str | None, **others: Any) -> CaptionData:
    columns = CaptionColumns(encoding=encoding)
    return read_captions(data, columns=columns, with_images=False, **others)


def _lines(found: CaptionData, parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        for caption in found.captions(part):
            yield f"{caption}\n"
