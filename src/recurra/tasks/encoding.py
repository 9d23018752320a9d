"""What labelled examples are encoded with, and how a run's folder keeps it."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recurra.data import LabelledData, LabelledExamples, open_examples, write_examples
from recurra.data.opening import warn_of_one_held_out
from recurra.errors import DataError, argument
from recurra.files import read_json, read_tensors, tensor_bytes, write_atomically
from recurra.tasks.options import FileSettings, LabelledSettings, WordSettings
from recurra.text import (
    CharacterSpelling,
    NgramSpelling,
    Spelling,
    Vocabulary,
    WordVectors,
    WordVocabulary,
)

FOLDER = "data"
LEXICON = "words.json"
VECTORS = "vectors.safetensors"


def check_files(data: FileSettings) -> None:
    """Raise DataError where a file or folder that settings name is not there; log a warning where
    the same one is to validate and to test on."""
    for name in data.paths():
        given = getattr(data, name)
        for path in (given,) if isinstance(given, str) else given or ():
            if not Path(path).exists():
                got = "standard input" if path == "-" else "no such file"
                raise DataError(f"{path}: expected a file or a folder, got {got}. Check the path.")
    warn_of_one_held_out(data.val_data, data.test_data)


def vocabulary_of(found: LabelledData, data: LabelledSettings) -> Vocabulary:
    """That of the training texts."""
    kind = Vocabulary.of_level(data.level)
    if not issubclass(kind, WordVocabulary):
        if data.lower:
            raise ValueError(
                f"lower: expected words to take in lower case, got "
                f"{argument(f'level={data.level}')}. Leave it out."
            )
        texts = found.train.values() if data.level == "char" else _ended(found.train.values())
        return kind.build(texts, max_size=data.vocab_size)
    return kind.build(
        _ended(found.train.values()),
        max_size=data.vocab_size,
        min_count=data.min_count,
        lower=data.lower,
    )


def _ended(texts: Iterator[str]) -> Iterator[str]:
    """Each text with a line end behind it: the last word of one does not touch the next one's."""
    return (f"{text}\n" for text in texts)


def spelling_of(
    found: LabelledData, vocabulary: Vocabulary, data: LabelledSettings
) -> tuple[Spelling | None, tuple[str, ...]]:
    """How words are spelled, and all words of all parts, the vocabulary's first."""
    if data.spelling == "none":
        return None, ()
    if not isinstance(vocabulary, WordVocabulary):
        raise ValueError(
            f"spelling: expected words to be spelled, got {argument(f'level={vocabulary.level}')}. "
            f"Use {argument('level=word')}, or leave the spelling out."
        )
    words = dict.fromkeys(vocabulary.words)
    for part in found.parts.values():
        for text in part.values():
            words.update(dict.fromkeys(vocabulary.tokens(text)))
    return spelling_for(data, vocabulary.words), tuple(words)


def spelling_for(data: WordSettings, words: Iterable[str]) -> Spelling | None:
    """How words are spelled as settings say; `words` have the characters that are told apart."""
    if data.spelling == "none":
        return None
    if data.spelling == "ngrams":
        lengths = {"shortest": data.shortest_ngram, "longest": data.longest_ngram}
        return NgramSpelling(data.ngram_buckets, **lengths)
    return CharacterSpelling.build(words)


def encoded_parts(
    found: LabelledData, encode: Callable[[Any], np.ndarray], folder: Path | None
) -> dict[str, LabelledExamples]:
    """The examples of each part, encoded: in memory, or into files in the folder."""
    parts = {}
    for name, part in found.parts.items():
        if folder is None:
            values, labels = zip(*part.encoded(encode), strict=True)
            parts[name] = LabelledExamples.of(values, labels)
        else:
            path = folder / FOLDER / f"{name}.examples"
            write_examples(path, part.encoded(encode), num_classes=len(found.classes))
            parts[name] = open_examples(path)
    return parts


def weights_of_classes(labels: np.ndarray, num_classes: int, kind: str) -> tuple[float, ...] | None:
    """How much an example of each class counts, 1 on the average: N / (K n_k) for each class."""
    if kind == "none":
        return None
    counts = np.bincount(labels, minlength=num_classes)
    return tuple((len(labels) / (num_classes * np.maximum(counts, 1))).tolist())


def write_lexicon(folder: Path, words: Sequence[str]) -> None:
    """Keep the words of the run's examples that its vocabulary lacks, in the order of their ids."""
    text = json.dumps(list(words), ensure_ascii=False)
    path = folder / FOLDER / LEXICON
    write_atomically(path, lambda part: part.write_text(text, "utf-8", "surrogatepass"))


def read_lexicon(folder: Path) -> list[str]:
    """What `write_lexicon` kept.

    Raises:
        DataError: when the file is damaged or gone.
    """
    path = folder / FOLDER / LEXICON
    try:
        words = read_json(path)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("no list of words")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: expected the words of the run's examples, got {error!s:.100}. The file is "
            f"damaged or gone: start the run again."
        ) from error
    return words


def write_vectors(folder: Path, vectors: WordVectors) -> None:
    """Keep the vectors that words start from: the file that they came from may go."""
    tensors = {"ids": torch.from_numpy(vectors.ids), "values": torch.from_numpy(vectors.values)}
    content = tensor_bytes(tensors)
    write_atomically(folder / FOLDER / VECTORS, lambda part: part.write_bytes(content))


def read_kept_vectors(folder: Path) -> WordVectors | None:
    """What `write_vectors` kept; None where words start from nothing."""
    path = folder / FOLDER / VECTORS
    if not path.exists():
        return None
    kept = read_tensors(path, "file of vectors of words")[0]
    return WordVectors(ids=kept["ids"].numpy(), values=kept["values"].numpy(), missing=())
