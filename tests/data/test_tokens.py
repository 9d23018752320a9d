"""Token files: what is read is what was written; stale, cut and half-done ones are noticed."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra.data import (
    ByteVocabulary,
    CharacterVocabulary,
    TokenFile,
    Vocabulary,
    WordVocabulary,
    build_vocabulary,
    open_tokens,
    prepare_tokens,
    read_token_file,
    write_tokens,
)
from recurra.data import prepare as prepare_module
from recurra.errors import DataError

SOURCE = (
    'Der Wind, said he, is "süß" -- 3.14 times.\n\nIt isn\'t the 海。 Nor  is it\tthe sea...\n' * 4
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text(SOURCE, encoding="utf-8")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run" / "tokens.bin"


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 17, 1 << 20])
@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_a_prepared_file_holds_the_ids_of_the_whole_text(
    source: Path, out: Path, level: str, chunk_bytes: int
) -> None:
    made = prepare_tokens(source, out, level=level, chunk_bytes=chunk_bytes)
    vocabulary = Vocabulary.of_level(level).build([SOURCE])
    assert made.vocabulary == vocabulary
    tokens = open_tokens(out)
    assert tokens.tolist() == vocabulary.encode(SOURCE).tolist()
    assert made.count == len(tokens)
    assert not tokens.flags.writeable
    assert sorted(os.listdir(out.parent)) == ["tokens.bin", "tokens.bin.json"]


@pytest.mark.parametrize(
    ("size", "dtype"), [(2, "|u1"), (256, "|u1"), (257, "<u2"), (65_536, "<u2"), (65_537, "<u4")]
)
def test_tokens_take_the_narrowest_type(tmp_path: Path, size: int, dtype: str) -> None:
    vocabulary = WordVocabulary([f"w{index}" for index in range(size - 2)])
    made = write_tokens(tmp_path / "t.bin", [np.array([0, size - 1])], vocabulary)
    assert made.dtype.str == dtype
    assert made.tokens().tolist() == [0, size - 1]
    assert (tmp_path / "t.bin").read_bytes() == np.array([0, size - 1]).astype(dtype).tobytes()


def test_a_fresh_file_is_not_made_again(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare_tokens(source, out, level="word")

    def refuse(*args: Any, **kwargs: Any) -> Iterator[str]:
        raise AssertionError("the source was read again")

    monkeypatch.setattr(prepare_module, "read_pieces", refuse)
    assert prepare_tokens(source, out, level="word") == first
    with pytest.raises(AssertionError):
        prepare_tokens(source, out, level="word", min_count=2)


def test_a_stale_file_is_made_again(source: Path, out: Path) -> None:
    assert prepare_tokens(source, out).tokens().tolist() == read_token_file(out).tokens().tolist()
    state = source.stat()
    source.write_text(SOURCE[::-1], encoding="utf-8")  # the same size, another time
    os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    again = prepare_tokens(source, out)
    assert again.vocabulary.decode(again.tokens()) == SOURCE[::-1]


@pytest.mark.parametrize(
    "options", [{"level": "word"}, {"vocabulary": ByteVocabulary()}, {"unknown": "skip"}]
)
def test_other_options_make_another_file(source: Path, out: Path, options: dict[str, Any]) -> None:
    first = prepare_tokens(source, out)
    second = prepare_tokens(source, out, **options)
    assert (second.made_from, second.vocabulary) != (first.made_from, first.vocabulary)
    assert open_tokens(out).tolist() == second.vocabulary.encode(SOURCE).tolist()


def test_a_cut_file_is_made_again(source: Path, out: Path) -> None:
    prepare_tokens(source, out)
    os.truncate(out, 10)
    assert prepare_tokens(source, out).tokens().size == len(SOURCE)


def test_a_validation_file_takes_the_vocabulary_of_its_training_file(
    tmp_path: Path, source: Path, out: Path
) -> None:
    vocabulary = build_vocabulary(source, level="word", max_size=6)
    made = prepare_tokens(source, out, vocabulary=vocabulary)
    assert made.vocabulary == vocabulary
    assert made.tokens().max() < len(vocabulary) == 6
    other = tmp_path / "other.txt"
    other.write_text("Der Wind, said §")
    characters = build_vocabulary(source)
    with pytest.raises(DataError, match=r"other\.txt: .*'§', never seen .* position 15"):
        prepare_tokens(other, tmp_path / "other.bin", vocabulary=characters)
    skipped = prepare_tokens(other, tmp_path / "other.bin", vocabulary=characters, unknown="skip")
    assert skipped.count == 15


def test_an_error_on_the_way_leaves_the_older_file(tmp_path: Path, source: Path, out: Path) -> None:
    prepare_tokens(source, out)
    before = open_tokens(out).tolist()
    bad = tmp_path / "bad.txt"
    bad.write_text("§")
    with pytest.raises(DataError, match="never seen"):
        prepare_tokens(bad, out, vocabulary=build_vocabulary(source))
    assert open_tokens(out).tolist() == before
    assert sorted(os.listdir(out.parent)) == ["tokens.bin", "tokens.bin.json"]


def test_a_source_that_changes_while_it_is_read_is_noticed(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = prepare_module.read_pieces
    num_passes = 0

    def append_in_second_pass(*args: Any, **kwargs: Any) -> Iterator[str]:
        nonlocal num_passes
        num_passes += 1
        yield from read(*args, **kwargs)
        if num_passes == 2:
            with source.open("a") as file:
                file.write("more")

    monkeypatch.setattr(prepare_module, "read_pieces", append_in_second_pass)
    with pytest.raises(DataError, match=r"source\.txt: .*changes while it was read"):
        prepare_tokens(source, out)
    assert os.listdir(out.parent) == []


def test_a_full_disk_leaves_the_older_file(out: Path) -> None:
    vocabulary = CharacterVocabulary("ab")
    write_tokens(out, [np.array([0, 1])], vocabulary)

    def fill_up() -> Iterator[np.ndarray]:
        yield np.array([1, 1, 1])
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match=r"tokens\.bin: expected to write .* No space left .*disk"):
        write_tokens(out, fill_up(), vocabulary)
    assert open_tokens(out).tolist() == [0, 1]
    assert sorted(os.listdir(out.parent)) == ["tokens.bin", "tokens.bin.json"]


def test_a_file_without_its_header_is_not_finished(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = CharacterVocabulary("ab")
    write_tokens(out, [np.array([0, 1])], vocabulary)

    def die(*args: Any, **kwargs: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", die)
    with pytest.raises(KeyboardInterrupt):
        write_tokens(out, [np.array([1, 1])], vocabulary)
    with pytest.raises(DataError, match=r"with its header tokens\.bin\.json, got No such file"):
        open_tokens(out)


def test_an_output_that_is_in_the_way_is_named(tmp_path: Path, source: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"t\.bin: expected to write a token file, got .*permis"):
        prepare_tokens(source, tmp_path / "file" / "t.bin")


def test_a_text_without_tokens_is_named(tmp_path: Path, source: Path) -> None:
    source.write_text(" \t ")
    with pytest.raises(DataError, match="expected at least one token, got none"):
        prepare_tokens(source, tmp_path / "t.bin", level="word")


def test_a_cut_or_missing_file_is_named(source: Path, out: Path) -> None:
    made = prepare_tokens(source, out, level="bpe")
    os.truncate(out, 11)
    with pytest.raises(DataError) as caught:
        open_tokens(out)
    message = str(caught.value)
    assert f"expected {2 * made.count} bytes ({made.count} tokens of uint16), got 11." in message
    assert "prepare it again" in message
    out.unlink()
    with pytest.raises(DataError, match=r"tokens\.bin: expected a token file, got No such file"):
        made.tokens()


@pytest.mark.parametrize(
    "damage",
    [
        lambda header: "{",
        lambda header: json.dumps({**header, "format": "other"}),
        lambda header: json.dumps({**header, "dtype": "<f4"}),
        lambda header: json.dumps({**header, "dtype": "nonsense"}),
        lambda header: json.dumps({**header, "count": -1}),
        lambda header: json.dumps({**header, "vocabulary": {"level": "x"}}),
        lambda header: json.dumps({"format": header["format"]}),
        lambda header: json.dumps([1]),
    ],
)
def test_a_damaged_header_is_named(source: Path, out: Path, damage: Any) -> None:
    made = prepare_tokens(source, out)
    header = out.with_name("tokens.bin.json")
    header.write_text(damage(json.loads(header.read_text())))
    with pytest.raises(DataError, match=r"tokens\.bin\.json: expected the header of a token file"):
        open_tokens(out)
    assert prepare_tokens(source, out) == made


def test_what_a_token_file_is(source: Path, out: Path) -> None:
    made = prepare_tokens(source, str(out))
    assert read_token_file(out) == made
    assert isinstance(made, TokenFile)
    assert made.path == out
    assert made.made_from["source"]["size_bytes"] == len(SOURCE.encode())
