"""What classifiers reach on data that everybody has: the figures that the README gives.

The model of the last step is taken: of so few examples a validation part chooses by chance.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra.data import read_labelled
from recurra.tasks import ClassifyTask, Run, train

LAST = {"eval_every": 1_000_000, "view": None}


def digits(order: np.ndarray | None = None) -> ClassifyTask:
    """1,797 pictures of 8 by 8: a row at a time, or a pixel at a time in the order given."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    pictures, labels = datasets.load_digits(return_X_y=True)
    series = pictures.reshape(-1, 8, 8) if order is None else pictures[:, order, None]
    return ClassifyTask.of(read_labelled((series, labels)))


def accuracy(run: Run) -> float:
    return run.evaluate("test")["accuracy"]


# Chosen on the validation part, 180 pictures.
DIGITS: dict[str, Any] = {"dropout": 0.5, "input_dropout": 0.1, "batch_size": 32}


@pytest.mark.medium
def test_digits_as_eight_steps_of_eight(tmp_path: Path) -> None:
    """98.7 % of the validation part, mean of three seeds, 98.3 to 98.9."""
    settings = DIGITS | {"hidden_size": 96, "lr": 0.01, "epochs": 15}
    run = train(digits(), out=tmp_path / "run", **settings, **LAST)
    assert accuracy(run) > 0.97


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_digits_as_64_pixels_in_an_order_of_chance(tmp_path: Path) -> None:
    """97.2 % of the validation part, mean of seeds 1 and 2; one layer has 96.4."""
    order = np.random.default_rng(0).permutation(64)
    settings = DIGITS | {"cell": "lem", "hidden_size": 64, "num_layers": 2, "dropout": 0.4}
    settings |= {"lr": 0.008, "epochs": 40}
    run = train(digits(order), out=tmp_path / "run", **settings, **LAST)
    assert accuracy(run) > 0.93


@pytest.mark.medium
def test_series_of_different_lengths(tmp_path: Path) -> None:
    """JapaneseVowels: 12 channels, 7 to 29 steps, 9 speakers, 270 examples to train on."""
    aeon = importlib.util.find_spec("aeon")  # whose files alone are wanted
    if aeon is None or not aeon.submodule_search_locations:
        pytest.skip("aeon, which has the data, is not installed")
    folder = Path(aeon.submodule_search_locations[0], "datasets", "data", "JapaneseVowels")
    parts = {name: str(folder / f"JapaneseVowels_{name}.ts") for name in ("TRAIN", "TEST")}
    run = train(
        "classify",
        data=parts["TRAIN"],
        test_data=parts["TEST"],
        out=tmp_path / "run",
        epochs=40,
        batch_size=16,
        dropout=0.4,
        **LAST,
    )
    assert accuracy(run) > 0.96
