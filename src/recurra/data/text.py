"""Reading text files in pieces, so that no file needs to fit in memory."""

import codecs
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from os import PathLike
from pathlib import Path

from recurra.errors import DataError

CHUNK_BYTES = 1 << 20
MAX_HELD_CHARACTERS = 1 << 20
_BYTE_ORDER_MARK = "\ufeff"
_CUT = re.compile(r"(?<=\S)[ \t\r\n]")
_WINDOW = 4096


def read_text(path: str | PathLike[str], level: str = "char") -> str:
    """The whole text of a file, for files that fit in memory; otherwise as `read_pieces`."""
    return "".join(read_pieces(path, level=level))


def read_pieces(
    path: str | PathLike[str], *, level: str = "char", chunk_bytes: int = CHUNK_BYTES
) -> Iterator[str]:
    """The text of a file in pieces, in order.

    The file is UTF-8, and a byte order mark at its start is dropped. At level "byte" it may be
    anything: what is not UTF-8 comes as surrogate escapes, which `ByteVocabulary` turns back into
    the same bytes. A name that ends in .gz is decompressed. Line ends are kept as they are.

    Args:
        path: the file.
        level: the level of the vocabulary that the text is for.
        chunk_bytes: bytes to read at a time.
    Raises:
        DataError: at the call when there is no such file; while reading when it is empty, not
            UTF-8 (naming the byte offset), cannot be read, or is a damaged .gz.
        ValueError: when chunk_bytes is below 1.
    """
    if chunk_bytes < 1:
        raise ValueError(f"chunk_bytes: expected at least 1, got {chunk_bytes}. Leave it out.")
    source = check_source(path)
    return _pieces(source, chunk_bytes, as_bytes=level == "byte")


def check_source(path: str | PathLike[str]) -> Path:
    """The path, when an ordinary file is there; it is read twice, so a pipe will not do."""
    source = Path(path)
    if source.is_dir():
        raise DataError(f"{source}: expected a text file, got a folder. Name a file in it.")
    if not source.exists():
        raise DataError(f"{source}: expected a text file, got no such file. Check the path.")
    if not source.is_file():
        raise DataError(
            f"{source}: expected an ordinary file, got a pipe or device. Save its text to a file."
        )
    return source


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


def _pieces(source: Path, chunk_bytes: int, as_bytes: bool) -> Iterator[str]:
    errors = "surrogateescape" if as_bytes else "strict"
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    num_decoded = 0  # bytes turned into characters so far; those of a cut character wait
    empty = True
    for chunk, final in _chunks(source, chunk_bytes):
        num_waiting = len(decoder.getstate()[0])
        try:
            piece = decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{source}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} at "
                f"byte offset {num_decoded + error.start} ({error.reason}). Convert the file to "
                "UTF-8, or train on its bytes with --level byte."
            ) from error
        num_decoded += num_waiting + len(chunk) - len(decoder.getstate()[0])
        if empty and not as_bytes:
            piece = piece.removeprefix(_BYTE_ORDER_MARK)
        if piece:
            empty = False
            yield piece
    if empty:
        raise DataError(f"{source}: expected text, got an empty file. Name a file that has text.")


def _chunks(source: Path, chunk_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """The file's bytes and, with an empty last chunk, whether that was all."""
    try:
        with _open(source) as file:
            while chunk := file.read(chunk_bytes):
                yield chunk, False
            yield b"", True
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{source}: expected a whole gzip file, got {error}. Copy or compress it again."
        ) from error
    except OSError as error:
        raise DataError(
            f"{source}: expected a file that can be read, got {error.strerror or error}. "
            "Check its permissions and its disk."
        ) from error


def _open(source: Path) -> BufferedIOBase:
    if source.suffix == ".gz":
        return gzip.open(source, "rb")
    return source.open("rb")
