"""`recurra predict`, and `recurra classify`, its name for a classifier."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from recurra.cli.main import app
from recurra.cli.predict import command as predict_command
from recurra.errors import DataError
from recurra.tasks.options import OPTIONS

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a classifier of series with two channels."""
    from recurra.tasks import train

    folder = tmp_path_factory.mktemp("walks")
    for i in range(24):
        (folder / "data" / ("up" if i % 2 else "down")).mkdir(parents=True, exist_ok=True)
        walk = np.linspace(0, 1 if i % 2 else -1, 5 + i % 3)
        name = f"data/{'up' if i % 2 else 'down'}/{i}.npy"
        np.save(folder / name, np.stack([walk, 1 + walk], axis=1))
    run = train(
        *("classify",),
        data=str(folder / "data"),
        out=folder / "run",
        view=None,
        hidden_size=4,
        epochs=8,
        lr=0.05,
        threads=1,
    )
    return run.folder


def labels(outcome: Any) -> list[str]:
    assert outcome.code == 0, outcome.err
    return [line.split("\t")[0] for line in outcome.out.splitlines()]


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    stream = io.TextIOWrapper(io.BytesIO(content))
    monkeypatch.setattr(
        "recurra.cli.predict.sys", type("sys", (), {"stdin": stream, "stdout": sys.stdout})
    )


def test_a_classifier_says_what_it_makes_of_texts(recurra: Any, reviews: Path) -> None:
    outcome = recurra("predict", reviews, "a fine film", "a dull one")
    assert outcome.code == 0
    lines = [line.split("\t") for line in outcome.out.splitlines()]
    assert [(line[0], line[2]) for line in lines] == [("1", "a fine film"), ("0", "a dull one")]
    said = json.loads(recurra("predict", reviews, "a fine film", "--json").out)
    assert said["label"] == "1"
    assert sum(said["probabilities"].values()) == pytest.approx(1.0)
    assert said["probability"] == pytest.approx(float(lines[0][1]), abs=1e-4)


def test_a_classifier_reads_a_file_a_line_at_a_time(
    recurra: Any, reviews: Path, tmp_path: Path
) -> None:
    (tmp_path / "more.txt").write_text("a dull one\na fine film\n")
    outcome = recurra("predict", reviews, "--file", tmp_path / "more.txt")
    assert [line[0] for line in outcome.out.splitlines()] == ["0", "1"]


def test_words_never_seen_are_told_in_one_line(recurra: Any, reviews: Path) -> None:
    outcome = recurra("predict", reviews, "a fine zebra film", "quux zebra", "a fine film")
    assert outcome.code == 0
    assert outcome.err == (
        "words never seen in training are read as <unk>: 'zebra', 'quux'; in 1 of 3 inputs no word "
        "is known\n"
    )
    assert recurra("predict", reviews, "a fine film", "--json").err == ""


def test_a_language_model_does_not_predict(recurra: Any, run: Path) -> None:
    outcome = recurra("predict", run, "a text")
    assert outcome.code == 2
    assert outcome.err.startswith("recurra: predict: expected the run of a task that predicts")


def test_every_task_that_predicts_has_a_command_of_its_name(recurra: Any, reviews: Path) -> None:
    names = [options.task for options in OPTIONS.values() if options.predicts is not None]
    assert names == ["classify", "tag", "frames"]
    commands = {each.name for each in app.registered_commands}
    assert commands.issuperset(names)
    assert "lm" not in commands
    outcome = recurra("classify", "--help")
    for words in ("Say which class each input is of", "recurra classify runs/reviews", "--out"):
        assert words in " ".join(outcome.out.split())
    assert labels(recurra("classify", reviews, "a fine film")) == ["1"]


