import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recurra import cells
from recurra.cli import compare
from recurra.comparison import run_trial
from recurra.comparison.workers import DeathError

pytestmark = pytest.mark.medium


@pytest.mark.parametrize(
    "words",
    [("--help",), ("train", "--help"), ("train", "lm", "--help"), ("evaluate", "--help")],
)
def test_help(recurra: Any, words: tuple[str, ...]) -> None:
    outcome = recurra(*words)
    assert outcome.code == 0
    assert "Usage: recurra" in outcome.out


def test_the_help_of_training_teaches(recurra: Any) -> None:
    text = " ".join(recurra("train", "lm", "--help").out.split())
    for words in ("Text", "Model", "Optimization", "[default: 0.003]", "recurra train lm --data"):
        assert words in text


def test_called_bare_it_shows_its_commands(recurra: Any) -> None:
    outcome = recurra()
    for command in ("train", "evaluate", "sample", "cells", "doctor"):
        assert command in outcome.out + outcome.err


def test_evaluate_prints_a_line(recurra: Any, run: Path) -> None:
    outcome = recurra("evaluate", run)
    assert outcome.code == 0
    assert outcome.out.startswith(f"{run}, test: nll ")
    assert " bpc " in outcome.out


def test_evaluate_prints_json(recurra: Any, run: Path, data: Path) -> None:
    figures = json.loads(recurra("evaluate", run, "--json", "--data", data).out)
    assert figures["split"] == "all"
    assert figures["tokens"] == len(data.read_text()) - 1
    assert figures["bpc"] == pytest.approx(figures["nll"] / math.log(2))


def test_sample_goes_on_from_the_prime_and_repeats_with_its_seed(recurra: Any, run: Path) -> None:
    words = ("sample", run, "--length", "30", "--prime", "the cat", "--seed", "7")
    outcome = recurra(*words)
    assert outcome.code == 0
    assert outcome.out.startswith("the cat")
    assert len(outcome.out) == len("the cat") + 30 + 1
    assert recurra(*words).out == outcome.out
    assert recurra(*words[:-1], "8").out != outcome.out
    assert recurra("sample", run, "--length", "30", "--temperature", "0", "--top-k", "3").code == 0


@pytest.mark.medium
def test_a_pipe_that_closes_early_is_no_error(run: Path) -> None:
    command = f"{sys.executable} -m recurra.cli sample {run} --length 3000 | head -c 5"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert len(result.stdout) == 5
    assert result.stderr == ""


@pytest.mark.parametrize("level", ["byte", "bpe"])
def test_a_model_of_bytes_writes_bytes(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path, data: Path, level: str
) -> None:
    """Whatever the model writes: an untrained one writes all 256 bytes, few of them UTF-8."""
    data.write_bytes("Ж€ the cat\n".encode() * 300)
    words = (*quick, "--level", level, "--sample-length", "40", "--prime", "caf\udce9")
    words += ("--max-steps", "1", "--lr", "1e-6", "--out", str(tmp_path / "run"))
    if level == "bpe":
        words += ("--vocab-size", "256", "--prime", "")
    assert recurra(*words).code == 0
    written = recurra("sample", tmp_path / "run", "--length", "200", "--prime", "caf", raw=True)
    assert len(written) == len(b"caf") + 200 + len(b"\n")
    assert len(set(written)) > 80
    assert "\ufffd" in (tmp_path / "run" / "samples.txt").read_text(encoding="utf-8")


def test_cells_lists_every_cell_with_its_size(recurra: Any) -> None:
    outcome = recurra("cells", "--input-size", "10", "--hidden-size", "20")
    assert outcome.code == 0
    lines = {line.split()[0]: line for line in outcome.out.splitlines() if line.strip()}
    assert set(cells.names()) <= set(lines)
    assert "2,480" in lines["lstm"]  # 4 * (20 * 10 + 20 * 20 + 20)


def test_cells_says_what_there_is_to_know(recurra: Any) -> None:
    lines = recurra("cells", "--input-size", "10", "--hidden-size", "20").out.splitlines()
    [mingru] = [line.split() for line in lines if line.startswith("mingru ")]
    assert mingru[:6] == ["mingru", "2024", "h", "2", "440", "yes"]
    [gru] = [line.split() for line in lines if line.startswith("gru ")]
    assert gru[:5] == ["gru", "2014", "h", "6", "1,860"]
    assert gru[5] == "Cho"


