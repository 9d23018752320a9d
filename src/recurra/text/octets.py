"""Byte vocabularies: the 256 bytes themselves, and the decoder of bytes that arrive one by one."""

import codecs
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from recurra.errors import DataError
from recurra.text.vocabulary import TokenDecoder, Unknown, Vocabulary, check_id

_SLICE = 1 << 16  # ids that are turned into bytes at a time


class ByteVocabulary(Vocabulary):
    """The 256 bytes: every file can be encoded, UTF-8 or not.

    Text is taken as UTF-8; bytes that are not UTF-8 travel through `str` as Python's
    surrogate escapes, so reading and encoding give exactly the bytes of the file. Decoding shows
    what is not UTF-8 as U+FFFD, but for an exact `decoder`.
    """

    level: ClassVar[str] = "byte"

    @classmethod
    def build(
        cls, pieces: Iterable[str], *, max_size: int | None = None, min_count: int = 1
    ) -> "ByteVocabulary":
        """The vocabulary of all bytes, whatever the text; max_size and min_count do not apply."""
        if max_size is not None or min_count != 1:
            raise ValueError(
                "max_size, min_count: expected neither at level 'byte', got "
                f"{max_size}, {min_count}. There are always 256 bytes."
            )
        return cls()

    def __len__(self) -> int:
        return 256

    @property
    def start_id(self) -> int:
        r"""The byte of "\n"."""
        return ord("\n")

    def decoder(self, *, exact: bool = False) -> TokenDecoder:
        """A decoder that gives a character when its last byte arrives; each byte with `exact`."""
        return bytes_decoder([bytes([value]) for value in range(256)], exact)

    def num_characters(self, ids: np.ndarray) -> int:
        """How many characters the bytes are in UTF-8; U+FFFD stands for what is not."""
        return count_characters(ids, [bytes([value]) for value in range(256)])

    def to_config(self) -> dict[str, Any]:
        """The level, which says it all."""
        return {"level": self.level}

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> "ByteVocabulary":
        return cls()

    def _encode(self, text: str, unknown: Unknown, position: int, where: str) -> np.ndarray:
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise lone_surrogate_error(where, position + error.start) from error
        return np.frombuffer(data, dtype=np.uint8).astype(np.int64)


def bytes_decoder(token_bytes: Sequence[bytes], exact: bool) -> TokenDecoder:
    """A decoder of tokens that are byte strings."""
    return _ExactDecoder(token_bytes) if exact else _Utf8Decoder(token_bytes)


class _ExactDecoder:
    """Gives each token as it is, with what is no UTF-8 by itself as surrogate escapes."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes

    def feed(self, token_id: int) -> str:
        """The token."""
        token = self._token_bytes[check_id(token_id, len(self._token_bytes))]
        return token.decode("utf-8", "surrogateescape")

    def flush(self) -> str:
        """Nothing: every token has been given."""
        return ""


def count_characters(ids: np.ndarray, token_bytes: Sequence[bytes]) -> int:
    """How many characters tokens that are byte strings make up, where U+FFFD stands for what is
    not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    count = 0
    for start in range(0, len(ids), _SLICE):
        joined = b"".join([token_bytes[i] for i in ids[start : start + _SLICE].tolist()])
        count += len(decoder.decode(joined))
    return count + len(decoder.decode(b"", final=True))


class _Utf8Decoder:
    """Decodes tokens that are byte strings; one character may arrive over several tokens."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: int) -> str:
        """The characters that this token completes."""
        return self._decoder.decode(self._token_bytes[check_id(token_id, len(self._token_bytes))])

    def flush(self) -> str:
        """U+FFFD when the stream ended inside a character, else nothing."""
        return self._decoder.decode(b"", final=True)


def lone_surrogate_error(where: str, position: int) -> DataError:
    """The error for text that is no Unicode text: it has half of a surrogate pair."""
    return DataError(
        f"{where}: expected Unicode characters, got a lone surrogate at position {position}. "
        "Decode the text that it comes from with its own encoding."
    )
