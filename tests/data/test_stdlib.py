"""The default text: which files it is made of, and that it is written whole."""

import platform
from pathlib import Path

import pytest

from recurra.data import read_text, stdlib_source
from recurra.errors import DataError


@pytest.fixture
def library(tmp_path: Path) -> Path:
    root = tmp_path / "lib"
    for name, data in {
        "b.py": b"b = 1",
        "a/z.py": b"z = 2\n",
        "a.py": "a = 'é'\n".encode(),
        "empty.py": b"",
        "latin.py": b"# \xe9\n",
        "notes.txt": b"not source\n",
        "test/test_b.py": b"assert b\n",
        "a/tests/c.py": b"c\n",
        "site-packages/p.py": b"p\n",
        "idlelib/i.py": b"i\n",
        "lib2to3/l.py": b"l\n",
        "turtledemo/t.py": b"t\n",
        "ensurepip/e.py": b"e\n",
        "__pycache__/b.py": b"cached\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_files_are_chosen_and_ordered(library: Path, tmp_path: Path) -> None:
    source = stdlib_source(library)
    assert [file.relative_to(library).as_posix() for file in source.files] == [
        "a.py",
        "a/z.py",
        "b.py",
    ]
    text = "a = 'é'\nz = 2\nb = 1\n"
    assert "".join(source.pieces()) == text
    assert source.size_bytes == len(text.encode())
    assert read_text(source.write(tmp_path / "new" / "text.txt")) == text


def test_the_license_is_the_one_beside_the_library(library: Path) -> None:
    assert stdlib_source(library).license == (
        "PSF License Agreement, https://docs.python.org/3/license.html"
    )
    (library / "LICENSE.txt").write_text("terms")
    assert stdlib_source(library).license == f"PSF License Agreement, {library / 'LICENSE.txt'}"


def test_an_unchanged_text_is_left_as_it_is(library: Path, tmp_path: Path) -> None:
    target = stdlib_source(library).write(tmp_path / "text.txt")
    state = target.stat()
    stdlib_source(library).write(target)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (state.st_ino, state.st_mtime_ns)
    (library / "b.py").write_text("b = 3\n")
    stdlib_source(library).write(target)
    assert read_text(target).endswith("b = 3\n")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["text.txt"]


def test_this_interpreter_has_its_library() -> None:
    source = stdlib_source()
    assert source.python_version == platform.python_version()
    assert source.size_bytes > 3_000_000
    names = {file.relative_to(source.folder).as_posix() for file in source.files}
    assert {"os.py", "json/decoder.py", "asyncio/tasks.py"} <= names
    assert not any("test" in Path(name).parts or "site-packages" in name for name in names)


def test_an_interpreter_without_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got no \.py file\. Train on a text of your own"):
        stdlib_source(tmp_path)


def test_a_place_that_cannot_be_written_is_named(library: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"text\.txt: expected to write 21 bytes, got "):
        stdlib_source(library).write(tmp_path / "file" / "text.txt")
