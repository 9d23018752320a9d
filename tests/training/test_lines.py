"""Language models of lines and of captions, each read by itself."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra as rc
from recurra.data.lines import LineExamples
from recurra.data.parts import _behind_lines
from recurra.errors import DataError
from recurra.tasks.evaluation import evaluate_lines

SMALL: dict[str, Any] = {
    "max_steps": 20, "hidden_size": 8, "embedding_size": 8, "batch_size": 4, "sample_length": 12,
    "view": None, "level": "whitespace", "dropout": 0.0,
}  # fmt: skip
ANIMALS = ("cat", "dog", "bird", "fox")
LINES = [f"the {ANIMALS[n % 4]} {('sees', 'hears')[n % 2]} number {n % 7}" for n in range(100)]


def test_every_line_starts_anew_whatever_stands_beside_it() -> None:
    vocabulary = rc.text.WhitespaceVocabulary.build(line + "\n" for line in LINES)
    model = rc.LanguageModel(vocabulary=vocabulary, hidden_size=8, embedding_size=8)
    texts = ["the cat sees number 1", "dog", "the bird hears the fox"]
    tokens = vocabulary.encode("".join(f"{text}\n" for text in texts))
    found = evaluate_lines(model, LineExamples(tokens, vocabulary.start_id), level="whitespace")
    counts = [len(text.split()) + 1 for text in texts]
    alone = [model.nll(f"{text}\n", prime="\n") for text in texts]
    mean = sum(n * nll for n, nll in zip(counts, alone, strict=True)) / sum(counts)
    assert found["tokens"] == sum(counts)
    assert found["nll"] == pytest.approx(mean, rel=1e-5)
    assert found["ppl"] == pytest.approx(math.exp(mean), rel=1e-5)
    other = vocabulary.encode("".join(f"{text}\n" for text in reversed(texts)))
    again = evaluate_lines(model, LineExamples(other, vocabulary.start_id), level="whitespace")
    assert again["nll"] == pytest.approx(found["nll"], rel=1e-6)


@pytest.mark.medium
def test_a_text_in_lines_is_cut_between_them(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(LINES))
    run = rc.train(
        "lm", data=str(tmp_path / "text.txt"), unit="line", out=tmp_path / "run", **SMALL
    )
    task: Any = run.task
    sizes = {part: len(task.line_examples(part)) for part in ("train", "val", "test")}
    assert sum(sizes.values()) == 100
    assert sizes["val"] in (5, 6)
    assert sizes["test"] in (4, 5)
    each = [*task.vocabulary.decode(task.text.split("test")).strip().split("\n")]
    assert each == LINES[-sizes["test"] :]
    own = run.evaluate("test")
    (tmp_path / "test.txt").write_text("\n".join(each) + "\n\n")
    other = run.evaluate(data=str(tmp_path / "test.txt"))
    assert other["nll"] == pytest.approx(own["nll"], rel=1e-6)
    assert own["tokens"] == sum(len(line.split()) + 1 for line in each)
    again = rc.Run.open(tmp_path / "run").evaluate("test")  # which opens the text of the folder
    assert again["nll"] == own["nll"]
    sample = (tmp_path / "run" / "samples.txt").read_text()
    assert "===" in sample


def test_cuts_are_moved_behind_the_ends_of_lines() -> None:
    pieces = ["ab\ncd", "ef\ng", "h"]
    assert _behind_lines(pieces, [1, 3, 4, 9]) == [3, 3, 8, 10]
    assert _behind_lines(pieces, [8, 10]) == [8, 10]


@pytest.mark.medium
def test_captions_are_lines_of_the_parts_that_pictures_are_of(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [f"{n // 2}.jpg#{n % 2}\t{line} .\n" for n, line in enumerate(LINES)]
    (folder / "Flickr8k.token.txt").write_text("".join(rows))
    for part, names in (("train", range(40)), ("dev", range(40, 45)), ("test", range(45, 50))):
        lines = "".join(f"{name}.jpg\n" for name in names)
        (folder / f"Flickr_8k.{part}Images.txt").write_text(lines)
    run = rc.train("lm", data=str(folder), unit="caption", out=tmp_path / "run", lower=True,
                   min_count=2, **SMALL)  # fmt: skip
    task: Any = run.task
    assert {part: len(task.line_examples(part)) for part in ("train", "val", "test")} == {
        "train": 80, "val": 10, "test": 10,
    }  # fmt: skip
    assert task.vocabulary.decode(task.text.split("test")).startswith(f"{LINES[90]} .\n")
    own = run.evaluate("test")
    assert own["tokens"] == 10 * 7
    assert run.evaluate("test", data=str(folder))["nll"] == pytest.approx(own["nll"], rel=1e-6)
    assert run.evaluate(data=str(folder))["tokens"] == 100 * 7
    reopened: Any = rc.Run.open(tmp_path / "run").task
    assert [label for label, _ in reopened.describe().lines][:2] == ["read", "train"]
    resumed = rc.Run.open(tmp_path / "run").fit(max_steps=24)
    assert resumed.steps == 24


@pytest.mark.medium
def test_all_captions_of_flickr8k(real_data: Path, tmp_path: Path) -> None:
    from recurra.data.caption_text import prepare_captions
    from recurra.tasks.options import TextSettings

    settings = TextSettings(
        data=str(real_data / "flickr8k_text"),
        unit="caption",
        level="whitespace",
        lower=True,
        min_count=5,
    )
    text = prepare_captions(tmp_path, settings)
    ends = {part: int(np.sum(tokens == 1)) for part, tokens in text.parts.items()}
    assert ends == {"train": 30_000, "val": 5_000, "test": 5_000}
    assert len(text.vocabulary) == 2_547  # seen 5 times in training, with <unk> and END
    assert text.sizes == {"train": 383_454, "val": 64_445, "test": 64_178}
    assert "2258277193_586949ec62.jpg.1" in text.read["text"]["notes"][0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"unit": "line"}, r"unit: expected level=word or level=whitespace beside unit=line"),
        ({"lower": True}, r"lower: expected level=word or level=whitespace beside lower=True"),
        ({"min_count": 3}, r"min_count: expected level=word or level=whitespace beside"),
        ({"unit": "caption", "level": "word", "data": None},
         r"unit: expected data= to name captions, got none"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    (tmp_path / "text.txt").write_text("a b\n" * 50)
    data = {"data": str(tmp_path / "text.txt"), **given}
    with pytest.raises(ValueError, match=message):
        rc.train("lm", out=tmp_path / "run", **data)


def test_captions_of_no_format(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a b\n" * 50)
    with pytest.raises(DataError, match="expected 2 columns, of pictures and captions, got 1"):
        rc.train("lm", data=str(tmp_path / "text.txt"), unit="caption", out=tmp_path / "run",
                 **SMALL)  # fmt: skip
