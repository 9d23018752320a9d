"""Text as symbols: reading files; vocabularies of characters, bytes, words and pieces; how words
are spelled, and vectors of them that others have trained."""

from recurra.text.bpe import BPEVocabulary
from recurra.text.characters import CharacterVocabulary
from recurra.text.octets import ByteVocabulary
from recurra.text.reading import check_source, read_pieces, read_text
from recurra.text.spelling import CharacterSpelling, NgramSpelling, Spelling
from recurra.text.vectors import WordVectors, read_vectors
from recurra.text.vocabulary import TokenDecoder, Vocabulary
from recurra.text.words import WhitespaceVocabulary, WordVocabulary

__all__ = [
    "BPEVocabulary",
    "ByteVocabulary",
    "CharacterSpelling",
    "CharacterVocabulary",
    "NgramSpelling",
    "Spelling",
    "TokenDecoder",
    "Vocabulary",
    "WhitespaceVocabulary",
    "WordVectors",
    "WordVocabulary",
    "check_source",
    "read_pieces",
    "read_text",
    "read_vectors",
]
