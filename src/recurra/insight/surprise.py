"""A text as a language model reads it: how little it expected each token.

Letters: T tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recurra.insight.report.figure import Figure, Passage
from recurra.models.language_model import token_losses
from recurra.nn.plain import evaluating
from recurra.text import Vocabulary

_WARM_UP = 256  # tokens that are read before those that are shown
_LEAST = 12  # first characters of words from which on their mean is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprise:
    """What each token of a text cost, each predicted from all before it.

    Attributes:
        tokens: T texts.
        nll: [T] -log p of each, in nats.
        chance: nats of a guess among all tokens.
    """

    tokens: tuple[str, ...]
    nll: np.ndarray
    chance: float


def surprise(model: Any, vocabulary: Vocabulary, ids: np.ndarray, count: int = 900) -> Surprise:
    """How little a language model expected tokens in the middle of a text.

    Args:
        model: `logits, state = model(ids, state)` with ids [T, B].
        vocabulary: of the ids.
        ids: [N] of a text that it was not trained on, at least two.
        count: tokens to show, at most; up to 256 are read before them.
    """
    count = min(count, len(ids) - 1)
    first = max(1, (len(ids) - count) // 2)
    start = max(0, first - _WARM_UP - 1)
    read = torch.from_numpy(np.asarray(ids[start : first + count], dtype=np.int64))
    where = next(model.parameters()).device
    inputs, targets = read[:-1, None].to(where), read[1:, None].to(where)
    with torch.no_grad(), evaluating(model):
        logits, _ = model(inputs, None)
        losses = token_losses(logits, targets, "none").double().cpu().numpy()
    decoder = vocabulary.decoder()
    shown = ids[first : first + count].tolist()
    texts = [decoder.feed(each) for each in shown]
    texts[-1] += decoder.flush()
    return Surprise(
        tokens=tuple(texts), nll=losses[-len(shown) :], chance=math.log(len(vocabulary))
    )


def figure_of_surprise(found: Surprise) -> Figure:
    """The figure of a report that shows a text by how little each token was expected."""
    shares = np.minimum(found.nll / found.chance, 1.0)
    return Figure(
        name="surprise",
        title="What it does not expect",
        lede=(
            "Look where the red stands: the redder a token of this text that it never saw, the "
            "less it was expected; full red is no better than a guess among all."
        ),
        found=_found(found),
        passages=[Passage(text=found.tokens, values=(-shares).tolist())],
        table={"token": found.tokens, "nll": found.nll},
    )


def _found(found: Surprise) -> str:
    said = f"Here a token costs {found.nll.mean():.2f} nats in the mean"
    first, later = _of_words(found.tokens, found.nll)
    if len(first) >= _LEAST and len(later) >= _LEAST:
        return (
            f"{said}: the first character of a word {first.mean():.2f}, "
            f"{first.mean() / max(later.mean(), 1e-9):.1f} times the {later.mean():.2f} of others."
        )
    most = int(found.nll.argmax())
    share = float((found.nll > found.chance).mean())
    return (
        f"{said}; {share:.0%} of them cost more than a guess among all ({found.chance:.2f}), most "
        f"of all {found.tokens[most].strip()!r} with {found.nll[most]:.1f}."
    )


def _of_words(tokens: Sequence[str], nll: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses of the first characters of words and of those behind them, where tokens are such."""
    if any(len(each) > 1 for each in tokens):
        return nll[:0], nll[:0]
    is_letter = np.array([each.isalnum() or each == "_" for each in tokens])
    behind = np.concatenate([[False], is_letter[:-1]])
    return nll[is_letter & ~behind], nll[is_letter & behind]
