"""`recurra insight`: the sheet of a deconvnet, from a run and pictures."""

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


def test_mistakes_are_told(run: Path, tmp_path: Path) -> None:
    pictures, sheet = tmp_path / "pictures", tmp_path / "sheet.png"
    (tmp_path / "empty").mkdir()
    LanguageModel(5, hidden_size=4).save(tmp_path / "text")
    for words, says in (
        ((run, pictures, "--out", sheet, "--layer", "conv"), "layer: expected one of features.2"),
        ((run, pictures, "--out", tmp_path / "sheet.gif"), "a file that ends in .png"),
        ((run, pictures, "--out", sheet, "--maps", 0), "maps: expected 1 or more"),
        ((run, tmp_path / "empty", "--out", sheet), "expected pictures in this folder"),
        ((run, tmp_path / "none.png", "--out", sheet), "none.png: expected a picture"),
        ((tmp_path / "text", pictures, "--out", sheet), "an encoder of pictures"),
    ):
        code, said = invoke(*words)
        assert code == 2
        assert says in said.replace("--", "")
    assert not sheet.exists()