def test_cells_page_is_that_of_the_registry(recurra: Any) -> None:
    page = Path(__file__).parents[2] / "docs" / "cells.md"
    written = recurra("cells", "--markdown").out
    assert page.read_text() == written, "write it again: recurra cells --markdown > docs/cells.md"
    assert all(f"### {name}\n" in written for name in cells.names())


def test_cells_draws_a_graph(recurra: Any, tmp_path: Path) -> None:
    path = tmp_path / "gru.svg"
    assert recurra("cells", "gru", "--graph", path).code == 0
    assert path.read_text() == cells.get("gru").graph().svg
    assert recurra("cells", "gru", "--graph", tmp_path / "gru.png").code == 2
    assert recurra("cells", "--graph", path).code == 2


def test_cells_shows_the_equations_of_one(recurra: Any) -> None:
    outcome = recurra("cells", "gru")
    assert str(cells.get("gru")) in outcome.out
    assert cells.get("gru").latex() in outcome.out
    assert "arXiv:1406.1078" in outcome.out
    assert recurra("cells", "gru", "--latex").out.strip() == cells.get("gru").latex().strip()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gru", "--hidden-size", "-3"), "--hidden-size: expected at least 1, got -3"),
        (("--latex", "--markdown"), "--markdown: expected all cells in one form, got --latex"),
        (("gru", "--markdown"), "--markdown: expected all cells in one form, got a NAME"),
        (("--graph", "x.svg"), "--graph: expected a NAME and nothing else, got none"),
        (("gru", "--graph", "nowhere/x.svg"), "nowhere/x.svg: expected a file or folder"),
        (("gru", "--graph", "x.png"), "ends in .svg or .dot, got 'x.png'"),
    ],
)
def test_cells_says_what_is_wrong_and_nothing_else(
    recurra: Any, words: tuple[str, ...], message: str
) -> None:
    outcome = recurra("cells", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_all_cells_as_latex_with_one_heading_each(recurra: Any) -> None:
    lines = recurra("cells", "--latex").out.splitlines()
    headings = [line.removeprefix("% ") for line in lines if line.startswith("%")]
    assert headings == list(cells.names())


def test_numbers_that_json_lacks(recurra: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"nll": math.nan, "bpc": math.inf, "tokens": 3}
    monkeypatch.setattr("recurra.tasks.Run.evaluate", lambda *_, **__: figures)
    assert json.loads(recurra("evaluate", run, "--json").out) == {
        "nll": None,
        "bpc": None,
        "tokens": 3,
    }


def test_doctor_reports_the_machine(recurra: Any) -> None:
    outcome = recurra("doctor")
    assert outcome.code == 0
    assert "torch" in outcome.out


@pytest.mark.medium
def test_compare_trains_each_cell_from_each_seed(recurra: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    words = ["compare", "--task", "adding:steps=8", "--cells", "rnn,gru", "--seeds", "2"]
    words += ["--max-steps", "5", "--hidden-size", "4", "--out", tmp_path / "c"]
    words += ["--threads", "1", "--jobs", "2"]
    outcome = recurra(*words)
    assert outcome.code == 0, outcome.err
    table = {line.split()[0]: line.split() for line in outcome.out.splitlines() if line.strip()}
    assert table["rnn"][1:4] == ["0", "of", "2"]
    assert "gru" in table
    plan, _, _ = outcome.out.partition("rnn-0: ")
    for words_of_the_plan in (
        "4 trials, 2 cells from 2 seeds each",
        "until validation mse 0.001 or 5 steps",
        "less is better",
        "remembering nothing gives 0.167",
        "9 units, 118 parameters",
        "2 at once, 1 thread each, kept in",
    ):
        assert words_of_the_plan in plan
    # a line at each quarter of a trial, as far as anybody looked in time
    assert re.search(r"(rnn|gru)-\d: \d+%, \d steps, (loss|best validation) \d", outcome.out)
    assert (tmp_path / "c" / "results.parquet").is_file()
    assert "<svg" in (tmp_path / "c" / "curves.svg").read_text()
    assert len(list((tmp_path / "c" / "trials").iterdir())) == 4
    again = recurra(*words)  # nothing is left to do
    assert again.code == 0
    assert "ended after" not in again.out
    wrong = recurra(*words, "--lr", "0.1")
    assert wrong.code == 2
    assert "Use another --out" in wrong.err


@pytest.mark.medium
def test_compare_takes_a_task_of_the_users_own_data(
    recurra: Any, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    words = ["compare", "lm", "--data", data, "--bptt", "5", "--embedding-size", "4"]
    words += ["--cells", "rnn", "--seeds", "1", "--max-steps", "2", "--hidden-size", "4"]
    words += ["--batch-size", "4", "--jobs", "1", "--out", tmp_path / "c"]
    outcome = recurra(*words)
    assert outcome.code == 0, outcome.err
    assert f"lm:data={data},embedding_size=4,bptt=5: 1 trials" in outcome.out
    assert "train: " in outcome.out
    assert "result: rnn alone" in outcome.out


def test_compare_says_what_is_wrong(recurra: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    for words, message in (
        (["--task", "addition"], "expected one of adding"),
        (["--task", "adding:steps=0"], "adding:steps=N with N from 2"),
        (["--task", "adding:steps=abc"], "got steps='abc'"),
        (["--task", "folder:path=a, b"], 'path="a, b"'),
        (["--cells", "ltsm"], "Did you mean lstm"),
        (["--cells", " ,"], "--cells: expected cells with commas between them"),
        (["--task", "text:path=nowhere.txt"], "nowhere.txt"),
        (["--max-minutes", "-1"], "--max-minutes: expected a number above 0, got -1.0"),
        (["--max-minutes", "nan"], "--max-minutes: expected"),
        (["--max-minutes", "0"], "--max-minutes: expected"),
        (["--max-steps", "0"], "--max-steps: expected"),
        (["--batch-size", "0"], "--batch-size: expected"),
        (["--hidden-size", "0"], "--hidden-size: expected"),
        (["--hidden-size", "9999999"], "--hidden-size: expected"),
        (["--lr", "-1"], "--lr: expected"),
        (["--clip", "-1"], "--clip: expected"),
        (["--jobs", "0"], "--jobs: expected"),
        (["--seeds", "-2"], "--seeds: expected"),
    ):
        outcome = recurra("compare", *words, "--out", tmp_path / "c")
        assert outcome.code == 2
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
        assert not (tmp_path / "c").exists()


def test_compare_has_a_folder_for_each_task_and_settings() -> None:
    tasks = ["adding", "adding:steps=50", "adding:steps=400", "text:path=a/b", "text:path=a-b"]
    tasks += ["folder:path=Gestures, 2021", "text:path=\udcff", "text:path=" + 99 * "long/"]
    names = [compare._folder_name(task) for task in tasks]
    assert names[:2] == ["compare-adding", "compare-adding-steps=50"]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._=-]{1,80}", name) for name in names)


@pytest.mark.medium
def test_compare_shows_what_has_ended_when_a_process_died(
    recurra: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")

    def dying(trials: Any, folder: Any, *rest: Any) -> Any:
        outcome = run_trial(trials[0])
        folder.keep(outcome)
        yield outcome
        raise DeathError("compare: expected every trial to end, got 1 whose process died: rnn-1")

    monkeypatch.setattr("recurra.comparison.run_trials", dying)
    words = ["compare", "--task", "adding:steps=8", "--cells", "rnn", "--max-steps", "2"]
    outcome = recurra(*words, "--out", tmp_path / "c")
    assert outcome.code == 2
    assert "rnn-1" in outcome.err
    assert "0 of 1" in outcome.out
    assert (tmp_path / "c" / "results.parquet").is_file()


def test_compare_says_what_it_keeps_when_it_is_interrupted(
    recurra: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")

    def interrupted(trials: Any, folder: Any, *rest: Any) -> Any:
        outcome = run_trial(trials[0])
        folder.keep(outcome)
        yield outcome
        raise KeyboardInterrupt

    monkeypatch.setattr("recurra.comparison.run_trials", interrupted)
    words = ["compare", "--task", "adding:steps=8", "--cells", "rnn", "--max-steps", "2"]
    outcome = recurra(*words, "--out", tmp_path / "c")
    assert outcome.code == 130
    assert "stopped: 1 of 3 trials are kept in" in outcome.err
    assert "the same command goes on" in outcome.err


def test_compare_needs_packages_and_says_so_first(
    recurra: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recurra.cli.options.find_spec", lambda name: None)
    outcome = recurra("compare", "--out", tmp_path / "c")
    assert outcome.code == 2
    assert "expected the package matplotlib, got none" in outcome.err
    assert not (tmp_path / "c").exists()


def test_the_confusion_matrix_is_drawn(recurra: Any, reviews: Path, tmp_path: Path) -> None:
    outcome = recurra("evaluate", reviews, "--confusion", tmp_path / "taken.svg")
    assert outcome.code == 0
    assert "accuracy" in outcome.out
    assert "<svg" in (tmp_path / "taken.svg").read_text()
    (tmp_path / "mine.svg").write_text("my notes")
    for name, said in (("mine.svg", "a file that is none"), ("taken.txt", "ends in .svg")):
        outcome = recurra("evaluate", reviews, "--confusion", tmp_path / name)
        assert outcome.code == 2
        assert outcome.err.startswith("recurra: --confusion: expected")
        assert said in outcome.err
    assert (tmp_path / "mine.svg").read_text() == "my notes"


@pytest.mark.parametrize("held", ["curves.svg", "results.parquet", "notes.txt"])
def test_a_comparison_takes_no_folder_of_others(recurra: Any, tmp_path: Path, held: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / held).write_text("precious")
    words = ("compare", "adding", "--steps", "4", "--cells", "gru", "--seeds", "1")
    outcome = recurra(*words, "--max-steps", "2", "--out", tmp_path / "mine")
    assert outcome.code == 2
    assert f"got one that holds {held}" in outcome.err
    assert {path.name: path.read_text() for path in (tmp_path / "mine").iterdir()} == {
        held: "precious"
    }


def test_a_comparison_writes_into_no_run(recurra: Any, run: Path) -> None:
    before = {path.name for path in run.iterdir()}
    words = ("compare", "adding", "--steps", "4", "--cells", "gru", "--seeds", "1")
    outcome = recurra(*words, "--max-steps", "2", "--out", run)
    assert outcome.code == 2
    assert "expected a new folder, an empty one, or that of a comparison" in outcome.err
    assert {path.name for path in run.iterdir()} == before


@pytest.mark.medium
def test_sample_writes_several_texts_each_with_the_next_seed(recurra: Any, run: Path) -> None:
    words = ("sample", run, "--length", "20", "--prime", "the")
    several = recurra(*words, "--seed", "7", "--count", "2").out
    first, second = (recurra(*words, "--seed", seed).out for seed in ("7", "8"))
    assert several == f"=== 1 of 2, seed 7 ===\n{first}=== 2 of 2, seed 8 ===\n{second}"
    drawn = recurra(*words, "--count", "2").out
    seed = int(drawn.splitlines()[0].split("seed ")[1].split()[0])
    assert recurra(*words, "--count", "2", "--seed", str(seed)).out == drawn


@pytest.mark.medium
def test_sample_ends_before_a_stop_and_leaves_out_what_is_forbidden(
    recurra: Any, run: Path
) -> None:
    words = ("sample", run, "--length", "200", "--seed", "7", "--temperature", "2")
    written = recurra(*words).out
    assert {" ", "e", "t"} <= set(written)
    assert recurra(*words, "--stop", "e").out == written.split("e")[0] + "\n"
    stops = ("--stop", "e", "--stop", " ")
    assert recurra(*words, *stops).out == written.replace("e", " ").split(" ")[0] + "\n"
    assert not {"e", "t"} & set(recurra(*words, "--forbid", "e", "--forbid", "t").out)
    refused = recurra(*words, "--forbid", "et")
    assert refused.code == 2
    assert refused.err.startswith("recurra: --forbid: expected symbols of the vocabulary, got 'et'")
    assert recurra(*words, "--stop", "").err.startswith("recurra: --stop: expected text that ends")


@pytest.mark.medium
def test_sample_goes_on_from_a_file_or_a_pipe(recurra: Any, run: Path, tmp_path: Path) -> None:
    words = ("sample", run, "--length", "10", "--seed", "7")
    expected = recurra(*words, "--prime", "the cat\n").out
    file = tmp_path / "prime.txt"
    file.write_text("the cat\n")
    assert recurra(*words, "--prime-file", file).out == expected
    command = f"{sys.executable} -m recurra.cli sample {run} --length 10 --seed 7 --prime-file -"
    with file.open("rb") as pipe:
        done = subprocess.run(command.split(), stdin=pipe, capture_output=True, text=True)
    assert done.stdout == expected
    both = recurra(*words, "--prime-file", file, "--prime", "a")
    assert both.err.startswith("recurra: --prime-file: expected it instead of --prime, got both")
    missing = recurra(*words, "--prime-file", tmp_path / "no")
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert "No such file" in missing.err
