"""`recurra caption`: a line for each picture, sheets and pages, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import recurra as rc
from recurra.runs import Run
from recurra.text import WordVocabulary
from recurra.vision import Preprocessing

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a few pictures, which need not be good."""
    folder = tmp_path_factory.mktemp("captions")
    draw = np.random.default_rng(0)
    lines = []
    for n in range(24):
        Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(
            folder / f"{n}.png"
        )
        lines.append(
            json.dumps({"image": f"{n}.png", "captions": ["a dog runs", "the dog is red"]})
        )
    (folder / "captions.jsonl").write_text("\n".join(lines))
    rc.train(
        "caption",
        data=folder / "captions.jsonl",
        out=folder / "run",
        size=16,
        min_count=1,
        hidden_size=8,
        embedding_size=8,
        encoder_width=4,
        encoder_stages=2,
        batch_size=4,
        max_steps=12,
        view=None,
    )
    return folder / "run"


def test_a_line_for_each_picture(recurra: Any, trained: Path) -> None:
    one, other = trained.parent / "3.png", trained.parent / "4.png"
    outcome = recurra("caption", trained, one, other)
    assert outcome.code == 0
    model = Run.open(trained).model
    lines = [line.split("\t") for line in outcome.out.splitlines()]
    for (log_p, text, name), said, file in zip(
        lines, model.predict([one, other]), (one, other), strict=True
    ):
        assert text == said.text
        assert float(log_p) == pytest.approx(said.log_probability, abs=1e-3)
        assert name == str(file)
    best = recurra("caption", trained, one, "--num-best", 2, "--beam-size", 4).out.splitlines()
    assert len(best) == 2
    row = json.loads(recurra("caption", trained, one, "--json").out)
    assert row["image"] == str(one)
    assert row["caption"] == lines[0][1]


def test_a_caption_that_is_cut_is_told_by_the_option_of_the_command(
    recurra: Any, trained: Path
) -> None:
    asked = ("caption", trained, trained.parent / "3.png", "--max-length", 1, "--beam-size", 1)
    outcome = recurra(*asked, "--json")
    assert outcome.code == 0
    assert not json.loads(outcome.out)["finished"]
    assert "1 caption was cut at --max-length 1, behind a whole word" in outcome.err
    assert "max_length" not in outcome.err


def width_of(path: Path) -> int:
    with Image.open(path) as image:
        return image.size[0]


def test_a_folder_onto_a_sheet_and_a_page(recurra: Any, trained: Path, tmp_path: Path) -> None:
    grid, page = tmp_path / "grid.png", tmp_path / "page.html"
    outcome = recurra("caption", trained, trained.parent, "--grid", grid, "--html", page)
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 24
    assert width_of(grid) > 300
    text = page.read_text()
    assert text.count("<img ") == text.count("data:image/png;base64,") == 24
    maps = tmp_path / "maps.png"
    asked = ("caption", trained, trained.parent / "1.png", "--attention", "--grid", maps)
    assert recurra(*asked).code == 0
    assert width_of(maps) > 100
    assert recurra(*asked, "--html", page).code == 0  # an older page is replaced
    assert page.read_text().count("<img ") == 1


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_captioned(
    recurra: Any, trained: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((trained.parent / "0.png").read_bytes()[:100])
    outcome = recurra("caption", trained, broken, trained.parent / "0.png")
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 1
    assert f"{broken}: expected a whole picture" in outcome.err
    outcome = recurra("caption", trained, tmp_path / "none.png")
    assert outcome.code == 2
    assert "none.png: expected a picture" in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--grid", "a.gif"],
            "grid: expected a file that ends in .png or .pdf or .svg, got 'a.gif'",
        ),
        (["--html", "a.txt"], "html: expected a file that ends in .html, got 'a.txt'"),
        (["--num-best", "9"], "expected num_best of at most beam_size, 3"),
    ],
)
def test_what_does_not_go_is_one_line(
    recurra: Any, trained: Path, words: list[str], message: str
) -> None:
    outcome = recurra("caption", trained, trained.parent / "1.png", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_what_is_no_page_is_not_written_over(recurra: Any, trained: Path, tmp_path: Path) -> None:
    kept = tmp_path / "notes.html"
    kept.write_text("<!doctype html>my notes")
    outcome = recurra("caption", trained, trained.parent / "1.png", "--html", kept)
    assert outcome.code == 2
    assert "expected a new file, or an older page to replace" in outcome.err
    assert kept.read_text() == "<!doctype html>my notes"


def test_a_photograph_is_not_drawn_over_and_an_older_figure_is(
    recurra: Any, trained: Path, tmp_path: Path
) -> None:
    photograph = shutil.copy(trained.parent / "1.png", tmp_path / "photograph.png")
    before = photograph.read_bytes()
    outcome = recurra("caption", trained, photograph, "--grid", photograph)
    assert outcome.code == 2
    assert "expected a new file, or an older .png picture to replace" in outcome.err
    assert photograph.read_bytes() == before
    for _ in range(2):
        assert recurra("caption", trained, photograph, "--grid", tmp_path / "new.png").code == 0


def test_captions_are_read_by_html_as_they_are(tmp_path: Path) -> None:
    from recurra.insight import write_page
    from recurra.models import Caption

    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    said = Caption(text="<script>alert(1)</script> & more", log_probability=-1.0)
    page = write_page([(picture, said)], tmp_path / "a.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page


def test_where_words_look_is_drawn_of_attention_alone(tmp_path: Path) -> None:
    from recurra.insight import captions_png

    torch.manual_seed(0)
    model = rc.Captioner(
        vocabulary=WordVocabulary.of_words(["red", "dog"]),
        encoder={"name": "convnet", "widths": [4], "size": 8, "pool": 1},
        preprocessing=Preprocessing(size=8),
        inject="attend",
        hidden_size=8,
        embedding_size=8,
    )
    pictures = [np.full((8, 8, 3), 90, dtype=np.uint8)] * 2
    said = model.predict(pictures, attention=True, max_length=4)
    drawn = captions_png(list(zip(pictures, said, strict=True)), model.preprocessing)
    assert drawn.startswith(b"\x89PNG")


def test_evaluation_is_measured_as_asked(recurra: Any, trained: Path) -> None:
    """Its floors are kept beside the run's data, and looked for among as many pictures as asked."""
    for file in (trained / "data").glob("floor-*"):
        file.unlink()
    asked = ("evaluate", trained, "--neighbours", 5, "--beam-size", 1, "--no-java")
    outcome = recurra(*asked)
    assert outcome.code == 0
    assert "nearest of 5 of the 22 pictures of training, evenly drawn; --neighbours 0 takes" in (
        outcome.out
    )
    assert "beam 1" in outcome.out
    assert "sentence to image, of 1:" in outcome.out
    names = sorted(file.name for file in (trained / "data").glob("floor-*"))
    assert names == ["floor-nearest.safetensors", "floor-no-image.safetensors"]
    found = json.loads(recurra(*asked, "--ranked", 0, "--json").out)
    assert found["floors"]["nearest"]["among"] == 5
    assert "text_to_image_1" not in found
    assert "nearest of" not in recurra("evaluate", trained, "--no-java").out
    refused = recurra("evaluate", trained, "--neighbours", -1)
    assert refused.code == 2
    assert "neighbours: expected a whole number of at least 0, got -1" in refused.err


def test_what_is_no_way_of_measuring_is_refused(recurra: Any, trained: Path) -> None:
    outcome = recurra("evaluate", trained, "--encoding", "utf-8")
    assert outcome.code == 2
    assert "--encoding: expected one of beam_size, length_penalty, neighbours" in outcome.err
