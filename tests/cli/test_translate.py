"""`recurra translate`: a line for each line, as it comes, and the options of the search."""

import io
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

import recurra as rc
from recurra.cli.predict import predict_inputs

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on letters and their numbers, which need not be good."""
    folder = tmp_path_factory.mktemp("letters")
    words = [f"{a} {b} {c}" for a in "abcd" for b in "abcd" for c in "abcd"]
    numbers = [" ".join(str("abcd".index(letter)) for letter in w.split()) for w in words]
    pairs = folder / "pairs.tsv"
    pairs.write_text("".join(f"{w}\t{n}\n" for w, n in zip(words, numbers, strict=True)))
    rc.train(
        "translate",
        data=pairs,
        out=folder / "run",
        source_level="word",
        target_level="word",
        min_count=1,
        hidden_size=24,
        embedding_size=16,
        dropout=0.0,
        input_dropout=0.0,
        batch_size=8,
        lr=5e-3,
        epochs=70,
        label_smoothing=0.0,
        view=None,
    )
    return folder / "run"


def test_words_of_the_command_line_and_files(recurra: Any, trained: Path, tmp_path: Path) -> None:
    outcome = recurra("translate", trained, "a b c", "d d a")
    assert outcome.code == 0
    assert outcome.out.splitlines() == ["0 1 2", "3 3 0"]
    lines = tmp_path / "input.txt"
    lines.write_text("c c c\n\na b c\n")
    assert recurra("translate", trained, lines).out.splitlines() == ["2 2 2", "", "0 1 2"]
    assert recurra("predict", trained, lines).out.splitlines() == ["2 2 2", "", "0 1 2"]


def test_lines_are_translated_as_they_come(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is piped in is answered before the rest of it is there."""
    answered: list[int] = []
    said: list[str] = []

    class Pipe(io.RawIOBase):
        blocks: ClassVar = [b"a b c\nb b", b" b\n\n", b"d d d"]

        def read1(self, size: int) -> bytes:
            answered.append(len(said))
            return self.blocks.pop(0) if self.blocks else b""

    stream = type("stdin", (), {"buffer": Pipe(), "isatty": staticmethod(lambda: False)})
    monkeypatch.setattr(sys, "stdin", stream)
    monkeypatch.setattr("typer.echo", lambda line, **_: said.append(line))
    how = {"beam_size": 2, "length_penalty": 0.0}
    place = (trained, "translate", [], [], (None, None))
    predict_inputs(*place, as_json=False, out=None, device="cpu", **how)
    assert said == ["0 1 2", "1 1 1", "", "3 3 3"]
    assert answered == [0, 1, 3, 3]


def test_several_translations_of_each(recurra: Any, trained: Path) -> None:
    options = ("--num-best", "3", "--beam-size", "4")
    lines = recurra("translate", trained, "a b c", *options).out.splitlines()
    scores = [float(line.split("\t")[0]) for line in lines]
    assert len(lines) == 3
    assert lines[0].endswith("\t0 1 2")
    assert scores == sorted(scores, reverse=True)
    found = json.loads(recurra("translate", trained, "a b c", *options, "--json").out)
    assert found["text"] == "0 1 2"
    assert len(found["others"]) == 2


def test_what_is_drawn_depends_on_the_place_of_an_input(
    recurra: Any, trained: Path, tmp_path: Path
) -> None:
    """A text that is given several times is drawn anew each time, however it comes."""
    options = ("--temperature", "3", "--seed", "2")
    said = recurra("translate", trained, *["a b c"] * 4, *options).out.splitlines()
    assert len(set(said)) > 1
    lines = tmp_path / "input.txt"
    lines.write_text("a b c\n" * 4)
    assert recurra("translate", trained, lines, *options).out.splitlines() == said
    lines.write_text("a b c\n" * 3)
    assert recurra("translate", trained, "a b c", lines, *options).out.splitlines() == said


