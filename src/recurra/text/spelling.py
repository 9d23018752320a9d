"""How words are spelled, as ids: their characters, or hashed n-grams of them.

A word that training never saw is spelled like others that it did see; a model that reads the
spelling beside the word has something to go by.

Letters: N words, C pieces of the longest of them.
"""

import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64

from recurra.errors import DataError

NO_PIECE = -1  # past the end of a word
_MAX_KEPT = 1 << 17  # words whose pieces are kept


class Spelling(ABC):
    """What turns words into ids of pieces, 0..num_pieces-1: characters, or n-grams of them."""

    kind: ClassVar[str]
    _kinds: ClassVar[dict[str, type["Spelling"]]] = {}

    def __init__(self, num_pieces: int) -> None:
        self.num_pieces = num_pieces
        self._kept: dict[str, np.ndarray] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Spelling._kinds[cls.kind] = cls

    @abstractmethod
    def _pieces(self, word: str) -> Sequence[int]:
        """The ids of one word."""

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """Everything needed to make it again, as JSON types."""

    @classmethod
    @abstractmethod
    def _from_config(cls, config: dict[str, Any]) -> "Spelling":
        """The inverse of `to_config`, of this kind."""

    @staticmethod
    def from_config(config: Any) -> "Spelling":
        """The spelling that `to_config` described.

        Raises:
            DataError: when the kind is not known, or what it needs is missing or wrong.
        """
        kind = config.get("kind") if isinstance(config, dict) else None
        try:
            return Spelling._kinds[str(kind)]._from_config(config)
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"spelling: expected one of {', '.join(sorted(Spelling._kinds))} and what it "
                f"stores, got {config!r:.60} ({error!s:.100}). Use the config.json as it was "
                f"written."
            ) from error

    def encode(self, words: Sequence[str]) -> Int64[np.ndarray, "words pieces"]:
        """The pieces of each word, [N, C], with -1 past the end of a word."""
        spelled = [self._looked_up(word) for word in words]
        longest = max(map(len, spelled), default=0)
        pieces = np.full((len(words), longest), NO_PIECE, dtype=np.int64)
        for row, ids in zip(pieces, spelled, strict=True):
            row[: len(ids)] = ids
        return pieces

    def _looked_up(self, word: str) -> np.ndarray:
        found = self._kept.get(word)
        if found is None:
            found = np.array(self._pieces(word), dtype=np.int64)
            if len(self._kept) < _MAX_KEPT:
                self._kept[word] = found
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spelling) and self.to_config() == other.to_config()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_pieces} pieces)"


class CharacterSpelling(Spelling):
    """The characters of a word between a mark of its start and one of its end.

    Id 0 is a character that is not known, 1 the start, 2 the end. Of a word longer than
    `max_length` its first and last characters are kept, half of each.
    """

    kind: ClassVar[str] = "characters"

    def __init__(self, characters: str, *, max_length: int = 24) -> None:
        if max_length < 2:
            raise ValueError(f"max_length: expected at least 2, got {max_length}. Leave it out.")
        self.characters = "".join(sorted(set(characters)))
        self.max_length = max_length
        self._id_of = {character: 3 + i for i, character in enumerate(self.characters)}
        super().__init__(3 + len(self.characters))

    @classmethod
    def build(cls, words: Iterable[str], *, min_count: int = 1) -> "CharacterSpelling":
        """The spelling with every character of the words that is in at least `min_count`."""
        counts = Counter(character for word in words for character in set(word))
        return cls("".join(c for c, count in counts.items() if count >= min_count))

    def _pieces(self, word: str) -> list[int]:
        if len(word) > self.max_length:
            first = self.max_length // 2
            word = word[:first] + word[first - self.max_length :]
        return [1, *(self._id_of.get(character, 0) for character in word), 2]

    def to_config(self) -> dict[str, Any]:
        """The kind, the characters in id order, and the greatest length."""
        return {"kind": self.kind, "characters": self.characters, "max_length": self.max_length}

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> "CharacterSpelling":
        return cls(config["characters"], max_length=int(config["max_length"]))


class NgramSpelling(Spelling):
    """The n-grams of "<word>", of `shortest` to `longest` characters, each hashed to a bucket.

    Source: Bojanowski, Grave, Joulin, Mikolov (2017), "Enriching Word Vectors with Subword
    Information", TACL, arXiv:1607.04606, section 3.2. Differences: the hash is CRC-32 of the
    n-gram's UTF-8, not FNV-1a; a word of fewer characters than `shortest` is an n-gram of its own.
    """

    kind: ClassVar[str] = "ngrams"

    def __init__(self, num_buckets: int = 50_000, *, shortest: int = 3, longest: int = 5) -> None:
        if num_buckets < 1 or not 1 <= shortest <= longest:
            raise ValueError(
                f"NgramSpelling: expected num_buckets of at least 1 and 1 <= shortest <= longest, "
                f"got {num_buckets}, {shortest}, {longest}. 3 to 5 characters do for most "
                f"languages."
            )
        self.shortest, self.longest = shortest, longest
        super().__init__(num_buckets)

    def _pieces(self, word: str) -> list[int]:
        marked = f"<{word}>"
        grams = [
            marked[start : start + n]
            for n in range(self.shortest, self.longest + 1)
            for start in range(len(marked) - n + 1)
        ]
        return [
            zlib.crc32(gram.encode("utf-8", "surrogatepass")) % self.num_pieces
            for gram in grams or [marked]
        ]

    def to_config(self) -> dict[str, Any]:
        """The kind, how many buckets, and how long the n-grams are."""
        lengths = {"shortest": self.shortest, "longest": self.longest}
        return {"kind": self.kind, "num_buckets": self.num_pieces, **lengths}

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> "NgramSpelling":
        lengths = {name: int(config[name]) for name in ("shortest", "longest")}
        return cls(int(config["num_buckets"]), **lengths)
