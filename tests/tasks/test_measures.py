import math

import pytest

from recurra.data import Vocabulary
from recurra.tasks.measures import measure, measure_name, of_text


@pytest.mark.parametrize(
    ("level", "name", "expected"),
    [("char", "bpc", 2.0), ("byte", "bpc", 2.0), ("word", "ppl", 4.0), ("bpe", "ppl", 4.0)],
)
def test_a_loss_is_quoted_in_the_unit_of_its_level(level: str, name: str, expected: float) -> None:
    assert measure_name(level) == name
    assert measure(level, 1.3862943611198906) == pytest.approx(expected)


def test_a_perplexity_beyond_all_floats_is_infinite() -> None:
    assert measure("word", 1e4) == float("inf")


@pytest.mark.parametrize("level", ["char", "byte", "word", "whitespace", "bpe"])
def test_bits_per_character_are_of_the_text(level: str) -> None:
    text = "früher war alles besser\n" * 20
    vocabulary = Vocabulary.of_level(level).build([text])
    tokens = vocabulary.encode("\n" + text)
    figures = {"nll": 0.5, "tokens": len(tokens) - 1}
    found = of_text(figures, tokens, vocabulary)
    whole = 0.5 * (len(tokens) - 1) / math.log(2)
    assert found["bpc"] == pytest.approx(whole / len(text))
    assert found.get("unk", 0.0) == 0.0


def test_the_share_of_unknown_words() -> None:
    vocabulary = Vocabulary.of_level("word").build(["one two"])
    tokens = vocabulary.encode("one three two three", unknown="replace")
    found = of_text({"nll": 0.5, "tokens": 3}, tokens, vocabulary)
    assert found["unk"] == pytest.approx(2 / 3)
