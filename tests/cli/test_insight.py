"""`recurra insight`: the report of a run, and the sheet of a deconvnet from a run and pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from recurra import Recurrent, cells
from recurra.cli import app
from recurra.lang import Cell
from recurra.models import LanguageModel, Model
from recurra.models.cell_entries import cell_config
from recurra.models.parts import Part
from recurra.tasks import Run, train
from recurra.vision import ConvNet, Preprocessing


class Seer(Model):
    """A recurrence over what an encoder makes of pictures."""

    preprocessing = Part(Preprocessing)

    def __init__(
        self, width: int, *, cell: Cell = cells.gru, backend: str = "auto", **place: Any
    ) -> None:
        super().__init__()
        self.encoder = ConvNet(3, (4, width), 4, **place)
        self.recurrent = Recurrent(cell, 4, 5, backend=backend, **place)

    @property
    def config(self) -> dict[str, Any]:
        return {"width": self.encoder.widths[-1], **cell_config(self.recurrent.cell)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = Seer(6)
    model.preprocessing = Preprocessing(size=24)
    model.save(tmp_path / "run")
    (tmp_path / "pictures").mkdir()
    generator = np.random.default_rng(0)
    for number in range(5):
        pixels = generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path / "run"


def invoke(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["insight", *map(str, words)])
    return done.exit_code, done.output


@pytest.mark.medium
def test_a_sheet_is_drawn(run: Path) -> None:
    sheet = run.parent / "sheet.png"
    code, said = invoke(run, run.parent / "pictures", "--out", sheet, "--maps", 2, "--patches", 3)
    assert code == 0, said
    assert "in 5 pictures" in said
    with Image.open(sheet) as drawn:
        assert drawn.width > 100
    code, said = invoke(run, run.parent / "pictures/0.png", "--out", sheet, "--layer", "features.2")
    assert code == 0, said
    assert "features.2 in 1 pictures" in said


@pytest.mark.medium
def test_a_sheet_is_drawn_of_the_frames_of_clips(tmp_path: Path) -> None:
    world = "gestures:train=4,val=2,test=2"
    small = {"widths": "4,4", "vector_size": 8, "hidden_size": 8, "view": None}
    train("frames", data=world, out=tmp_path / "run", max_steps=1, **small)
    clips, draw = tmp_path / "clips", np.random.default_rng(0)
    clips.mkdir()
    for name in ("a", "b"):
        np.save(clips / f"{name}.npy", draw.random((6, 4, 32, 32), dtype=np.float32))
    sheet = tmp_path / "sheet.png"
    code, said = invoke(tmp_path / "run", clips, clips / "a.npy", "--out", sheet, "--maps", 2)
    assert code == 0, said
    assert "in 18 frames" in said
    with Image.open(sheet) as drawn:
        assert drawn.width > 100
    np.save(clips / "c.npy", draw.random((6, 4, 24, 24), dtype=np.float32))
    code, said = invoke(tmp_path / "run", clips, "--out", sheet)
    assert code == 2
    assert "c.npy: expected frames of [32, 32] rows and columns, as of others" in said
    Image.new("L", (32, 32)).save(tmp_path / "still.png")
    code, said = invoke(tmp_path / "run", tmp_path / "still.png", "--out", sheet)
    assert code == 2
    assert "still.png: expected a clip, which is a folder of pictures" in said


@pytest.mark.medium
def test_mistakes_are_told(run: Path, tmp_path: Path) -> None:
    pictures, sheet = tmp_path / "pictures", tmp_path / "sheet.png"
    (tmp_path / "empty").mkdir()
    LanguageModel(5, hidden_size=4).save(tmp_path / "text")
    for words, says in (
        ((run, pictures, "--out", sheet, "--layer", "conv"), "layer: expected one of features.2"),
        ((run, pictures, "--out", tmp_path / "sheet.gif"), "or in .png for the sheet"),
        ((run, "--out", sheet), "out: expected pictures behind the run for a sheet"),
        ((run, pictures, "--out", sheet, "--maps", 0), "maps: expected 1 or more"),
        ((run, "--threads", 0), "threads: expected a whole number of at least 1, got 0"),
        ((run, tmp_path / "empty", "--out", sheet), "expected pictures in this folder"),
        ((run, tmp_path / "none.png", "--out", sheet), "none.png: expected a picture"),
        ((tmp_path / "text", pictures, "--out", sheet), "an encoder of pictures"),
    ):
        code, said = invoke(*words)
        assert code == 2
        assert says in said.replace("--", "")
    assert not sheet.exists()


# ---- the report ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(drawn_reports: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small language model's run."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text("the cat sat on the mat. " * 300)
    how: dict[str, Any] = {"hidden_size": 8, "batch_size": 4, "bptt": 10, "max_steps": 20}
    how |= {"backend": "reference", "view": None}
    train("lm", data=str(folder / "text.txt"), out=folder / "first", **how)
    return folder / "first"


@pytest.mark.medium
def test_a_report_is_written_and_says_what_it_found(trained: Path, tmp_path: Path) -> None:
    out, figures = tmp_path / "page.html", tmp_path / "figures"
    code, said = invoke(trained, "--out", out, "--figures", figures)
    assert code == 0, said
    names = [figure.name for figure in Run.open(trained).report().figures]
    assert f"{len(names)} figures are in {out}; each by itself is in {figures}" in said
    page = out.read_text("utf-8")
    assert all(f'<section id="{name}"' in page for name in names)
    assert {path.stem for path in figures.glob("[a-z]*")} == set(names)
    code, said = invoke(trained, "--out", out, "--figures", figures)  # which replaces the older one
    assert code == 0, said


@pytest.mark.medium
def test_without_a_name_it_is_that_of_the_run(trained: Path) -> None:
    assert "short report" in (trained / "report.html").read_text("utf-8")
    code, said = invoke(trained)
    assert code == 0, said
    assert "short report" not in (trained / "report.html").read_text("utf-8")


@pytest.mark.medium
def test_checkpoints_stand_side_by_side(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.html"
    code, said = invoke(trained, trained / "training.safetensors", "--out", out)
    assert code == 0, said
    assert "<h1>first beside first, last</h1>" in out.read_text("utf-8")


@pytest.mark.medium
def test_mistakes_of_reports_are_told(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("<!doctype html><p>my own page")
    (tmp_path / "file").write_text("")
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "training.csv").write_text("mine")
    for words, says in (
        ((tmp_path / "none", "--out", tmp_path / "a.html"), "none: expected a run"),
        ((trained, "--out", tmp_path / "a.pdf"), "out: expected a file that ends in .html"),
        ((trained, "--out", tmp_path / "mine.html"), "a page that is none"),
        ((trained, trained), "out: expected a file for the report of several runs"),
        ((trained / "metrics.csv", "--out", tmp_path / "a.html"), "expected the folder of a run"),
        (
            (trained, "--out", tmp_path / "a.html", "--figures", tmp_path / "file"),
            "figures: expected a folder",
        ),
        (
            (trained, "--out", tmp_path / "a.html", "--figures", tmp_path / "paper"),
            "which holds training.csv",
        ),
        ((trained, "--out", tmp_path / "file" / "a.html"), "out: expected a place in a folder"),
        (
            (trained, "--steps", 5),
            "steps: expected it for fresh cells, asked for with compare",
        ),
        ((trained, "--layer", "conv"), "layer: expected it for the sheet of an encoder, asked for"),
        (("--compare", "rnn", "--find", "x"), "find: expected it for a unit, asked for with find"),
        ((trained, "--find", "x", "--maps", 2), "got it for a unit. Leave it out"),
    ):
        code, said = invoke(*words)
        assert code == 2, said
        assert says in said.replace("--", ""), said
    assert not (tmp_path / "a.html").exists()
    assert (tmp_path / "paper" / "training.csv").read_text() == "mine"
    assert (tmp_path / "mine.html").read_text().endswith("my own page")


# ---- fresh cells ---------------------------------------------------------------------------------


@pytest.mark.medium
def test_fresh_cells_are_compared_without_a_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    out = tmp_path / "cells.html"
    words = ("--compare", "rnn,gru", "--steps", 12, "--hidden-size", 5, "--out", out)
    code, said = invoke(*words, "--threads", 2)
    assert code == 0, said
    assert torch.get_num_threads() == 2
    page = out.read_text("utf-8")
    for name in ("gradient_by_lag", "gradient_flow", "lyapunov", "vanishing"):
        assert f'<section id="{name}"' in page
    assert "<h1>rnn, gru, before any training</h1>" in page
    for more, says in (
        ((*words[:-2], tmp_path / "run"), "compare: expected cells and no run"),
        (words[:-2], "out: expected a file for the report of cells"),
        ((*words, "--compare", "rnn,nothing"), "compare: expected"),
        ((), "run: expected the folder of a run, or compare with cells"),
    ):
        code, said = invoke(*more)
        assert code == 2, said
        assert says in said.replace("--", ""), said
