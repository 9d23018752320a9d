"""What a user names as text: several files, folders and standard input, read as one text."""

import gzip
import hashlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from recurra.errors import DataError
from recurra.text.corpus import NUM_KEPT, check_texts, opened_corpus, say_what


def text_of(named: Any, **how: Any) -> str:
    with opened_corpus(named, **how) as corpus:
        return "".join(corpus.pieces())


def written(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_files_are_joined_in_their_order_and_never_within_a_line(tmp_path: Path) -> None:
    written(tmp_path, {"b": "two", "a": "one\n", "c": "three\r\n", "d": "four\r"})
    files = [tmp_path / name for name in "bacda"]
    assert text_of(files) == "two\none\nthree\r\nfour\rone\n"
    assert text_of(files, level="byte") == "twoone\nthree\r\nfour\rone\n"
    assert text_of(files[0]) == text_of([str(files[0])]) == "two"


def test_of_a_folder_its_texts_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "b.md": "b\n",
        "a/z.txt": "a/z\n",
        "a.txt": "a\n",
        "c.txt.gz": gzip.compress(b"c\n"),
        "d.txt": "d\n".encode("utf-16"),
        ".hidden": "x",
        ".ipynb_checkpoints/a.txt": "x",
        "a/__pycache__/x.py": "x",
        "photo.jpg": b"\xff\xd8\xff\0\0\0",
        "weights.bin": bytes(range(256)),
        "paper.pdf": b"%PDF-1.7 words",
        "nothing.txt": "",
        "mark.txt": b"\xef\xbb\xbf",
    }
    folder = written(tmp_path / "texts", files)
    (folder / "pipe").symlink_to("/dev/null")
    with opened_corpus(folder) as corpus:
        assert "".join(corpus.pieces()) == "a\na/z\nb\nc\nd\n"
        assert [file.relative_to(folder).as_posix() for file in corpus.files] == [
            *("a.txt", "a/z.txt", "b.md", "c.txt.gz", "d.txt")
        ]
        assert corpus.left_out == (
            "mark.txt (empty)",
            "nothing.txt (empty)",
            "paper.pdf (no text)",
            "photo.jpg (no text)",
            "pipe (no file)",
            "weights.bin (no text)",
        )
    assert text_of([folder / "b.md", folder]) == "b\na\na/z\nc\nd\n"


def test_at_the_level_of_bytes_every_file_of_a_folder_is_read(tmp_path: Path) -> None:
    folder = written(tmp_path, {"a.txt": "a", "b.bin": b"\xff\0", ".c": "x", "d": ""})
    assert text_of(folder, level="byte").encode("utf-8", "surrogateescape") == b"a\xff\0"


def test_what_is_held_out_is_left_out_of_a_folder(tmp_path: Path) -> None:
    folder = written(tmp_path, {"a.txt": "a\n", "b.txt": "b\n", "val/c.txt": "c\n"})
    held_out = (folder / "b.txt", [folder / "val"], None, "-")
    with opened_corpus(folder, without=held_out) as corpus:
        assert "".join(corpus.pieces()) == "a\n"
        assert corpus.left_out == ("b.txt (held out)", "val/c.txt (held out)")


def test_what_a_folder_has_is_read_once(tmp_path: Path) -> None:
    folder = written(tmp_path / "dd", {"x.txt": "x\n", "sub/y.txt": "y\n"})
    (folder / "again.txt").symlink_to(folder / "x.txt")  # of one folder, and of no other
    assert text_of(folder) == "x\ny\nx\n"
    (folder / "again.txt").unlink()
    for named, text, left_out in (
        ([folder, folder / "x.txt"], "y\nx\n", "x.txt (named by itself)"),
        ([folder / "x.txt", folder], "x\ny\n", "x.txt (named by itself)"),
        ([folder / "sub", folder], "y\nx\n", "sub/y.txt (read already)"),
    ):
        with opened_corpus(named) as corpus:
            assert ("".join(corpus.pieces()), corpus.left_out) == (text, (left_out,))
    with pytest.raises(
        DataError, match=r"got none in it, only sub/y\.txt \(read already\), x\.txt"
    ):
        text_of([folder, folder])


