import io

from rich.console import Console

from recurra.training import LiveView, PlainView, SilentView, View, printable, view_for
from recurra.training.samples import Sample
from recurra.training.view import Status, clock, describe

STATUS = Status(
    step=50,
    total_steps=200,
    epoch=1.5,
    fraction=0.25,
    nll=2.0,
    measure_name="bpc",
    measure=2.885,
    val_nll=2.1,
    val_measure=3.03,
    tokens_per_s=12345.6,
    lr=0.002,
    grad_norm=0.5,
    skipped=2,
    elapsed_s=30.0,
    seconds_left=90.0,
)
SAMPLE = Sample(
    fraction=0.1, step=20, epoch=0.6, temperature=0.8, val_nll=None, text="[bold]a\x1b[31mb\n"
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


def test_plain_lines_come_every_ten_seconds_and_at_the_end() -> None:
    where = console(terminal=False)
    with PlainView(where) as view:
        for _ in range(5):
            view.progressed(STATUS)
    assert shown(where).count("step 50") == 1


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


def test_printable_keeps_text_and_stops_control_characters() -> None:
    assert printable("é\tß\n") == "é\tß\n"
    assert printable("\x1b]0;x\x07\r") == "\ufffd]0;x\ufffd\ufffd"
