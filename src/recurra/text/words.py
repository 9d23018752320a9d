"""Word vocabularies: words and line ends, the most frequent first.

`WordVocabulary` takes text as people write it, and splits it into words, numbers and marks;
`WhitespaceVocabulary` takes text that is split already, as the corpora of the field are.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from recurra.text.reading import whole_words
from recurra.text.vocabulary import TokenDecoder, Unknown, Vocabulary, check_id, unseen_error

UNKNOWN_WORD = "<unk>"
END_OF_LINE = "\n"
DEFAULT_MAX_SIZE = 50_000

# Punctuation and symbols by block. What is neither these nor whitespace spells words; a list of
# what letters are (\w) would tear the vowel signs of Indic and Arabic scripts from their words.
_MARKS = (
    r"!-/:-@\[-^`{-~¡-©«-´¶-¹»-¿×÷"
    r"\u060c\u061b\u061f\u06d4\u0964\u0965\u2010-\u2027\u2030-\u205e\u20a0-\u20cf\u2190-\u2bff"
    r"\u3001-\u3003\u3008-\u3020\uff01-\uff0f\uff1a-\uff20\uff3b-\uff3e\uff5b-\uff65"
    r"\U0001f000-\U0001faff"
)
_SPELLING = rf"[^\s{_MARKS}]+"
_LINE_END = r"\r*\n|\r"  # of Unix, Windows and old machines
_TOKEN = re.compile(
    rf"{_LINE_END}|<unk>|\d+(?:[.,]\d+)+|{_SPELLING}(?:['’-]{_SPELLING})*|\.{{2,}}|-{{2,}}|\S"
)

_SPLIT_TOKEN = re.compile(rf"{_LINE_END}|\S+")

_NO_SPACE_BEFORE = frozenset(".,;:!?)]}%’”»…、。，；：！？）") | {"..", "..."}
_NO_SPACE_AFTER = frozenset("([{“‘«¿¡$£€#@（")
_PAIRED_QUOTES = frozenset("\"'`")


class WordVocabulary(Vocabulary):
    r"""Words by frequency; id 0 is <unk>, id 1 the line end.

    Text is split at whitespace, and punctuation marks stand alone: "Don't stop, 3.14!" is
    "Don't", "stop", ",", "3.14", "!". Of whitespace only line ends are kept ("\n", "\r\n" and
    "\r" alike), as a token of their own, which ends a line as <eos> does in the word corpora of
    the field. The text <unk>, which those corpora contain, is the unknown word. Decoding puts the
    spaces back as a writer would, so the text reads well and encodes to the same ids, but its
    spacing is not the source's.

    With `lower`, every text is taken in lower case: "The" and "the" are one word.
    """

    level: ClassVar[str] = "word"
    default_unknown: ClassVar[Unknown] = "replace"
    unknown_id: ClassVar[int | None] = 0
    end_of_line_id: ClassVar[int] = 1
    _token: ClassVar[re.Pattern[str]] = _TOKEN

    def __init__(self, words: Iterable[str], *, lower: bool = False) -> None:
        """Words in the order of their ids, less the two special ones, which come first."""
        specials = (UNKNOWN_WORD, END_OF_LINE)
        self.words = (*specials, *(word for word in words if word not in specials))
        self.lower = lower
        self._id_of_word = {word: index for index, word in enumerate(self.words)}
        if len(self._id_of_word) < len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise ValueError(f"words: expected each once, got {twice!r} twice. Leave one out.")

    @classmethod
    def build(
        cls,
        pieces: Iterable[str],
        *,
        max_size: int | None = None,
        min_count: int = 1,
        lower: bool = False,
    ) -> "WordVocabulary":
        """The vocabulary of the most frequent words.

        Args:
            pieces: the text, in any pieces.
            max_size: most symbols to keep, <unk> and the line end counted; None means 50,000.
            min_count: words seen fewer times become <unk>.
            lower: whether every text is taken in lower case.
        """
        counts: Counter[str] = Counter()
        for piece in whole_words(pieces):
            counts.update(cls._split(piece.lower() if lower else piece))
        return cls._of_counts(counts, max_size, min_count, lower)

    @classmethod
    def of_words(
        cls,
        words: Iterable[str],
        *,
        max_size: int | None = None,
        min_count: int = 1,
        lower: bool = False,
    ) -> "WordVocabulary":
        """The same of a text that comes in words, each taken as it is, spaces and all.

        Args:
            words: of the text, one by one.
            max_size, min_count, lower: as for `build`.
        """
        counts = Counter(word.lower() for word in words) if lower else Counter(words)
        return cls._of_counts(counts, max_size, min_count, lower)

    @classmethod
    def _of_counts(
        cls, counts: Counter[str], max_size: int | None, min_count: int, lower: bool
    ) -> "WordVocabulary":
        size = DEFAULT_MAX_SIZE if max_size is None else max_size
        if size < 3:
            raise ValueError(
                f"max_size: expected at least 3, got {size}. <unk> and the line end take 2."
            )
        if min_count < 1:
            raise ValueError(
                f"min_count: expected at least 1, got {min_count}. 1 keeps every word."
            )
        for special in (UNKNOWN_WORD, END_OF_LINE):
            counts.pop(special, None)
        frequent = [word for word, count in counts.items() if count >= min_count]
        frequent.sort(key=lambda word: (-counts[word], word))
        return cls(frequent[: size - 2], lower=lower)

    def __len__(self) -> int:
        return len(self.words)

    @property
    def start_id(self) -> int:
        """The id of the line end."""
        return self.end_of_line_id

    def decoder(self, *, exact: bool = False) -> TokenDecoder:
        """A decoder that puts the space of a token, where it has one, before it."""
        return _WordDecoder(self.words)

    def to_config(self) -> dict[str, Any]:
        """The level and the words in id order, less the two special ones."""
        lower = {"lower": True} if self.lower else {}
        return {"level": self.level, "words": list(self.words[2:]), **lower}

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> "WordVocabulary":
        if not all(isinstance(word, str) for word in config["words"]):
            raise ValueError("words that are no text")
        lower = config.get("lower", False)
        if not isinstance(lower, bool):
            raise ValueError(f"lower {lower!r:.20}, which is neither true nor false")
        return cls(config["words"], lower=lower)

    @classmethod
    def _regroup(cls, pieces: Iterable[str]) -> Iterable[str]:
        return whole_words(pieces)

    def tokens(self, text: str) -> list[str]:
        """The words, numbers, marks and line ends that the text is split into, known or not."""
        return self._split(text.lower() if self.lower else text)

    def split(self, text: str) -> list[str]:
        """As `tokens`, in the case that they are written in."""
        return self._split(text)

    def word_ids(self, words: Sequence[str]) -> np.ndarray:
        """The id of each of these words, [N] int64, taken as they are; that of <unk> for others."""
        known, unknown = self._id_of_word, self.unknown_id or 0
        taken = (word.lower() for word in words) if self.lower else words
        return np.array([known.get(word, unknown) for word in taken], dtype=np.int64)

    @classmethod
    def _split(cls, text: str) -> list[str]:
        tokens = cls._token.findall(text)
        if "\r" in text:
            return [END_OF_LINE if token[0] in "\r\n" else token for token in tokens]
        return tokens

    def unseen(self, text: str | Sequence[str]) -> tuple[list[str], int]:
        """The words of a text that have no id, as often as they are in it, and how many it has."""
        if isinstance(text, str):
            words = self.tokens(text)
        else:
            words = [word.lower() if self.lower else word for word in text]
        return [word for word in words if word not in self._id_of_word], len(words)

    def _unseen(self, text: str) -> list[str]:
        return self.unseen(text)[0]

    def _encode(self, text: str, unknown: Unknown, position: int, where: str) -> np.ndarray:
        text = text.lower() if self.lower else text
        tokens = self._split(text)
        missing = -1 if unknown != "replace" else self.unknown_id
        ids = np.array([self._id_of_word.get(token, missing) for token in tokens], dtype=np.int64)
        unseen = np.flatnonzero(ids < 0)
        if len(unseen) == 0:
            return ids
        if unknown == "error":
            starts = [match.start() for match in self._token.finditer(text)]
            symbols = (tokens[index] for index in unseen)
            raise unseen_error(where, "words", symbols, position + starts[unseen[0]], len(self))
        return ids[ids >= 0]


class WhitespaceVocabulary(WordVocabulary):
    r"""Words of a text that is split already: what stands between spaces is one, whatever it is.

    For corpora that come in tokens ("<unk>", "n.v.", "@-@"), on which `WordVocabulary` would count
    others than those that published perplexities count. Decoding writes single spaces.
    """

    level: ClassVar[str] = "whitespace"
    _token: ClassVar[re.Pattern[str]] = _SPLIT_TOKEN

    def decoder(self, *, exact: bool = False) -> TokenDecoder:
        """A decoder that puts a space before every token but the first of a line."""
        return _SpacingDecoder(self.words)


class _SpacingDecoder:
    """Joins tokens with single spaces, none at line ends."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words
        self._attach_next = True

    def feed(self, token_id: int) -> str:
        word = self._words[check_id(token_id, len(self._words))]
        attached = self._attach_next or word == END_OF_LINE
        self._attach_next = word == END_OF_LINE
        return word if attached else f" {word}"

    def flush(self) -> str:
        return ""


class _WordDecoder:
    """Joins tokens with the spaces of ordinary typesetting; straight quotes open and close."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words
        self._previous = END_OF_LINE
        self._attach_next = True
        self._open_quotes: set[str] = set()

    def feed(self, token_id: int) -> str:
        word = self._words[check_id(token_id, len(self._words))]
        attached = self._attach_next
        self._attach_next = word == END_OF_LINE or word in _NO_SPACE_AFTER
        if word == END_OF_LINE:
            self._open_quotes.clear()
            attached = True
        elif word in _NO_SPACE_BEFORE:
            attached = True
        elif word in _PAIRED_QUOTES:
            if word in self._open_quotes:
                self._open_quotes.remove(word)
                attached = True
            else:
                self._open_quotes.add(word)
                self._attach_next = True
        if word.startswith(".") and self._previous.endswith("."):
            attached = False  # ". ." is two tokens, ".." another one
        self._previous = word
        return word if attached else f" {word}"

    def flush(self) -> str:
        return ""
