"""`--data` of every command: several files, folders, standard input, and their encoding."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import QUICK, TEXT

import recurra as rc
from recurra.data import parts
from recurra.tasks import Run

pytestmark = pytest.mark.medium

SETTINGS = {
    **{"hidden_size": 8, "embedding_size": 4, "batch_size": 4, "bptt": 10, "max_steps": 4},
    **{"sample_length": 5, "device": "cpu", "view": None},
}


def data_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "config.json").read_text())["data"]


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder with three texts and what is none."""
    folder = tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    for name in ("b.txt", "a.md", "more/c.txt"):
        (folder / name).write_text(TEXT)
    (folder / ".hidden").write_text("Q")
    (folder / "logo.png").write_bytes(b"\x89PNG\0")
    return folder


def test_several_files_are_one_text_however_they_are_named(
    recurra: Any, texts: Path, tmp_path: Path
) -> None:
    files = [str(texts / name) for name in ("a.md", "b.txt", "more/c.txt")]
    joined = tmp_path / "joined.txt"
    joined.write_text(3 * TEXT)
    ways = {
        "one": ("--data", joined),
        "repeated": [word for file in files for word in ("--data", file)],
        "as a shell has it": ("--data", *files),
        "joined": (f"--data={files[0]}", *files[1:]),
        "folder": ("--data", texts),
    }
    for name, words in ways.items():
        outcome = recurra("train", "lm", *words, *QUICK, "--out", tmp_path / name)
        assert outcome.code == 0, outcome.err
        assert weights(tmp_path / name) == weights(tmp_path / "one")
        digest = hashlib.sha256(joined.read_bytes()).hexdigest()
        assert data_of(tmp_path / name)["read"]["text"]["sha256"] == digest
    assert "read        3 files, 8.1 kB: a.md, b.txt, c.txt" in outcome.out
    assert "left out    logo.png (no text)" in outcome.out
    assert data_of(tmp_path / "one")["data"] == str(joined)
    assert data_of(tmp_path / "repeated")["data"] == files
    run = rc.train("lm", data=files, out=tmp_path / "python", **SETTINGS)
    assert weights(run.folder) == weights(tmp_path / "one")
    assert run.settings["data"] == files


def test_a_run_of_several_files_goes_on_without_them(
    recurra: Any, texts: Path, tmp_path: Path
) -> None:
    words = ("--data", texts / "a.md", texts / "b.txt", "--val-data", texts / "more")
    run = tmp_path / "run"
    assert recurra("train", "lm", *words, *QUICK, "--out", run).code == 0
    resumed = ("train", "lm", *words, "--out", run, "--resume", "--max-steps")
    assert recurra(*resumed, 5).code == 0  # the settings are those of the run
    figures = Run.open(run).evaluate("val")
    shutil.rmtree(texts)
    assert recurra("train", "--resume", run, "--max-steps", 6).code == 0
    assert Run.open(run).evaluate("val")["tokens"] == figures["tokens"] == len(TEXT) - 1
    assert data_of(run)["read"]["val"]["num_files"] == 1


def test_held_out_texts_of_a_folder_are_not_learned(
    recurra: Any, texts: Path, tmp_path: Path
) -> None:
    held_out = ("--val-data", texts / "b.txt", "--test-data", texts / "more")
    outcome = recurra("train", "lm", "--data", texts, *held_out, *QUICK, "--out", tmp_path / "run")
    assert "left out    b.txt (held out), logo.png (no text), more/c.txt (held out)" in outcome.out
    assert data_of(tmp_path / "run")["tokens"] == dict.fromkeys(("train", "val", "test"), len(TEXT))


def test_one_text_to_validate_and_to_test_on_is_said(
    recurra: Any, texts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "linked.txt").symlink_to(texts / "b.txt")
    words = ("--data", texts / "a.md", "--val-data", texts / "b.txt", *QUICK)
    for number, test_data in enumerate(("more", "../linked.txt")):
        caplog.clear()
        out = tmp_path / f"run{number}"
        outcome = recurra("train", "lm", *words, "--test-data", texts / test_data, "--out", out)
        assert outcome.code == 0, outcome.err
        said = f"{texts / 'b.txt'}: named to validate and to test on"
        assert (said in caplog.text) == (number == 1)


