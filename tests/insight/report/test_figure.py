"""A figure of a report, and its numbers."""

import csv
import io
from typing import Any

import numpy as np
import pytest

from recurra.insight.report import Figure, Passage

WORDS: dict[str, Any] = {"name": "norms", "title": "Norms", "lede": "Look.", "found": "Found."}


def nothing(figure: Any) -> None:
    """Draw nothing."""


def test_a_table_is_csv_of_six_digits_and_short_columns_end_empty() -> None:
    table = {
        "lag": np.arange(3),
        "norm": np.array([1 / 3, np.nan, 1e-12], dtype=np.float32),
        "cell, its name": ["gru", 'an "lstm"', None],
        "one": [True],
    }
    text = Figure(**WORDS, draw=nothing, table=table).csv()
    assert list(csv.reader(io.StringIO(text))) == [
        ["lag", "norm", "cell, its name", "one"],
        ["0", "0.333333", "gru", "True"],
        ["1", "", 'an "lstm"', ""],
        ["2", "1e-12", "", ""],
    ]


def test_a_figure_shows_something_under_a_name_of_a_file() -> None:
    with pytest.raises(ValueError, match="norms: expected a drawing or a passage, got neither"):
        Figure(**WORDS)
    with pytest.raises(ValueError, match=r"name: expected small letters.*'../norms'"):
        Figure(**{**WORDS, "name": "../norms"}, draw=nothing)
    with pytest.raises(ValueError, match="values: expected one for each of 2 tokens, got 1"):
        Passage(text=["a", "b"], values=[0.5])
