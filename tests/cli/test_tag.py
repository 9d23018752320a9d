"""recurra tag, and what evaluate says of a tagger."""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.medium

SENTENCE = "the DET\n{} NOUN\nsleeps VERB\n"
QUICK = ("--hidden-size", "8", "--embedding-size", "4", "--subword-size", "4", "--max-steps", "2")


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tagger of three labels, that learned next to nothing."""
    from recurra.tasks import train

    folder = tmp_path_factory.mktemp("tags")
    words = ("dog", "cat", "bird")
    (folder / "tags.conll").write_text("\n".join(SENTENCE.format(words[i % 3]) for i in range(40)))
    options = {"hidden_size": 8, "embedding_size": 4, "subword_size": 4, "max_steps": 2}
    train("tag", data=str(folder / "tags.conll"), out=folder / "run", view=None, **options)
    return folder / "run"


def test_labels_of_words_that_are_given(recurra: Any, tags: Path) -> None:
    outcome = recurra("tag", tags, "the dog sleeps", "cats sleep")
    first, second = (line.split("\t") for line in outcome.out.splitlines())
    assert len(first[0].split()) == 3
    assert first[2] == "the dog sleeps"
    assert len(second[0].split()) == 2


def test_an_empty_line_is_answered_by_one(recurra: Any, tags: Path, tmp_path: Path) -> None:
    lines = tmp_path / "input.txt"
    lines.write_text("the dog\n\n  \na cat\n")
    said = recurra("tag", tags, lines).out.splitlines()
    assert [line.split("\t")[-1] for line in said] == ["the dog", "", "", "a cat"]
    rows = map(json.loads, recurra("tag", tags, lines, "--json").out.splitlines())
    assert [row["labels"] == [] for row in rows] == [False, True, True, False]


def test_a_constraint_to_spans_needs_labels_of_spans(recurra: Any, tmp_path: Path) -> None:
    """Without one that begins a span all would be outside, and nobody would know why."""
    for labels in (("DET", "NOUN"), ("O", "I-PER")):
        words = "".join(f"word{i}\t{labels[i % 2]}\n\n" for i in range(40))
        (tmp_path / "a.conll").write_text(words)
        run = ("--out", tmp_path / "run", "--constrain", "bio", *QUICK)
        outcome = recurra("train", "tag", "--data", tmp_path / "a.conll", *run)
        assert outcome.code == 2
        assert "--constrain: expected labels of spans, which begin with B-" in outcome.err
        assert outcome.err.count("\n") == 1


def test_bytes_that_are_no_text_are_not_another_task_s(recurra: Any, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_bytes("mañana\tADV\n\n".encode("latin-1") * 20)
    outcome = recurra("train", "tag", "--data", tmp_path / "a.conll", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "use --encoding" in outcome.err
    assert "recurra train lm" not in outcome.err


def test_a_column_of_a_table_is_tagged(recurra: Any, tags: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,said\n1,the dog sleeps\n2,a cat\n")
    outcome = recurra("tag", tags, tmp_path / "in.csv", "--text-column", "said", "--json")
    assert outcome.code == 0
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["tokens"] for row in rows] == [["the", "dog", "sleeps"], ["a", "cat"]]
    assert [row["id"] for row in rows] == ["1", "2"]


def test_files_of_words_are_tagged(recurra: Any, tags: Path, tmp_path: Path) -> None:
    """In columns, with labels or without, and as lists."""
    universal = "1\tNew York\t_\tX\t_\t_\t_\t_\t_\t_\n2\tsleeps\t_\tX\t_\t_\t_\t_\t_\t_\n"
    for name, text in (
        ("a.conllu", universal),
        ("a.conll", "cats\nsleep\n\ndogs\n"),
        ("a.jsonl", '{"tokens": ["cats", "sleep"]}\n{"tokens": ["dogs"]}'),
    ):
        (tmp_path / name).write_text(text)
    [first, second] = recurra("tag", tags, tmp_path / "a.conll").out.splitlines()
    assert first.split("\t")[2] == "cats sleep"
    assert second.split("\t")[2] == "dogs"
    assert recurra("tag", tags, tmp_path / "a.jsonl").out.splitlines() == [first, second]
    [row] = recurra("tag", tags, tmp_path / "a.conllu", "--json").out.splitlines()
    assert json.loads(row)["tokens"] == ["New York", "sleeps"]


def test_what_was_said_is_written_in_columns(recurra: Any, tags: Path, tmp_path: Path) -> None:
    """As the input has it; what recurra wrote is replaced, and what a user has never."""
    source, out = tmp_path / "in.conllu", tmp_path / "out.conllu"
    rows = ("1\tcats\tcat\tX\tNNS\t_\t2\t_\t_\t_", "2\tsleep\t_\tX\t_\t_\t0\t_\t_\t_")
    source.write_text("\n".join(["# text = cats sleep", *rows, ""]))
    outcome = recurra("tag", tags, source, "a dog", "--out", out)
    assert outcome.code == 0, outcome.err
    generator, first, second, last = out.read_text().split("\n\n")[0].splitlines()
    assert generator == "# generator = recurra"
    assert first == "# text = cats sleep"
    assert second.split("\t")[2:5:2] == ["cat", "NNS"]
    assert second.split("\t")[3] in ("DET", "NOUN", "VERB")
    assert last.split("\t")[6] == "0"
    assert out.read_text().split("\n\n")[1].startswith("1\ta\t_\t")
    before = out.read_text()
    assert recurra("tag", tags, source, "a dog", "--out", out).code == 0
    assert out.read_text() == before
    again = tmp_path / "again.conllu"  # of its own output: it says once who wrote it
    assert recurra("tag", tags, out, "--out", again).code == 0
    assert again.read_text().count("# generator") == 1
    edited = tmp_path / "edited.conllu"
    edited.write_text("# checked by hand\n" + before)
    columns = tmp_path / "out.conll"  # in which nothing may say whose it is
    assert recurra("tag", tags, source, "--out", columns).code == 0
    for there in (source, edited, columns):
        before = there.read_bytes()
        outcome = recurra("tag", tags, source, "--out", there)
        assert outcome.code == 2
        assert "--out: expected a new file, or older predictions to replace, got" in outcome.err
        assert f"'{there}', which nothing says that recurra wrote" in outcome.err
        assert there.read_bytes() == before
    outcome = recurra("tag", tags, source, "--out", tmp_path / "out.xlsx")
    assert ".parquet, .conllu, .conll, got" in outcome.err


def test_the_last_two_columns_are_what_is_true_and_what_is_said(
    recurra: Any, tags: Path, tmp_path: Path
) -> None:
    """As conlleval takes them: of any form whose labels the model knows, each line as long."""
    universal = "1-2\tcats sleep\t_\t_\t_\t_\t_\t_\t_\t_\n1\tcats\t_\tNOUN\t_\t_\t_\t_\t_\t_\n"
    universal += "2\tsleep\t_\t_\t_\t_\t_\t_\t_\t_\n2.1\t_\t_\tVERB\t_\t_\t_\t_\t_\t_\n"
    lists = {"tokens": ["cats", "sleep"], "tags": ["NOUN", None]}
    for name, text, widths in (
        ("a.conllu", universal, {3}),
        ("a.jsonl", json.dumps(lists), {3}),
        ("b.jsonl", '{"tokens": ["cats", "sleep"], "tags": ["B-PER", "O"]}', {2}),
        ("a.conll", "-DOCSTART- O\n\ncats NOUN\nsleep _\n", {3}),
        ("named.conll", "word\tgold\ncats\tNOUN\nsleep\t_\n", {3}),
        ("words.conll", "cats\nsleep\n", {2}),
    ):
        (tmp_path / name).write_text(text)
        out = tmp_path / f"{name}.out.conll"
        assert recurra("tag", tags, tmp_path / name, "--out", out).code == 0, name
        rows = [line.split() for line in out.read_text().splitlines() if line]
        assert {len(row) for row in rows} == widths, name
        if 3 in widths:
            *head, first, second = rows
            assert first[:2] == ["cats", "NOUN"], name
            assert second[:2] == ["sleep", "_"], name
            assert all(row[-1] in ("O", "predicted") for row in head), name
    out = tmp_path / "named.conll.out.conll"
    [line] = recurra("tag", tags, out).out.splitlines()  # which reads what it wrote
    assert line.split("\t")[-1] == "cats sleep"


def test_words_without_a_tag_count_for_nothing(recurra: Any, tags: Path, tmp_path: Path) -> None:
    """In CoNLL-U _ is no tag; nor is what is no word of the sentence, or several at once, one."""
    words = ("the\tDET", "dog\t_", "sleeps\tVERB")
    row = "{}\t{}\t_\t{}\t_\t_\t_\t_\t_\t_\n"
    sentence = row.format("1-2", "thedog", "_")
    for number, word in enumerate(words, 1):
        sentence += row.format(number, *word.split("\t"))
    sentence += row.format("3.1", "is", "AUX") + "\n"
    (tmp_path / "a.conllu").write_text(sentence * 5)
    outcome = recurra("evaluate", tags, "--data", tmp_path / "a.conllu", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["steps"], found["unlabelled"], found["sequences"]) == (10, 5, 5)
    assert {"_", "AUX"}.isdisjoint(found["confusion"]["labels"])
    outcome = recurra("evaluate", tags, "--data", tmp_path / "a.conllu")
    assert "10 labels in 5 sequences, 5 more steps have none and count for nothing" in outcome.out
    (tmp_path / "b.conllu").write_text(sentence * 40)
    run = ("--data", tmp_path / "b.conllu", "--out", tmp_path / "run", *QUICK)
    outcome = recurra("train", "tag", *run)
    assert outcome.code == 0, outcome.err
    assert "without a label" in outcome.out
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["labels"] == ["DET", "VERB"]


def test_text_in_columns_is_known_by_its_labels(recurra: Any, tags: Path, tmp_path: Path) -> None:
    lines = tmp_path / "in.txt"
    lines.write_text("cats NOUN\nsleep VERB\n\na DET\n")
    outcome = recurra("tag", tags, lines)
    assert [line.split("\t")[-1] for line in outcome.out.splitlines()] == ["cats sleep", "a"]
    assert "words in columns" in outcome.err
    lines.write_text("cats are\na NOUN\n")
    outcome = recurra("tag", tags, lines)
    assert [line.split("\t")[-1] for line in outcome.out.splitlines()] == ["cats are", "a NOUN"]


def test_what_was_taken_for_what(recurra: Any, tags: Path, tmp_path: Path) -> None:
    outcome = recurra("evaluate", tags, "--confusion", tmp_path / "taken.svg")
    assert outcome.code == 0
    assert "most frequent labels 100.00%" in outcome.out
    assert "taken for" in outcome.out
    assert "as in: " in outcome.out
    assert "<svg" in (tmp_path / "taken.svg").read_text()


def test_a_tagger_of_numbers_takes_nothing_for_anything(recurra: Any, tmp_path: Path) -> None:
    rows = [{"series": [[i, 1], [2, i]], "targets": [[i], [1]]} for i in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = tmp_path / "run"
    assert recurra("train", "tag", "--data", tmp_path / "a.jsonl", "--out", run, *QUICK).code == 0
    said = recurra("tag", run, tmp_path / "a.jsonl", "--out", tmp_path / "said.jsonl")
    assert said.code == 0
    [first, second, *_] = map(json.loads, (tmp_path / "said.jsonl").read_text().splitlines())
    assert (first["step"], second["step"]) == (1, 2)
    assert isinstance(first["number 1"], float)
    outcome = recurra("tag", run, tmp_path / "a.jsonl", "--out", tmp_path / "said.conll")
    assert outcome.code == 2
    assert "--out: expected labels of words for .conll, got numbers" in outcome.err
    assert not (tmp_path / "said.conll").exists()
    outcome = recurra("evaluate", run)
    assert "mse" in outcome.out
    assert "4 numbers in 2 sequences" in outcome.out
    outcome = recurra("evaluate", run, "--confusion", tmp_path / "taken.svg")
    assert outcome.code == 2
    assert "--confusion: expected a model of labels, got one of numbers" in outcome.err


def test_recordings_are_learned_and_tagged_step_by_step(recurra: Any, tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{i % 4},{'high' if i % 4 > 1 else 'low'}" for i in range(12))
    for number in range(10):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.csv").write_text(f"time,x,level\n{rows}\n")
    run = tmp_path / "run"
    given = ("--data", tmp_path / "in", "--tag-column", "level", "--out", run)
    outcome = recurra("train", "tag", *given, "--hidden-size", "8", "--max-steps", "40", "--lr",
                      "0.02", "--dropout", "0", "--input-dropout", "0")  # fmt: skip
    assert "channels x" in outcome.out
    assert "accuracy 100.00%" in recurra("evaluate", run).out
    out = tmp_path / "tagged.csv"
    assert recurra("tag", run, tmp_path / "in" / "3.csv", "--out", out).code == 0
    lines = out.read_text().splitlines()
    assert lines[0] == "input,labels,tagged,step"
    assert [line.split(",")[1] for line in lines[1:5]] == ["low", "low", "high", "high"]
    assert len(lines) == 13