def test_a_folder_may_have_the_parts(recurra: Any, tmp_path: Path) -> None:
    folder = tmp_path / "wiki"
    folder.mkdir()
    for part, times in (("test", 1), ("train", 3), ("valid", 2)):
        (folder / f"wiki.{part}.tokens").write_text(times * TEXT)
    (folder / "README.md").write_text("notes")
    run = tmp_path / "run"
    outcome = recurra("train", "lm", "--data", folder, *QUICK, "--out", run)
    assert outcome.code == 0, outcome.err
    sizes = {"train": 3 * len(TEXT), "val": 2 * len(TEXT), "test": len(TEXT)}
    assert data_of(run)["tokens"] == sizes
    assert "left out    README.md (in no part)" in outcome.out
    assert "read, val   5.4 kB: wiki.valid.tokens" in outcome.out
    assert recurra("train", "--resume", run, "--max-steps", 5).code == 0
    opened = Run.open(run)
    assert opened.evaluate("val")["tokens"] == sizes["val"] - 1
    assert opened.evaluate(data=folder)["tokens"] == sizes["test"] - 1
    assert opened.evaluate("train", data=folder)["tokens"] == sizes["train"] - 1
    (folder / "wiki.test.tokens").unlink()
    refused = recurra("evaluate", run, "--data", folder)
    assert "expected a folder with a part test, got one with train, val" in refused.err
    words = ("--data", folder, "--val-data", folder / "README.md", "--out", tmp_path / "new")
    refused = recurra("train", "lm", *words)
    assert "expected one val part, got one in the folder and" in refused.err
    assert not (tmp_path / "new").exists()


