"""The texts that a user names, files, folders and standard input, read as one text."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from recurra.errors import DataError, argument
from recurra.text.reading import (
    check_source,
    head_of,
    looks_like_text,
    read_pieces,
    said_of_storage,
)

STDIN = "-"
STDIN_NAME = "standard input"
NUM_KEPT = 100  # files that a run keeps the names of
_NUM_SAID = 4  # files that are named before the rest is counted
_COPIED_BYTES = 1 << 20

NamedTexts = str | PathLike[str] | Sequence[str | PathLike[str]]
_LEFT_BEHIND = frozenset({"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "lost+found"})


def is_hidden(path: Path) -> bool:
    """Whether a name is one that programs leave behind for themselves, not data of the user's."""
    return path.name.startswith((".", "~$")) or path.name in _LEFT_BEHIND


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Files of text that are read one after the other, as one text.

    Where a file does not end with a line end, one stands between it and the next, so that the last
    word of one does not touch the first of the other; at level "byte" nothing does.

    Attributes:
        where: what messages call it.
        files: in the order in which they are read.
        level: of the vocabulary that the text is for.
        encoding: of files without a byte order mark; None means UTF-8.
        left_out: what of folders is not read, each with the reason.
        spooled: the file that standard input was copied into; None where it is not read.
        fingerprints: of the files, as they were when the corpus was opened. A text is read several
            times, to count it, for its vocabulary and to encode it: each time it must be the same.
    """

    where: str
    files: tuple[Path, ...]
    level: str = "char"
    encoding: str | None = None
    left_out: tuple[str, ...] = ()
    spooled: Path | None = None
    fingerprints: tuple[dict[str, Any], ...]

    def pieces(self) -> Iterator[str]:
        """The text in pieces; see `read_pieces`.

        Raises:
            DataError: when a file cannot be read, is empty, or has changed since the corpus was
                opened.
        """
        ended = True
        for file, known in zip(self.files, self.fingerprints, strict=True):
            if not ended and self.level != "byte":
                yield "\n"
            _check_unchanged(file, known)
            try:
                for piece in read_pieces(
                    file, level=self.level, encoding=self.encoding, is_learned=True
                ):
                    ended = piece.endswith(("\n", "\r"))
                    yield piece
            except DataError as error:
                if file != self.spooled:
                    raise
                raise DataError(str(error).replace(str(file), STDIN_NAME)) from error
            _check_unchanged(file, known)

    def check_unchanged(self) -> None:
        """Raise DataError when a file has changed since the corpus was opened."""
        for file, known in zip(self.files, self.fingerprints, strict=True):
            _check_unchanged(file, known)

    def what(self) -> dict[str, Any]:
        """What was read, as JSON has it: `files` with `path` and `size_bytes` (the first 100 of
        them), `num_files`, `size_bytes` of all, and `sha256` of their bytes one after the other.

        Raises:
            DataError: when a file has changed since the corpus was opened: the hash would not be
                that of what was read.
        """
        self.check_unchanged()
        digest = hashlib.sha256()
        for file in self.files:
            with file.open("rb") as opened:
                while block := opened.read(_COPIED_BYTES):
                    digest.update(block)
        self.check_unchanged()
        sizes = [known["size_bytes"] for known in self.fingerprints]
        named = [STDIN if file == self.spooled else str(file.resolve()) for file in self.files]
        kept = list(zip(named, sizes, strict=True))[:NUM_KEPT]
        found: dict[str, Any] = {
            "num_files": len(self.files),
            "size_bytes": sum(sizes),
            "sha256": digest.hexdigest(),
            "files": [{"path": name, "size_bytes": size} for name, size in kept],
        }
        notes = [] if self.level == "byte" else [
            note.replace(file.name, STDIN_NAME) if file == self.spooled else note
            for file in self.files for note in said_of_storage(file)
        ]  # fmt: skip
        if notes:
            found["notes"] = notes[:NUM_KEPT]
        if self.left_out:
            found["left_out"] = list(self.left_out[:NUM_KEPT])
            found["num_left_out"] = len(self.left_out)
        return found

    def source(self) -> dict[str, Any]:
        """What the header of a token file says of it: the fingerprint of the one file, or of each
        under `files`."""
        known = self.fingerprints
        return known[0] if len(known) == 1 else {"path": self.where, "files": list(known)}


def say_what(what: dict[str, Any], part: str = "text") -> list[tuple[str, str]]:
    """What `Corpus.what` found of a part, in words: lines of a label and what stands behind it."""
    names = [Path(each["path"]).name if each["path"] != STDIN else STDIN_NAME
             for each in what["files"]]  # fmt: skip
    files = f"{what['num_files']:,} files, " if what["num_files"] > 1 else ""
    size = f"{what['size_bytes'] / 1e6:,.1f} MB"
    if what["size_bytes"] < 1e6:
        size = f"{what['size_bytes'] / 1e3:,.1f} kB"
    label = "read" if part == "text" else f"read, {part}"
    lines = [(label, f"{files}{size}: {some(names, what['num_files'])}")]
    if what.get("notes"):
        lines.append(("note", some(what["notes"])))
    if what.get("left_out"):
        lines.append(("left out", some(what["left_out"], what["num_left_out"])))
    return lines


def some(names: Iterable[str], count: int | None = None) -> str:
    """The first of several names, and how many more there are of `count`, or of these."""
    names = list(names)
    count = len(names) if count is None else count
    more = f" and {count - _NUM_SAID:,} more" if count > _NUM_SAID else ""
    return ", ".join(names[:_NUM_SAID]) + more


def check_texts(*named: NamedTexts | None) -> None:
    """Raise DataError unless every file and folder is there, and standard input named once."""
    paths = [path for each in named if each is not None for path in _listed(each)]
    for path in paths:
        if path != STDIN and not Path(path).is_dir():
            check_source(path)
    if paths.count(STDIN) > 1:
        raise DataError(
            f"{STDIN_NAME}: expected to be read once, got {STDIN} {paths.count(STDIN)} times. "
            "Save one of them to a file."
        )


@contextmanager
def opened_corpus(
    named: NamedTexts,
    *,
    level: str = "char",
    encoding: str | None = None,
    without: Sequence[NamedTexts | None] = (),
    folder: Path | None = None,
) -> Iterator[Corpus]:
    """The text of what is named, for as long as the block lasts.

    A folder is read as its text files, those of its sub-folders too, in the order of their names.
    Hidden files, empty ones and what is no text are left out of it, and so is what is named by
    itself or was read of a folder before it.

    Args:
        named: files, folders, and "-" for standard input, which is copied to a file first.
        level: of the vocabulary that it is for; of a folder, at level "byte" every file is read.
        encoding: of files without a byte order mark.
        without: other texts, whose files are left out of folders: what is held out is not learned.
        folder: where the copy of standard input stands meanwhile; None: where temporary files do.
    Raises:
        DataError: when a file is not there, a folder has no text, or a file is named that is held
            out.
    """
    paths = _listed(named)
    files: list[Path] = []
    left_out: list[str] = []
    spooled: Path | None = None
    held_out = {Path(p).resolve(): "held out" for each in without if each is not None
                for p in _listed(each) if p != STDIN}  # fmt: skip
    named_files = (Path(p).resolve() for p in paths if p != STDIN and not Path(p).is_dir())
    elsewhere = dict.fromkeys(named_files, "named by itself") | held_out
    try:
        for path in paths:
            if path == STDIN:
                spooled = spooled or _spooled(folder)
                files.append(spooled)
            elif Path(path).is_dir():
                found, beside = _texts_of(Path(path), level, encoding, elsewhere)
                files += found
                elsewhere |= {file.resolve(): "read already" for file in found}
                left_out += beside
            else:
                file = check_source(path)
                if _reason_in(held_out, file):
                    raise DataError(
                        f"{path}: expected a text that is not held out, got one that "
                        f"{argument('val_data=')} or {argument('test_data=')} has too. "
                        "Leave it out of one of them."
                    )
                files.append(file)
        names = [STDIN_NAME if path == STDIN else path for path in paths]
        yield Corpus(
            where=some(names),
            files=tuple(files),
            level=level,
            encoding=encoding,
            left_out=tuple(left_out),
            spooled=spooled,
            fingerprints=tuple(fingerprint(check_source(file)) for file in files),
        )
    finally:
        if spooled is not None:
            spooled.unlink(missing_ok=True)


def has_text(path: Path, level: str, encoding: str | None) -> bool:
    """Whether a file is one that is read of a folder, or a folder has such a file."""
    files = _files_of(path) if path.is_dir() else [path]
    return any(_why_not(file, level, encoding, {}) is None for file in files)


def _reason_in(elsewhere: Mapping[Path, str], file: Path) -> str | None:
    """What is said of a file, or of a folder that it is in, if anything."""
    places = (file.resolve(), *file.resolve().parents)
    return next((elsewhere[place] for place in places if place in elsewhere), None)


def _listed(named: NamedTexts) -> list[str]:
    several = [named] if isinstance(named, str | PathLike) else list(named)
    if not several:
        raise DataError("data: expected a file or a folder, got an empty list. Name one.")
    return [os.fspath(each) for each in several]


def _spooled(folder: Path | None) -> Path:
    """Standard input, copied into a file: it is read more than once."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix="stdin-", suffix=".part", dir=folder)
    try:
        with open(descriptor, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, _COPIED_BYTES)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise DataError(
            f"{STDIN_NAME}: expected text that can be copied to {name}, got "
            f"{error.strerror or error}. Check the room on the disk."
        ) from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _texts_of(
    folder: Path, level: str, encoding: str | None, elsewhere: Mapping[Path, str]
) -> tuple[list[Path], list[str]]:
    """The files of a folder to be read, in order, and what is left out with the reason."""
    found, left_out = [], []
    for file in _files_of(folder):
        name = file.relative_to(folder).as_posix()
        reason = _why_not(file, level, encoding, elsewhere)
        if reason is None:
            found.append(file)
        else:
            left_out.append(f"{name} ({reason})")
    if not found:
        beside = f", only {some(left_out)}" if left_out else ""
        raise DataError(
            f"{folder}: expected a folder with text files, got none in it{beside}. "
            "Name a folder or a file that has text."
        )
    return found, left_out


