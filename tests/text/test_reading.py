"""Reading text files: pieces at any chunk size, gzip, and each thing that can be wrong."""

import bz2
import gzip
import io
import lzma
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recurra.data import ByteVocabulary, read_pieces, read_text
from recurra.errors import DataError

TEXT = "Größe\nΩ 𝄞 は\r\n" * 50
UNICODE = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
no_nul = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
files_may_be_shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.medium
@given(text=st.text(no_nul, min_size=1, max_size=40), chunk_bytes=st.integers(1, 9))
@files_may_be_shared
def test_any_chunk_size_reads_the_same_text(tmp_path: Path, text: str, chunk_bytes: int) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"x" + text.encode())
    pieces = list(read_pieces(path, chunk_bytes=chunk_bytes))
    assert "".join(pieces) == "x" + text
    assert all(pieces)


@given(data=st.binary(min_size=1, max_size=40), chunk_bytes=st.integers(1, 9))
@files_may_be_shared
def test_the_byte_level_reads_any_file_exactly(
    tmp_path: Path, data: bytes, chunk_bytes: int
) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(data)
    ids = [
        int(token_id)
        for piece in read_pieces(path, level="byte", chunk_bytes=chunk_bytes)
        for token_id in ByteVocabulary().encode(piece)
    ]
    assert bytes(ids) == data
    assert "".join(read_pieces(path, level="byte", chunk_bytes=chunk_bytes)) == read_text(
        path, "byte"
    )


@pytest.mark.medium
@given(
    before=st.text(no_nul, max_size=10), after=st.binary(max_size=5), chunk_bytes=st.integers(1, 9)
)
@files_may_be_shared
def test_the_offset_of_a_byte_that_is_not_utf8_is_named(
    tmp_path: Path, before: str, after: bytes, chunk_bytes: int
) -> None:
    path = tmp_path / "latin.txt"
    before = "x" + before  # a file that begins with 0xff may be UTF-16
    offset = len(before.encode())
    path.write_bytes(before.encode() + b"\xff" + after)
    with pytest.raises(DataError) as caught:
        list(read_pieces(path, chunk_bytes=chunk_bytes, is_learned=True))
    message = str(caught.value)
    assert message.startswith(
        f"{path}: expected UTF-8 text, got byte 0xff at byte offset {offset} "
    )
    assert "--level byte" in message
    with pytest.raises(DataError) as caught:  # of a task that cannot learn bytes
        list(read_pieces(path, chunk_bytes=chunk_bytes))
    assert "--level byte" not in str(caught.value)


