"""Reading text files in pieces, so that no file needs to fit in memory.

A file is text in one of the encodings of Unicode, as it is or compressed. Which one is read off
its first bytes where they say so; what says nothing is UTF-8 unless another encoding is named, and
where it is not, that is an error that names the place and the encoding that it may be in.
"""

import bz2
import codecs
import gzip
import lzma
import re
import shlex
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import IO

from recurra import settings
from recurra.errors import DataError, argument

CHUNK_BYTES = 1 << 20
MAX_HELD_CHARACTERS = 1 << 20
_BYTE_ORDER_MARK = "\ufeff"
_ENCODINGS = (  # by the mark that a file begins with; the longer marks first
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
_COMPRESSED = (  # by name and by first bytes
    ("gzip", ".gz", re.compile(rb"\x1f\x8b\x08")),
    ("bzip2", ".bz2", re.compile(rb"BZh[1-9]1AY&SY")),
    ("xz", ".xz", re.compile(rb"\xfd7zXZ\0")),
    ("zip", ".zip", re.compile(rb"PK\x03\x04")),
    ("zstd", ".zst", re.compile(rb"\x28\xb5\x2f\xfd")),
    ("7z", ".7z", re.compile(rb"7z\xbc\xaf\x27\x1c")),
)
_BINARY = (b"%PDF-", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"PAR1", b"\x7fELF", b"OggS", b"ID3")
_ENDIAN = re.compile("-[lb]e$")
_CUT = re.compile(r"(?<=\S)[ \t\r\n]")
_WINDOW = 4096


def read_text(
    path: str | PathLike[str], level: str = "char", *, encoding: str | None = None
) -> str:
    """The whole text of a file, for files that fit in memory; otherwise as `read_pieces`."""
    return "".join(read_pieces(path, level=level, encoding=encoding))


def read_pieces(
    path: str | PathLike[str],
    *,
    level: str = "char",
    chunk_bytes: int = CHUNK_BYTES,
    encoding: str | None = None,
    is_learned: bool = False,
) -> Iterator[str]:
    """The text of a file in pieces, in order.

    The file is UTF-8 or in the encoding given; a byte order mark of UTF-8, UTF-16 or UTF-32 says
    more than either, and is dropped. A NUL is no
    text. Files of gzip, bzip2 and xz are decompressed, and so is a zip archive of one file. At
    level "byte" a file may be anything: what is not UTF-8 comes as surrogate escapes, which
    `ByteVocabulary` turns back into the same bytes, and only names that end in .gz, .bz2 or .xz
    are decompressed. Line ends are kept as they are.

    Args:
        path: the file.
        level: the level of the vocabulary that the text is for.
        chunk_bytes: bytes to read at a time.
        encoding: of a file without a byte order mark, such as "latin-1"; None means UTF-8.
        is_learned: whether it is for a language model, which could learn its bytes instead.
    Raises:
        DataError: at the call when there is no such file; while reading when it is empty, not
            in its encoding (naming the byte offset), has a NUL, cannot be read, or is damaged.
        ValueError: when chunk_bytes is below 1, or there is no such encoding.
    """
    if chunk_bytes < 1:
        raise ValueError(f"chunk_bytes: expected at least 1, got {chunk_bytes}. Leave it out.")
    if encoding is not None:
        check_encoding(encoding)
    source = check_source(path)
    return _pieces(source, chunk_bytes, level == "byte", encoding, is_learned)


def check_encoding(encoding: str) -> None:
    """Raise ValueError unless Python knows an encoding of text by this name."""
    settings.encoding("encoding", encoding)


def check_source(path: str | PathLike[str]) -> Path:
    """The path, when an ordinary file is there; it is read twice, so a pipe will not do."""
    source = Path(path)
    if source.is_dir():
        raise DataError(f"{source}: expected a text file, got a folder. Name a file in it.")
    if not source.exists():
        raise DataError(f"{source}: expected a text file, got no such file. Check the path.")
    if not source.is_file():
        raise DataError(
            f"{source}: expected an ordinary file, got a pipe or device. Save its text to a file; "
            f"a language model also takes what is piped in, {argument('data=-')}."
        )
    return source


def said_of_storage(source: Path) -> list[str]:
    """What a reader should be told of how a text is stored, where its name does not say it."""
    said = []
    with source.open("rb") as file:
        head = file.read(16)
    kind = _compression(source, as_bytes=False)
    if kind != "plain" and not source.name.lower().endswith(_suffix_of(kind)):
        said.append(f"{source.name} is a {kind} file, whatever its name says")
    marked = next((name for mark, name in _ENCODINGS if head.startswith(mark)), "utf-8")
    if marked != "utf-8":
        said.append(f"{source.name} is {_ENDIAN.sub('', marked).upper()}, as its first bytes say")
    return said


def head_of(source: Path) -> bytes | None:
    """The first bytes of what a file holds, decompressed; None where that cannot be done.

    Raises:
        DataError: when the file itself cannot be read.
    """
    try:
        with _open(source, _compression(source, as_bytes=False)) as file:
            return file.read(_WINDOW)
    except PermissionError as error:
        raise DataError(
            f"{source}: expected a file that can be read, got {error.strerror}. "
            "Check its permissions and its disk."
        ) from error
    except (DataError, OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile):
        return None


def looks_like_text(head: bytes, encoding: str | None = None) -> bool:
    """Whether a file that begins so is text, if in another encoding; one with a NUL is not, unless
    it is of two or four bytes a character."""
    if any(head.startswith(mark) for mark, _ in _ENCODINGS) or not head.count(0):
        return not head.startswith(_BINARY)
    if encoding is not None:
        return "\0" not in head.decode(encoding, "replace")
    return _wide_encoding(head) is not None


def _suffix_of(kind: str) -> str:
    return next(suffix for name, suffix, _ in _COMPRESSED if name == kind)


def whole_words(pieces: Iterable[str]) -> Iterator[str]:
    """The same text, cut only where a word has just ended and whitespace begins.

    There the tokens of both sides stand on their own: no word, number, mark or run of whitespace
    lies across such a cut. A stretch of more than a million characters without one is cut where
    it stands, so that memory stays bounded.
    """
    held = ""
    for piece in pieces:
        held += piece
        cut = _last_cut(held)
        if cut == 0 and len(held) > MAX_HELD_CHARACTERS:
            cut = len(held)
        if cut:
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _last_cut(text: str) -> int:
    """The last place in the text to cut at, 0 when there is none; looks near the end first."""
    for start in (max(0, len(text) - _WINDOW), 0):
        cuts = [match.start() for match in _CUT.finditer(text, start)]
        if cuts:
            return cuts[-1]
    return 0


def _pieces(
    source: Path, chunk_bytes: int, as_bytes: bool, given: str | None, is_learned: bool
) -> Iterator[str]:
    errors = "surrogateescape" if as_bytes else "strict"
    encoding = "utf-8" if as_bytes else given or "utf-8"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    num_decoded = 0  # bytes turned into characters so far; those of a cut character wait
    head = b""
    empty = True
    for chunk, final in _chunks(source, chunk_bytes, as_bytes):
        if not head and not as_bytes:
            head = chunk
            marked = (name for mark, name in _ENCODINGS if head.startswith(mark))
            encoding = next(marked, encoding)
            decoder = codecs.getincrementaldecoder(encoding)(errors)
        num_waiting = len(decoder.getstate()[0])
        try:
            piece = decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            if final and encoding not in (
                "utf-8",
                given,
            ):  # of UTF-8 it may as well be the end of Latin-1
                raise DataError(
                    f"{source}: expected whole {encoding.upper()} text, as its first bytes say it "
                    "is, got one that is cut short in the middle of a character, at byte offset "
                    f"{num_decoded + error.start}. Copy or write the file again."
                ) from error
            near = _around(error.object, error.start)
            raise DataError(
                f"{source}: expected {_ENDIAN.sub('', encoding).upper()} text, got byte "
                f"0x{error.object[error.start]:02x} at byte offset {num_decoded + error.start} "
                f"({error.reason}). {_remedy(head, given, is_learned, near)}"
            ) from error
        except UnicodeError as error:  # of UTF-16 and UTF-32 without the mark that they must have
            raise DataError(
                f"{source}: expected {encoding.upper()} text, got none ({error}). "
                f"{_remedy(head, given, is_learned)}"
            ) from error
        if not as_bytes and "\0" in piece:
            offset = num_decoded + len(piece[: piece.index("\0")].encode(encoding))
            raise DataError(
                f"{source}: expected text, got a NUL at byte offset {offset}. "
                f"{_remedy(head, given, is_learned)}"
            )
        num_decoded += num_waiting + len(chunk) - len(decoder.getstate()[0])
        if empty and not as_bytes:
            piece = piece.removeprefix(_BYTE_ORDER_MARK)
        if piece:
            empty = False
            yield piece
    if empty:
        raise DataError(f"{source}: expected text, got an empty file. Name a file that has text.")


def _remedy(head: bytes, given: str | None, is_learned: bool, near: bytes | None = None) -> str:
    """What to do about a file that is not the text that it should be.

    Args:
        head: its first bytes.
        given: the encoding that was named.
        is_learned: see `read_pieces`.
        near: the bytes about one that is wrong; None: it has a NUL.
    """
    encoding = _wide_encoding(head)
    if encoding is not None:
        return (
            f"It looks like {encoding.upper()} without a byte order mark: use "
            f"{argument(f'encoding={encoding}')}."
        )
    if given is not None and codecs.lookup(given).name != "utf-8":
        return f"Name the encoding that it is written in, {argument('encoding=')}."
    of_bytes = "; recurra train lm --level byte learns what is no text." if is_learned else "."
    if near is None or b"\0" in near or head.startswith(_BINARY):
        return f"It is no text, or in an encoding to be named by {argument('encoding=')}{of_bytes}"
    likely = _likely_encoding(near)
    if likely is None:
        return (
            f"Name the encoding that it is written in, {argument('encoding=')}: cp1251, koi8-r, "
            f"gb18030, shift-jis or another{of_bytes}"
        )
    return f"It may be {likely}: use {argument(f'encoding={likely}')}{of_bytes}"


def _around(chunk: bytes, place: int) -> bytes:
    return chunk[max(0, place - _WINDOW) : place + _WINDOW]


def _likely_encoding(near: bytes) -> str | None:
    """That of Western languages which has these bytes; None where few of them are ASCII."""
    beyond = [byte for byte in near if byte >= 0x80]
    if len(beyond) > 0.45 * len(near):
        return None
    try:
        near.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252" if min(beyond, default=0xFF) < 0xA0 else "latin-1"


def _wide_encoding(head: bytes) -> str | None:
    """The encoding of two or four bytes a character whose NULs are where those of `head` are."""
    head = head[: len(head) // 4 * 4][:_WINDOW]
    if not head.count(0):
        return None
    # In four bytes: where most texts have their NULs. Of UTF-32 they are in one half.
    for encoding, places in (
        ("utf-32-le", (2, 3)),
        ("utf-32-be", (0, 1)),
        ("utf-16-le", (1, 3)),
        ("utf-16-be", (0, 2)),
    ):
        found = [head[place::4].count(0) for place in places]
        of_all = sum(found) / head.count(0)
        if min(found) > 0.125 * len(head) and (of_all > 0.9 or encoding.startswith("utf-32")):
            return encoding
    return None


def _chunks(source: Path, chunk_bytes: int, as_bytes: bool) -> Iterator[tuple[bytes, bool]]:
    """The file's bytes and, with an empty last chunk, whether that was all."""
    kind = "plain"
    try:
        kind = _compression(source, as_bytes)
        with _open(source, kind) as file:
            # The first chunk has a whole byte order mark.
            size = max(chunk_bytes, 4)
            while chunk := file.read(size):
                yield chunk, False
                size = chunk_bytes
            yield b"", True
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
        raise _damaged(source, kind, error) from error
    except OSError as error:
        if kind != "plain" and error.errno is None:  # the decompressors' own
            raise _damaged(source, kind, error) from error
        raise DataError(
            f"{source}: expected a file that can be read, got {error.strerror or error}. "
            "Check its permissions and its disk."
        ) from error


def _damaged(source: Path, kind: str, error: Exception) -> DataError:
    return DataError(
        f"{source}: expected a whole {kind} file, got {error}. Copy or compress it again."
    )


def _compression(source: Path, as_bytes: bool) -> str:
    """How a file is compressed, or "plain"; at the level of bytes its name alone says so."""
    with source.open("rb") as file:
        head = file.read(16)
    for kind, suffix, magic in _COMPRESSED:
        if as_bytes and kind not in ("gzip", "bzip2", "xz"):
            continue
        if source.suffix.lower() == suffix or (not as_bytes and magic.match(head)):
            return kind
    return "plain"


@contextmanager
def _open(source: Path, kind: str) -> Iterator[IO[bytes]]:
    if kind in ("zstd", "7z"):
        command = "zstd -d" if kind == "zstd" else "7z x"
        raise DataError(
            f"{source}: expected text, or a file of gzip, bzip2, xz or zip, got one of {kind}. "
            f"Decompress it: {command} {shlex.quote(str(source))}"
        )
    if kind == "zip":
        with zipfile.ZipFile(source) as archive, archive.open(_only_file(source, archive)) as file:
            yield file
        return
    openers = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "plain": open}
    with openers[kind](source, "rb") as file:
        yield file


def _only_file(source: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    files = [
        file
        for file in archive.infolist()
        if not file.is_dir() and not file.filename.startswith("__MACOSX/")
    ]
    if len(files) != 1 or files[0].flag_bits & 1:
        got = "an encrypted one" if len(files) == 1 else f"one of {len(files)} files"
        raise DataError(
            f"{source}: expected a zip archive of one text, got {got}. "
            f"Unpack it and name the text: unzip {shlex.quote(str(source))}"
        )
    return files[0]
