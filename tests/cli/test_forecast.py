"""`recurra train forecast` and `recurra forecast`, and what they say of bad input."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.medium

STEPS = 120


def table(path: Path, steps: int, *, first: int = 0, skip: tuple[int, ...] = ()) -> Path:
    at = np.arange(first, first + steps)
    values = np.sin(2 * np.pi * at / 24)
    dates = np.datetime64("2020-01-01T00", "h") + at
    rows = [
        f"{d},{v:.4f},{2 * v + 10:.4f}"
        for n, (d, v) in enumerate(zip(dates, values, strict=True))
        if n not in skip
    ]
    path.write_text("\n".join(["date,x,y", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a recursive model of a day's wave, with intervals."""
    from recurra.tasks import train

    folder = tmp_path_factory.mktemp("forecast")
    made = train(
        *("forecast",),
        data=str(table(folder / "wave.csv", 400)),
        out=folder / "run",
        view=None,
        horizon=6,
        look_back=24,
        decoding="recursive",
        density="gaussian",
        feeding="teacher",
        calendar=("hour",),
        hidden_size=16,
        epochs=6,
        lr=0.01,
        threads=1,
    )
    return made.folder


def test_a_table_of_the_steps_to_come(recurra: Any, run: Path, tmp_path: Path) -> None:
    new = table(tmp_path / "new.csv", 50, first=1000)
    out = tmp_path / "forecast.csv"
    outcome = recurra(
        *("forecast", run, "--data", new, "--horizon", "9", "--levels", "0.1", "0.9"),
        *("--num-samples", "20", "--out", out),
    )
    assert outcome.code == 0, outcome.err
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == [str(n) for n in range(1, 10)]
    last = np.datetime64("2020-01-01T00", "h") + 1049
    assert rows[0]["date"] == f"{last + 1}:00".replace("T", " ")
    assert set(rows[0]) == {"input", "step", "date", "x", "y", "x 0.1", "y 0.1", "x 0.9", "y 0.9"}
    assert all(float(row["x 0.1"]) <= float(row["x 0.9"]) for row in rows)
    assert rows[0]["input"] == str(new)
    # the name that all tasks share, and Parquet; what it draws does not change
    table_of = tmp_path / "forecast.parquet"
    assert recurra("predict", run, new, "--out", table_of).code == 0
    from pyarrow import parquet

    found = parquet.read_table(table_of)
    assert found.num_rows == 6
    assert found.column_names[:5] == ["input", "step", "date", "x", "y"]


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_picture_of_what_comes_next(recurra: Any, run: Path, tmp_path: Path, suffix: str) -> None:
    new = table(tmp_path / "new.csv", 50)
    plot = tmp_path / f"next{suffix}"
    assert recurra("forecast", run, new, "--plot", plot).code == 0
    assert plot.read_bytes()[:5] in (b"<?xml", b"\x89PNG\r")
    for other in (new, tmp_path / "photo.jpg", tmp_path / "next"):  # before anything is computed
        held = other.read_bytes() if other.exists() else None
        outcome = recurra("forecast", run, new, "--plot", other)
        assert (outcome.code, outcome.out) == (2, "")
        assert "--plot: expected a file that ends in .svg, .png or .pdf" in outcome.err
        assert held == (other.read_bytes() if other.exists() else None)
    plot.write_text("mine")
    outcome = recurra("forecast", run, new, "--plot", plot)
    assert outcome.code == 2
    assert "--plot: expected a new file, or an older" in outcome.err


def test_lines_and_objects(recurra: Any, run: Path, tmp_path: Path) -> None:
    new = table(tmp_path / "new.csv", 50)
    lines = recurra("forecast", run, new).out.splitlines()
    assert len(lines) == 6
    assert lines[0].split("\t")[:2] == ["1", "2020-01-03 02:00"]
    said = json.loads(recurra("forecast", run, new, "--json").out)
    assert np.shape(said["values"]) == (6, 2)
    assert np.shape(said["quantiles"]) == (3, 6, 2)
    assert float(lines[0].split("\t")[2]) == pytest.approx(said["values"][0][0], abs=1e-4)


def test_figures_stand_beside_those_of_what_learns_nothing(recurra: Any, run: Path) -> None:
    outcome = recurra("evaluate", run)
    assert outcome.code == 0
    for words in ("the model", "persistence", "seasonal naive", "crps", "intervals cover"):
        assert words in outcome.out
    found = json.loads(recurra("evaluate", run, "--json").out)
    assert found["season"] == 24
    assert found["baselines"]["seasonal naive"]["mse"] < 1e-6


