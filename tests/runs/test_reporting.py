"""The report of a run: short where training ends, whole when it is asked for."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from recurra.data import read_labelled
from recurra.errors import RunError
from recurra.insight.report import Figure, Report
from recurra.insight.translation import figure_of_lengths
from recurra.runs import fitting, logbook
from recurra.runs.reporting import _told_apart, report_of_several, side_by_side
from recurra.tasks import ClassifyTask, Run, train

TEXTS, LABELS = ["a fine film", "so dull", "it rains"] * 30, ["good", "bad", "bad"] * 30
HOW: dict[str, Any] = {"hidden_size": 4, "batch_size": 8, "view": None, "backend": "reference"}

pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("drawn_reports")]


def trained(folder: Path, **how: Any) -> Run:
    task = ClassifyTask.of(read_labelled((TEXTS, LABELS)))
    return train(task, out=folder, **{**HOW, "max_steps": 6, **how})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "first")


def test_training_ends_with_a_report_in_the_folder(run: Run) -> None:
    page = (run.folder / "report.html").read_text("utf-8")
    for words in ("<h1>first: ", "What is taken for what", "short report", "recurra insight"):
        assert words in page
    assert page.index('id="training"') < page.index('id="confusion"')


def test_the_whole_report_begins_with_the_figure_of_its_task(run: Run, tmp_path: Path) -> None:
    report = run.report()
    names = [figure.name for figure in report.figures]
    assert names[:3] == ["confusion", "gradient_by_lag", "gradient_flow"]
    assert names[3:] == ["fixed_points", "surface", "training", "clipping"]
    assert "a threshold of " in report.figures[-1].found
    facts = dict(report.facts)  # type: ignore[arg-type]
    assert facts["steps"] == "6"
    assert facts["hidden units"] == "4"
    report.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 1_000_000


def test_longer_examples_say_how_far_back_the_model_looks(tmp_path: Path) -> None:
    texts = ["it was a fine film", "a film that is so dull", "and so it rains"] * 30
    task = ClassifyTask.of(read_labelled((texts, LABELS)))
    run = train(task, out=tmp_path / "run", **{**HOW, "max_steps": 2})
    confusion, memory, *_ = run.report().figures
    assert [confusion.name, memory.name] == ["confusion", "memory"]
    assert list(memory.table["context, steps"]) == [1, 2, 4, 6]
    assert len(memory.table["gradient norm"]) == 6


def test_a_run_that_goes_on_has_a_new_report(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", max_steps=2)
    before = (run.folder / "report.html").read_text("utf-8")
    run.fit(max_steps=4)
    after = (run.folder / "report.html").read_text("utf-8")
    assert before != after
    assert "<dt>steps</dt><dd>4</dd>" in after


def test_runs_and_checkpoints_stand_side_by_side(run: Run, tmp_path: Path) -> None:
    other = trained(tmp_path / "second", seed=2)
    report = report_of_several([run.reported(), other.reported(), other.reported("last")])
    assert report.columns == ["first", "second", "second, last"]
    assert all(len(row) == 4 for row in report.facts)
    [training, lags, *others] = report.figures
    assert training.found.startswith("Best validation")
    assert set(lags.table) == {"lag", "first", "second", "second, last"}
    assert [each.name for each in others[-3:]] == [f"run{n}_confusion" for n in (1, 2, 3)]
    twice = _told_apart([run.reported(), run.reported("last"), run.reported()])
    assert [each.name for each in twice] == ["first", "first, last", "first (2)"]


@pytest.mark.parametrize(
    ("error", "says"),
    [(MemoryError("full"), "MemoryError: full"), (KeyboardInterrupt(), "stopped while it was")],
)
def test_a_report_that_fails_or_is_stopped_costs_a_run_nothing_else(
    error: BaseException,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    def fail(*given: Any) -> None:
        raise error

    monkeypatch.setattr(fitting, "write_brief", fail)
    with caplog.at_level("WARNING", logger="recurra"):
        run = trained(tmp_path / "run", max_steps=1)
    assert run.result is not None
    assert any(f"no report was written: {says}" in each for each in caplog.messages)


def test_where_nothing_can_draw_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(logbook, "find_spec", lambda name: None)
    with caplog.at_level("WARNING", logger="recurra"):
        run = trained(tmp_path / "run", max_steps=1)
    assert not (run.folder / "report.html").exists()
    assert any("no report was written: matplotlib is not" in each for each in caplog.messages)


def test_a_page_that_is_no_report_is_left_as_it_is(tmp_path: Path, caplog: Any) -> None:
    run = trained(tmp_path / "run", max_steps=1)
    page = run.folder / "report.html"
    page.write_text("<p>mine</p>")
    with caplog.at_level("WARNING", logger="recurra"):
        run.fit(max_steps=2)
    assert page.read_text() == "<p>mine</p>"
    assert any("no report was written: there is a page" in each for each in caplog.messages)


def test_figures_that_cannot_be_kept_cost_a_run_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    keep = logbook.FolderLogbook.keep_checkpoint

    def full(book: logbook.FolderLogbook, checkpoint: Any) -> None:
        if book.figures:
            raise RunError("no room")
        keep(book, checkpoint)

    monkeypatch.setattr(logbook.FolderLogbook, "keep_checkpoint", full)
    with caplog.at_level("WARNING", logger="recurra"):
        run = trained(tmp_path / "run", max_steps=1)
    assert any("the figures are not kept: no room" in each for each in caplog.messages)
    run.fit(max_steps=2)
    assert run.result is not None
    assert run.result.steps == 2


def test_scores_by_length_of_several_runs_are_one_figure() -> None:
    """Those of one run alone stay by themselves, as does what can only be seen of one."""

    def lengths(*bleu: float) -> Figure:
        words = ("1 to 5", "6 to 10")
        pairs = zip(words, bleu, strict=True)
        return figure_of_lengths({"": [{"words": w, "pairs": 3, "bleu": b} for w, b in pairs]})

    look = Figure(name="attention", title="Where", lede="Look.", found="So.", draw=lambda _: None)
    figures = side_by_side({"attention": [look, lengths(40, 35)], "bare": [lengths(30, 10)]})
    assert [each.name for each in figures] == ["bleu_by_length", "run1_attention"]
    both, alone = figures
    assert both.table == {
        "model": ("attention", "attention", "bare", "bare"),
        "words": ("1 to 5", "6 to 10") * 2,
        "pairs": (3, 3, 3, 3),
        "bleu": (40, 35, 30, 10),
    }
    assert "attention goes from BLEU 40.0" in both.found
    assert "bare goes from BLEU 30.0 for sources of 1 to 5 words to 10.0 for those" in both.found
    assert alone.title == "attention: Where"
    other = side_by_side({"attention": [lengths(40, 35)], "lm": [look]})
    assert [each.name for each in other] == ["run1_bleu_by_length", "run2_attention"]


def test_scores_by_length_are_drawn_a_line_for_each_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    groups = {name: [{"words": "1 to 5", "pairs": 2, "bleu": 9.0}] for name in ("one", "other")}
    report = Report(title="both", facts=[], figures=[figure_of_lengths(groups)])
    report.write(tmp_path / "both.html", tmp_path / "figures")
    drawn = (tmp_path / "figures" / "bleu_by_length.svg").read_text()
    assert "<svg" in drawn
    table = (tmp_path / "figures" / "bleu_by_length.csv").read_text().splitlines()
    assert table[1:] == ["one,1 to 5,2,9", "other,1 to 5,2,9"]
