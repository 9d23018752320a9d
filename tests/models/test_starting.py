"""Weights from another model: what is said of them."""

from pathlib import Path
from typing import Any

import pytest

import recurra as rc
from recurra.errors import RunError
from recurra.lang import replace
from recurra.models.starting import take_weights
from recurra.text import WordVocabulary

WORDS, OTHERS = WordVocabulary(["good", "film"]), WordVocabulary(["dull", "film", "work"])


def model(**settings: Any) -> rc.LanguageModel:
    given = {"vocabulary": WORDS, "embedding_size": 5, "hidden_size": 8, "num_layers": 2}
    return rc.LanguageModel(**{**given, **settings})


def test_a_line_counts_and_names_a_few() -> None:
    said = str(take_weights(model(), model()))
    assert said.startswith("taken: 27 of 27 tensors (embedding.weight (4 of 4 words), recurrent.")
    assert said.endswith(" and 23 more)")
    said = str(take_weights(model(), model(vocabulary=OTHERS, cell="gru")))
    assert said.startswith("taken: 1 of 27 tensors (embedding.weight (3 of 4 words));")
    assert "another cell there, gru: " in said
    assert "another shape there: 2 (decoder.weight, decoder.bias)" in said
    assert "its cell is gru, here lstm" in said
    assert len(said) < 400
    assert "\n" not in said


def test_a_bias_is_not_taken_without_its_weights() -> None:
    taken = take_weights(model(), model(hidden_size=9, embedding_size=4, cell="gru"))
    assert taken.left["decoder.bias"] == "weights of another shape there"
    assert not taken.tensors


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "its tensors have other names or shapes"),
        ({"cell": "gru"}, "its cell is gru, here lstm"),
        ({"hidden_size": 9, "num_layers": 1}, "its hidden_size is 9, here 8; its num_layers is 1,"),
        ({"embedding_size": 4}, "its embedding_size is 4, here 5"),
        ({"vocabulary": OTHERS}, "its vocabulary is another"),
        ({"cell": replace(rc.cells.lstm, "lstm", f=lambda v: 1 - v.i)}, "its cell lstm has other"),
    ],
)
def test_what_is_another_is_said(settings: dict[str, Any], said: str) -> None:
    assert take_weights(model(), model(**settings)).cause.startswith(said)


@pytest.mark.medium
def test_where_nothing_agrees_one_line_says_why(tmp_path: Path) -> None:
    model(cell="gru", hidden_size=6, embedding_size=3).save(tmp_path / "other")
    (tmp_path / "a.txt").write_text("some text " * 300)
    with pytest.raises(RunError) as caught:
        rc.train(
            "lm",
            data=str(tmp_path / "a.txt"),
            out=tmp_path / "run",
            init_from=tmp_path / "other",
            view=None,
        )
    line = str(caught.value)
    assert line.startswith("init_from: expected a run with weights of the same names, shapes and")
    assert f"got {tmp_path / 'other'}, where none of " in line
    for words in ("its cell is gru, here lstm", "its hidden_size is 6, here 256", "its vocabulary"):
        assert words in line
    assert line.endswith("embedding_size, data, or start from another.")
    assert "recurrent." not in line
    assert "\n" not in line
    assert not (tmp_path / "run").exists()
