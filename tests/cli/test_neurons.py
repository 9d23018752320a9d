"""`recurra insight RUN --find` and `--unit`: one neuron of a language model."""

from pathlib import Path
from typing import Any

import pytest
from tests.quoting import quoted_text, quoting_model
from typer.testing import CliRunner

from recurra import LanguageModel
from recurra.cli import app
from recurra.tasks import train

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the model that was set by hand: trained for a step, and its weights put back."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(quoted_text(30_000))
    model = quoting_model()
    how: dict[str, Any] = {"batch_size": 4, "bptt": 10, "max_steps": 1, "backend": "reference"}
    how |= {"hidden_size": model.recurrent.hidden_size, "embedding_size": model.embedding_size}
    train("lm", data=str(folder / "text.txt"), out=folder / "first", view=None, **how)
    model.save(folder / "first")
    return folder / "first"


def invoke(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["insight", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.medium
def test_a_neuron_is_found_shown_and_written(run: Path, tmp_path: Path) -> None:
    code, said = invoke(run, "--find", "quotes", "--out", tmp_path / "page.html")
    assert code == 0, said
    assert "inside quotes: " in said
    assert "it is a cell" in said
    assert "where chance gives 0." in said
    assert '"' in said.partition("\n\n")[2]  # the text itself
    page = (tmp_path / "page.html").read_text()
    assert "held at" in page
    assert '<meta name="generator" content="recurra">' in page


@pytest.mark.medium
def test_a_unit_is_looked_at_and_held_over_a_text_of_ones_own(run: Path, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text(quoted_text(3000, seed=5))
    words = ("--unit", "c[0]", "--clamp", "5", "--text", tmp_path / "own.txt")
    code, said = invoke(run, *words)
    assert code == 0, said
    assert "it tracks most inside quotes (+" in said
    assert "c[0] held at 5: " in said


@pytest.mark.medium
def test_a_property_of_ones_own_is_held_at_a_value(run: Path) -> None:
    code, said = invoke(run, "--find", "/[ab]+/", "--clamp", "0.5")
    assert code == 0, said
    assert "/[ab]+/: " in said
    assert "held at 0.5: " in said


@pytest.mark.medium
def test_mistakes_are_told(run: Path, tmp_path: Path) -> None:
    LanguageModel(5, hidden_size=4, backend="reference").save(tmp_path / "other")
    page = tmp_path / "page.html"
    page.write_text("mine")
    for words, says in (
        ((run, "--find", "mood"), "find: expected inside quotes, "),
        ((run, "--find", "quotes", "--unit", "c[0]"), "or a unit to be looked at, got both"),
        ((run, "--unit", "c[6]"), "unit: expected a value and a feature of it, i[0..5], f[0..5]"),
        (
            (run, "--clamp", "1"),
            "clamp: expected it for a unit, asked for with find or unit, got",
        ),
        ((run, "--unit", "c[0]", "--clamp", "nan"), "clamp: expected a finite number, got nan"),
        ((run, "--text", page), "text: expected it for a unit, asked for with find"),
        ((run, run, "--find", "quotes"), "find: expected one run, got 2"),
        ((run, "--find", "docstrings"), "'inside docstrings' "),
        ((run, "--find", "quotes", "--out", page), "a page that is none"),
        ((tmp_path / "other", "--find", "quotes"), "run"),
    ):
        code, said = invoke(*words)
        assert code == 2, said
        assert says in " ".join(said.replace("--", "").split()), said
    assert page.read_text() == "mine"
