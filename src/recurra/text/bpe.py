"""BPE vocabularies: byte pair merges learnt from the text by the tokenizers library.

The library is imported by the first of them: models, which may own one, do not wait for it.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from recurra.text.octets import bytes_decoder, count_characters, lone_surrogate_error
from recurra.text.reading import whole_words
from recurra.text.vocabulary import TokenDecoder, Unknown, Vocabulary

DEFAULT_MAX_SIZE = 4096
_MIN_PAIR_COUNT = 2
_SLICE_CHARACTERS = 1 << 16  # the library keeps over 100 bytes a character while it encodes


class BPEVocabulary(Vocabulary):
    """Byte-level BPE: the 256 bytes, and the pairs that the text repeats most, merged.

    Nothing is unknown and nothing is normalised: decoding gives the text back exactly.
    Source: Sennrich et al. (2016), arXiv:1508.07909; over bytes as in Radford et al. (2019),
    "Language Models are Unsupervised Multitask Learners".
    """

    level: ClassVar[str] = "bpe"

    def __init__(self, tokenizer: Any) -> None:
        """The vocabulary of a `tokenizers.Tokenizer` that `build` made."""
        self._tokenizer = tokenizer
        spellings = tokenizer.get_vocab()
        self._token_bytes: list[bytes] = [b""] * len(spellings)
        byte_of_letter = {letter: value for value, letter in enumerate(_letters_of_bytes())}
        for spelling, token_id in spellings.items():
            self._token_bytes[token_id] = bytes(byte_of_letter[letter] for letter in spelling)
        self._start_id = self._token_bytes.index(b"\n")

    @classmethod
    def build(
        cls, pieces: Iterable[str], *, max_size: int | None = None, min_count: int = 1
    ) -> "BPEVocabulary":
        """The vocabulary learnt from the pieces.

        Args:
            pieces: the text, in any pieces.
            max_size: most symbols, the 256 bytes counted; None means 4,096. A short text has fewer.
            min_count: does not apply; every byte has an id.
        """
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        size = DEFAULT_MAX_SIZE if max_size is None else max_size
        if size < 256:
            raise ValueError(
                f"max_size: expected at least 256 at level 'bpe', got {size}. The bytes take 256."
            )
        if min_count != 1:
            raise ValueError(
                f"min_count: expected none at level 'bpe', got {min_count}. Use max_size."
            )
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=_MIN_PAIR_COUNT,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(whole_words(pieces), trainer)
        return cls(tokenizer)

    def __len__(self) -> int:
        return len(self._token_bytes)

    @property
    def start_id(self) -> int:
        r"""The id of "\n"."""
        return self._start_id

    def decoder(self, *, exact: bool = False) -> TokenDecoder:
        """A decoder that gives a character when the token with its last byte arrives."""
        return bytes_decoder(self._token_bytes, exact)

    def num_characters(self, ids: np.ndarray) -> int:
        """How many characters the tokens' bytes are."""
        return count_characters(ids, self._token_bytes)

    def to_config(self) -> dict[str, Any]:
        """The level, and the tokenizers library's own JSON as one string."""
        return {"level": self.level, "tokenizer": self._tokenizer.to_str()}

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> "BPEVocabulary":
        from tokenizers import Tokenizer

        _check_ours(config["tokenizer"])
        try:
            tokenizer = Tokenizer.from_str(config["tokenizer"])
        except KeyError:
            raise
        except Exception as error:  # the library raises bare Exceptions
            raise ValueError(f"tokenizer JSON: {error}") from error
        return cls(tokenizer)

    @classmethod
    def _regroup(cls, pieces: Iterable[str]) -> Iterable[str]:
        return whole_words(pieces)

    def _encode(self, text: str, unknown: Unknown, position: int, where: str) -> np.ndarray:
        try:
            ids = [self._tokenizer.encode(part).ids for part in whole_words(_slices(text))]
        except (UnicodeEncodeError, TypeError) as error:
            bad = next((i for i, char in enumerate(text) if "\ud800" <= char <= "\udfff"), None)
            if bad is None:
                raise
            raise lone_surrogate_error(where, position + bad) from error
        return np.array(list(chain.from_iterable(ids)), dtype=np.int64)


def _check_ours(text: str) -> None:
    """ValueError unless a tokenizer's JSON is one that `build` makes: bytes, merges, nothing else.

    What else the library can read (padding of any length, patterns, other models) would change what
    text means, or take for ever.
    """
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"tokenizer JSON: {error}") from None
    parts = ("truncation", "padding", "normalizer", "post_processor", "added_tokens")
    foreign = [part for part in parts if stored.get(part)]
    model, splitter = stored["model"], stored["pre_tokenizer"]
    foreign += [part for part in ("dropout", "unk_token") if model.get(part)]
    if model["type"] != "BPE" or splitter["type"] != "ByteLevel" or foreign:
        raise ValueError(
            f"tokenizer JSON: expected byte-level BPE alone, got {splitter['type']!r:.40}, "
            f"{model['type']!r:.40}, {', '.join(foreign) or 'nothing else'}"
        )
    if sorted(model["vocab"].values()) != list(range(len(model["vocab"]))):
        raise ValueError("tokenizer JSON: expected ids without gaps")


def _slices(text: str) -> Iterator[str]:
    for start in range(0, len(text), _SLICE_CHARACTERS):
        yield text[start : start + _SLICE_CHARACTERS]


def _letters_of_bytes() -> list[str]:
    """The letter the library writes for each byte: its own if it prints, else one past U+00FF."""
    letters: list[str] = []
    num_hidden = 0
    for value in range(256):
        if 0x21 <= value <= 0x7E or (0xA1 <= value <= 0xFF and value != 0xAD):
            letters.append(chr(value))
        else:
            letters.append(chr(256 + num_hidden))
            num_hidden += 1
    return letters
