"""`recurra align`: what sentences find and pictures find, drawn, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import recurra as rc
from recurra.runs import Run

pytestmark = pytest.mark.medium

SIZES = {
    "size": 16,
    "min_count": 1,
    "hidden_size": 8,
    "embedding_size": 8,
    "joint_size": 8,
    "encoder_width": 4,
    "encoder_stages": 2,
    "batch_size": 4,
    "max_steps": 6,
    "view": None,
}
TEXTS = ("the dog is red", "a cat", "a dog runs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and runs on them, which need not be good: of a grid, and of boxes."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    lines, boxes = [], []
    (folder / "some").mkdir()
    for n in range(24):
        picture = draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "some" / f"{n:02}.png")
        name = f"{n:02}.png"
        lines.append(json.dumps({"image": name, "captions": list(TEXTS[n % 2 : n % 2 + 2])}))
        boxes.append(json.dumps({"image": name, "boxes": [[2, 0, 8, 12], [8, 2, 14, 9]]}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    (folder / "boxes.jsonl").write_text("\n".join(boxes))
    (folder / "sentences.txt").write_text("\n".join(TEXTS) + "\n\n")
    given = {"data": folder / "captions.jsonl", **SIZES}
    rc.train("align", out=folder / "run", **given)
    own = {"boxes": folder / "boxes.jsonl", "regions": "boxes"}
    rc.train("align", out=folder / "boxed", **given, **own)
    return folder


def lines(outcome: Any) -> list[list[str]]:
    assert outcome.code == 0, outcome.err
    return [line.split("\t") for line in outcome.out.splitlines()]


def test_sentences_find_pictures_and_pictures_sentences(recurra: Any, folder: Path) -> None:
    """The best ones first, as the model scores them."""
    run, some = folder / "run", folder / "some"
    files = sorted(some.iterdir())
    scores = Run.open(run).model.scores(files, list(TEXTS))
    asked = ("align", run, some, "--num-best", 3)
    found = lines(recurra(*asked, "--sentence", TEXTS[0], TEXTS[1]))
    assert [row[1] for row in found] == [TEXTS[0]] * 3 + [TEXTS[1]] * 3
    for m in (0, 1):
        best = scores[:, m].topk(3)
        rows = found[3 * m : 3 * m + 3]
        assert [float(row[0]) for row in rows] == pytest.approx(best.values.tolist(), abs=1e-3)
        assert [row[2] for row in rows] == [str(files[n]) for n in best.indices.tolist()]
    asked = ("align", run, files[5], "--sentences", folder / "sentences.txt")
    [[score, text, name]] = lines(recurra(*asked, "--find", "sentences"))
    assert text == TEXTS[int(scores[5].argmax())]
    assert float(score) == pytest.approx(float(scores[5].max()), abs=1e-3)
    assert name == str(files[5])


def test_json_says_which_words_look_where(recurra: Any, folder: Path) -> None:
    one = folder / "some" / "03.png"
    for run, more in (("run", ()), ("boxed", ("--boxes", folder / "boxes.jsonl"))):
        asked = ("align", folder / run, one, "--sentence", "The red dog!", "--json", *more)
        row = json.loads(recurra(*asked).out)
        assert row["sentence"] == "The red dog!"
        assert " ".join(each["words"] for each in row["phrases"]) == "the red dog"
        assert all(0 <= v <= 1 for each in row["phrases"] for v in each["box"])
    loose = json.loads(recurra(*asked, "--smoothness", 0).out)
    assert len(row["phrases"]) <= len(loose["phrases"])


def test_what_is_found_is_drawn(recurra: Any, folder: Path, tmp_path: Path) -> None:
    grid, page = tmp_path / "grid.png", tmp_path / "page.html"
    asked = ("align", folder / "run", folder / "some", "--sentence", TEXTS[0], "--num-best", 5)
    outcome = recurra(*asked, "--grid", grid, "--html", page)
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 5
    assert grid.read_bytes().startswith(b"\x89PNG")
    assert page.read_text().count("<img ") == 5
    assert recurra(*asked, "--grid", grid, "--maps").code == 0  # an older picture is replaced


def test_words_that_a_run_does_not_know_are_told(recurra: Any, folder: Path) -> None:
    asked = ("align", folder / "run", folder / "some" / "00.png", "--sentence", "A dog!", "A yak.")
    outcome = recurra(*asked)
    assert outcome.code == 0
    assert outcome.err == "words never seen in training are read as <unk>: 'yak'\n"


def test_another_command_names_the_one_that_reads_the_run(recurra: Any, folder: Path) -> None:
    outcome = recurra("caption", folder / "run", folder / "some" / "00.png")
    assert outcome.code == 2
    said = "expected the run of a task ('caption'), got 'align'. Use recurra align."
    assert said in outcome.err


def test_a_picture_that_cannot_be_read_is_named(recurra: Any, folder: Path, tmp_path: Path) -> None:
    broken, whole = tmp_path / "broken.png", folder / "some" / "00.png"
    broken.write_bytes(whole.read_bytes()[:100])
    outcome = recurra("align", folder / "run", broken, whole, "--sentence", "a dog")
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 1
    assert f"{broken}: expected a whole picture" in outcome.err
    assert recurra("align", folder / "run", broken, "--sentence", "a dog").code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--sentence: expected a sentence, or a file of them, got none"),
        (["--sentence", "a", "--find", "dogs"], "--find: expected one of images, sentences"),
        (["--sentence", "a", "--num-best", "0"], "--num-best: expected 1 or more, got 0"),
        (["--sentence", "a", "--smoothness", "-1"], "--smoothness: expected 0 or more, got -1.0"),
        (["--sentence", "a", "--maps"], "--maps: expected it where pairs are drawn, got it with"),
        (["--sentence", "a", "--smoothness", "2"], "--smoothness: expected it where pairs are"),
        (["--sentence", "a", "--grid", "a.gif"], "--grid: expected a file that ends in .png"),
        (["--sentence", "a", "--boxes", "x.csv"], "--boxes: expected none for a run that looks"),
    ],
)
def test_what_does_not_go_is_one_line(
    recurra: Any, folder: Path, words: list[str], message: str
) -> None:
    outcome = recurra("align", folder / "run", folder / "some" / "00.png", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_run_on_boxes_needs_boxes_of_these_pictures(
    recurra: Any, folder: Path, tmp_path: Path
) -> None:
    asked = ("align", folder / "boxed", folder / "some" / "00.png", "--sentence", "a dog")
    assert "expected a file of boxes for a run that looks at them" in recurra(*asked).err
    other = tmp_path / "other.csv"
    other.write_text("x.jpg,0,0,4,4\n")
    outcome = recurra(*asked, "--boxes", other)
    assert outcome.code == 2
    assert "expected boxes of the pictures, such as 00.png, got those of others" in outcome.err
