"""Every level: text to ids and back, whole, in pieces, and one token at a time."""

import re
import string
import unicodedata

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from recurra.data import (
    BPEVocabulary,
    ByteVocabulary,
    CharacterVocabulary,
    Vocabulary,
    WordVocabulary,
)
from recurra.errors import DataError
from recurra.text import reading as text_module

SOURCE = (
    'The tide rose, and the harbour (old as it was) held: "no ship lost," they said.\n'
    "Don't pay 3.50 for 1,000 of them -- it isn't worth it...\n\n"
    "Ein Schiff fährt über das Meer; 船が海を渡る。 🚢🌊 e\u0301t\u00e9\n"
) * 3

any_text = st.text(
    alphabet=st.one_of(
        st.sampled_from("ab .,'\"\n\t-(<unk>)1"),
        st.characters(exclude_categories=("Cs",)),
    ),
    max_size=60,
)


def of_level(level: str) -> Vocabulary:
    return Vocabulary.of_level(level).build([SOURCE])


LEVELS = ("char", "byte", "word", "whitespace", "bpe")
VOCABULARIES = {level: of_level(level) for level in LEVELS}


def cut(text: str, sizes: list[int]) -> list[str]:
    """The text in pieces of the given sizes, the rest as one more."""
    pieces = []
    for size in sizes:
        pieces.append(text[:size])
        text = text[size:]
    return [*pieces, text]


@given(any_text)
def test_bytes_and_bpe_give_any_text_back(text: str) -> None:
    for level in ("byte", "bpe"):
        vocabulary = VOCABULARIES[level]
        assert vocabulary.decode(vocabulary.encode(text)) == text


@given(any_text.filter(bool))
def test_characters_give_their_own_text_back(text: str) -> None:
    vocabulary = CharacterVocabulary.build([text])
    assert vocabulary.characters == "".join(sorted(set(text)))
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert ids.tolist() == [vocabulary.characters.index(character) for character in text]
    assert vocabulary.decode(ids) == text


@given(any_text)
@settings(max_examples=300)
def test_decoded_words_encode_to_the_same_ids(text: str) -> None:
    vocabulary = WordVocabulary.build([text])
    ids = vocabulary.encode(text, unknown="error")
    assert vocabulary.encode(vocabulary.decode(ids)).tolist() == ids.tolist()


@pytest.mark.medium
@given(any_text.filter(bool), st.lists(st.integers(0, 5), max_size=30))
@settings(max_examples=200)
def test_pieces_give_the_ids_of_the_whole(text: str, sizes: list[int]) -> None:
    for level in LEVELS:
        whole = Vocabulary.of_level(level).build([text])
        pieces = cut(text, sizes)
        assert Vocabulary.of_level(level).build(pieces) == whole
        ids = np.concatenate([np.empty(0, dtype=np.int64), *whole.encode_pieces(pieces)])
        assert ids.tolist() == whole.encode(text).tolist()


@pytest.mark.medium
@given(st.data())
def test_a_stream_decodes_to_the_text_of_the_whole(data: st.DataObject) -> None:
    for vocabulary in VOCABULARIES.values():
        ids = data.draw(st.lists(st.integers(0, len(vocabulary) - 1), max_size=20))
        decoder = vocabulary.decoder()
        streamed = "".join([decoder.feed(token_id) for token_id in ids]) + decoder.flush()
        assert streamed == vocabulary.decode(ids) == vocabulary.decode(torch.tensor(ids))


@pytest.mark.parametrize("level", LEVELS)
def test_a_config_makes_the_same_vocabulary(level: str) -> None:
    import json

    vocabulary = VOCABULARIES[level]
    again = Vocabulary.from_config(json.loads(json.dumps(vocabulary.to_config())))
    assert type(again) is type(vocabulary)
    assert again == vocabulary
    assert len(again) == len(vocabulary)
    assert again.encode(SOURCE).tolist() == vocabulary.encode(SOURCE).tolist()
    assert VOCABULARIES["char"] != VOCABULARIES["byte"]


@pytest.mark.parametrize("level", LEVELS)
def test_generation_starts_from_a_line_end(level: str) -> None:
    vocabulary = VOCABULARIES[level]
    assert vocabulary.decode([vocabulary.start_id]) == "\n"


