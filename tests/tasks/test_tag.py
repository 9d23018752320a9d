"""A tagger from files to predictions."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recurra as rc
from recurra.data.tagged import read_tagged
from recurra.data.tagged_files import Reading
from recurra.errors import DataError
from recurra.models import Tagger

pytestmark = pytest.mark.medium

NOUNS, VERBS = ("dog", "cat", "bird", "man"), ("sees", "likes", "hunts")
PLAIN: dict[str, Any] = {
    "dropout": 0.0,
    "input_dropout": 0.0,
    "word_dropout": 0.0,
    "lr": 0.01,
    "batch_size": 8,
}
SMALL: dict[str, Any] = {
    "embedding_size": 8,
    "subword_size": 8,
    "hidden_size": 16,
    "view": None,
    **PLAIN,
}


def sentence(rng: random.Random) -> list[tuple[str, str]]:
    words = [("the", "DET"), (rng.choice(NOUNS), "NOUN"), (rng.choice(VERBS), "VERB")]
    return [*words, ("the", "DET"), (rng.choice(NOUNS), "NOUN"), (".", "PUNCT")][
        : rng.choice((3, 6))
    ]


def conll(path: Path, count: int, seed: int = 0) -> Path:
    rng = random.Random(seed)
    sentences = (sentence(rng) for _ in range(count))
    path.write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in each) for each in sentences))
    return path


def test_trains_evaluates_and_predicts(tmp_path: Path) -> None:
    data = conll(tmp_path / "tags.conll", 200)
    run = rc.train("tag", data=str(data), out=tmp_path / "run", epochs=6, **SMALL)
    found = run.evaluate("test")
    assert found["accuracy"] == 1
    assert found["most_frequent"] == 1
    said = str(run.task.remark({"accuracy": 0.5}))
    assert (
        "the model is worse than each word's most frequent label: validation accuracy 0.5" in said
    )
    assert found["sequences"] == 20
    model = rc.load(tmp_path / "run")
    assert isinstance(model, Tagger)
    said = model.predict(["The dog sees ."])[0]
    assert said.tokens == ("The", "dog", "sees", ".")
    assert said.labels == ("DET", "NOUN", "VERB", "PUNCT")
    other = conll(tmp_path / "other.conll", 10, seed=1)
    again = run.evaluate(data=str(other))
    assert again["accuracy"] == 1
    assert again["nll"] < 0.1
    assert "most_frequent" not in again  # of training, which another file knows nothing of


def test_a_run_goes_on_exactly(tmp_path: Path) -> None:
    data = str(conll(tmp_path / "tags.conll", 60))
    for name, steps in (("whole", 8), ("part", 4)):
        rc.train(
            "tag", data=data, out=tmp_path / name, max_steps=steps, schedule="constant", **SMALL
        )
    rc.train("tag", out=tmp_path / "part", resume=True, max_steps=8, view=None)
    whole, part = (rc.load(tmp_path / name).state_dict() for name in ("whole", "part"))
    assert all((whole[name] == part[name]).all() for name in whole)


def test_parts_of_a_folder_and_objects(tmp_path: Path) -> None:
    for name, count in (("train", 60), ("dev", 10), ("test", 10)):
        rng = random.Random(name)
        rows = [list(zip(*sentence(rng), strict=True)) for _ in range(count)]
        lines = [json.dumps({"tokens": row[0], "tags": row[1]}) for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    run = rc.train("tag", data=str(tmp_path), out=tmp_path / "run", epochs=6, **SMALL)
    assert run.evaluate("test")["sequences"] == 10


def test_spans_are_scored_and_kept_whole(tmp_path: Path) -> None:
    data = tmp_path / "spans.conll"
    sentences = ["in O\nnew B-PLACE\nyork I-PLACE\n", "at O\nhome O\n", "paris B-PLACE\nis O\n"]
    data.write_text("\n".join(sentences * 20))
    run = rc.train(
        "tag", data=str(data), out=tmp_path / "run", epochs=20, crf=True, constrain="bio", **SMALL
    )
    found = run.evaluate("test")
    assert found["span_f1"] == 1
    assert run.result is not None
    assert run.result.figure.name == "span_f1"


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_learn_it_too(precision: str, tmp_path: Path) -> None:
    data = str(conll(tmp_path / "tags.conll", 100))
    run = rc.train("tag", data=data, out=tmp_path / "run", epochs=5, crf=True, precision=precision,
                   **SMALL)  # fmt: skip
    assert run.evaluate("test")["accuracy"] == 1
    wanted = torch.float64 if precision == "64-true" else torch.float32
    assert next(rc.load(tmp_path / "run").parameters()).dtype is wanted


def test_numbers_at_each_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(80):
        x = rng.normal(size=(rng.integers(5, 12), 2))
        rows.append({"series": x.tolist(), "targets": (100 + 10 * x[:, :1]).tolist()})
    data = tmp_path / "series.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    options: dict[str, Any] = {"hidden_size": 16, "view": None, **PLAIN}
    run = rc.train("tag", data=str(data), out=tmp_path / "run", epochs=25, **options)
    found = run.evaluate("test")
    assert found["mse"] < 10
    assert found["mean_mse"] == pytest.approx(100, rel=0.3)
    assert "mse of the mean " in run.task.say(found)
    assert run.task.remark({"mse": 10.0}) is None
    assert "the model is worse than the mean of training: validation mse 900.0000, the mean" in str(
        run.task.remark({"mse": 900.0})
    )
    said = Tagger.load(tmp_path / "run").predict([[[1.0, 0.0]] * 4])[0]
    assert said.values is not None
    assert said.values.shape == (4, 1)
    assert abs(said.values.mean() - 110) < 8


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"longest_ngram": 2}, r"longest_ngram: expected at least shortest_ngram, 3, got 2"),
        ({"delay": 2}, r"delay: expected bidirectional=False beside it"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rc.train("tag", data="none", view=None, **settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a X\nb X\n\nc X\n\nd X\n\ne X\n", "two or more labels, got 'X' alone"),
        ("a X\nb\n", r"line 2: expected 2 columns as in the lines above it, got 1: 'b'"),
        ("\n \n", "at least one sequence"),
    ],
)
def test_columns_that_cannot_be_learned_from(text: str, said: str, tmp_path: Path) -> None:
    data = tmp_path / "bad.conll"
    data.write_text(text)
    with pytest.raises(DataError, match=said):
        rc.train("tag", data=str(data), out=tmp_path / "run", view=None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"tokens": [], "tags": []}, "line 6: expected a step at least, got none"),
        ({"tokens": ["a"], "tags": ["X", "Y"]}, "a label for each of the 1 steps, got 2"),
        ({"series": [1.5], "tags": ["X"]}, "line 6: expected words as in .*, got 1 numbers a step"),
    ],
)
def test_rows_that_cannot_be_learned_from(last: dict[str, Any], said: str, tmp_path: Path) -> None:
    rows = [{"tokens": ["a", "b"], "tags": ["X", "Y"]}] * 5
    data = tmp_path / "bad.jsonl"
    data.write_text("\n".join(map(json.dumps, [*rows, last])))
    with pytest.raises(DataError, match=said):
        rc.train("tag", data=str(data), out=tmp_path / "run", view=None)


def test_empty_lines_divide_sentences_however_many_there_are(tmp_path: Path) -> None:
    data = tmp_path / "a.conll"
    data.write_text("\n\na X\nb Y\n\n  \n\nc X\n\n" * 5 + "\n\n")
    found = read_tagged(data, Reading())
    assert sum(len(part) for part in found.parts.values()) == 10


def test_words_that_nobody_knows_have_labels_too(tmp_path: Path) -> None:
    data, test = conll(tmp_path / "a.conll", 60), tmp_path / "b.conll"
    test.write_text("qua DET\nzork NOUN\n")
    run = rc.train(
        "tag", data=str(data), test_data=str(test), out=tmp_path / "run", max_steps=2, **SMALL
    )
    assert run.evaluate("test")["steps"] == 2
    model = Tagger.load(tmp_path / "run")
    [said] = model.predict([["Ωmega", "\u2603"]])
    assert said.tokens == ("Ωmega", "\u2603")
    assert set(said.labels) <= {"DET", "NOUN", "VERB", "PUNCT"}
    _, empty = model.predict([["a"], []])  # as an empty line is answered by one
    assert (empty.tokens, empty.labels) == ((), ())


def rows_of_numbers(path: Path, series: Any, targets: Any) -> str:
    rows = [{"series": series(i), "targets": targets(i)} for i in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_numbers_that_are_all_one_cannot_be_learned(tmp_path: Path) -> None:
    for value, got in ((2.5, "2.5 alone"), (None, "none")):
        data = rows_of_numbers(tmp_path / "a.jsonl", lambda i: [i, 1.0], lambda _: [[value]] * 2)  # noqa: B023
        with pytest.raises(DataError, match=rf"numbers to learn that change, got {got}"):
            rc.train("tag", data=data, out=tmp_path / "run", view=None)


def test_missing_values_are_counted_named_and_filled(tmp_path: Path) -> None:
    data = rows_of_numbers(
        tmp_path / "a.jsonl", lambda i: [[i, 1.0], [1.0, None]], lambda i: [[0.5], [i]]
    )
    with pytest.raises(DataError, match=r"line 1: expected a number .* 1 missing, .* missing=fill"):
        rc.train("tag", data=data, out=tmp_path / "run", view=None)
    found = read_tagged(data, Reading(missing="fill"))
    assert "20 missing values filled from the step before" in found.notes
    assert np.asarray(found.parts["train"][0].values)[1].tolist() == [1.0, 1.0]


def test_a_file_is_judged_as_a_part_of_the_data_is(tmp_path: Path) -> None:
    data, test = conll(tmp_path / "a.conll", 60), conll(tmp_path / "b.conll", 20, seed=1)
    given = {"data": str(data), "test_data": str(test), "out": tmp_path / "run", "max_steps": 3}
    run = rc.train("tag", **given, **SMALL)
    of_part, of_file = run.evaluate("test"), run.evaluate(data=str(test))
    for name in ("accuracy", "nll", "confusion", "confusions", "steps", "sequences"):
        assert of_file[name] == of_part[name]
    series = tmp_path / "series.jsonl"
    series.write_text('{"series": [1, 2], "tags": ["DET", "NOUN"]}')
    with pytest.raises(DataError, match=r"line 1: expected words, as the model was trained on"):
        run.evaluate(data=str(series))


def test_a_label_that_training_never_saw(tmp_path: Path) -> None:
    data, val = conll(tmp_path / "a.conll", 40), tmp_path / "b.conll"
    val.write_text("the ARTICLE\n")
    said = r"b\.conll, line 1: expected the labels of training .*, got 'ARTICLE' at step 1, and not"
    with pytest.raises(DataError, match=said):
        rc.train("tag", data=str(data), val_data=str(val), out=tmp_path / "run", view=None)
    # a rare one among others counts as wrong, wherever it is judged
    val.write_text("the ARTICLE\n\n" + "the DET\n\n" * 3)
    given = {"data": str(data), "val_data": str(val), "test_data": str(val)}
    run = rc.train("tag", **given, out=tmp_path / "run", epochs=12, **SMALL)
    notes = run.task.description["notes"]
    assert any("ARTICLE (1 step of val)" in each for each in notes)
    for found in (run.evaluate("val"), run.evaluate(data=str(val))):
        assert found["accuracy"] == 3 / 4
        assert found["steps"] == 4
        [wrong] = found["confusions"]
        assert (wrong["true"], wrong["said"], wrong["count"]) == ("ARTICLE", "DET", 1)
        assert found["nll"] < 1
    assert list(rc.load(tmp_path / "run").labels) == ["DET", "NOUN", "PUNCT", "VERB"]
