"""Motion on the command line: trained, measured, drawn and forecast."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra as rc

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion")
    rng = np.random.default_rng(0)
    for name in ("train/walking/a", "train/walking/b", "test/walking/c"):
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(path, 0.1 * rng.normal(size=(20, 117)), delimiter=",", fmt="%.4f")
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "motion"
    small: dict[str, Any] = {"look_back": 4, "horizon": 3, "hidden_size": 8, "max_steps": 2}
    rc.train("motion", data=str(data), out=out, mirror=True, view=None, threads=1, **small)
    return out


def test_it_trains_from_a_line(recurra: Any, data: Path, tmp_path: Path) -> None:
    words = ("--look-back", "4", "--horizon", "3", "--max-steps", "1", "--train-on-all")
    outcome = recurra("train", "motion", "--data", data, "--out", tmp_path / "run", *words)
    assert outcome.code == 0, outcome.err
    assert "117 numbers, 117 of which move in the training part" in outcome.out
    assert f"recurra evaluate {tmp_path / 'run'} --gif motion.gif" in outcome.out


def test_errors_are_said_as_a_table_and_as_json(recurra: Any, run: Path, data: Path) -> None:
    said = recurra("evaluate", run).out
    for word in ("every window", "walking", "zero velocity", "damped velocity", "80 ms"):
        assert word in said
    figures = json.loads(recurra("evaluate", run, "--json").out)
    assert set(figures["errors"]) == {"every"}
    assert figures["windows"] == 4
    other = json.loads(recurra("evaluate", run, "--data", data / "test", "--json").out)
    assert other["errors"] == figures["errors"]


def test_a_window_is_drawn(recurra: Any, run: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="pillow draws")
    outcome = recurra("evaluate", run, "--gif", tmp_path / "a.gif", "--split", "val")
    assert outcome.code == 0, outcome.err
    with image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 4 + 3


def test_recordings_are_forecast_from_their_last_frame(
    recurra: Any, run: Path, data: Path, tmp_path: Path
) -> None:
    file = data / "test" / "walking" / "c.txt"
    outcome = recurra("predict", run, file, "--out", tmp_path / "said.csv")
    assert outcome.code == 0, outcome.err
    lines = (tmp_path / "said.csv").read_text().splitlines()
    assert len(lines) == 1 + 3
    assert "position x,position y,position z,joint 0 x" in lines[0]


def test_mistakes(recurra: Any, run: Path, data: Path, tmp_path: Path) -> None:
    for words, said in (
        (("--gif", tmp_path / "a.png"), "--gif: expected a file that ends in .gif, got"),
        (("--gif", tmp_path / "a.gif", "--data", data), "got --data beside it. Leave one"),
        (("--data", data / "nowhere"), "--data: expected a folder of recordings, got"),
    ):
        outcome = recurra("evaluate", run, *words)
        assert outcome.code == 2
        assert said in outcome.err