def test_files_are_inputs_and_texts_are(recurra: Any, reviews: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,a dull one\n2,a fine film\n")
    (tmp_path / "b.jsonl").write_text('{"text": "a fine film", "label": "0"}\n')
    words = (tmp_path / "a.csv", "a dull one", tmp_path / "b.jsonl")
    outcome = recurra("predict", reviews, *words)
    assert labels(outcome) == ["0", "1", "0", "1"]
    assert (
        "a.csv: columns: text 'text' (by the header, 1 other carried to tables of predictions)"
        in outcome.err
    )
    (tmp_path / "notes").write_text("a fine film\n")
    missing = recurra("predict", reviews, tmp_path / "c.csv")
    assert (missing.code, missing.out) == (2, "")
    assert f"{tmp_path / 'c.csv'}: expected a file or a folder, got no such file" in missing.err


def test_predictions_become_a_table(recurra: Any, reviews: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("id\ttext\n" + "7\ta dull one\n8\ta fine film\n" * 700)
    table = tmp_path / "predictions.csv"
    for _ in range(2):  # older predictions are replaced
        outcome = recurra("classify", reviews, tmp_path / "a.tsv", "--out", table)
        assert (outcome.code, outcome.out) == (0, "")
        assert f"1,400 predictions are in {table}" in outcome.err
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["0", "1"] * 700
    assert rows[0]["input"] == "a dull one"
    assert float(rows[0]["probability"]) == float(rows[0]["probability of 0"])


def test_other_columns_stand_behind_the_predictions(
    recurra: Any, reviews: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("id,text,label\n7,a dull one,1\n8,a fine film,1\n")
    (tmp_path / "b.jsonl").write_text('{"text": "a fine film", "stars": 5}\n')
    words = (tmp_path / "a.csv", "a dull one", tmp_path / "b.jsonl")
    table = tmp_path / "new" / "newer" / "p.csv"
    for made in (f"; made the folder {table.parent}", ""):  # older predictions are replaced
        outcome = recurra("predict", reviews, *words, "--out", table)
        assert outcome.code == 0, outcome.err
        assert outcome.err.endswith(f"4 predictions are in {table}{made}\n")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]][-3:] == ["id", "label of the input", "stars"]
    found = [[row[name] for name in ("id", "label", "label of the input", "stars")] for row in rows]
    assert found == [
        ["7", "0", "1", ""],
        ["8", "1", "1", ""],
        ["", "0", "", ""],
        ["", "1", "", "5"],
    ]
    outcome = recurra("predict", reviews, tmp_path / "a.csv", "--json")
    first = json.loads(outcome.out.splitlines()[0])
    assert (first["label"], first["id"], first["label of the input"]) == ("0", "7", "1")


def test_what_is_there_is_kept(recurra: Any, reviews: Path, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("text,label\nmine,1\n")
    (tmp_path / "bad.tsv").write_text("id\ttext\n1\ta dull one\n2\t\n")
    for words, said in (
        ((table, "--out", table), "--out: expected a new file, or older predictions to replace"),
        (("a", "--out", tmp_path / "x.doc"), "--out: expected a file that ends in .csv"),
        (("a", "--out", tmp_path / "x.csv", "--json"), "--out: expected a table or --json"),
        ((tmp_path / "bad.tsv", "--out", tmp_path / "x.csv"), "bad.tsv, line 3: expected a text"),
    ):
        outcome = recurra("predict", reviews, *words)
        assert outcome.code == 2
        assert said in outcome.err
    assert table.read_text() == "text,label\nmine,1\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bad.tsv", "mine.csv"]


def test_lines_that_are_piped_in(
    recurra: Any, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in ((), ("-",)):
        pipe(monkeypatch, b"\xef\xbb\xbfa fine film\r\na dull one")
        assert labels(recurra("predict", reviews, *words)) == ["1", "0"]
    for content, said in (
        (b"a fine film\n\n", "standard input, line 2: expected a text at least, got none"),
        ("größe\n".encode("latin-1"), "standard input: expected UTF-8 text, got byte 0xf6"),
    ):
        pipe(monkeypatch, content)
        outcome = recurra("predict", reviews)
        assert (outcome.code, said in outcome.err) == (2, True)


def test_series_are_read_from_files(recurra: Any, walks: Path, tmp_path: Path) -> None:
    up = np.linspace(0, 1, 9)
    np.save(tmp_path / "a.npy", np.stack([up, 1 + up], axis=1))
    (tmp_path / "b.csv").write_text("x,y\n0,1\n-0.5,0.5\n-1,0\n")
    (tmp_path / "c.ts").write_text("@classLabel false\n@data\n0,0.5,1:1,1.5,2\n0,-1:1,0\n")
    outcome = recurra("predict", walks, *(tmp_path / name for name in ("a.npy", "b.csv", "c.ts")))
    assert labels(outcome) == ["up", "down", "up", "down"]
    assert outcome.out.splitlines()[2].endswith("c.ts, line 3")
    for name, content, said in (
        ("d.csv", "x,y\n0,\n1,2\n", "d.csv: expected a number at every step, got 1 missing"),
        ("d.csv", "x\n0\n1\n", "d.csv: expected 2 channels, as in training, got 1"),
    ):
        (tmp_path / name).write_text(content)
        outcome = recurra("predict", walks, tmp_path / "a.npy", tmp_path / name)
        assert (outcome.code, said in outcome.err) == (2, True), outcome.err
    refused = recurra("predict", walks, "-")
    assert "expected files of series, as the run was trained on, got standard input" in refused.err


def test_only_runs_of_the_task_are_read(recurra: Any, run: Path) -> None:
    outcome = recurra("classify", run, "a text")
    assert (outcome.code, "expected the run of a task ('classify'), got 'lm'" in outcome.err) == (
        *(2, True),
    )


def test_an_encoding_that_does_not_fit_is_named(
    recurra: Any, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "more.txt"
    file.write_text("a fine film\n")
    pipe(monkeypatch, file.read_bytes())
    for where, words in (("standard input", ()), (str(file), ("--file", file))):
        outcome = recurra("predict", reviews, *words, "--encoding", "utf-16")
        assert outcome.code == 2
        assert f"recurra: {where}: expected UTF-16 text, got none (UTF-16 " in outcome.err
        refused = recurra("predict", reviews, *words, "--encoding", "punycode")
        assert "--encoding: expected the name of an encoding of text" in refused.err


def test_no_row_of_a_table_goes_unseen(recurra: Any, reviews: Path, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text('text\na fine film\n""\na dull one\n')
    outcome = recurra("predict", reviews, tmp_path / "more.csv", "--out", tmp_path / "out.csv")
    assert outcome.code == 2
    assert "more.csv, line 3: expected a text at least, got none. Leave it out." in outcome.err


def test_lines_of_a_pipe_are_answered_as_they_come(
    reviews: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered: list[int] = []

    class Pipe(io.RawIOBase):
        blocks: ClassVar = [b"a fine film\na du", b"ll one\n", "größe".encode()[:3], b"\xb6\n\n"]

        def read1(self, size: int) -> bytes:
            """The next block, when what was answered before it has been counted."""
            answered.append(len(capsys.readouterr().out.splitlines()))
            return self.blocks.pop(0) if self.blocks else b""

    stream = type("stdin", (), {"buffer": Pipe(), "isatty": staticmethod(lambda: False)})
    monkeypatch.setattr(sys, "stdin", stream)
    predict = predict_command()
    with pytest.raises(DataError, match="standard input, line 4: expected a text at least"):
        predict(reviews)
    assert answered == [0, 1, 1, 0]


@pytest.mark.parametrize(("number", "said"), [(1, "1 prediction is in "), (2, "2 predictions are")])
def test_predictions_are_counted(
    recurra: Any, reviews: Path, tmp_path: Path, number: int, said: str
) -> None:
    outcome = recurra("predict", reviews, *["a fine film"] * number, "--out", tmp_path / "p.CSV")
    assert (outcome.code, said in outcome.err) == (0, True), outcome.err


def test_nothing_in_a_pipe_is_a_mistake(
    recurra: Any, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, b"")
    outcome = recurra("predict", reviews, "-")
    assert outcome.code == 2
    assert outcome.err == (
        "recurra: standard input: expected lines to predict, got none. Pipe a text into it.\n"
    )
