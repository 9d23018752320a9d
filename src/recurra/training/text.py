"""The text of a run: encoded once into the run's folder, then memory-mapped and split.

The run keeps its own tokens, so it can be resumed and evaluated when the file it came from has
changed or is gone.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data import (
    Vocabulary,
    prepare_tokens,
    read_pieces,
    read_token_file,
    split_by_position,
    stdlib_source,
    write_tokens,
)
from recurra.training.config import flag

LEVELS = ("char", "byte", "word", "bpe")
SPLITS = ("train", "val", "test")
FOLDER = "tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings:
    """Which text a run learns from, and what its tokens are.

    Attributes:
        data: the text file; None: the source of the Python standard library.
        val_data: a file to validate on; None: a part of the text.
        test_data: a file to test on; None: a part of the text.
        level: "char", "byte", "word" or "bpe".
        vocab_size: most symbols of a word or bpe vocabulary; None: its own default.
    """

    data: str | None = None
    val_data: str | None = None
    test_data: str | None = None
    level: str = "char"
    vocab_size: int | None = None

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(
                f"--level: expected one of {', '.join(LEVELS)}, got {self.level!r}. Choose one."
            )
        if self.vocab_size is not None and self.vocab_size < 1:
            raise ValueError(
                f"{flag('vocab_size')}: expected at least 1, got {self.vocab_size}. "
                "Give a positive number, or leave it out."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A run's tokens, memory-mapped, and what they mean."""

    vocabulary: Vocabulary
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    def split(self, name: str) -> np.ndarray:
        """The tokens of "train", "val" or "test"."""
        if name not in SPLITS:
            raise ValueError(
                f"--split: expected one of {', '.join(SPLITS)}, got {name!r}. Choose one."
            )
        return {"train": self.train, "val": self.val, "test": self.test}[name]


def describe_default_text() -> str:
    """One line on the text that is used where none is given: what it is, its size and license."""
    source = stdlib_source()
    return (
        f"the Python {source.python_version} standard library's source, "
        f"{len(source.files)} files, {source.size_bytes / 1e6:.1f} MB, {source.license}"
    )


def prepare_text(folder: Path, settings: TextSettings) -> Text:
    """Encode the text of `settings` into the run's folder; what is there and fresh is kept.

    Raises:
        DataError: when a file cannot be read at this level, or not written.
        ValueError: when the vocabulary's size does not fit its level.
    """
    main = folder / FOLDER / "text.tokens"
    if settings.data is None:
        vocabulary = _prepare_default(main, settings)
    else:
        vocabulary = prepare_tokens(
            settings.data, main, level=settings.level, max_size=settings.vocab_size
        ).vocabulary
    for name, source in (("val", settings.val_data), ("test", settings.test_data)):
        if source is not None:
            prepare_tokens(source, folder / FOLDER / f"{name}.tokens", vocabulary=vocabulary)
    return open_text(folder)


def open_text(folder: Path) -> Text:
    """The text that `prepare_text` encoded: 90 / 5 / 5 % by position where no file says otherwise.

    Raises:
        DataError: when its files are missing or cut short.
    """
    main = read_token_file(folder / FOLDER / "text.tokens")
    own = {
        name: read_token_file(path).tokens()
        for name in ("val", "test")
        if (path := folder / FOLDER / f"{name}.tokens").exists()
    }
    parts = _split(main.tokens(), without=set(own))
    return Text(vocabulary=main.vocabulary, **{**parts, **own})


def read_other_text(path: str, vocabulary: Vocabulary, split: str | None = None) -> np.ndarray:
    """The tokens of another file, or of one split of it, in a run's vocabulary.

    Raises:
        DataError: when it cannot be read, or has characters that the vocabulary lacks.
    """
    pieces = read_pieces(path, level=vocabulary.level)
    tokens = np.concatenate(list(vocabulary.encode_pieces(pieces, where=path)))
    return tokens if split is None else Text(vocabulary=vocabulary, **_split(tokens)).split(split)


def _split(tokens: np.ndarray, without: set[str] | None = None) -> dict[str, np.ndarray]:
    """Train, val and test by position; 5 % go to each of the last two that is not left out."""
    names = [name for name in SPLITS if name not in (without or set())]
    held_out = [0.05] * (len(names) - 1)
    parts = split_by_position(tokens, [1.0 - sum(held_out), *held_out])
    return dict(zip(names, parts, strict=True))


def _prepare_default(target: Path, settings: TextSettings) -> Vocabulary:
    source = stdlib_source()

    def pieces() -> Iterator[str]:
        return source.pieces()

    kind = Vocabulary.of_level(settings.level)
    vocabulary = kind.build(pieces(), max_size=settings.vocab_size)
    made_from = {"source": "stdlib", "python": source.python_version}
    return write_tokens(
        target, vocabulary.encode_pieces(pieces()), vocabulary, made_from
    ).vocabulary