def _files_of(folder: Path) -> list[Path]:
    """Every file of a folder and its sub-folders that is not hidden, in the order of the names."""

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{error.filename}: expected a folder that can be read, got {error.strerror}. "
            "Check its permissions."
        )

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not is_hidden(Path(name))]
        files += [Path(parent, name) for name in names if not is_hidden(Path(name))]
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())


def _why_not(
    file: Path, level: str, encoding: str | None, elsewhere: Mapping[Path, str]
) -> str | None:
    """Why a file of a folder is left out; None where it is read."""
    if not file.is_file():
        return "no file"
    if elsewhere and (reason := _reason_in(elsewhere, file)):
        return reason
    if level == "byte":
        return None if file.stat().st_size else "empty"
    head = head_of(file)
    if head is not None and not head.removeprefix(b"\xef\xbb\xbf"):
        return "empty"
    return None if head is not None and looks_like_text(head, encoding) else "no text"


def _check_unchanged(file: Path, known: dict[str, Any]) -> None:
    if fingerprint(check_source(file)) != known:
        raise DataError(
            f"{file}: expected a file that keeps still, got changes while it was read. "
            "Start again when nothing writes to it."
        )


def fingerprint(source: Path) -> dict[str, Any]:
    """What tells one state of a file from another without reading it."""
    state = source.stat()
    return {
        "path": str(source.resolve()),
        "size_bytes": state.st_size,
        "modified_ns": state.st_mtime_ns,
    }