def test_other_pairs_are_translated_as_the_run_s_own(
    recurra: Any, trained: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("a b\t0 1\nc\t2\n")
    run = tmp_path / "run"
    small = ("--hidden-size", "4", "--embedding-size", "4", "--max-steps", "2", "--min-count", "1")
    given = ("--data", trained.parent / "pairs.tsv", "--out", run, "--beam-size", "3")
    assert recurra("train", "translate", *given, *small).code == 0
    for options in ((), ("--data", pairs)):
        found = json.loads(recurra("evaluate", run, *options, "--json").out)
        assert found["beam_size"] == 3


def test_where_the_decoder_looked_is_drawn(recurra: Any, trained: Path, tmp_path: Path) -> None:
    picture = tmp_path / "looked.svg"
    outcome = recurra("translate", trained, "a b c", "", "d d a", "--attention", picture)
    assert outcome.out.splitlines() == ["0 1 2", "", "3 3 0"]
    assert "<svg" in picture.read_text()
    picture.write_text("mine")
    outcome = recurra("translate", trained, "a b", "--attention", picture)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--attention: expected a new file, or an older .svg picture" in outcome.err
    run = tmp_path / "run"
    small = ("--hidden-size", "4", "--embedding-size", "4", "--max-steps", "1", "--min-count", "1")
    given = ("--data", trained.parent / "pairs.tsv", "--out", run, "--attention", "none")
    assert recurra("train", "translate", *given, *small).code == 0
    outcome = recurra("translate", run, "a b", "--attention", tmp_path / "b.svg")
    assert outcome.code == 2
    assert "--attention: expected a model that looks at the source, got one of" in outcome.err


def test_a_table_of_translations(recurra: Any, trained: Path, tmp_path: Path) -> None:
    table = tmp_path / "in.csv"
    table.write_text("number,source\n1,a a a\n2,b c d\n")
    out = tmp_path / "out.jsonl"
    outcome = recurra("translate", trained, table, "--text-column", "source", "--out", out)
    assert outcome.code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["translation"] for row in rows] == ["0 0 0", "1 2 3"]
    assert [row["number"] for row in rows] == ["1", "2"]
    assert all(row["score"] < 0 for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--beam-size", "0"), "beam-size"),
        (("--beam-size", "2", "--num-best", "5"), "expected num_best of at most beam_size, 2"),
        (("--temperature", "-1"), "temperature: expected a number, 0 or more, got -1"),
        (("--length-penalty", "nan"), "length-penalty: expected a number, 0 or more"),
    ],
)
def test_options_out_of_range(
    recurra: Any, trained: Path, options: tuple[str, ...], message: str
) -> None:
    outcome = recurra("translate", trained, "a b", *options)
    assert outcome.code == 2
    assert message in outcome.err.replace("\n", " ")


def test_a_run_of_another_kind_is_refused(recurra: Any, run: Path) -> None:
    outcome = recurra("translate", run, "a b")
    assert outcome.code == 2
    assert "translate" in outcome.err


def test_it_is_measured(recurra: Any, trained: Path) -> None:
    said = recurra("evaluate", trained).out
    for words in ("BLEU ", "chrF ", "right as a whole", "pairs, ", "beam 5", "nrefs:1|case:mixed"):
        assert words in said
    figures = json.loads(recurra("evaluate", trained, "--json", "--split", "val").out)
    assert 0 <= figures["exact"] <= 1
    assert figures["pairs"] == 3


def test_a_table_has_its_sources_where_training_had_them(
    recurra: Any, trained: Path, tmp_path: Path
) -> None:
    """By name or place, whatever the other columns hold."""
    table = tmp_path / "in.tsv"
    table.write_text("target\tsource\na longer text than that\ta b c\n")
    assert recurra("translate", trained, table).out.splitlines() == ["0 1 2"]
    table.write_text("a b c\ta longer text than that\n")
    assert recurra("translate", trained, table).out.splitlines() == ["0 1 2"]
    out = tmp_path / "out.csv"
    recurra("translate", trained, table, "--num-best", "2", "--out", out)
    assert len(out.read_text().splitlines()) == 3  # a row for each translation