def test_what_is_held_out_is_not_named_to_be_learned(tmp_path: Path) -> None:
    folder = written(tmp_path / "dd", {"x.txt": "x\n", "y.txt": "y\n"})
    for held_out in (folder / "x.txt", folder, [folder / "y.txt", folder / "x.txt"]):
        with pytest.raises(DataError, match=r"x\.txt: expected a text that is not held out, got"):
            text_of(folder / "x.txt", without=[None, held_out])
    assert text_of(folder / "x.txt", without=[folder / "y.txt"]) == "x\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"expected a folder with text files, got none in it\. Name"),
        ({".a": "x"}, r"got none in it\. Name"),
        ({"a.bin": b"\0"}, r"got none in it, only a\.bin \(no text\)\. Name"),
        ({"a.txt": "Größe".encode("latin-1")}, r"a\.txt: expected UTF-8 .*encoding=latin-1"),
    ],
)
def test_folders_that_cannot_be_read(
    tmp_path: Path, files: dict[str, str | bytes], message: str
) -> None:
    folder = written(tmp_path / "texts", files)
    folder.mkdir(exist_ok=True)
    with pytest.raises(DataError, match=message):
        text_of(folder)


def test_a_file_that_may_not_be_read_is_an_error_and_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path, {"a.txt": "a", "b.txt": "b"})
    opened = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "b.txt":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        DataError, match=r"b\.txt: expected a file that can be read, got Permission"
    ):
        text_of(folder)


def test_standard_input_is_one_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\n")
    pipe(monkeypatch, gzip.compress(b"piped"))
    with opened_corpus(["-", file], folder=tmp_path / "new") as corpus:
        assert "".join(corpus.pieces()) == "".join(corpus.pieces()) == "piped\na\n"
        assert corpus.what()["files"][0]["path"] == "-"
    assert list((tmp_path / "new").iterdir()) == []


def test_what_is_wrong_with_standard_input_is_said_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, message in (
        (b"", "standard input: expected text, got an empty file"),
        (b"\xef\xbb\xbf", "standard input: expected text, got an empty file"),
        ("Größe".encode("latin-1"), "standard input: expected UTF-8 text, got byte 0xf6"),
        (b"a\0b", "standard input: expected text, got a NUL"),
    ):
        pipe(monkeypatch, content)
        with pytest.raises(DataError, match=f"^{message}"):
            text_of("-", folder=tmp_path)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="standard input: expected to be read once, got - 2 times"):
        check_texts("-", None, ["a", "-"][1:])


def test_a_file_that_grows_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    written(tmp_path, {"a.txt": "a\n" * 9, "b.txt": "b\n"})
    with opened_corpus(tmp_path) as corpus:
        pieces = corpus.pieces()
        next(pieces)
        with (tmp_path / "a.txt").open("a") as file:
            file.write("more\n")
        with pytest.raises(DataError, match=r"a\.txt: expected a file that keeps still"):
            list(pieces)


@pytest.mark.parametrize("named", ["a.txt", "."])
def test_a_file_that_changes_between_two_passes_is_noticed(tmp_path: Path, named: str) -> None:
    written(tmp_path, {"a.txt": "a\n" * 9, "b.txt": "b\n"})
    with opened_corpus(tmp_path / named) as corpus:
        assert "".join(corpus.pieces()).startswith("a\n" * 9)
        written(tmp_path, {"new": "x\n" * 8})
        (tmp_path / "new").replace(tmp_path / "a.txt")
        for read in (lambda: list(corpus.pieces()), corpus.what, corpus.check_unchanged):
            with pytest.raises(DataError, match=r"a\.txt: expected a file that keeps still"):
                read()
        assert corpus.source()["size_bytes" if named == "a.txt" else "files"] == (
            18 if named == "a.txt" else [*corpus.fingerprints]
        )


def test_what_was_read_is_known_by_size_and_hash(tmp_path: Path) -> None:
    names = [f"{number:03}.txt" for number in range(NUM_KEPT + 3)]
    written(tmp_path, {**dict.fromkeys(names, "text\n"), "x.bin": b"\0"})
    with opened_corpus(tmp_path) as corpus:
        what = corpus.what()
    assert (what["num_files"], what["size_bytes"]) == (len(names), 5 * len(names))
    assert what["sha256"] == hashlib.sha256(b"text\n" * len(names)).hexdigest()
    assert len(what["files"]) == NUM_KEPT
    assert what["files"][1] == {"path": str(tmp_path / "001.txt"), "size_bytes": 5}
    assert say_what(what) == [
        ("read", "103 files, 0.5 kB: 000.txt, 001.txt, 002.txt, 003.txt and 99 more"),
        ("left out", "x.bin (no text)"),
    ]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    missing = re.escape(f"{tmp_path / 'b.txt'}: expected a text file, got no such file")
    with pytest.raises(DataError, match=missing):
        check_texts(tmp_path, None, [tmp_path / "a.txt", tmp_path / "b.txt"])
    with pytest.raises(DataError, match="expected a file or a folder, got an empty list"):
        check_texts([])
