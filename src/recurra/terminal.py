"""What may be written on a terminal, and streams that no letter, disk or closed pipe breaks."""

import contextlib
import errno
import os
import sys
from io import TextIOWrapper
from typing import Any

# What reorders the text around it: embeddings, overrides, isolates, and their deprecated kin.
_REORDERING = (*range(0x202A, 0x202F), *range(0x2066, 0x2070))
# C0, DEL and C1: what terminals obey. Half of a surrogate pair is no character: it stands for a
# byte that is not UTF-8.
_OBEYED = (*range(0x20), *range(0x7F, 0xA0))
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_SHOWN = {
    **_SURROGATES,
    **dict.fromkeys((*_OBEYED, *_REORDERING), "\ufffd"),
    **{ord("\t"): "\t", ord("\n"): "\n", ord("\r"): "\n"},
    **{0x2028: "\n", 0x2029: "\n\n"},  # the line and paragraph separators of Unicode
}


def printable(text: str) -> str:
    """The text as a terminal may get it: all letters, and nothing that drives the terminal.

    Control characters, bytes that are not UTF-8 and what changes the direction of text become
    U+FFFD. Every other character stays, joiners and spaces of all widths too. All line ends become
    that of the terminal.
    """
    return text.replace("\r\n", "\n").translate(_SHOWN)


def legible(text: str) -> str:
    """The text with U+FFFD for half of a surrogate pair, which stands for a byte of no UTF-8."""
    return text.translate(_SURROGATES)


def typed(text: str) -> str:
    """What was typed on the command line, as UTF-8 if it is that, whatever the locale says."""
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


def prepare_streams() -> None:
    r"""Have standard streams that exist and that take any text.

    A letter that the terminal's encoding lacks is spelled out, "\u0416", instead of ending the
    program. A closed stream is replaced by one that goes nowhere, so that no file of ours takes its
    number and gets what is printed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # opening takes the lowest free number: that of the stream
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def write_exactly(text: str) -> None:
    """Write to standard output, as bytes where it is no terminal.

    A file or a pipe gets the UTF-8 of the text, with the bytes that travel in it as surrogate
    escapes; a terminal gets what it can show.
    """
    stream = sys.stdout
    if stream.isatty() or not isinstance(stream, TextIOWrapper):
        stream.write(printable(text))
    else:
        stream.flush()
        stream.buffer.write(text.encode("utf-8", "surrogateescape"))
    stream.flush()


def speaks() -> bool:
    """Whether this process speaks for all: of those that torchrun started only the first does."""
    return os.environ.get("RANK", "0") == "0" or "TORCHELASTIC_RUN_ID" not in os.environ


class Lasting:
    """A stream for what goes on whether or not anyone reads: what cannot be written is dropped.

    Stands for `stream` wherever text is written. When its reader has gone or its disk is full, that
    is said once on standard error, if there is more to it than a closed pipe, and then no more.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write it if that is possible."""
        self._attempt("write", text)
        return len(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        self._attempt("flush")

    def _attempt(self, method: str, *arguments: str) -> None:
        if self._lost:
            return
        try:
            getattr(self._stream, method)(*arguments)
        except (OSError, ValueError) as error:  # ValueError: of a stream that was closed here
            self._lost = True
            release(self._stream)
            if isinstance(error, OSError) and error.errno not in (errno.EPIPE, errno.EIO):
                with contextlib.suppress(OSError, ValueError):
                    print(
                        f"recurra: standard output: expected to write it, got: {error.strerror}. "
                        "Going on without it.",
                        file=sys.stderr,
                    )


def release(stream: Any) -> None:
    """Send what a stream still holds nowhere: Python would stumble over it at the program's end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
        stream.flush()
