import io
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import TextIO, cast

import pytest

from recurra.terminal import Lasting, legible, printable, typed

# Persian, French numbers, Japanese, German, an emoji family, Hindi, Hebrew, an English flag.
TEXTS = (
    "می\u200cروم",
    "10\u202f000\u00a0€",
    "東\u3000京",
    "Zusammen\u00adarbeit",
    "\U0001f468\u200d\U0001f469",
    "क्\u200dष",
    "\u05d0\u200f!",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "\ue000\ufeff\u200b",
)


@pytest.mark.parametrize("text", TEXTS)
def test_printable_keeps_what_languages_need(text: str) -> None:
    assert printable(text) == text


@pytest.mark.medium
def test_printable_stops_all_that_drives_a_terminal() -> None:
    """Every control character of Unicode, and all but the marks of its bidirectional ones."""
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        drives = unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\n\r"
        drives |= unicodedata.bidirectional(char) in (
            *("LRE", "RLE", "LRO", "RLO", "PDF"),
            *("LRI", "RLI", "FSI", "PDI"),
        )
        if drives:
            assert printable(f"a{char}b") == "a\ufffdb", hex(code)


def test_printable_line_ends() -> None:
    assert printable("a\r\nb\rc\u2028d\n\te") == "a\nb\nc\nd\n\te"
    assert printable("a\u2029b") == "a\n\nb"


def test_legible_has_no_half_characters() -> None:
    legible(b"caf\xe9".decode("utf-8", "surrogateescape")).encode()
    assert legible("caf\udce9 é\x1b") == "caf\ufffd é\x1b"


def test_what_is_typed_is_utf8_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed("Все") == "Все"
    assert typed("caf\udce9") == "caf\udce9"  # a byte of no UTF-8 stays what it is
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("latin-1"))
    assert typed("Все".encode().decode("latin-1")) == "Все"
    assert typed("café") == "café"  # typed on a terminal that is Latin-1 itself


class Failing(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BrokenPipeError(32, "Broken pipe"), ""),
        (ValueError("I/O operation on closed file"), ""),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_a_lasting_stream_outlives_its_reader(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Lasting(Failing(error))
    assert stream.write("one") == 3
    stream.write("two")
    stream.flush()
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == bool(said)


def test_a_lasting_stream_writes_what_can_be_written() -> None:
    file = io.StringIO()
    print("a", file=cast(TextIO, Lasting(file)), flush=True)
    assert file.getvalue() == "a\n"


PREPARED = """
import sys
from recurra.terminal import prepare_streams, write_exactly
prepare_streams()
"""


def prepared(program: str, shell: str = "", **environment: str) -> bytes:
    """What a program prints behind `prepare_streams`, as bytes."""
    words = ["sh", "-c", f'"$0" -c "$1" {shell}', sys.executable, PREPARED + program]
    done = subprocess.run(words, capture_output=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
def test_no_letter_ends_a_program(encoding: str) -> None:
    out = prepared("print('x \\u0416 \\u2014 \\udce9')", PYTHONIOENCODING=encoding)
    assert out.startswith(b"x ")
    assert b"\\udce9" in out


def test_bytes_reach_a_pipe_as_they_are_in_any_locale() -> None:
    out = prepared("write_exactly('\\u0416\\udce9\\x1b\\r\\n')", PYTHONIOENCODING="ascii")
    assert out == "Ж".encode() + b"\xe9\x1b\r\n"


def test_a_closed_stream_is_not_given_to_the_next_file(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    program = f"file = open({str(file)!r}, 'w'); print('text'); sys.stderr.write('text')"
    prepared(f"{program}; assert file.fileno() > 2", "<&- >&- 2>&-")
    assert file.read_text() == ""
