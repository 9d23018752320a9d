"""What a vocabulary answers at every level: text to token ids, and token ids back to text."""

import logging
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from recurra.errors import DataError, argument

Level = Literal["char", "byte", "word", "whitespace", "bpe"]
Unknown = Literal["error", "skip", "replace"]
Ids = Sequence[int] | np.ndarray | Tensor

logger = logging.getLogger("recurra")

_SLICE = 1 << 16  # ids that are turned into numbers of Python at a time
NUM_NAMED = 5  # unseen symbols that an error message names before it counts the rest


@runtime_checkable
class TokenDecoder(Protocol):
    """Turns ids into text one at a time, as a stream of tokens arrives."""

    def feed(self, token_id: int) -> str:
        """The text that this token completes; empty while a character is still incomplete."""
        ...

    def flush(self) -> str:
        """What is left at the end of the stream: U+FFFD for a character never completed."""
        ...


class Vocabulary(ABC):
    """A fixed list of symbols with ids 0..V-1, made from text by `build` or read by `from_config`.

    `unknown` says what to do with text that the vocabulary has no symbol for. "error" raises a
    DataError that names it, "skip" leaves it out, "replace" puts the level's <unk> in its place.
    None takes the level's own policy, `default_unknown`: "error" for characters, "replace" for
    words. Bytes and BPE can spell any text.
    """

    level: ClassVar[str]
    default_unknown: ClassVar[Unknown] = "error"
    unknown_id: ClassVar[int | None] = None  # of <unk>, where the level has one
    _levels: ClassVar[dict[str, type["Vocabulary"]]] = {}
    _said: frozenset[str] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "level" not in vars(cls):
            return  # a variant of the class that has the level, which reads what it wrote
        other = Vocabulary._levels.setdefault(cls.level, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"{cls.__name__}: expected a level of its own, got {cls.level!r}, which is that of "
                f"{other.__name__}. Choose another name for it."
            )
        Vocabulary._levels[cls.level] = cls  # the same class, defined anew

    @classmethod
    @abstractmethod
    def build(
        cls, pieces: Iterable[str], *, max_size: int | None = None, min_count: int = 1
    ) -> "Vocabulary":
        """The vocabulary of a text that arrives in pieces; one pass, never the whole text."""

    @abstractmethod
    def __len__(self) -> int:
        """V, the number of symbols."""

    @property
    @abstractmethod
    def start_id(self) -> int:
        """The id that generation starts from when there is no priming text: that of a line end."""

    @abstractmethod
    def decoder(self, *, exact: bool = False) -> TokenDecoder:
        """A fresh incremental decoder, for text that is shown while it is generated.

        With `exact` each token is given by itself, and its bytes that are no UTF-8 as surrogate
        escapes, in the form that `encode` takes: for text that is written to a file.
        """

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """Everything needed to make this vocabulary again, as JSON types."""

    @classmethod
    @abstractmethod
    def _from_config(cls, config: dict[str, Any]) -> "Vocabulary":
        """The inverse of `to_config`, of this level."""

    @abstractmethod
    def _encode(self, text: str, unknown: Unknown, position: int, where: str) -> np.ndarray:
        """The int64 ids of `text`, which begins at character `position` of the source `where`."""

    @staticmethod
    def of_level(level: str) -> type["Vocabulary"]:
        """The class of a level.

        Raises:
            ValueError: when there is no such level.
        """
        if level not in Vocabulary._levels:
            raise ValueError(
                f"level: expected one of {', '.join(sorted(Vocabulary._levels))}, got {level!r}. "
                "Use char when in doubt."
            )
        return Vocabulary._levels[level]

    @staticmethod
    def from_config(config: dict[str, Any]) -> "Vocabulary":
        """The vocabulary that `to_config` described.

        Raises:
            DataError: when the level is not known, or what the level needs is missing or wrong.
        """
        if not isinstance(config, dict):
            raise DataError(
                f"vocabulary: expected a level and what it stores, got {config!r:.60}. "
                "Use the config.json as the run wrote it."
            )
        level = config.get("level")
        try:
            return Vocabulary.of_level(str(level))._from_config(config)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(
                f"vocabulary: expected what a {level!r:.40} vocabulary stores, got {error!r:.200}. "
                "Use the config.json as the run wrote it."
            ) from error

    def encode(
        self, text: str, *, unknown: Unknown | None = None, where: str = "text"
    ) -> Int64[np.ndarray, " tokens"]:
        """The ids of a text, such as one to go on from.

        With the level's own policy, a text with symbols that are not known in its form is taken in
        the composed or decomposed form of Unicode (NFC, NFD) in which all are, if there is one.
        Words that become <unk> are named in a warning, once.

        Args:
            text: any text; an empty one has no ids.
            unknown: what to do with text that has no symbol here, see the class.
            where: what an error calls the text: "prime", or the name of its file.
        Raises:
            DataError: with unknown="error", naming the first unseen symbols and their position.
            ValueError: when `unknown` is a policy that this level does not have.
        """
        policy = self._policy(unknown)
        if unknown is None:
            text = self._in_known_form(text)
            if policy == "replace":
                self._name_unknown(self._unseen(text), where)
        return self._encode(text, policy, 0, where)

    def encode_pieces(
        self, pieces: Iterable[str], *, unknown: Unknown | None = None, where: str = "text"
    ) -> Iterator[np.ndarray]:
        """The ids of a text that arrives in pieces: the same ids as of the whole text at once."""
        policy = self._policy(unknown)
        position = 0
        for piece in self._regroup(pieces):
            yield self._encode(piece, policy, position, where)
            position += len(piece)

    def unseen(self, text: str | Sequence[str]) -> tuple[list[str], int]:
        """The symbols of a text that have no id, as often as they are in it, and how many symbols
        it has in all.

        Args:
            text: any; at the levels of words also a list of words, which are taken as they are.
        """
        return self._unseen("".join(text)), len(text)

    def num_characters(self, ids: np.ndarray) -> int:
        """How many characters the text of the ids has, as `decode` writes it."""
        decoder = self.decoder()
        count = sum(
            len(decoder.feed(token_id))
            for start in range(0, len(ids), _SLICE)
            for token_id in ids[start : start + _SLICE].tolist()
        )
        return count + len(decoder.flush())

    def decode(self, ids: Ids) -> str:
        """The text of the ids.

        Raises:
            ValueError: when an id is not in 0..V-1.
        """
        decoder = self.decoder()
        text = "".join([decoder.feed(token_id) for token_id in np.asarray(ids).tolist()])
        return text + decoder.flush()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.to_config() == other.to_config()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} symbols)"

    @classmethod
    def _regroup(cls, pieces: Iterable[str]) -> Iterable[str]:
        """The same text, cut only where no token of this level can lie across the cut."""
        return pieces

    def _unseen(self, text: str) -> list[str]:
        """The symbols of the text that have no id; levels that spell any text have none."""
        return []

    def _in_known_form(self, text: str) -> str:
        if self._unseen(text):
            for form in ("NFC", "NFD"):
                other = unicodedata.normalize(form, text)
                if other != text and not self._unseen(other):
                    return other
        return text

    def _name_unknown(self, unseen: Sequence[str], where: str) -> None:
        if not unseen:
            return
        message = (
            f"{where}: {spelled_out(unseen)} never seen in training, taken as <unk> "
            f"({len(unseen)} in all){_about_escapes(unseen)}"
        )
        if message not in self._said:
            self._said = self._said | {message}
            logger.warning("%s", message)

    def _policy(self, unknown: Unknown | None) -> Unknown:
        if unknown == "replace" and self.default_unknown != "replace":
            raise ValueError(
                f"unknown: expected 'error' or 'skip' at level {self.level!r}, got 'replace'. "
                "Only word vocabularies have an <unk> to put in place."
            )
        return unknown or self.default_unknown


