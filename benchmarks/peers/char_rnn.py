"""A character model in plain PyTorch, as a careful user writes one; a command of its own.

nn.Embedding of 64, one nn.LSTM, dropout, nn.Linear; truncated backpropagation through time over
contiguous streams, the state carried and detached; AdamW (fused), linear warm-up, cosine decay to a
hundredth by the clock, clipping by norm. It validates about 20 times, keeps the best weights, and
is measured on the test split by the same function as a run of recurra.

T steps of a window, B streams, V vocabulary.
"""

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.backends import keep_freed_memory
from recurra.tasks.evaluation import evaluate

State = tuple[Tensor, Tensor]
BATCH_SIZE, BPTT, EMBEDDING = 64, 100, 64
LR, WARMUP_STEPS, FINAL_SHARE = 3e-3, 100, 0.01
WEIGHT_DECAY, CLIP_NORM, DROPOUT = 0.01, 1.0, 0.2
VALIDATIONS, VALIDATION_SHARE = 20, 0.05


class CharRNN(nn.Module):
    """Logits of the next character from the characters so far."""

    def __init__(self, vocab_size: int, hidden_size: int, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(hidden_size, vocab_size)

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits [T, B, V] after ids [T, B], and the state."""
        y, final = self.lstm(self.embedding(ids), state)
        return self.decoder(self.dropout(y)), final


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The ids of a text, split by position: 90, 5 and 5 %."""

    vocab_size: int
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "Text":
        """The text of a file, an id for each distinct character."""
        characters = np.array(list(path.read_text(encoding="utf-8")))
        alphabet, ids = np.unique(characters, return_inverse=True)
        bounds = [round(share * len(ids)) for share in (0.9, 0.95)]
        train, val, test = np.split(ids.astype(np.int64), bounds)
        return cls(vocab_size=len(alphabet), train=train, val=val, test=test)


class Streams:
    """B stretches of the text, side by side, in windows of T steps."""

    def __init__(self, ids: np.ndarray) -> None:
        steps = (len(ids) - 1) // BATCH_SIZE
        rows = [ids[b * steps : (b + 1) * steps + 1] for b in range(BATCH_SIZE)]
        self._columns = torch.from_numpy(np.stack(rows, axis=1))  # [steps + 1, B]

    def __len__(self) -> int:
        return -(-(len(self._columns) - 1) // BPTT)

    def window(self, index: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets [T, B]; the last window of a pass may be shorter."""
        block = self._columns[index * BPTT : (index + 1) * BPTT + 1]
        return block[:-1], block[1:]


def train(text: Text, hidden_size: int, minutes: float, seed: int = 1) -> dict[str, float]:
    """Train by the clock; the figures of the run."""
    torch.manual_seed(seed)
    model = CharRNN(text.vocab_size, hidden_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
    streams, seconds = Streams(text.train), 60 * minutes
    best, kept, state = math.inf, model.state_dict(), None
    steps = tokens = 0
    validated_s = cost_s = 0.0
    started, elapsed = time.monotonic(), 0.0
    while elapsed < seconds:
        if steps % len(streams) == 0:
            state = None
        inputs, targets = streams.window(steps % len(streams))
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(steps, elapsed / seconds)
        state = _step(model, optimizer, inputs, targets, state)
        steps, tokens = steps + 1, tokens + inputs.numel()
        elapsed = time.monotonic() - started
        pause = max(seconds / VALIDATIONS, cost_s / VALIDATION_SHARE)
        if elapsed - validated_s >= pause or elapsed >= seconds:
            nll = evaluate(model, text.val, level="char")["nll"]
            cost_s, elapsed = time.monotonic() - started - elapsed, time.monotonic() - started
            validated_s = elapsed
            if nll < best:
                best, kept = nll, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return {
        "tokens": tokens,
        "seconds": elapsed,
        "tokens_per_s": tokens / elapsed,
        "val_nll": best,
        "test_nll": evaluate(model, text.test, level="char")["nll"],
    }


def _step(
    model: CharRNN,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    targets: Tensor,
    state: State | None,
) -> State:
    """One update; the state for the next window."""
    model.train()
    logits, (h, c) = model(inputs, state)
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
    return h.detach(), c.detach()


def _learning_rate(step: int, fraction: float) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
    warm_up = min(1.0, max((step + 1) / WARMUP_STEPS, fraction / 0.1))
    return LR * warm_up * (FINAL_SHARE + (1 - FINAL_SHARE) * cosine)


def main() -> None:
    """Train, and print the figures as json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.char_rnn")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as `recurra train` does
    figures = train(Text.read(arguments.data), arguments.hidden_size, arguments.minutes)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
