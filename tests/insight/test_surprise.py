"""What a language model expects of a text: told token by token."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recurra.insight.surprise import Surprise, figure_of_surprise, surprise
from recurra.text import CharacterVocabulary


class Copier(nn.Module):
    """Expects the token that it reads once more, with a probability of 0.9."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, ids: Tensor, state: None) -> tuple[Tensor, None]:
        same = nn.functional.one_hot(ids, self.size) > 0
        rest = math.log(0.1 / (self.size - 1))
        return torch.where(same, torch.tensor(math.log(0.9)), torch.tensor(rest)), None


def test_each_token_costs_what_the_model_gave_it() -> None:
    text = "aab bba a" * 40
    vocabulary = CharacterVocabulary.build([text])
    ids = vocabulary.encode(text)
    found = surprise(Copier(len(vocabulary)), vocabulary, ids, count=20)
    first = (len(ids) - 20) // 2
    assert "".join(found.tokens) == text[first : first + 20]
    rest = -math.log(0.1 / (len(vocabulary) - 1))
    wanted = [-math.log(0.9) if text[i] == text[i - 1] else rest for i in range(first, first + 20)]
    np.testing.assert_allclose(found.nll, wanted, rtol=1e-6)
    assert found.chance == pytest.approx(math.log(len(vocabulary)))


def test_a_short_text_is_shown_whole() -> None:
    vocabulary = CharacterVocabulary.build(["ab"])
    found = surprise(Copier(len(vocabulary)), vocabulary, vocabulary.encode("abab"))
    assert found.tokens == ("b", "a", "b")


def test_words_are_told_by_their_first_characters() -> None:
    tokens = tuple("some words are " * 10)
    nll = np.array([4.0 if i == 0 or tokens[i - 1] == " " else 1.0 for i in range(len(tokens))])
    figure = figure_of_surprise(Surprise(tokens=tokens, nll=nll, chance=5.0))
    assert "the first character of a word 4.00, 4.0 times the 1.00 of others" in figure.found
    [passage] = figure.passages
    assert passage.values is not None
    assert passage.values[0] == -0.8


def test_of_other_tokens_the_least_expected_is_named() -> None:
    nll = np.array([1.0, 9.0, 1.0, 1.0])
    found = Surprise(tokens=("the ", "zebra ", "sat", "."), nll=nll, chance=6.0)
    assert "25% of them cost more than a guess among all (6.00), most of all 'zebra' with 9.0" in (
        figure_of_surprise(found).found
    )
