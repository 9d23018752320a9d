"""The text that is always there: the source of the running interpreter's standard library."""

import os
import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from recurra.data.files import put_in_place
from recurra.errors import DataError

_SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "ensurepip",
        "idle_test",
        "idlelib",
        "lib2to3",
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)
_LICENSE = "PSF License Agreement"
_LICENSE_ADDRESS = "https://docs.python.org/3/license.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class StdlibSource:
    """Which files the text is made of; the text itself is read when it is asked for."""

    folder: Path
    files: tuple[Path, ...]
    size_bytes: int
    license: str
    python_version: str

    def pieces(self) -> Iterator[str]:
        """The text of each file in order, each ending with a line end."""
        for file in self.files:
            yield _source_text(file) or ""

    def write(self, path: str | PathLike[str]) -> Path:
        """Write the text to a UTF-8 file, whole or not at all; a file that has it stays as it is.

        Raises:
            DataError: when the file cannot be written.
        """
        target = Path(path)
        text = "".join(self.pieces()).encode()
        # Left alone when it is the same, so that a token file made from it stays fresh.
        if not (target.is_file() and target.read_bytes() == text):
            with put_in_place(target, f"{len(text)} bytes") as file:
                file.write(text)
        return target


def stdlib_source(folder: str | PathLike[str] | None = None) -> StdlibSource:
    """The Python source files of the standard library, in the order of their names.

    Tests, installed packages and bundled programs (idlelib, turtledemo, ensurepip, lib2to3) are
    left out, and so is a file that is not UTF-8.

    Args:
        folder: where the library is; None asks `sysconfig`.
    Raises:
        DataError: when there is no source there, as in an interpreter that ships bytecode only.
    """
    root = Path(folder if folder is not None else sysconfig.get_path("stdlib"))
    files: list[Path] = []
    size_bytes = 0
    for file in _python_files(root):
        text = _source_text(file)
        if text:
            files.append(file)
            size_bytes += len(text.encode())
    if not files:
        raise DataError(
            f"{root}: expected the source of the standard library, got no .py file. "
            "Train on a text of your own: data=FILE."
        )
    notice = root / "LICENSE.txt"
    return StdlibSource(
        folder=root,
        files=tuple(files),
        size_bytes=size_bytes,
        license=f"{_LICENSE}, {notice if notice.is_file() else _LICENSE_ADDRESS}",
        python_version=platform.python_version(),
    )


def _python_files(root: Path) -> list[Path]:
    files: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _SKIPPED_FOLDERS]
        files.extend(Path(folder, name) for name in names if name.endswith(".py"))
    return sorted(files, key=lambda file: file.relative_to(root).as_posix())


def _source_text(file: Path) -> str | None:
    """The file's text, ending with a line end; None when it cannot be read as UTF-8."""
    try:
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text if not text or text.endswith("\n") else text + "\n"
