"""Text as symbols: reading files; vocabularies of characters, bytes, words and pieces."""

from recurra.text.bpe import BPEVocabulary
from recurra.text.characters import CharacterVocabulary
from recurra.text.octets import ByteVocabulary
from recurra.text.reading import check_source, read_pieces, read_text
from recurra.text.vocabulary import TokenDecoder, Vocabulary
from recurra.text.words import WhitespaceVocabulary, WordVocabulary

__all__ = [
    "BPEVocabulary",
    "ByteVocabulary",
    "CharacterVocabulary",
    "TokenDecoder",
    "Vocabulary",
    "WhitespaceVocabulary",
    "WordVocabulary",
    "check_source",
    "read_pieces",
    "read_text",
]
