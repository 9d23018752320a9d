"""Vectors of words that others have trained, read from the text files of GloVe and word2vec.

Each line is a word and its numbers, with spaces between; word2vec's first line says how many there
are of both. Sources: Pennington, Socher, Manning (2014), "GloVe: Global Vectors for Word
Representation", EMNLP; Mikolov, Chen, Corrado, Dean (2013), arXiv:1301.3781.
"""

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from recurra.errors import DataError
from recurra.text.reading import read_pieces
from recurra.text.words import END_OF_LINE, UNKNOWN_WORD, WordVocabulary

logger = logging.getLogger("recurra")

_NUM_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class WordVectors:
    """Vectors for the words of a vocabulary that a file has.

    Attributes:
        ids: [F] the words found, by their ids, ascending.
        values: [F, E] the vector of each.
        missing: the words not found, the most frequent first.
    """

    ids: Int64[np.ndarray, " found"]
    values: Float32[np.ndarray, "found size"]
    missing: tuple[str, ...]

    @property
    def size(self) -> int:
        """E."""
        return self.values.shape[1]


def read_vectors(path: str | PathLike[str], vocabulary: WordVocabulary) -> WordVectors:
    """The vectors that a file has for the words of a vocabulary; no others are kept.

    A word that the file does not have as it is written has the vector of its lower case, if there
    is one. How many were found, and which frequent words were not, is logged.

    Args:
        path: a text file of GloVe or word2vec, with its first line of counts or without; it may be
            compressed (gzip, bzip2, xz, or a zip archive of one file).
        vocabulary: whose words are wanted.
    Raises:
        DataError: when the file cannot be read, a line is no word with numbers, lines have unlike
            many numbers, or no word of the vocabulary is in it.
    """
    path = Path(path)
    wanted = {w: i for i, w in enumerate(vocabulary.words) if w not in (UNKNOWN_WORD, END_OF_LINE)}
    lowered: dict[str, list[int]] = {}
    for word, index in wanted.items():
        if word != word.lower():
            lowered.setdefault(word.lower(), []).append(index)
    exact: dict[int, np.ndarray] = {}
    by_case: dict[int, np.ndarray] = {}
    for word, numbers in _vectors(path, wanted.keys() | lowered.keys()):
        if word in wanted:
            exact.setdefault(wanted[word], numbers)
        for index in lowered.get(word, ()):
            by_case.setdefault(index, numbers)
    found = by_case | exact
    if not found:
        raise DataError(
            f"{path}: expected vectors of some of the vocabulary's {len(wanted)} words, got none. "
            f"Use vectors of the text's language."
        )
    ids = np.array(sorted(found), dtype=np.int64)
    missing = tuple(word for word, index in wanted.items() if index not in found)
    vectors = WordVectors(ids=ids, values=np.stack([found[i] for i in ids]), missing=missing)
    logger.info("%s", _said(path, vectors, len(wanted), len(by_case.keys() - exact.keys())))
    return vectors


def _said(path: Path, vectors: WordVectors, num_words: int, num_by_case: int) -> str:
    by_case = f", {num_by_case} of them by their lower case" if num_by_case else ""
    said = (
        f"{path.name}: vectors of {vectors.size} numbers for {len(vectors.ids):,} of "
        f"{num_words:,} words{by_case}"
    )
    if vectors.missing:
        named = ", ".join(map(repr, vectors.missing[:_NUM_NAMED]))
        said += f"; none for {len(vectors.missing):,}, such as {named}"
    return said


def _vectors(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Those of the file's words that are wanted, and their numbers.

    A line has as many numbers as the first one. Some words of GloVe's have spaces in them, which no
    word that is wanted has.
    """
    size = 0
    for number, line in enumerate(_lines(path), start=1):
        if number == 1:
            size = line.count(" ")
            if size == 1 and line.replace(" ", "").isdecimal():  # how many words, how many numbers
                size = int(line.split(" ")[1])
                continue
        if size < 1 or line.count(" ") < size:
            raise _wrong(path, number, size, line)
        if line.partition(" ")[0] not in wanted:  # most lines: nothing more is made of them
            continue
        word, *numbers = line.rsplit(" ", size)
        if word in wanted:
            yield word, _parsed(path, number, numbers, line)


def _parsed(path: Path, number: int, numbers: list[str], line: str) -> np.ndarray:
    try:
        values = np.array([float(text) for text in numbers], dtype=np.float32)
    except ValueError:
        raise _wrong(path, number, len(numbers), line) from None
    if not np.isfinite(values).all():
        raise _wrong(path, number, len(numbers), line)
    return values


def _wrong(path: Path, number: int, size: int, line: str) -> DataError:
    return DataError(
        f"{path}: line {number}: expected a word and {max(size, 1)} finite numbers, got "
        f"{line:.60}. Use the text form of GloVe's or word2vec's vectors, not the binary one."
    )


def _lines(path: Path) -> Iterator[str]:
    """The lines that are not empty. Other line ends than \\n stand in some of GloVe's words."""
    held = ""
    for piece in read_pieces(path):
        *lines, held = (held + piece).split("\n")
        yield from (line.rstrip(" \r") for line in lines if line.strip())
    if held.strip():
        yield held.rstrip(" \r")