def check_id(token_id: int, size: int) -> int:
    """The id itself, when it is one of 0..size-1; a negative one would wrap around silently."""
    if not 0 <= token_id < size:
        raise ValueError(
            f"decode: expected ids in 0..{size - 1}, got {token_id}. "
            "Decode with the vocabulary that the ids come from."
        )
    return token_id


def unseen_error(
    where: str, kind: str, unseen: Iterable[str], position: int, size: int
) -> DataError:
    """The error for symbols that the vocabulary does not have; `kind` is their plural."""
    unseen = list(unseen)
    return DataError(
        f"{where}: expected {kind} of the vocabulary ({size} symbols), got {spelled_out(unseen)}, "
        f"never seen in training, the first at position {position}. Leave them out, or train on "
        f"text that has them, or with {argument('level=byte')}.{_about_escapes(unseen)}"
    )


def spelled_out(unseen: Sequence[str]) -> str:
    """The first few of these symbols, each once, and how many more there are."""
    distinct = list(dict.fromkeys(unseen))
    named = ", ".join(repr(symbol) for symbol in distinct[:NUM_NAMED])
    more = f" and {len(distinct) - NUM_NAMED} more" if len(distinct) > NUM_NAMED else ""
    return named + more


def _about_escapes(unseen: Sequence[str]) -> str:
    r"""A hint where someone may have written \n for a line end."""
    if "\\" not in unseen:
        return ""
    return r" A backslash stands for itself: in most shells $'a\nb' has a line end in it."
