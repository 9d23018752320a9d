"""The loss over a whole split, every token predicted once, the state carried from start to end.

V vocabulary, B pieces read side by side, T steps of a chunk.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recurra.data import Sequential, check_ids, check_whole
from recurra.data.lines import LineExamples
from recurra.models.language_model import token_losses
from recurra.nn.plain import evaluating
from recurra.tasks.measures import measure, measure_name

PIECE = 2048  # tokens of a piece, at least
PIECES = 64  # side by side, at most
WARM_UP = 256  # tokens before a piece that set its state without being counted
CHUNK = 100  # steps of a chunk, at most
LINES = 32  # side by side
LOGITS = 2**24  # entries of a chunk's logits, at most, unless one step of all pieces has more


def evaluate(
    model: nn.Module,
    tokens: np.ndarray,
    *,
    level: str,
    device: torch.device | None = None,
    pieces: int | None = None,
    max_tokens: int | None = None,
    vocab_size: int | None = None,
) -> dict[str, float]:
    """The mean loss of `model` over `tokens`, each but the first predicted once from all before it.

    For speed the split is read as pieces side by side. Each piece starts with the state that the
    256 tokens before it leave behind, which are not counted, so the figure is that of one long
    reading up to what a state remembers from further back; `pieces=1` is that one long reading. A
    model that reads the index of the step (`reads_index`) is read so, unless `pieces` says how.

    Args:
        model: `logits, state = model(ids, state)`; evaluated without dropout, left as it was.
        tokens: [N] integers below the model's vocabulary size; may be memory-mapped.
        level: the vocabulary's level, which says what the loss is quoted in.
        device: where the model is; None: where its parameters are.
        pieces: how many pieces to read side by side; None: by the split's length, 64 at most.
        max_tokens: of a longer split, count only about so many, in pieces spread evenly over it.
        vocab_size: what the ids must be below; None: they are not checked.
    Returns:
        `nll` in nats a token, `bpc` (char, byte) or `ppl` (word, bpe), `tokens` predicted,
        `seconds`.
    Raises:
        DataError: when an id is not below `vocab_size`, or the file of the tokens is cut meanwhile.
        ValueError: with fewer than two tokens, when there is nothing to predict.
    """
    total = len(tokens) - 1
    if total < 1:
        raise ValueError(
            f"evaluate: expected at least 2 tokens, got {len(tokens)}. Give a longer text."
        )
    if pieces is None and getattr(model, "reads_index", False):
        pieces = 1  # side by side they would be at several steps at once
    if pieces is None:
        pieces = max(1, min(PIECES, total // PIECE))
    readings = _readings(total, pieces, total if max_tokens is None else max_tokens)
    where = device or next(model.parameters()).device
    started = time.perf_counter()
    with torch.no_grad(), evaluating(model):
        loss = sum(_read(model, tokens, reading, where, vocab_size) for reading in readings)
    count = sum(reading.count for reading in readings)
    nll = loss / count
    return {
        "nll": nll,
        measure_name(level): measure(level, nll),
        "tokens": count,
        "seconds": time.perf_counter() - started,
    }


def evaluate_lines(
    model: nn.Module,
    lines: LineExamples,
    *,
    level: str,
    device: torch.device | None = None,
) -> dict[str, float]:
    """The mean loss of `model` over lines, each token and each end predicted once, each line read
    from an empty state.

    Args:
        model: as of `evaluate`.
        lines: of ids below its vocabulary size.
        level: the vocabulary's level.
        device: where the model is; None: where its parameters are.
    Returns:
        As `evaluate`.
    """
    where = device or next(model.parameters()).device
    started = time.perf_counter()
    total, count, chunk = 0.0, 0, 1  # the first step tells how large the vocabulary is
    with torch.no_grad(), evaluating(model):
        source = Sequential(lines, LINES)
        for index in range(len(source)):
            batch, state, start = source.batch(0, index), None, 0
            while start < len(batch.inputs):
                some = slice(start, start + chunk)
                inputs, targets = batch.inputs[some].to(where), batch.targets[some].to(where)
                logits, state = model(inputs, state, **_at(model, start))
                total += token_losses(logits, targets, "none").double().sum().item()
                start += len(inputs)
                chunk = max(1, LOGITS // logits[0].numel())
            count += int((batch.targets >= 0).sum())
    nll = total / count
    return {
        "nll": nll,
        measure_name(level): measure(level, nll),
        "tokens": count,
        "seconds": time.perf_counter() - started,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """Pieces read side by side: piece b predicts tokens[starts[b] + 1 : stops[b] + 1]."""

    starts: np.ndarray
    stops: np.ndarray
    warm_up: int

    @property
    def count(self) -> int:
        return int((self.stops - self.starts).sum())


def _readings(total: int, pieces: int, limit: int) -> list[_Reading]:
    """How to read `total` targets: the head alone, then the rest as pieces with a past."""
    head = total if pieces == 1 and limit >= total else min(WARM_UP, total)
    readings = [_Reading(starts=np.array([0]), stops=np.array([head]), warm_up=0)]
    if head < total:
        edges = np.linspace(head, total, min(pieces, total - head) + 1).astype(np.int64)
        starts, stops = edges[:-1], edges[1:]
        each = max(1, limit // len(starts))
        if limit < total:
            stops = np.minimum(stops, starts + each)
        readings.append(_Reading(starts=starts, stops=stops, warm_up=head))
    return readings


def _read(
    model: Callable[..., Any],
    tokens: np.ndarray,
    reading: _Reading,
    device: torch.device,
    vocab_size: int | None,
) -> float:
    """Sum of nats over the targets of the pieces."""
    longest = int((reading.stops - reading.starts).max())
    total, state = 0.0, None
    chunk, start = 1, -reading.warm_up  # the first step tells how large the vocabulary is
    while start < longest:
        length = min(chunk, -start if start < 0 else longest - start)
        inputs, targets = _chunk(tokens, reading, start, length, device)
        if vocab_size is not None:
            check_ids(tokens, inputs, vocab_size)
            check_ids(tokens, targets.clamp(min=0), vocab_size)  # -100 is ours, and left out
        logits, state = model(inputs, state, **_at(model, start + reading.warm_up))
        chunk = max(1, min(CHUNK, LOGITS // logits[0].numel()))
        if start >= 0:
            total += token_losses(logits, targets, "none").double().sum().item()
        start += length
    return total


def _at(model: Callable[..., Any], step: int) -> dict[str, int]:
    """What a model is told of the index of the first step, where it reads it."""
    return {"start": step} if getattr(model, "reads_index", False) else {}


def _chunk(
    tokens: np.ndarray, reading: _Reading, start: int, length: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Inputs and targets [T, B] of every piece, from `start` after its own start on.

    Where a piece has ended while a longer one goes on, its target is -100, which the loss leaves
    out.
    """
    check_whole(tokens)
    positions = reading.starts + start + np.arange(length)[:, None]
    ended = positions >= reading.stops
    positions = positions.clip(0, len(tokens) - 2)
    inputs = torch.from_numpy(np.asarray(tokens[positions], dtype=np.int64))
    targets = np.array(tokens[positions + 1], dtype=np.int64)
    targets[ended] = -100
    return inputs.to(device), torch.from_numpy(targets).to(device)
