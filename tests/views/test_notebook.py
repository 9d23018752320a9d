"""The view of a notebook, on a module that stands for IPython, which is not installed here."""

import sys
import types
from dataclasses import replace
from typing import Any

import pytest

import recurra as rc
from recurra.views import NotebookView, Sample, Status, View, in_notebook
from recurra.views.status import Figure

STATUS = Status(
    step=50,
    total_steps=200,
    epoch=0.5,
    fraction=0.25,
    train={"nll": 2.1},
    val={"nll": 2.2},
    figures=(Figure(name="nll"),),
    counted="tokens",
    per_s=12345.6,
    lr=1e-3,
    grad_norm=0.5,
    skipped=0,
    elapsed_s=30.0,
    seconds_left=90.0,
)


TEXT = "<script>\x1b[31m\nline\n" + "x\n" * 90


class ZMQInteractiveShell:
    """What a kernel's shell is called."""


class Shell(ZMQInteractiveShell):
    """Colab's."""


class TerminalInteractiveShell:
    """That of IPython in a terminal."""


class Handle:
    def __init__(self, first: str) -> None:
        self.shown = [first]

    def update(self, what: Any) -> None:
        self.shown.append(what._repr_html_())


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    """What was displayed; this process is a kernel meanwhile."""
    found: list[Handle] = []

    def display(what: Any, *, display_id: bool) -> Handle:
        assert display_id
        found.append(Handle(what._repr_html_()))
        return found[-1]

    ipython, its_display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = Shell  # type: ignore[attr-defined]
    its_display.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", its_display)
    return found


@pytest.mark.parametrize(
    ("shell", "expected"),
    [(ZMQInteractiveShell, True), (Shell, True), (TerminalInteractiveShell, False)],
)
def test_a_kernel_is_known_by_its_shell(
    handles: list[Handle], monkeypatch: pytest.MonkeyPatch, shell: type, expected: bool
) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", shell)
    assert in_notebook() is expected
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_one_line_is_drawn_over_itself(handles: list[Handle]) -> None:
    with NotebookView(title="lstm <1>") as view:
        assert isinstance(view, View)
        view.noted("train  90 characters")
        view.progressed(STATUS)
        view.progressed(replace(STATUS, step=99, fraction=0.5))
    [handle] = handles
    assert "the first step ..." in handle.shown[0]
    assert "step 50 of 200" in handle.shown[2]
    last = handle.shown[-1]
    assert "step 99 of 200" in last
    assert "step 50 of 200" not in last
    for words in ("lstm &lt;1&gt;", "nll 2.1", "12,346 tokens/s", "1:30 left", "value='0.500'"):
        assert words in last
    assert "train  90 characters" in last
    assert "step 99" in repr(view)  # of a notebook that is saved as text


def test_samples_and_the_latest_news_are_shown_and_obeyed_by_nobody(handles: list[Handle]) -> None:
    with NotebookView(title="lstm") as view:
        for number in range(6):
            view.noted(f"note {number}")
        view.sampled(Sample(step=5, fraction=0.1, epoch=0.5, about="T 1", text=TEXT))
    last = handles[0].shown[-1]
    assert "<script>" not in last
    assert "&lt;script&gt;\ufffd[31m\nline" in last
    assert last.count("\nx") < 12
    assert [number for number in range(6) if f"note {number}" in last] == [0, 3, 4, 5]


def test_training_in_a_notebook_shows_it(
    handles: list[Handle], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    small: dict[str, Any] = {"max_steps": 2, "hidden_size": 4, "batch_size": 4, "sample_length": 5}
    (tmp_path / "a.txt").write_text("some text " * 300)
    given = {"data": str(tmp_path / "a.txt"), "bptt": 5, **small}
    rc.train("lm", out=tmp_path / "a", **given)
    [handle] = handles
    assert "step 2 of 2, 100%" in handle.shown[-1]
    rc.train("lm", out=tmp_path / "b", view=None, **given)
    assert len(handles) == 1
    assert capsys.readouterr().out == ""
