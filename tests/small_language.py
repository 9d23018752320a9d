"""A small text, and a small language model of torch's own LSTM to train on it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recurra.data import CharacterVocabulary, Vocabulary
from recurra.models import Model

WORDS = ("the cat sat on the mat, ", "the dog ate the log. ", "a bird\nsang. ")


def _synthetic_text(sentences: int) -> str:
    """Sentences in an order that a seed decides: learnable, but not by heart."""
    order = np.random.default_rng(0).integers(0, len(WORDS), sentences)
    return "".join(WORDS[index] for index in order)


class TinyModel(Model):
    """Embedding, one LSTM with dropout, decoder."""

    def __init__(self, vocab_size: int, hidden_size: int = 16, dropout: float = 0.1) -> None:
        super().__init__()
        self.sizes = {"vocab_size": vocab_size, "hidden_size": hidden_size, "dropout": dropout}
        self.embedding = nn.Embedding(vocab_size, 8)
        self.lstm = nn.LSTM(8, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(hidden_size, vocab_size)

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, state = self.lstm(self.embedding(ids), state)
        return self.decoder(self.dropout(y)), state

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.sizes)


@pytest.fixture(scope="session")
def synthetic_text() -> Callable[[int], str]:
    return _synthetic_text


@pytest.fixture(scope="session")
def text() -> str:
    return _synthetic_text(400)


@pytest.fixture(scope="session")
def vocabulary(text: str) -> Vocabulary:
    return CharacterVocabulary.build([text])


@pytest.fixture(scope="session")
def tokens(text: str, vocabulary: Vocabulary) -> np.ndarray:
    return vocabulary.encode(text)


@pytest.fixture
def model(vocabulary: Vocabulary) -> TinyModel:
    torch.manual_seed(0)
    return TinyModel(len(vocabulary))