def test_a_text_without_line_end_starts_from_its_first_character() -> None:
    assert CharacterVocabulary.build(["xyz"]).start_id == 0


@pytest.mark.parametrize("level", LEVELS)
def test_ids_outside_the_vocabulary_are_named(level: str) -> None:
    vocabulary = VOCABULARIES[level]
    for bad in (-1, len(vocabulary)):
        with pytest.raises(ValueError, match=rf"0\.\.{len(vocabulary) - 1}, got {bad}\."):
            vocabulary.decode([bad])


def test_bytes_decode_as_utf8_with_replacement() -> None:
    vocabulary = ByteVocabulary()
    for data in (b"a\xffb", b"\xe2\x82", "€uro".encode(), b"\xf0\x9f\x9a"):
        assert vocabulary.decode(list(data)) == data.decode("utf-8", "replace")


def test_a_character_appears_with_its_last_byte() -> None:
    decoder = ByteVocabulary().decoder()
    assert [decoder.feed(value) for value in "x€".encode()] == ["x", "", "", "€"]
    assert decoder.flush() == ""
    decoder.feed(0xE2)
    assert decoder.flush() == "\ufffd"


def test_characters_never_seen_are_named_with_their_position() -> None:
    vocabulary = CharacterVocabulary.build(["abc"])
    with pytest.raises(DataError) as caught:
        vocabulary.encode("abcXaYYZ€🚢vX", where="prime")
    message = str(caught.value)
    assert message.startswith("prime: expected characters of the vocabulary (3 symbols)")
    assert "'X', 'Y', 'Z', '€', '🚢' and 1 more" in message
    assert "position 3." in message
    assert "level=byte" in message


def test_the_position_counts_from_the_first_piece() -> None:
    vocabulary = CharacterVocabulary.build(["abc"])
    with pytest.raises(DataError, match=r"big\.txt: .*'\\n', never .* position 7\."):
        list(vocabulary.encode_pieces(["abca", "", "bca\n"], where="big.txt"))
    words = WordVocabulary.build(["one two"])
    with pytest.raises(DataError, match=r"words .*'three', never .* position 8\."):
        list(words.encode_pieces(["one t", "wo thr", "ee"], unknown="error"))


def test_unseen_symbols_can_be_left_out_or_replaced() -> None:
    characters = CharacterVocabulary.build(["abc"])
    assert characters.decode(characters.encode("a-b€c", unknown="skip")) == "abc"
    words = WordVocabulary.build(["one two"])
    assert words.decode(words.encode("one zwei two")) == "one <unk> two"
    assert words.decode(words.encode("one zwei two", unknown="skip")) == "one two"
    for level in ("char", "byte", "bpe"):
        with pytest.raises(ValueError, match=r"unknown: expected 'error' or 'skip'.*'replace'"):
            VOCABULARIES[level].encode("x", unknown="replace")


def test_a_long_text_is_encoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = VOCABULARIES["char"]
    whole = vocabulary.encode(SOURCE)
    monkeypatch.setattr("recurra.text.characters._CHUNK_CHARACTERS", 7)
    assert vocabulary.encode(SOURCE).tolist() == whole.tolist()


def test_half_a_surrogate_pair_is_an_error_where_it_has_no_symbol() -> None:
    with pytest.raises(DataError, match=r"'\\udfff', never seen in training, .*position 1"):
        VOCABULARIES["char"].encode("a\udfff")
    for level in ("byte", "bpe"):
        with pytest.raises(DataError, match=r"prime: .*lone surrogate at position 2\."):
            VOCABULARIES[level].encode("ab\ud800", where="prime")
    assert ByteVocabulary().encode("a\udcff").tolist() == [ord("a"), 0xFF]


def test_words_are_split_from_their_punctuation() -> None:
    line = "Don't stop -- it's 3.14, or 1,000... (\"so <unk> said\") co-op x_1 नमस्ते दुनिया।\n"
    expected = (
        "Don't stop -- it's 3.14 , or 1,000 ... ( \" so <unk> said \" ) co-op x_1 नमस्ते दुनिया ।"
    )
    vocabulary = WordVocabulary.build([line])
    ids = vocabulary.encode(line)
    assert [vocabulary.words[index] for index in ids] == [*expected.split(" "), "\n"]
    assert vocabulary.words[:2] == ("<unk>", "\n")
    assert ids[-1] == vocabulary.end_of_line_id


