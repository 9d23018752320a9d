"""Data that cannot be trained on, as a user meets them: one line that says what to do, exit code 2,
and nothing made or lost."""

import gzip
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.test_mistakes import assert_mistake

pytestmark = pytest.mark.medium

TABLE = "text,label\n" + "a dull film,bad\na fine film,good\n" * 10
QUOTED = "text,label\n" + '"dull, ""very""\nso",bad\n"fine, and\ntrue",good\n' * 10
HEAD = "@problemName walks\n@classLabel true a b\n@data\n"
QUICK = ("--max-steps", 1, "--hidden-size", 4, "--device", "cpu", "--threads", 1)


def series(of: str) -> str:
    """A .ts file of 20 series."""
    return HEAD + "".join(f"{of.format(i)}:{'ab'[i % 2]}\n" for i in range(20))


def zipped(*names: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            archive.writestr(name, TABLE)
    return held.getvalue()


def classify(recurra: Any, folder: Path, *more: Any) -> Any:
    before = sorted(folder.rglob("*"))
    outcome = recurra("train", "classify", *more, *QUICK, "--out", folder / "run")
    if outcome.code:
        assert sorted(folder.rglob("*")) == before
    return outcome


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", TABLE + "x\n", ("a.csv, line 22: expected 2 columns as in the lines above it",)),
        ("a.csv", "", ("a.csv: expected text, got an empty file",)),
        ("a.csv", "\ufeff", ("a.csv: expected text, got an empty file",)),
        ("a.csv", "text,label\n", ("expected rows of examples below the header, got none",)),
        ("a.csv", "text," + TABLE.replace("\n", "\nx,").removesuffix("x,"),
         ("expected columns of different names, got 'text' 2 times. Rename",)),
        ("a.csv", 'text,label\n"a,1\nb,0\n', ("expected a row of a table", "Close every quote")),
        ("a.csv", TABLE + ",good\n,bad\n",
         ("at least one text in every example, got none in 2 of 22", "line 22", "--missing fill")),
        ("a.csv", TABLE + "x,\n", ("expected a label for every example, got none in 1 of 21",)),
        ("a.csv", TABLE + "odd,rare\n",
         ("expected 3 or more examples of every class", "got 1 of 'rare'", "--val-data")),
        ("a.csv", "text,label\na,x\nb,x\n", ("two or more classes, got 'x' alone",)),
        ("a.csv", TABLE.encode("utf-16-le"), ("looks like UTF-16-LE", "--encoding utf-16-le")),
        ("a.csv", TABLE.replace("fine", "für").encode("latin-1"),
         ("expected UTF-8 text, got byte 0xfc at byte offset", "use --encoding latin-1")),
        ("a.csv", zipped("x.csv", "y.csv"), ("a zip archive of one text, got one of 2 files",)),
        ("a.csv", gzip.compress(TABLE.encode(), mtime=0)[:-9], ("expected a whole gzip file",)),
        ("a.jsonl", json.dumps([{"text": "a", "label": 1}]), ("Write one object a line (JSONL)",)),
        ("a.npy", b"", ("expected a file that ends in .tsv", "got .npy")),
        ("a.ts", series("{},?,NaN"),
         ("expected a number at every step, got 40 missing in 20 of 20", "--missing fill")),
        ("a.ts", series("{},2") + ":a\n", ("at least one step in every example, got none in 1",)),
        ("a.ts", series("{},2") + "1,2:c\n", ("expected one of the classes in the header (a, b)",)),
        ("a.ts", series("{},2:3"), ("expected channels of one length, got 1 and 2 steps",)),
        ("a.ts", series("{},inf"), ("line 4: expected numbers up to 3e38, got inf at step 1",)),
    ],
)  # fmt: skip
def test_files_that_cannot_be_learned_from(
    recurra: Any, tmp_path: Path, name: str, content: str | bytes, words: tuple[str, ...]
) -> None:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = file.read_bytes()
    assert_mistake(classify(recurra, tmp_path, "--data", file), str(file), *words)
    assert file.read_bytes() == before


