"""A language model on `rc.LSTM` learns as one on `torch.nn.LSTM` does, step for step."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import recurra as rc
from recurra.data import CharacterVocabulary, TokenStreams, read_text

STEPS, BATCH_SIZE, BPTT = 200, 32, 64
EMBEDDING_SIZE, HIDDEN_SIZE = 32, 128
TOLERANCE = 1e-4  # nats a character


class CharacterModel(nn.Module):
    """Embedding, recurrent layer, readout: the layer is the only thing that differs."""

    def __init__(self, layer: nn.Module, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, EMBEDDING_SIZE)
        self.layer = layer
        self.readout = nn.Linear(HIDDEN_SIZE, vocab_size)

    def forward(self, ids: Tensor, state: object) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, state = self.layer(self.embedding(ids), state)
        return self.readout(y), state


def losses(model: nn.Module, streams: TokenStreams) -> list[float]:
    """The loss of each of the first steps, the state carried and detached between windows."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    state, curve = None, []
    for step in range(STEPS):
        inputs, targets = streams.window(step % len(streams))
        logits, state = model(inputs, state)
        state = tuple(part.detach() for part in state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        curve.append(loss.item())
    return curve


@pytest.mark.medium
def test_loss_curve_is_that_of_torch(real_data: Path) -> None:
    text = read_text(real_data / "tinyshakespeare" / "input.txt")
    vocabulary = CharacterVocabulary.build([text])
    tokens = vocabulary.encode(text)
    streams = TokenStreams(tokens[: len(tokens) * 9 // 10], BATCH_SIZE, BPTT)

    theirs = CharacterModel(nn.LSTM(EMBEDDING_SIZE, HIDDEN_SIZE), len(vocabulary))
    ours = CharacterModel(rc.LSTM(EMBEDDING_SIZE, HIDDEN_SIZE), len(vocabulary))
    ours.load_state_dict(theirs.state_dict())

    expected, found = losses(theirs, streams), losses(ours, streams)
    assert expected[-1] < 2.3, "the model should have learnt something by now"
    worst = max(abs(a - b) for a, b in zip(expected, found, strict=True))
    assert worst < TOLERANCE