@pytest.mark.parametrize(
    "text",
    [
        'He said: "Stop, please!" and (slowly) left.\nThen -- nothing... Nothing?\n',
        "It's 50% of $3.50; isn't it?\n\n'So it is.'\n",
        "«Non», dit-il. “Quoted,” she wrote.",
    ],
)
def test_decoded_words_read_as_they_were_written(text: str) -> None:
    vocabulary = WordVocabulary.build([text])
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_words_are_kept_by_frequency() -> None:
    text = "b b b a a c c d\n"
    assert WordVocabulary.build([text]).words == ("<unk>", "\n", "b", "a", "c", "d")
    assert WordVocabulary.build([text], max_size=4).words == ("<unk>", "\n", "b", "a")
    assert WordVocabulary.build([text], min_count=3).words == ("<unk>", "\n", "b")


def test_bpe_merges_what_repeats_and_has_every_byte() -> None:
    vocabulary = BPEVocabulary.build([SOURCE], max_size=300)
    assert 256 < len(vocabulary) <= 300
    assert len(vocabulary.encode(SOURCE)) < len(SOURCE.encode())
    assert len(BPEVocabulary.build(["x"])) == 256
    values = {bytes(value) for value in vocabulary._token_bytes}
    assert {bytes([value]) for value in range(256)} <= values


def test_bpe_letters_are_those_of_the_library() -> None:
    from recurra.text.bpe import _letters_of_bytes

    letters = _letters_of_bytes()
    assert sorted(letters) == sorted(pre_tokenizers.ByteLevel.alphabet())
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str
    for character in (*map(chr, range(0x250)), "€", "🚢"):
        [(spelling, _)] = spell(character)
        assert spelling == "".join(letters[value] for value in character.encode())


@pytest.mark.parametrize(
    ("level", "options", "message"),
    [
        ("char", {"max_size": 5}, "expected neither at level 'char'"),
        ("byte", {"min_count": 2}, "expected neither at level 'byte'"),
        ("word", {"max_size": 2}, "max_size: expected at least 3, got 2"),
        ("word", {"min_count": 0}, "min_count: expected at least 1, got 0"),
        ("bpe", {"max_size": 255}, "max_size: expected at least 256 at level 'bpe', got 255"),
        ("bpe", {"min_count": 2}, "min_count: expected none at level 'bpe', got 2"),
    ],
)
def test_wrong_options_are_named(level: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Vocabulary.of_level(level).build([SOURCE], **options)


def test_a_text_without_characters_has_no_vocabulary() -> None:
    with pytest.raises(ValueError, match="expected at least one, got an empty text"):
        CharacterVocabulary.build([""])


def test_a_word_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected each once, got 'b' twice"):
        WordVocabulary(["a", "b", "b"])


def test_levels_are_listed_when_one_is_not_known() -> None:
    with pytest.raises(ValueError, match="one of bpe, byte, char, whitespace, word, got 'wrd'"):
        Vocabulary.of_level("wrd")


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"level": "letters"}, "got 'letters'"),
        ({}, "got 'None'"),
        ({"level": "char"}, "KeyError('characters')"),
        ({"level": "word"}, "KeyError('words')"),
        ({"level": "bpe"}, "KeyError('tokenizer')"),
        ({"level": "bpe", "tokenizer": "{"}, "tokenizer JSON"),
    ],
)
def test_a_damaged_config_is_a_data_error(config: dict[str, str], part: str) -> None:
    with pytest.raises(DataError, match=re.escape(part)) as caught:
        Vocabulary.from_config(config)
    assert "config.json as the run wrote it" in str(caught.value)


def test_a_vocabulary_says_what_it_is() -> None:
    assert repr(CharacterVocabulary.build(["aab"])) == "CharacterVocabulary(2 symbols)"


def test_cuts_stand_where_words_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = list(text_module.whole_words(["on", "e tw", "o  \n three", " four"]))
    assert "".join(pieces) == "one two  \n three four"
    assert all(later[0].isspace() for later in pieces[1:])
    assert all(not earlier[-1].isspace() for earlier in pieces[:-1])
    monkeypatch.setattr(text_module, "MAX_HELD_CHARACTERS", 10)
    bounded = list(text_module.whole_words(string.ascii_lowercase))
    assert "".join(bounded) == string.ascii_lowercase
    assert max(map(len, bounded)) == 11