def test_what_is_named_wrongly(recurra: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(TABLE)
    (tmp_path / "dev.csv").write_text("text,label\nx,good\ny,worse\n")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for words, said in (
        (("--data", file, "--label-column", "lable"), "a column 'lable', got the columns"),
        (("--data", file, "--val-data", tmp_path / "dev.csv"), "got 'worse', first at"),
        (("--data", tmp_path / "b.csv"), "b.csv: expected a file or a folder, got no such file"),
        (("--data", file, tmp_path / "b.csv"), "b.csv: expected a file or a folder, got no such"),
        (("--data", tmp_path / "empty"), "expected a sub-folder for each of two or more classes"),
        (("--data", tmp_path / "pipe.csv"), "expected an ordinary file, got a pipe or device"),
        (("--data", "-"), "-: expected a file or a folder, got standard input"),
        ((), "--data: expected a file or folder of labelled examples, got none"),
        (("--data", file, "--devices", 64), "--devices: expected at most"),
        (("--data", file, "--encoding", "utf9"), "--encoding: expected the name of an encoding"),
    ):
        assert_mistake(classify(recurra, tmp_path, *words), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("\ufeff" + TABLE, "columns: text 'text', label 'label' (by the header)"),
        (TABLE.replace("\n", "\r\n"), "label 'label'"),
        (TABLE.replace(",", ";"), "label 'label'"),
        ("no;" + TABLE.replace(",", ";").replace("\n", "\n0,5;").removesuffix("0,5;"), "1 other "),
        (QUOTED, "label 'label'"),
        (TABLE.replace("good", "1.0").replace("bad", "0.0"), "2: 0.0 8, 1.0 8"),
        (gzip.compress(TABLE.encode(), mtime=0), "a.csv is a gzip file, whatever its name says"),
        (zipped("x.csv"), "a.csv is a zip file, whatever its name says"),
        (TABLE.encode("utf-16"), "a.csv is UTF-16, as its first bytes say"),
    ],
)  # fmt: skip
def test_tables_that_are_as_programs_write_them(
    recurra: Any, tmp_path: Path, content: str | bytes, said: str
) -> None:
    """How each was read is said before training."""
    file = tmp_path / "a.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = classify(recurra, tmp_path, "--data", file)
    assert outcome.code == 0, outcome.err
    assert said in outcome.out.partition("step 1")[0]
    assert "16 examples" in outcome.out


def test_what_is_filled_and_left_out_is_counted(
    recurra: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.ts").write_text(series("{},?,NaN:7,7,7") + "::a\n")
    outcome = classify(recurra, tmp_path, "--data", tmp_path / "a.ts", "--missing", "fill")
    assert outcome.code == 0, outcome.err
    assert "48 steps, 3 to 3 each, 32 values filled, 1 example left out" in outcome.out
    assert "channels 1: never change in the training part" in caplog.text


def test_texts_that_are_something_else(recurra: Any, tmp_path: Path) -> None:
    text = "the cat sat on the mat\n" * 400
    cases = (
        (gzip.compress(text.encode()), "text.txt is a gzip file, whatever its name says"),
        (text.encode("utf-16"), "text.txt is UTF-16, as its first bytes say"),
        (text.encode("utf-16-le"), "use --encoding utf-16-le"),
        (
            b"\x89PNG\0" + text.encode(),
            "got byte 0x89 at byte offset 0 (invalid start byte). It is no text",
        ),
    )
    for number, (content, said) in enumerate(cases):
        file = tmp_path / "text.txt"
        file.write_bytes(content)
        words = ("--bptt", 9, "--sample-length", 0, *QUICK, "--out", tmp_path / f"run{number}")
        outcome = recurra("train", "lm", "--data", file, *words)
        assert outcome.code == (0 if number < 2 else 2)
        assert said in (outcome.err if outcome.code else outcome.out)
        assert (tmp_path / f"run{number}").exists() == (outcome.code == 0)


def test_a_folder_of_arrays_with_gaps_and_a_constant_channel(recurra: Any, tmp_path: Path) -> None:
    for i in range(12):
        file = tmp_path / "data" / "ab"[i % 2] / f"{i}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.array([[i, 7.0], [np.nan, 7.0]]))
    refused = classify(recurra, tmp_path, "--data", tmp_path / "data")
    assert_mistake(refused, "got 12 missing in 12 of 12", "0.npy", "--missing fill")


@pytest.mark.parametrize("option", ["--val-data", "--test-data"])
def test_examples_to_validate_on_are_not_those_to_train_on(
    recurra: Any, tmp_path: Path, option: str
) -> None:
    data = tmp_path / "reviews.tsv"
    data.write_text("text\tlabel\n" + "a good film\tgood\na bad film\tbad\n" * 20)
    out = tmp_path / "run"
    outcome = recurra("train", "classify", "--data", data, option, data, "--out", out)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert f"{data}: expected other examples for" in outcome.err
    assert option in outcome.err
    assert not out.exists()


def test_examples_to_validate_and_to_test_on_are_the_same(
    recurra: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text("text\tlabel\n" + "a good film\tgood\na bad film\tbad\n" * 20)
    dev = tmp_path / "dev.tsv"
    words = ("--data", tmp_path / "train.tsv", "--val-data", dev)
    outcome = classify(recurra, tmp_path, *words, "--test-data", dev)
    assert outcome.code == 0, outcome.err
    assert caplog.text.count(f"{dev}: named to validate and to test on") == 1
