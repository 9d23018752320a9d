"""`recurra train classify`: from files to a run that predicts, evaluates and goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recurra as rc
from recurra.data import read_labelled
from recurra.errors import DataError
from recurra.models import Confusion
from recurra.tasks import ClassifyTask, Run, train
from recurra.tasks.options import ClassifyTraining, LabelledSettings
from recurra.text import NgramSpelling
from recurra.training.task import Moment

GOOD = ["a fine film", "wonderful and fine", "truly wonderful work", "fine work , wonderful cast"]
BAD = ["a dull film", "awful and dull", "truly awful work", "dull work , awful cast"]
SETTINGS: dict[str, Any] = {"hidden_size": 8, "batch_size": 8, "lr": 0.05, "view": None}


def sentences(path: Path, copies: int = 20) -> Path:
    """A table of short reviews whose words say the class."""
    rows = [f"{text} {i}\t{label}" for i in range(copies) for label, texts in
            (("good", GOOD), ("bad", BAD)) for text in texts]  # fmt: skip
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    return path


def loss_of(task: ClassifyTask, model: rc.Classifier) -> torch.Tensor:
    batch = task.source("train", ClassifyTraining()).batch(0, 0)
    return task.loss(model, batch, None, Moment()).mean


@pytest.mark.medium
@pytest.mark.parametrize(
    ("spelling", "pair_buckets"), [("none", 0), ("characters", 0), ("ngrams", 0), ("ngrams", 99)]
)
def test_trains_predicts_and_evaluates(tmp_path: Path, spelling: str, pair_buckets: int) -> None:
    data = sentences(tmp_path / "reviews.tsv")
    run = train(
        "classify",
        data=str(data),
        out=tmp_path / "run",
        epochs=5,
        spelling=spelling,
        subword_size=8,
        pair_buckets=pair_buckets,
        **SETTINGS,
    )
    data.unlink()  # the run keeps what it needs
    figures = run.evaluate("test")
    assert figures["accuracy"] == 1.0
    assert figures["examples"] == sum(map(sum, figures["confusion"]["counts"])) == 16
    model = rc.load(tmp_path / "run")
    assert isinstance(model, rc.Classifier)
    labels = [p.label for p in model.predict(["a wonderful thing", "an awful thing"])]
    assert labels == ["good", "bad"]
    again = Run.open(tmp_path / "run").evaluate("test")
    assert again["nll"] == pytest.approx(figures["nll"], rel=1e-6)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["labels"] == ["bad", "good"]
    assert config["data"]["described"]["parts"][0]["classes"] == {"good": 64, "bad": 64}
    result = run.fit(epochs=6)
    assert result.steps == 6 * 16


@pytest.mark.medium
def test_series_with_gaps_and_classes_of_unequal_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = ["up"] * 60 + ["down"] * 15
    slopes = np.where(np.array(labels) == "up", 0.5, -0.5)
    series = [
        np.stack([slope * np.arange(n) + 100 + rng.normal(size=n), np.full(n, 7.0)], axis=1)
        for slope, n in zip(slopes, rng.integers(4, 12, 75), strict=True)
    ]
    series[3][2, 0] = np.nan
    found = read_labelled((series, labels), missing="fill")
    data = LabelledSettings(missing="fill", class_weights="balanced")
    task = ClassifyTask.of(found, data)
    assert task.class_weights == pytest.approx([59 / 22, 59 / 96])  # down, up: 1 on the average
    run = train(task, out=tmp_path / "run", epochs=12, **SETTINGS)
    assert run.evaluate("test")["accuracy"] == 1.0
    model = rc.load(tmp_path / "run")
    (prediction,) = model.predict([[[100, 7], [np.nan, 7], [101, 7], [101.5, 7], [102, 7]]])
    assert prediction.label == "up"


def test_loss_counts_each_example_by_its_class_and_none_that_fills_up() -> None:
    texts, labels = [*GOOD * 4, *BAD * 2], ["good"] * 16 + ["bad"] * 8
    found = read_labelled((texts, labels))
    tasks = [ClassifyTask.of(found, LabelledSettings(class_weights=kind)) for kind in
             ("none", "balanced")]  # fmt: skip
    model = rc.Classifier(labels=tasks[0].labels, vocabulary=tasks[0].vocabulary, hidden_size=4)
    batch = tasks[0].parts["train"].gather(np.arange(6))
    each = torch.stack([model.loss(batch.x[:, [b]], batch.target[[b]], batch.lengths[[b]])
                        for b in range(6)])  # fmt: skip
    plain, weighted = (task.loss(model, batch, None, Moment()) for task in tasks)
    torch.testing.assert_close(plain.mean, each.mean())
    weights = torch.tensor(tasks[1].class_weights)[batch.target]
    torch.testing.assert_close(weighted.mean, (each * weights).mean())
    assert plain.count == weighted.count == 6
    filler = tasks[0].parts["train"].gather(np.arange(1), weight=0.0)
    loss = tasks[0].loss(model, filler, None, Moment())
    assert (loss.mean.item(), loss.count) == (0.0, 0)


def test_words_of_held_out_parts_are_spelled_but_unknown(tmp_path: Path) -> None:
    parts = {
        "val_data": (["a finest film"], ["good"]),
        "test_data": (["dullest !"], ["bad"]),
    }
    found = read_labelled((GOOD + BAD, ["good"] * 4 + ["bad"] * 4), **parts)
    task = ClassifyTask.of(found, LabelledSettings(spelling="ngrams", min_count=1))
    assert task.vocabulary is not None
    assert "finest" not in task.vocabulary.words
    assert {"finest", "dullest"} <= set(task.lexicon)
    model = task.build(task.model_settings())
    figures = task.evaluate(model, "test")
    (prediction,) = model.predict(["dullest !"])
    assert figures["nll"] == pytest.approx(-np.log(prediction.probabilities["bad"]), rel=1e-5)
    text, _ = task.preview(model, Moment(), ClassifyTraining())
    assert text.endswith("a finest film")


def test_lengths_of_ngrams_and_their_table() -> None:
    found = read_labelled((GOOD + BAD, ["good"] * 4 + ["bad"] * 4))
    settings = LabelledSettings(
        spelling="ngrams", shortest_ngram=2, longest_ngram=4, ngram_buckets=50
    )
    task = ClassifyTask.of(found, settings)
    assert task.spelling == NgramSpelling(50, shortest=2, longest=4)
    model = task.build(task.model_settings())
    assert model.subwords is not None
    assert model.subwords.num_pieces == 50


@pytest.mark.medium
def test_figures_of_another_file(tmp_path: Path) -> None:
    train_file = sentences(tmp_path / "reviews.tsv")
    run = train("classify", data=str(train_file), out=tmp_path / "run", epochs=6, **SETTINGS)
    other = tmp_path / "other.tsv"
    other.write_text("text\tlabel\n" + "wonderful\tgood\nawful\tbad\nfine\tbad\ndull\tgood\n" * 3)
    figures = run.evaluate(data=str(other))
    assert figures["accuracy"] == 0.5
    assert figures["confusion"] == {"labels": ["bad", "good"], "counts": [[3, 3], [3, 3]]}
    said = ClassifyTask.say(figures)
    assert said.startswith("accuracy 50.00%, macro F1 0.5000, nll ")
    assert str(Confusion.from_config(figures["confusion"])) in said
    other.write_text("text\tlabel\nwonderful\tgood\nawful\tterrible\n")
    with pytest.raises(DataError, match=r"other.tsv: expected the classes of.*terrible"):
        run.evaluate(data=str(other))


@pytest.mark.medium
def test_starts_from_a_language_model_of_the_same_sentences(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join([*GOOD, *BAD] * 40))
    language = train(
        "lm",
        data=str(text),
        level="word",
        out=tmp_path / "lm",
        cell="gru",
        embedding_size=64,
        bptt=10,
        max_steps=2,
        **SETTINGS,
    )
    task = ClassifyTask.of(read_labelled((GOOD + BAD, [1] * 4 + [0] * 4), shares=(0.5, 0.25, 0.25)),
                           LabelledSettings(min_count=1))  # fmt: skip
    model = task.build(task.model_settings(hidden_size=8))
    taken = model.init_from(language.model)
    assert {"embedding.weight", "recurrent.W_hr_l0"} <= set(taken.tensors)
    still: dict[str, Any] = {**SETTINGS, "lr": 1e-12}
    run = train(task, out=tmp_path / "run", init_from=tmp_path / "lm", max_steps=1, **still)
    ours, theirs = run.model.state_dict(), language.model.state_dict()
    torch.testing.assert_close(ours["recurrent.W_hr_l0"], theirs["recurrent.W_hr_l0"])


def test_starts_from_vectors(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("fine 1 2 3\nunheard 4 5 6\nawful 7 8 9\n")
    found = read_labelled((GOOD * 3 + BAD * 3, ["good"] * 12 + ["bad"] * 12))
    task = ClassifyTask.of(found, LabelledSettings(vectors=str(path)))
    model = task.build(task.model_settings())
    assert model.embedding is not None
    assert model.embedding.embedding_dim == 3
    assert task.vocabulary is not None
    (awful,) = task.vocabulary.encode("awful")
    assert model.embedding.weight[awful].tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": None}, r"data=.*expected a file or folder of labelled examples, got none"),
        ({"data": "nowhere.tsv"}, r"nowhere.tsv: expected a file or a folder, got no such file"),
        ({"level": "char", "spelling": "ngrams"}, r"spelling: expected words.*got level=char"),
        ({"level": "char", "lower": True}, r"lower: expected words.*got level=char"),
        ({"pooling": "median"}, r"pooling: expected one of last, mean, max"),
        ({"spelling": "syllables"}, r"spelling: expected one of none, characters, ngrams"),
        ({"longest_ngram": 2}, r"longest_ngram: expected at least shortest_ngram, 3, got 2"),
        ({"ngram_buckets": 0}, r"ngram_buckets: expected .*1.* got 0"),
        ({"pair_size": 9}, r"pair_size: expected pair_buckets= above 0 beside it"),
        ({"pair_buckets": -1}, r"pair_buckets: expected .*0.* got -1"),
        ({"dropout": 1.0}, r"dropout: expected a number from 0 up to, not including, 1, got 1.0"),
        ({"cell": "gruu"}, r"gruu"),
        ({"test_data": "nowhere.tsv"}, r"nowhere.tsv: expected a file or a folder"),
    ],
)
def test_mistakes_leave_no_folder(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    data = sentences(tmp_path / "reviews.tsv")
    given = {"data": str(data), **SETTINGS, **settings}
    with pytest.raises((DataError, ValueError), match=message):
        train("classify", out=tmp_path / "run", **given)
    assert [file.name for file in tmp_path.iterdir()] == ["reviews.tsv"]


@pytest.mark.medium
def test_damaged_words_of_a_run_are_named(tmp_path: Path) -> None:
    data = sentences(tmp_path / "reviews.tsv")
    train("classify", data=str(data), out=tmp_path / "run", spelling="characters", max_steps=1,
          **SETTINGS)  # fmt: skip
    (tmp_path / "run" / "data" / "words.json").write_text('["a", 3]')
    with pytest.raises(DataError, match=r"words.json: expected the words of the run's examples"):
        Run.open(tmp_path / "run").evaluate("test")


def test_vectors_are_kept_with_the_examples(tmp_path: Path) -> None:
    """Another process that opens the folder builds the same model; the file of vectors may go."""
    from recurra.comparison.subjects import subject_of

    path, table = tmp_path / "vectors.txt", tmp_path / "table.tsv"
    path.write_text("wonderful 1 2 3\nawful 7 8 9\n")
    rows = [f"wonderful film {i}\tgood\nawful film {i}\tbad" for i in range(20)]
    table.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    line = f"classify:data={table},vectors={path}"
    read = subject_of(line)
    opened = subject_of(line, read.folder)
    assert opened.count_parameters("gru", 4) == read.count_parameters("gru", 4)
    model = opened.build("gru", 4)
    place = opened.task.vocabulary.words.index("awful")  # type: ignore[attr-defined]
    assert model.embedding.weight[place].tolist() == [7.0, 8.0, 9.0]  # type: ignore[union-attr]


@pytest.mark.medium
def test_a_run_of_data_at_hand_goes_on(tmp_path: Path) -> None:
    task = ClassifyTask.of(read_labelled((GOOD * 3 + BAD * 3, ["good"] * 12 + ["bad"] * 12)))
    run = train(task, out=tmp_path / "run", max_steps=2, **SETTINGS)
    assert run.fit(max_steps=4).steps == 4


@pytest.mark.medium
def test_series_in_double_precision(tmp_path: Path) -> None:
    series = [np.random.default_rng(i).normal(size=(5, 2)) for i in range(24)]
    task = ClassifyTask.of(read_labelled((series, ["left", "right"] * 12)))
    run = train(task, out=tmp_path / "run", max_steps=2, **{**SETTINGS, "precision": "64-true"})
    assert run.result is not None