@pytest.mark.medium
@given(st.data())
@settings(max_examples=200)
def test_words_in_any_order_stay_the_same_words(data: st.DataObject) -> None:
    vocabulary = VOCABULARIES["word"]
    ids = data.draw(st.lists(st.integers(0, len(vocabulary) - 1), max_size=30))
    assert vocabulary.encode(vocabulary.decode(ids)).tolist() == ids


@pytest.mark.parametrize("level", ["word", "whitespace"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_lines_end_as_any_system_ends_them(level: str, line_end: str) -> None:
    vocabulary = Vocabulary.of_level(level).build(["one two\nthree"])
    ids = vocabulary.encode("one two\n\nthree\n").tolist()
    assert vocabulary.encode("one two\n\nthree\n".replace("\n", line_end)).tolist() == ids


def test_generation_starts_from_the_line_end_that_a_text_has() -> None:
    vocabulary = CharacterVocabulary.build(["one\rtwo\r"])
    assert vocabulary.decode([vocabulary.start_id]) == "\r"


def test_text_that_is_split_already_stays_as_it_is_split() -> None:
    line = "the <unk> n.v. cost $ 1 @,@ 000 of well @-@ known d'or ( N ) .\n"
    vocabulary = Vocabulary.of_level("whitespace").build([2 * line])
    ids = vocabulary.encode(line)
    assert len(ids) == len(line.split()) + 1
    assert len(Vocabulary.of_level("word").build([line]).encode(line)) > len(ids)
    assert int(ids[1]) == vocabulary.unknown_id
    assert vocabulary.decode(np.concatenate([ids, ids])) == 2 * line


@pytest.mark.parametrize("level", ["char", "word", "whitespace"])
@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_prime_is_taken_in_the_form_of_the_text(level: str, form: str, other: str) -> None:
    text = unicodedata.normalize(form, "früher déjà vu\n")  # type: ignore[arg-type]
    vocabulary = Vocabulary.of_level(level).build([text])
    typed = unicodedata.normalize(other, "déjà vu")  # type: ignore[arg-type]
    assert vocabulary.decode(vocabulary.encode(typed)) in text
    if level == "char":
        with pytest.raises(DataError, match="never seen"):
            vocabulary.encode(typed, unknown="error")  # what is asked for is done


@pytest.mark.parametrize("level", ["word", "whitespace"])
def test_words_of_a_prime_that_are_not_known_are_named_once(
    level: str, caplog: pytest.LogCaptureFixture
) -> None:
    vocabulary = Vocabulary.of_level(level).build(["the cat sat\n"])
    for text in ("the cat", "the <unk>"):
        vocabulary.encode(text, where="prime")
    assert not caplog.records
    for _ in range(3):
        assert vocabulary.encode("the zyxwv \\", where="prime")[1] == vocabulary.unknown_id
    [said] = caplog.messages
    assert said.startswith(
        "prime: 'zyxwv', '\\\\' never seen in training, taken as <unk> (2 in all)"
    )
    assert "$'a\\nb'" in said
    vocabulary.encode("the zyxwv", unknown="replace")
    list(vocabulary.encode_pieces(["other"]))
    assert len(caplog.records) == 1


def test_a_backslash_that_is_not_known_is_explained() -> None:
    with pytest.raises(DataError, match=r"A backslash stands for itself: in most shells \$'a"):
        CharacterVocabulary.build(["banana"]).encode("a\\nb", where="prime")


@pytest.mark.parametrize("level", LEVELS)
def test_characters_are_counted_as_they_are_written(level: str) -> None:
    text = "Größe « déjà » 𝄞\nfrüher\n" * 9
    vocabulary = Vocabulary.of_level(level).build([text])
    ids = vocabulary.encode(text)
    assert vocabulary.num_characters(ids) == len(vocabulary.decode(ids))
    if level != "word":
        assert vocabulary.num_characters(ids) == len(text)


def test_a_class_of_one_s_own_takes_no_level_of_another() -> None:
    class MyWords(WordVocabulary):
        """A variant, which has no level of its own."""

    assert Vocabulary.of_level("word") is WordVocabulary
    with pytest.raises(TypeError, match="expected a level of its own, got 'word'"):

        class Taking(WordVocabulary):
            level = "word"
