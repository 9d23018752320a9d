"""Character vocabularies: one id for each distinct character of the text, in code point order."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from recurra.text.vocabulary import TokenDecoder, Unknown, Vocabulary, check_id, unseen_error

_NUM_CODE_POINTS = 0x110000
_CHUNK_CHARACTERS = 1 << 20  # bounds the UTF-32 copy that a long text needs


class CharacterVocabulary(Vocabulary):
    """The distinct characters of a text, sorted by code point.

    A character that the text never had is an error, since no id stands for it; `unknown="skip"`
    leaves it out.
    """

    level: ClassVar[str] = "char"

    def __init__(self, characters: str) -> None:
        codes = np.unique(_code_points(characters))
        if len(codes) == 0:
            raise ValueError(
                "characters: expected at least one, got an empty text. Build from a text."
            )
        self.characters = _text(codes)
        # One entry past the largest known code point catches every larger one.
        self._id_of_code = np.full(int(codes[-1]) + 2, -1, dtype=np.int64)
        self._id_of_code[codes] = np.arange(len(codes))

    @classmethod
    def build(
        cls, pieces: Iterable[str], *, max_size: int | None = None, min_count: int = 1
    ) -> "CharacterVocabulary":
        """The vocabulary of every character in the pieces; max_size and min_count do not apply."""
        if max_size is not None or min_count != 1:
            raise ValueError(
                "max_size, min_count: expected neither at level 'char', got "
                f"{max_size}, {min_count}. Every character of the text has an id."
            )
        seen = np.zeros(_NUM_CODE_POINTS, dtype=bool)
        for piece in pieces:
            seen[_code_points(piece)] = True
        return cls(_text(np.flatnonzero(seen)))

    def __len__(self) -> int:
        return len(self.characters)

    @property
    def start_id(self) -> int:
        r"""The id of "\n", or of "\r" where lines end so; 0 in a text that had no line end."""
        found = (self.characters.find(line_end) for line_end in "\n\r")
        return next((place for place in found if place >= 0), 0)

    def decoder(self, *, exact: bool = False) -> TokenDecoder:
        """A decoder that gives each character as it arrives."""
        return _CharacterDecoder(self.characters)

    def num_characters(self, ids: np.ndarray) -> int:
        """As many as there are ids."""
        return len(ids)

    def _unseen(self, text: str) -> list[str]:
        known = set(self.characters)
        return [character for character in text if character not in known]

    def to_config(self) -> dict[str, Any]:
        """The level and the characters, one string in id order."""
        return {"level": self.level, "characters": self.characters}

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> "CharacterVocabulary":
        return cls(config["characters"])

    def _encode(self, text: str, unknown: Unknown, position: int, where: str) -> np.ndarray:
        ids = np.empty(len(text), dtype=np.int64)
        for start in range(0, len(text), _CHUNK_CHARACTERS):
            codes = _code_points(text[start : start + _CHUNK_CHARACTERS])
            np.minimum(codes, len(self._id_of_code) - 1, out=codes)
            ids[start : start + len(codes)] = self._id_of_code[codes]
        unseen = np.flatnonzero(ids < 0)
        if len(unseen) == 0:
            return ids
        if unknown == "error":
            symbols = (text[index] for index in unseen)
            raise unseen_error(where, "characters", symbols, position + int(unseen[0]), len(self))
        return ids[ids >= 0]


class _CharacterDecoder:
    def __init__(self, characters: str) -> None:
        self._characters = characters

    def feed(self, token_id: int) -> str:
        return self._characters[check_id(token_id, len(self._characters))]

    def flush(self) -> str:
        return ""


def _code_points(text: str) -> np.ndarray:
    # surrogatepass: a lone surrogate (from a damaged command line, say) is then an unseen
    # character like any other, not a crash.
    return np.frombuffer(bytearray(text.encode("utf-32-le", "surrogatepass")), dtype="<u4")


def _text(codes: np.ndarray) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
