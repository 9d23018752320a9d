"""From a text file to a vocabulary and a token file, in two passes and never whole in memory."""

import logging
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from recurra.data.tokens import TokenFile, read_token_file, write_tokens
from recurra.errors import DataError
from recurra.text.corpus import fingerprint
from recurra.text.reading import CHUNK_BYTES, check_source, read_pieces
from recurra.text.vocabulary import Unknown, Vocabulary

logger = logging.getLogger("recurra")


def build_vocabulary(
    source: str | PathLike[str],
    *,
    level: str = "char",
    max_size: int | None = None,
    min_count: int = 1,
    chunk_bytes: int = CHUNK_BYTES,
) -> Vocabulary:
    """The vocabulary of a text file, in one pass over it.

    Args:
        source: the text file, as `read_pieces` takes it.
        level: "char", "byte", "word" or "bpe".
        max_size: most symbols, for words (None: 50,000) and BPE (None: 4,096).
        min_count: for words, how often one must be seen to be kept.
        chunk_bytes: bytes to read at a time.
    Raises:
        DataError: when the file cannot be read at this level.
        ValueError: when the level is not known, or an option does not apply to it.
    """
    kind = Vocabulary.of_level(level)
    pieces = read_pieces(source, level=level, chunk_bytes=chunk_bytes, is_learned=True)
    return kind.build(pieces, max_size=max_size, min_count=min_count)


def prepare_tokens(
    source: str | PathLike[str],
    out: str | PathLike[str],
    *,
    level: str = "char",
    max_size: int | None = None,
    min_count: int = 1,
    vocabulary: Vocabulary | None = None,
    unknown: Unknown | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> TokenFile:
    """The token file of a text file: made now, or the one already there when it is fresh.

    It is fresh when the source still has the path, size and modification time that the header
    notes, and the vocabulary and the options are the same.

    Args:
        source: the text file, as `read_pieces` takes it.
        out: the token file to write; its folder is made.
        level: of the vocabulary to build, as in `build_vocabulary`, like the next two.
        max_size: most symbols.
        min_count: how often a word must be seen.
        vocabulary: use this one instead: a validation file takes that of its training file.
        unknown: what to do with text that has no symbol, see `Vocabulary`.
        chunk_bytes: bytes to read at a time.
    Raises:
        DataError: when the source cannot be read at this level, has text that the vocabulary
            lacks, or changes while it is read; when `out` cannot be written.
        ValueError: when the level is not known, or an option does not apply to it.
    Cost: two passes over the source, the first to build the vocabulary; memory for one chunk,
        besides the vocabulary.
    """
    text = check_source(source)
    made_from: dict[str, Any] = {"source": fingerprint(text), "unknown": unknown}
    if vocabulary is None:
        built = {"level": level, "max_size": max_size, "min_count": min_count}
        made_from["built"] = built
    fresh = _fresh(Path(out), made_from, vocabulary)
    if fresh is not None:
        logger.info("%s: %d tokens, up to date with %s", fresh.path, fresh.count, text)
        return fresh
    if vocabulary is None:
        vocabulary = build_vocabulary(
            text, level=level, max_size=max_size, min_count=min_count, chunk_bytes=chunk_bytes
        )
    pieces = unchanged_pieces(
        text, made_from["source"], level=vocabulary.level, chunk_bytes=chunk_bytes
    )
    ids = vocabulary.encode_pieces(pieces, unknown=unknown, where=str(text))
    made = write_tokens(out, ids, vocabulary, made_from)
    logger.info("%s: %d tokens of %d kinds from %s", made.path, made.count, len(vocabulary), text)
    return made


def unchanged_pieces(
    source: Path, known: dict[str, Any], *, level: str, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[str]:
    """The pieces of the file, then an error if its `fingerprint` is no longer the one known."""
    yield from read_pieces(source, level=level, chunk_bytes=chunk_bytes, is_learned=True)
    if fingerprint(check_source(source)) != known:
        raise DataError(
            f"{source}: expected a file that keeps still, got changes while it was read. "
            "Start again when nothing writes to it."
        )


def _fresh(
    target: Path, made_from: dict[str, Any], vocabulary: Vocabulary | None
) -> TokenFile | None:
    """The token file that is there, if it is whole and made from the same things."""
    try:
        present = read_token_file(target)
        present.tokens()
    except DataError:
        return None
    if present.made_from != made_from:
        return None
    if vocabulary is not None and present.vocabulary != vocabulary:
        return None
    return present
