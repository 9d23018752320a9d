"""What long work tells of itself: a bar where somebody looks, and nothing elsewhere."""

import io

import pytest

from recurra.views import bar_on, unwatched


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_what_is_done_and_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    with bar_on(screen) as watch:
        watch("captioning", 0, 30)
        watch("captioning", 20, 30)
        watch("recall [x]", 1, 4)  # takes the place of the other
    shown = screen.getvalue()
    assert "recall [x]" in shown
    assert "1/4" in shown
    assert screen.getvalue().endswith("\x1b[2K")  # it is gone when it has ended


def test_nothing_is_written_where_nobody_looks() -> None:
    file = io.StringIO()
    with bar_on(file) as watch:
        watch("captioning", 3, 30)
        assert watch is unwatched
    assert file.getvalue() == ""