def test_a_model_that_loses_is_told_so(
    recurra: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: what is shown is no warning of the log as well, which Python would print."""
    data = table(tmp_path / "wave.csv", 400)
    outcome = recurra(
        *("train", "forecast", "--data", data, "--out", tmp_path / "run", "--max-steps", "2"),
        *("--hidden-size", "4", "--threads", "1"),
    )
    assert outcome.code == 0, outcome.err
    remark = "the model is worse than seasonal naive, which learns nothing"
    assert (outcome.out + outcome.err).count(remark) == 1
    assert not [each for each in caplog.records if each.levelno > logging.INFO]
    assert f"recurra forecast {tmp_path / 'run'} --data FILE" in outcome.out


@pytest.mark.parametrize(
    ("lines", "words", "said"),
    [
        (("date,x", "2020-01-02,1", "2020-01-01,2"), (), "line 3: expected dates that grow"),
        (("date,x", "2020-01-02,1", "2020-01-02,2"), (), "line 3: expected each date once"),
        (("x", "1", "", "?"), (), "got 1 missing (1 in x), the first in line 4"),
        (("x", *map(str, range(20))), (), "expected a series of 24 steps or more"),
        (("x,city", "1,Berlin"), (), "column 2: expected a number, got 'Berlin'. A column of"),
        (("x,city", "1,", "2,Ulm"), (), "line 3, column 2: expected a number, got 'Ulm'. A column"),
        (("x,y", "1,2", "2,o"), (), "line 3, column 2: expected a number, got 'o'. Write numbers"),
        (("x", "1"), ("--parts", "0.9,0.2,0.1"), "--parts: expected three fractions"),
        (("x", "1"), ("--calendar", "moon"), "--calendar: expected some of minute, hour"),
        (("x", "1"), ("--residual",), "--residual: expected --decoding recursive beside it"),
        (("x", "1"), ("--target", "y"), "expected a column 'y', got the columns x"),
    ],
)
def test_bad_input_is_one_line(
    recurra: Any, tmp_path: Path, lines: tuple[str, ...], words: tuple[str, ...], said: str
) -> None:
    data = tmp_path / "bad.csv"
    data.write_text("\n".join(lines) + "\n")
    outcome = recurra("train", "forecast", "--data", data, "--out", tmp_path / "run", *words)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert said in outcome.err
    assert not (tmp_path / "run").exists()


def test_gaps_are_one_line_or_filled(recurra: Any, run: Path, tmp_path: Path) -> None:
    new = table(tmp_path / "new.csv", 50, skip=(20, 21))
    outcome = recurra("forecast", run, "--data", new)
    assert outcome.code == 2
    assert "got none between 2020-01-01 19:00 and 2020-01-01 22:00, 2 missing" in outcome.err
    data = table(tmp_path / "wave.csv", 400, skip=(20, 21))
    words = ("--missing", "mask", "--max-steps", "2", "--hidden-size", "4", "--threads", "1")
    outcome = recurra("train", "forecast", "--data", data, "--out", tmp_path / "run", *words)
    assert outcome.code == 0
    assert "2 steps were missing in 1 gap," in outcome.out


def test_a_forecast_needs_a_file_and_a_run_of_its_kind(
    recurra: Any, run: Path, reviews: Path, tmp_path: Path
) -> None:
    assert "--data: expected files of series, got none" in recurra("forecast", run).err
    new = table(tmp_path / "new.csv", 50)
    assert recurra("forecast", reviews, new).code == 2
    for words, said in (  # of options, whichever file is read
        (("--horizon", 0), "recurra: --horizon: expected a whole number"),
        (("--horizon", 10**9), "recurra: --horizon: expected at most 100,000"),
        (("--levels", 1.5), "recurra: --levels: expected probabilities above 0 and below 1"),
    ):
        outcome = recurra("forecast", run, new, *words)
        assert outcome.code == 2
        assert said in outcome.err


def test_categories_and_several_series_from_a_table_to_a_table(
    recurra: Any, tmp_path: Path
) -> None:
    """What is sold follows the kind of day, which is known ahead; each series has its rows."""
    rows, late = ["shop,day,sold,kind"], []
    feasts = np.random.default_rng(0).random(90) < 0.4
    for shop in ("north", "south"):
        for n in range(90):
            kind = "feast" if feasts[n] else "plain"
            day = np.datetime64("2024-01-01") + n
            rows.append(f"{shop},{day},{9 if kind == 'feast' else 1},{kind}")
        late += [f"{shop},{np.datetime64('2024-01-01') + n},,feast" for n in range(90, 94)]
    data, new, run = tmp_path / "sold.csv", tmp_path / "new.csv", tmp_path / "run"
    data.write_text("\n".join(rows))
    new.write_text("\n".join([*rows, *late]))
    outcome = recurra(
        *("train", "forecast", "--data", data, "--out", run, "--group-column", "shop"),
        *("--known-covariates", "kind", "--horizon", "4", "--look-back", "8", "--decoding"),
        *("direct", "--hidden-size", "16", "--lr", "0.02", "--epochs", "25", "--threads", "1"),
        *("--batch-size", "16", "--keep-last", "--scaling", "shared"),
    )
    assert outcome.code == 0, outcome.err
    assert "categories of kind, 2: feast, plain" in outcome.out
    out = tmp_path / "next.csv"
    assert recurra("forecast", run, "--data", new, "--out", out).code == 0
    with out.open() as file:
        found = list(csv.DictReader(file))
    assert [each["series"] for each in found] == ["north"] * 4 + ["south"] * 4
    assert all(float(each["sold"]) > 6 for each in found)  # a feast each day
    new.write_text("\n".join([*rows, *late]).replace("feast", "fair"))
    outcome = recurra("forecast", run, "--data", new)
    assert outcome.code == 2
    assert "column kind: expected one of the categories of training (feast, plain)" in outcome.err
    assert recurra("evaluate", run, "--data", data).code == 0
