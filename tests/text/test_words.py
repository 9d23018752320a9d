"""Words in lower case, how words are spelled, and vectors that others have trained."""

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest

from recurra.errors import DataError
from recurra.text import (
    CharacterSpelling,
    NgramSpelling,
    Spelling,
    Vocabulary,
    WhitespaceVocabulary,
    WordVocabulary,
    read_vectors,
)

# ---- lower case ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [WordVocabulary, WhitespaceVocabulary])
def test_lower_case_makes_one_word_of_two(kind: type[WordVocabulary]) -> None:
    cased, lower = (kind.build(["The cat . the CAT\nThe"], lower=lower) for lower in (False, True))
    assert set(cased.words) == {"<unk>", "\n", "The", "the", "cat", "CAT", "."}
    assert lower.words == ("<unk>", "\n", "the", "cat", ".")
    assert lower.tokens("THE Cat") == ["the", "cat"]
    assert lower.decode(lower.encode("The DOG", unknown="replace")) == "the <unk>"
    assert np.concatenate(list(lower.encode_pieces(["The C", "AT"]))).tolist() == [2, 3]
    with pytest.raises(DataError, match=r"got 'dog', never seen in training, .* position 4"):
        lower.encode("The DOG", unknown="error")


def test_lower_case_is_kept_in_the_config() -> None:
    cased, lower = (WordVocabulary.build(["A b"], lower=lower) for lower in (False, True))
    assert "lower" not in cased.to_config()  # as it was written before there was the choice
    for vocabulary in (cased, lower):
        again = Vocabulary.from_config(vocabulary.to_config())
        assert again == vocabulary
        assert again.encode("B A", unknown="replace").tolist() == (
            vocabulary.encode("B A", unknown="replace").tolist()
        )
    with pytest.raises(DataError, match="lower 'yes', which is neither true nor false"):
        Vocabulary.from_config({**lower.to_config(), "lower": "yes"})


# ---- spelling ------------------------------------------------------------------------------------


def test_characters_of_words() -> None:
    spelling = CharacterSpelling.build(["abc", "cab"], min_count=2)
    assert spelling.num_pieces == 3 + 3
    pieces = spelling.encode(["ab", "", "cXa"])
    assert pieces.tolist() == [[1, 3, 4, 2, -1], [1, 2, -1, -1, -1], [1, 5, 0, 3, 2]]
    assert spelling.encode([]).shape == (0, 0)
    short = CharacterSpelling("abcdefgh", max_length=5)
    kept = "".join(short.characters[i - 3] for i in short.encode(["abcdefgh"])[0, 1:-1])
    assert kept == "abfgh"
    assert CharacterSpelling.build(["ab", "a"], min_count=2).characters == "a"


def test_ngrams_of_words() -> None:
    spelling = NgramSpelling(1 << 20, shortest=3, longest=4)
    pieces = spelling.encode(["where", "here", "a", ""])
    grams = [set(row[row >= 0].tolist()) for row in pieces]
    assert len(grams[0]) == 5 + 4  # <wh whe her ere re>, <whe wher here ere>
    assert len(grams[0] & grams[1]) == 5  # her ere re> here ere>: <he and <her begin a word
    assert [len(row) for row in grams[2:]] == [1, 1]  # <a>; <> is shorter than 3
    again = NgramSpelling(1 << 20, shortest=3, longest=4)
    np.testing.assert_array_equal(again.encode(["where"]), spelling.encode(["where"]))
    assert spelling.encode(["where"]).tolist()[0][:2] == [508861, 250815]  # on every machine
    assert NgramSpelling(7).encode(["something"]).max() < 7


@pytest.mark.parametrize(
    "spelling", [CharacterSpelling("xyz", max_length=9), NgramSpelling(50, shortest=2, longest=3)]
)
def test_spelling_comes_back_from_its_config(spelling: Spelling) -> None:
    again = Spelling.from_config(spelling.to_config())
    assert again == spelling
    words = ["xyz", "unknown", "Zy"]
    np.testing.assert_array_equal(again.encode(words), spelling.encode(words))
    for wrong in ({}, None, {"kind": "syllables"}, {"kind": spelling.kind}):
        with pytest.raises(DataError, match="spelling: expected one of characters, ngrams"):
            Spelling.from_config(wrong)


def test_spellings_that_make_no_sense() -> None:
    for wrong in ({"num_buckets": 0}, {"shortest": 0}, {"shortest": 4, "longest": 3}):
        with pytest.raises(ValueError, match="1 <= shortest <= longest"):
            NgramSpelling(**wrong)
    with pytest.raises(ValueError, match="max_length: expected at least 2, got 1"):
        CharacterSpelling("ab", max_length=1)


# ---- vectors -------------------------------------------------------------------------------------

LINES = "the 0.5 -1 2e-1\n. . . 9 9 9\ncat 1 2 3\nhere's 4 5 6\nparis 7 8 9\ncat 0 0 0\n"
WORDS = WordVocabulary(["the", "cat", "Paris", "Cat", "dog"])


@pytest.mark.parametrize("header", ["", "6 3\n"])
@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
def test_vectors_of_a_text_file(tmp_path: Path, header: str, end: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text((header + LINES).replace("\n", end), newline="")
    vectors = read_vectors(path, WORDS)
    assert vectors.ids.tolist() == [2, 3, 4, 5]
    wanted = [[0.5, -1, 0.2], [1, 2, 3], [7, 8, 9], [1, 2, 3]]  # Paris and Cat by their lower case
    np.testing.assert_allclose(vectors.values, wanted, rtol=1e-6)
    assert vectors.size == 3
    assert vectors.missing == ("dog",)


def test_vectors_compressed_and_what_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "vectors.txt.gz"
    path.write_bytes(gzip.compress(LINES.encode()))
    with caplog.at_level(logging.INFO, "recurra"):
        read_vectors(path, WORDS)
    (said,) = caplog.messages
    assert said == (
        "vectors.txt.gz: vectors of 3 numbers for 4 of 5 words, 2 of them by their lower case; "
        "none for 1, such as 'dog'"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the 1 2 3\ncat 1 2\n", r"line 2: expected a word and 3 finite numbers, got cat 1 2"),
        ("the 1 2 x\n", r"line 1: expected a word and 3 finite numbers, got the 1 2 x"),
        ("the 1 2 nan\n", r"line 1: expected a word and 3 finite numbers, got the 1 2 nan"),
        ("the\n", r"line 1: expected a word and 1 finite numbers, got the"),
        ("2 4\nthe 1 2 3\n", r"line 2: expected a word and 4 finite numbers"),
        ("le 1 2 3\n", r"some of the vocabulary's 5 words, got none"),
        ("", r"expected text, got an empty file"),
    ],
)
def test_files_that_are_no_vectors(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_vectors(path, WORDS)