def test_a_folder_of_programs_is_not_taken_apart(recurra: Any, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    for name in ("train.py", "test/a.py", "main.py", "pkg/b.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(TEXT)
    (folder / "logo.png").write_bytes(b"\x89PNG\0")
    said = f"{folder}: expected every text in a part, train, val or test, or none, got train.py, "
    said += "test by name and beside them main.py, pkg. To read all as one text, name what the "
    said += "folder has, --data; or name files for each part.\n"
    for words in (("train", "lm", "--out", tmp_path / "new"), ("evaluate", run)):
        outcome = recurra(*words, "--data", folder)
        assert (outcome.code, outcome.err.endswith(said)) == (2, True), outcome.err
    assert not (tmp_path / "new").exists()
    names = [folder / name for name in ("main.py", "pkg", "test", "train.py")]
    outcome = recurra("train", "lm", "--data", *names, *QUICK, "--out", tmp_path / "new")
    assert outcome.code == 0, outcome.err
    assert sum(data_of(tmp_path / "new")["tokens"].values()) == 4 * len(TEXT)


@pytest.mark.medium
def test_standard_input_is_read_from_a_pipe(texts: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "recurra.cli", "train", "lm", "--data", "-", *QUICK]
    with (texts / "a.md").open() as file:
        trained = subprocess.run(
            [*command, "--out", run], stdin=file, capture_output=True, text=True, check=True
        )
    assert trained.stdout.startswith("reading standard input\n")
    assert "2.7 kB: standard input" in trained.stdout
    assert data_of(run)["data"] == "-"
    assert sorted(path.name for path in (run / "tokens").iterdir()) == [
        *("text.tokens", "text.tokens.json")
    ]


def test_evaluate_reads_standard_input(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert Run.open(run).evaluate(data="-")["tokens"] == len(TEXT) - 1


def test_evaluate_takes_several_files_and_folders(recurra: Any, run: Path, texts: Path) -> None:
    words = ("--data", texts / "a.md", "--data", texts / "more", "--json")
    assert json.loads(recurra("evaluate", run, *words).out)["tokens"] == 2 * len(TEXT) - 1
    both = ("--data", texts / "a.md", texts / "b.txt")
    for words in (
        (run, *both, "--json"),
        (*both, run, "--json"),
        (*both, "--json", run),
        ("--json", *both, run),
        ("--device", "cpu", run, f"--data={both[1]}", both[2], "--json"),
    ):
        assert json.loads(recurra("evaluate", *words).out)["tokens"] == 2 * len(TEXT) - 1
    one = recurra("evaluate", *both[:2], run, "--json")
    assert json.loads(one.out)["tokens"] == len(TEXT) - 1
    assert Run.open(run).evaluate(data=[texts])["tokens"] == 3 * len(TEXT) - 1


def test_an_encoding_is_named_once_and_kept(recurra: Any, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(("Größe\n" * 400).encode("latin-1"))
    words = ("train", "lm", "--data", file, *QUICK, "--out", tmp_path / "run")
    refused = recurra(*words)
    assert (refused.code, "use --encoding latin-1" in refused.err) == (2, True)
    refused = recurra(*words, "--encoding", "latn-1")
    assert refused.err == (
        "recurra: --encoding: expected the name of an encoding of text, got 'latn-1'. "
        "Did you mean latin-1?\n"
    )
    refused = recurra(*words, "--encoding", "latin-1", "--level", "byte")
    assert "--encoding: expected none beside --level byte" in refused.err
    assert not (tmp_path / "run").exists()
    assert recurra(*words, "--encoding", "latin-1").code == 0
    assert "ß" in str(Run.open(tmp_path / "run").model.vocabulary.to_config())
    assert recurra("evaluate", tmp_path / "run", "--data", file).code == 0
    refused = recurra("evaluate", tmp_path / "run", "--data", file, "--encoding", "utf-8")
    assert "expected UTF-8 text" in refused.err


def test_a_classifier_is_evaluated_by_the_columns_that_its_run_names(
    recurra: Any, tmp_path: Path
) -> None:
    head, rows = "kind\tworth\tsaid\n", "x\tgood\tfine\ny\tbad\tdull\n" * 10
    (tmp_path / "a.tsv").write_text(head + rows)
    (tmp_path / "b.tsv").write_text(head + rows.replace("good", "bad"))
    words = ("--label-column", "worth", "--max-steps", 1, "--hidden-size", 4, "--device", "cpu")
    out = ("--out", tmp_path / "run")
    assert recurra("train", "classify", "--data", tmp_path / "a.tsv", *words, *out).code == 0
    files = ("--data", tmp_path / "a.tsv", "--data", tmp_path / "b.tsv")
    figures = json.loads(recurra("evaluate", tmp_path / "run", *files, "--json").out)
    assert figures["examples"] == 40
    assert [sum(row) for row in figures["confusion"]["counts"]] == [30, 10]  # bad, good


@pytest.mark.medium
def test_compare_takes_several_files(recurra: Any, texts: Path, tmp_path: Path) -> None:
    words = ("--cells", "gru", "--seeds", 1, "--max-steps", 2, "--hidden-size", 8, "--jobs", 1)
    files = (texts / "a.md", texts / "b.txt")
    out = ("--batch-size", 4, "--bptt", 10, "--out", tmp_path / "compared")
    outcome = recurra("compare", "lm", "--data", *files, *words, *out)
    assert outcome.code == 0, outcome.err
    assert f"lm:data={files[0]},data={files[1]}" in outcome.out
    assert "read: 2 files, 5.4 kB: a.md, b.txt" in outcome.out


def test_data_that_are_no_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data: expected the name of a file or folder.*got \(\)"):
        rc.train("lm", data=[], out=tmp_path / "run", **SETTINGS)


def test_a_text_that_changes_after_its_vocabulary_is_built_is_not_trained_on(
    recurra: Any, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = parts.write_tokens

    def late(*given: Any) -> Any:  # between the second pass and the third
        (tmp_path / "new").write_text(TEXT.upper())
        (tmp_path / "new").replace(texts / "b.txt")
        return write(*given)

    monkeypatch.setattr(parts, "write_tokens", late)
    outcome = recurra("train", "lm", "--data", texts, *QUICK, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "b.txt: expected a file that keeps still, got changes while it was read" in outcome.err
    assert not (tmp_path / "run" / "model.safetensors").exists()