def test_a_character_cut_by_the_end_of_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.txt"
    path.write_bytes(b"abc" + "€".encode()[:2])
    with pytest.raises(DataError, match=r"0xe2 at byte offset 3 \(unexpected end of data\)"):
        read_text(path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_text_of_wide_characters_that_was_cut_is_said_to_be(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "cut.txt"
    whole = "\ufeffabc".encode(encoding)
    path.write_bytes(whole[:-1])
    at = len(whole) - len("c".encode(encoding))
    with pytest.raises(DataError, match=f"whole {encoding.upper()} text.*cut short.*offset {at}"):
        read_text(path)


def test_line_ends_stay_and_a_byte_order_mark_goes(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert read_text(path) == "one\r\ntwo\r\n"
    assert "".join(read_pieces(path, chunk_bytes=1)) == "one\r\ntwo\r\n"
    assert read_text(path, "byte") == "\ufeffone\r\ntwo\r\n"


@pytest.mark.parametrize("encoding", UNICODE)
@pytest.mark.parametrize("chunk_bytes", [1, 3, 1 << 20])
def test_every_encoding_of_unicode_with_its_mark(
    tmp_path: Path, encoding: str, chunk_bytes: int
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(("\ufeff" + TEXT).encode(encoding))
    assert "".join(read_pieces(path, chunk_bytes=chunk_bytes)) == TEXT


@pytest.mark.parametrize("encoding", UNICODE[1:])
@pytest.mark.parametrize("text", ["the cat sat on the mat\n" * 9, "Größe, früher später\n" * 9])
def test_without_its_mark_it_is_refused_and_the_remedy_works(
    tmp_path: Path, encoding: str, text: str
) -> None:
    path = tmp_path / "a text.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(DataError) as caught:
        read_text(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    assert "--level byte" not in message
    remedy = message.partition("use encoding=")[2].removesuffix(".")
    assert read_text(path, encoding=remedy) == text


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        ("Größe, früher\n", "latin-1", "It may be latin-1: use encoding=latin-1."),
        ("“Größe” – früher\n", "cp1252", "It may be cp1252: use encoding=cp1252."),
        (
            "размер и раньше\n",
            "cp1251",
            "Name the encoding that it is written in, encoding=: cp1251",
        ),
    ],
)
def test_what_is_not_utf8_is_answered_with_what_it_may_be(
    tmp_path: Path, text: str, encoding: str, said: str
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode(encoding) * 9)
    for named in (None, "utf-8"):
        with pytest.raises(DataError, match=r"expected UTF-8 text, got byte") as caught:
            read_text(path, encoding=named)
        assert said in str(caught.value)
    assert read_text(path, encoding=encoding) == text * 9


@pytest.mark.medium
def test_a_name_that_is_no_encoding_is_answered_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("text")
    for name, hint in (
        ("latn-1", "Did you mean latin-1?"),
        ("utf_9", "Did you mean utf-8?"),
        ("utf9", "Did you mean utf8?"),
        ("rot13", "Use utf-8, latin-1 or cp1252, for example."),  # of no text
        ("", "Use utf-8"),
    ):
        message = f"encoding: expected the name of an encoding of text, got '{name}'. {hint}"
        with pytest.raises(ValueError, match=re.escape(message)):
            read_text(path, encoding=name)


def test_a_nul_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("é and so on and on".encode() + b"\0 and on")
    with pytest.raises(DataError, match=r"got a NUL at byte offset 19\. .*--level byte"):
        list(read_pieces(path, is_learned=True))
    assert read_text(path, "byte").endswith("\0 and on")


def zipped(data: bytes, *more: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/text.txt", data)
        for name in more:
            archive.writestr(name, "more")
    return held.getvalue()


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped,
}


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("name", ["text.txt.{}", "text.{}", "TEXT.TXT", "text"])
def test_compressed_files_are_read(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / name.format(suffix)
    path.write_bytes(COMPRESSORS[suffix](("\ufeff" + TEXT).encode("utf-16-le")))
    assert read_text(path) == TEXT
    expected = suffix != "zip" and suffix in path.suffix
    assert ("\ufeff".encode("utf-16-le") in read_text(path, "byte").encode(
        "utf-8", "surrogateescape"
    )[:2]) == expected  # fmt: skip


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_a_damaged_compressed_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text.{suffix}"
    whole = COMPRESSORS[suffix](os.urandom(1000))
    for data in (b"plain text", whole[:500], whole[:300] + b"\0" * 400 + whole[700:]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"text\.{suffix}: expected a whole \w+ file"):
            read_text(path)


def test_archives_that_hold_no_single_text(tmp_path: Path) -> None:
    path = tmp_path / "texts.zip"
    path.write_bytes(zipped(b"text", "__MACOSX/._text.txt"))
    assert read_text(path) == "text"
    path.write_bytes(zipped(b"text", "other.txt"))
    with pytest.raises(DataError, match=r"a zip archive of one text, got one of 2 files\."):
        read_text(path)
    path = tmp_path / "text.txt.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd and so on")
    with pytest.raises(DataError, match=r"got one of zstd\. Decompress it: zstd -d "):
        read_text(path)


def test_what_is_no_file_is_named_at_the_call(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.txt: expected a text file, got no such file"):
        read_pieces(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match=r"expected a text file, got a folder\. Name a file in it"):
        read_pieces(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="expected an ordinary file, got a pipe or device"):
        read_pieces(tmp_path / "pipe")


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_an_empty_file_is_named(tmp_path: Path, level: str) -> None:
    path = tmp_path / "empty.txt"
    path.touch()
    with pytest.raises(DataError, match=r"empty\.txt: expected text, got an empty file"):
        read_text(path, level)


def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("text")

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"text\.txt: expected a file that can be read, got Perm"):
        read_text(path)


def test_a_chunk_has_at_least_a_byte(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("text")
    with pytest.raises(ValueError, match="chunk_bytes: expected at least 1, got 0"):
        read_pieces(path, chunk_bytes=0)


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_a_file_may_be_in_another_encoding(tmp_path: Path, chunk_bytes: int) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("Größe\n".encode("latin-1"))
    read = read_pieces(path, chunk_bytes=chunk_bytes, encoding="latin-1")
    assert "".join(read) == "Größe\n"
    path.write_bytes("Größe\n".encode("utf-16-le"))
    assert read_text(path, encoding="utf-16-le") == "Größe\n"
    path.write_bytes("Größe\n".encode("utf-8-sig"))  # a mark says more than what is given
    assert read_text(path, encoding="latin-1") == "Größe\n"


def test_what_is_not_in_the_encoding_given_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("Größe\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"expected ASCII text, got byte 0xf6.*encoding="):
        read_text(path, encoding="ascii")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Größe\n".encode("utf-16-le") * 9, "looks like UTF-16-LE .*: use encoding=utf-16-le"),
        (b"words\n", "Name the encoding that it is written in, encoding="),
    ],
)
def test_an_encoding_that_needs_a_mark_is_refused_without_one(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"text.txt: expected UTF-16 text, got none .*BOM.*{said}"):
        read_text(path, encoding="utf-16")
    path.write_bytes("Größe\n".encode("utf-16"))
    assert read_text(path, encoding="utf-16") == "Größe\n"


@pytest.mark.parametrize("name", ["punycode", "idna", "hex", "rot13", "undefined"])
def test_what_spells_no_texts_is_no_encoding_of_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / "text.txt"
    path.write_text("words")
    with pytest.raises(ValueError, match="encoding: expected the name of an encoding of text"):
        read_text(path, encoding=name)
