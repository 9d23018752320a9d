import io
import logging
from dataclasses import replace

import pytest
from rich.console import Console

from recurra.views import (
    Figure,
    LiveView,
    PlainView,
    Sample,
    SilentView,
    Status,
    View,
    view_for,
)
from recurra.views.view import clock, describe, showing_builds

STATUS = Status(
    step=50,
    total_steps=200,
    epoch=1.5,
    fraction=0.25,
    train={"nll": 2.0, "bpc": 2.885},
    val={"nll": 2.1, "bpc": 3.03},
    figures=(Figure(name="nll"), Figure(name="bpc", spec=".4g")),
    counted="tokens",
    per_s=12345.6,
    lr=0.002,
    grad_norm=0.5,
    skipped=2,
    elapsed_s=30.0,
    seconds_left=90.0,
)
SAMPLE = Sample(
    fraction=0.1, step=20, epoch=0.6, about="temperature 0.8", text="[bold]a\x1b[31mb\n"
)


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=90, color_system=None)


def shown(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_line_has_progress_losses_speed_and_time_left() -> None:
    assert describe(STATUS) == (
        "step 50 of 200, 25%, epoch 1.50, nll 2.0000 (bpc 2.885), val nll 2.1000 (bpc 3.03), "
        "lr 0.002, grad norm 0.5, 12,346 tokens/s, 2 skipped, 1:30 left"
    )


def test_before_training_there_is_a_bar_of_what_is_done_then() -> None:
    status = replace(STATUS, before="flossing")
    assert describe(status) == "flossing: step 50 of 200, 25%, 1:30 left"
    where = console(terminal=True)
    with LiveView(where, title="lstm") as view:
        view.progressed(status)
    for words in ("flossing: step 50 of 200", "25%, 0:30 gone, 1:30 left"):
        assert words in shown(where)
    assert "lr 0.002" not in shown(where)


def test_plain_lines_come_every_ten_seconds_and_at_the_end() -> None:
    where = console(terminal=False)
    with PlainView(where) as view:
        for step in range(50, 55):
            view.progressed(replace(STATUS, step=step))
    assert [line.partition(" of")[0] for line in shown(where).splitlines()] == [
        "step 50",  # at once
        "step 54",  # where it ended, however it ended
    ]


def test_the_last_frame_stays_when_a_run_is_stopped() -> None:
    """Whole, and with room beside its border for the ^C that the terminal shows."""
    where = console(terminal=True)
    view = LiveView(where, title="lstm")
    with view:
        view.progressed(STATUS)
    with pytest.raises(KeyboardInterrupt), view:
        raise interrupted_after(view)
    frame = shown(where).rpartition("\u256d")[2]
    assert "step 77 of 200" in frame
    assert frame.rstrip().endswith("\u256f\n\x1b[?25h".rstrip())
    assert max(len(line) for line in frame.splitlines()) <= 90 - 2


def interrupted_after(view: View) -> KeyboardInterrupt:
    view.progressed(replace(STATUS, step=77))
    return KeyboardInterrupt()


def test_a_run_that_ends_takes_its_panel_away() -> None:
    where = console(terminal=True)
    with LiveView(where, title="lstm") as view:
        view.progressed(STATUS)
    assert shown(where).rpartition("\u256f")[2].count("\x1b[2K") > 1


def test_building_kernels_is_said_once() -> None:
    where = console(terminal=False)
    with PlainView(where) as view, showing_builds(view):
        for _ in range(3):
            logging.getLogger("recurra.build").info("building kernels with %s", "g++")
    logging.getLogger("recurra.build").info("building kernels with %s", "g++")
    assert shown(where).count("building kernels with g++") == 1


def test_plain_lines_show_samples_and_news_without_obeying_them() -> None:
    where = console(terminal=False)
    with PlainView(where, every_s=0.0) as view:
        view.sampled(SAMPLE)
        view.noted("step 7 skipped [red]")
    assert "[bold]a\ufffd[31mb" in shown(where)
    assert "step 7 skipped [red]" in shown(where)
    assert "\x1b[31m" not in shown(where)


def test_the_panel_draws_everything() -> None:
    where = console(terminal=True)
    with LiveView(where, title="lstm [x]") as view:
        view.progressed(STATUS)
        view.sampled(SAMPLE)
        view.noted("a note")
    text = shown(where)
    for words in ("lstm [x]", "step 50 of 200", "bpc 3.03", "12,346 tokens/s", "1:30 left"):
        assert words in text
    assert "[bold]a" in text
    assert "a note" in text
    assert "2 steps skipped" in text


def test_the_view_follows_the_console() -> None:
    assert isinstance(view_for(console(terminal=True), title="x"), LiveView)
    assert isinstance(view_for(console(terminal=False), title="x"), PlainView)
    assert isinstance(SilentView(), View)


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0.0, 75.4, 3600.0, 7325.0)] == [
        "0:00",
        "1:15",
        "1:00:00",
        "2:02:05",
    ]
