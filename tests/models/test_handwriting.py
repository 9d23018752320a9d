"""The example of handwriting: strokes that it makes, and a model that goes on writing."""

import re
from importlib import util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "handwriting.py"


@pytest.fixture(scope="module")
def handwriting() -> ModuleType:
    spec = util.spec_from_file_location("handwriting", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_curve_goes_through_its_points_in_even_steps(handwriting: ModuleType) -> None:
    points = [(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]
    found = handwriting.curve(points)
    for point in points:
        assert np.linalg.norm(found - point, axis=1).min() < 1e-9
    assert np.linalg.norm(np.diff(found, axis=0), axis=1).max() < 2 * handwriting.STEP


def test_the_pen_is_lifted_behind_each_word_dot_and_bar(handwriting: ModuleType) -> None:
    handwriting.LETTERS = {"i": handwriting.LETTERS["i"]}  # each has a dot
    strokes = handwriting.text(np.random.default_rng(0), num_words=2)
    lifts = np.flatnonzero(strokes[:, 2])
    assert lifts[-1] == len(strokes) - 1
    letters = len(lifts) - 2  # a lift for each dot, and one for each word
    assert 4 <= letters <= 10
    assert abs(strokes[:, :2].mean()) < 1
    assert 0.5 < np.linalg.norm(strokes[:, :2], axis=1).mean() < 2  # about a step


@pytest.mark.medium
def test_it_trains_and_draws(
    handwriting: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--batch-size", "6", "--hidden-size", "12", "--length", "50"]
    out = tmp_path / "a.svg"
    first = handwriting.main([*small, "--steps", "1", "--out", str(out)])
    later = handwriting.main([*small, "--steps", "15", "--out", str(out)])
    assert later < first
    assert f"wrote {out}" in capsys.readouterr().out
    lines = re.findall(r'points="([^"]*)"', out.read_text())
    points = sum(len(line.split()) for line in lines)
    assert points == 6 * 50  # six texts of so many steps
